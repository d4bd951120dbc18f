"""Consent taken elsewhere: on paper, by phone, imported. It proves as much, and is charged when the site says so."""

from datetime import timedelta

import pytest
from django.utils import timezone

from django_krcard import services
from django_krcard.exceptions import ConsentRefused
from django_krcard.models import Consent, ConsentAttachment
from django_krcard.sandbox import control
from django_krcard.services import elsewhere
from django_krcard.services.consents import Attachment, attachment_is_intact, is_intact, origin_is_intact
from django_krcard.services.terms import publish
from tests.factories import REQUIRED, CustomerFactory, TermsFactory, consent_of

pytestmark = pytest.mark.django_db

ADDRESSES = {"success_url": "http://testserver/ok", "cancel_url": "http://testserver/no"}
LAST_WEEK = timedelta(days=7)


def on_paper(**changes):
    scan = Attachment("동의서 17.pdf", "application/pdf", b"%PDF-1.7 scan")
    evidence = {"source": "paper", "recorded_by": "staff:park", "reference": "2026/17", "note": "원본은 7번 서류함"}
    evidence |= {"given_at": timezone.now() - LAST_WEEK, "attachment": scan}
    return services.Evidence(**evidence | changes)


def give(customer, terms, **changes):
    return services.give_consent(customer, terms, language="ko", ticked=REQUIRED, evidence=on_paper(**changes))


def test_a_paper_with_its_scan(membership):
    consent = give(CustomerFactory(), membership)
    kept = Consent.objects.get()
    assert timezone.now() - kept.given_at > LAST_WEEK
    assert kept.created_at > kept.given_at + LAST_WEEK - timedelta(minutes=1)
    assert (kept.source, kept.recorded_by, kept.source_reference) == ("paper", "staff:park", "2026/17")
    assert bytes(kept.attachment.content) == b"%PDF-1.7 scan"
    assert kept.note == "원본은 7번 서류함"
    assert is_intact(kept)
    assert origin_is_intact(kept)
    assert attachment_is_intact(kept)
    assert consent.text == kept.text


@pytest.mark.parametrize(
    "change", [{"recorded_by": "staff:lee"}, {"source_reference": "18"}, {"attachment_sha256": ""}, {"source": "phone"}]
)
def test_what_is_said_of_it_is_part_of_the_record(membership, change):
    consent = give(CustomerFactory(), membership)
    for name, value in change.items():
        setattr(consent, name, value)
    assert not is_intact(consent)


@pytest.mark.parametrize("change", [{"name": "x"}, {"content_type": "x"}, {"content": b"x"}, {"salt": "x"}])
def test_another_attachment_shows(membership, change):
    consent = give(CustomerFactory(), membership)
    for name, value in change.items():
        setattr(consent.attachment, name, value)
    assert not attachment_is_intact(consent)


@pytest.mark.parametrize(
    "changes",
    [
        {"given_at": timezone.now() + timedelta(days=2)},
        {"recorded_by": " "},
        {"source": "hearsay"},
        {"source": "web"},
        {"attachment": Attachment("empty.pdf", "application/pdf", b"")},
        {"attachment": Attachment("large.pdf", "application/pdf", b"x" * 101)},
    ],
)
def test_what_cannot_be_recorded(membership, settings, changes):
    settings.KRCARD_MAX_ATTACHMENT_BYTES = 100
    with pytest.raises(ConsentRefused):
        give(CustomerFactory(), membership, **changes)
    assert not Consent.objects.exists()
    assert not ConsentAttachment.objects.exists()


def test_a_web_consent_of_the_future_is_refused(membership):
    with pytest.raises(ConsentRefused):
        consent_of(CustomerFactory(), membership, given_at=timezone.now() + timedelta(minutes=1))


def test_to_terms_that_were_retired_meanwhile(membership):
    """The text kept is that version's."""
    old_words = give(CustomerFactory(), membership, reference="1").text
    publish(TermsFactory(version=2, amount=14_900), by="system")
    membership.refresh_from_db()
    late = give(CustomerFactory(), membership, reference="2")
    assert late.text == old_words
    assert late.rule["amount"] == 12_900
    with pytest.raises(ConsentRefused):
        give(CustomerFactory(), TermsFactory(slug="draft"), reference="3")


@pytest.mark.django_db(transaction=True)
class TestCharging:
    @pytest.fixture
    def mandate(self, krcard_sandbox, membership):
        """The customer agreed on paper to what is retired now, and saved the card by a link."""
        consent = give(CustomerFactory(), membership)
        publish(TermsFactory(version=2), by="system")
        setup = services.start_checkout(consent, **ADDRESSES)
        control.authorise(setup.checkout_session_id)
        return services.complete_setup(setup)

    def test_only_where_the_site_says_so(self, mandate, settings):
        assert services.can_charge(mandate, 12_900).code == "consent_source_not_accepted"
        settings.KRCARD_CHARGEABLE_SOURCES = ["web", "paper"]
        assert services.can_charge(mandate, 12_900).allowed
        assert services.charge(mandate, 12_900, reference="2026-11").status == "succeeded"

    def test_the_timeline_names_who_took_it(self, mandate):
        assert mandate.timeline.get(kind="consent_given").actor == "staff:park"


@pytest.mark.django_db(transaction=True)
class TestTheLastWord:
    def test_an_old_paper_is_not_the_last_word(self, krcard_sandbox, membership):
        customer = CustomerFactory()
        newer = consent_of(customer, membership)
        paper = give(customer, membership)
        with pytest.raises(ConsentRefused):
            services.start_checkout(paper, **ADDRESSES)
        assert services.start_checkout(newer, **ADDRESSES).is_open

    def test_what_was_withdrawn_does_not_come_back_by_an_old_paper(self, krcard_sandbox, mandate):
        services.revoke(mandate, by="customer", reason="enough")
        paper = give(mandate.customer, mandate.consent.terms)
        with pytest.raises(ConsentRefused):
            services.start_checkout(paper, **ADDRESSES)


# --- once for each reference ----------------------------------------------------------------------


def record(customer, terms, **changes):
    return elsewhere.record(customer, terms, language="ko", ticked=REQUIRED, evidence=on_paper(**changes))


def test_recorded_once(membership):
    customer, evidence = CustomerFactory(), on_paper()
    for is_new in (True, False, False):
        assert elsewhere.record(customer, membership, language="ko", ticked=REQUIRED, evidence=evidence)[1] is is_new
    assert Consent.objects.count() == 1


@pytest.mark.parametrize(
    "changes", [{"source": "phone"}, {"given_at": timezone.now() - timedelta(days=9)}, {"attachment": None}]
)
def test_the_same_reference_for_something_else(membership, changes):
    customer = CustomerFactory()
    record(customer, membership)
    with pytest.raises(ConsentRefused):
        record(customer, membership, **changes)
    with pytest.raises(ConsentRefused):
        record(CustomerFactory(), membership)
    assert Consent.objects.count() == 1
