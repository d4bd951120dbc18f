"""An agreement on paper, recorded by staff on the customer's page."""

from datetime import timedelta

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.urls import reverse
from django.utils import timezone

from django_krcard.models import Consent
from django_krcard.services.consents import erase_origin
from django_krcard.services.terms import publish, rendered
from tests.admin.pages import act, page
from tests.factories import REQUIRED, CustomerFactory, TermsFactory

pytestmark = pytest.mark.django_db


@pytest.fixture
def customer(membership):
    return CustomerFactory()


def paper(**changes):
    yesterday = timezone.now() - timedelta(days=1)
    filled = {"source": "paper", "given_at": yesterday.strftime("%Y-%m-%dT%H:%M"), "ticked": REQUIRED}
    filled |= {"reason": "Original in folder 7", "attachment": SimpleUploadedFile("동의서.pdf", b"%PDF")}
    return filled | changes


def test_staff_record_a_paper_with_its_scan(boss, customer, membership):
    shown = boss.get(page(customer, "record-consent"), follow=True)
    assert rendered(membership.texts.get(language="ko")) in shown.text

    assert "is recorded" in act(boss, customer, "record-consent", **paper()).text
    consent = Consent.objects.get()
    assert (consent.source, consent.recorded_by, consent.note) == ("paper", "staff:boss", "Original in folder 7")
    assert consent.attachment.name == "동의서.pdf"

    told = boss.get(page(consent)).text
    for words in ("matches its hash", "staff:boss", "Original in folder 7", "동의서.pdf"):
        assert words in told
    scan = boss.get(reverse("admin:krcard_consent_attachment", args=[consent.pk]))
    assert b"".join(scan.streaming_content) == b"%PDF"
    assert scan["Content-Disposition"].startswith("attachment;")
    assert scan["Content-Type"] == "application/octet-stream"

    erase_origin(consent, by="staff:boss", reason="asked by letter")
    assert "asked by letter" in boss.get(page(consent)).text
    assert boss.get(reverse("admin:krcard_consent_attachment", args=[consent.pk])).status_code == 404


def test_sent_twice_it_is_recorded_once(boss, customer):
    url = boss.get(page(customer, "record-consent")).url
    reference = boss.get(url).context["form"]["reference"].value()
    for _ in range(2):
        answer = boss.post(url, paper(reference=reference), follow=True)
        assert "is recorded" in answer.text
    assert Consent.objects.count() == 1


def test_to_an_older_version(boss, customer, membership):
    publish(TermsFactory(version=2, amount=14_900), by="system")
    old = membership.texts.get(language="en")
    url = boss.get(page(customer, "record-consent")).url
    assert f"text={old.pk}" in boss.get(url).text
    form = boss.get(f"{url}&text={old.pk}").context["form"]
    boss.post(f"{url}&text={old.pk}", paper(reference=form["reference"].value()))
    consent = Consent.objects.get()
    assert (consent.terms, consent.language, consent.rule["amount"]) == (membership, "en", 12_900)


@pytest.mark.parametrize(
    "changes",
    [
        {"ticked": ["autopay"]},
        {"ticked": [*REQUIRED, "unheard-of"]},
        {"given_at": "2199-01-01T00:00"},
        {"source": "web"},
        {"reason": ""},
        {"attachment": SimpleUploadedFile("large.pdf", b"x" * 101)},
    ],
)
def test_what_is_not_complete_is_marked(boss, customer, settings, changes):
    settings.KRCARD_MAX_ATTACHMENT_BYTES = 100
    answer = act(boss, customer, "record-consent", **paper(**changes))
    assert "Nothing was done yet" in answer.text
    assert not Consent.objects.exists()


def test_it_takes_a_permission_of_its_own(staff, customer):
    reviewer = staff("view_customer", "view_consent")
    assert "record-consent" not in reviewer.get(page(customer)).text
    assert reviewer.get(page(customer, "record-consent")).status_code == 403
    assert reviewer.post(page(customer, "record-consent"), paper()).status_code == 403


def test_the_scan_takes_another_one(staff, boss, customer):
    act(boss, customer, "record-consent", **paper())
    consent = Consent.objects.get()
    reviewer = staff("view_customer", "view_consent")
    assert reviewer.get(reverse("admin:krcard_consent_attachment", args=[consent.pk])).status_code == 403
    assert "/attachment/" not in reviewer.get(page(consent)).text


def test_without_terms_there_is_nothing_to_record(boss):
    assert "record-consent" not in boss.get(page(CustomerFactory())).text
