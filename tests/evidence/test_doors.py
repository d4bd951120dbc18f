"""The ways to the evidence: the command, the admin, the customer's own page, and the mail after agreeing."""

import json
import zipfile
from io import BytesIO

import pytest
from django.contrib.admin.models import LogEntry
from django.core import mail
from django.urls import reverse

from django_krcard import services
from django_krcard.models import Notice, TimelineEntry
from django_krcard.sandbox import control
from django_krcard.services.evidence_pack import evidence
from tests.admin.conftest import boss, browser, staff
from tests.admin.pages import act, page
from tests.commands.conftest import play
from tests.factories import UserFactory, consent_of
from tests.unguarded import tamper

__all__ = ["boss", "browser", "play", "staff"]

pytestmark = pytest.mark.django_db(transaction=True)


# --- the command ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["reference", "public_id"])
def test_the_command_writes_the_pack(mandate, play, tmp_path, name):
    path = tmp_path / "pack.zip"
    ended = play("krcard_evidence", str(getattr(mandate, name)), "--output", path, "--by", "boss", "--reason", "분쟁")

    assert (ended.code, ended.lines) == (0, [str(path)])
    assert path.read_bytes() == evidence(mandate).as_zip()
    assert mandate.timeline.first().actor == "staff:boss"


def test_the_command_knows_forms_and_languages(mandate, play, tmp_path):
    for form in ("json", "html"):
        path = tmp_path / f"pack.{form}"
        options = ("--format", form, "--language", "en", "--without-personal", "--output", path)
        assert play("krcard_evidence", mandate.reference.lower(), *options).code == 0
        assert path.read_bytes() == evidence(mandate, personal=False, language="en").as_bytes(form)


def test_the_command_replaces_no_file_and_knows_when_there_is_no_mandate(mandate, play, tmp_path):
    path = tmp_path / "pack.zip"
    path.write_text("precious")

    assert play("krcard_evidence", mandate.reference, "--output", path).code == 2
    assert play("krcard_evidence", "KR-NONE-NONE").code == 2
    assert play("krcard_evidence", mandate.reference, "--output", tmp_path / "no" / "folder").code == 2
    assert path.read_text() == "precious"
    assert not TimelineEntry.objects.filter(kind="evidence_exported").exists()


def test_the_command_says_when_a_record_is_broken(mandate, play, tmp_path):
    tamper("UPDATE krcard_consent SET ticked = '[]'")
    ended = play("krcard_evidence", mandate.reference, "--output", tmp_path / "pack.zip")
    assert ended.code == 1
    assert "DOES NOT match" in ended.error


# --- the admin -----------------------------------------------------------------------------------


def test_staff_take_evidence_and_it_is_written_down(boss, mandate):
    assert "Take evidence" in boss.get(page(mandate)).text
    response = act(boss, mandate, "evidence", form="zip", reason="issuer asked")

    assert response.headers["Content-Disposition"] == f'attachment; filename="{mandate.reference}.zip"'
    assert response.content == evidence(mandate).as_zip()
    entry = mandate.timeline.first()
    assert (entry.kind, entry.actor, entry.data["reason"]) == ("evidence_exported", "staff:boss", "issuer asked")
    assert "issuer asked" in LogEntry.objects.get().change_message
    assert "Evidence taken" in boss.get(page(mandate)).text


def test_a_page_to_print_is_shown_and_personal_data_can_stay(boss, mandate):
    url = page(mandate, "evidence")
    response = boss.post(url, {"form": "html", "language": "en", "reason": "auditor"})

    assert response.headers["Content-Disposition"].startswith("inline")
    assert "Personal data was left out" in response.text
    assert "203.0.113.7" not in response.text


def test_without_permission_without_reason_or_by_a_link_there_is_no_evidence(staff, boss, mandate):
    reviewer = staff("view_mandate")
    assert "Take evidence" not in reviewer.get(page(mandate)).text
    assert reviewer.post(page(mandate, "evidence"), {"form": "zip", "reason": "x"}).status_code == 403
    assert "Nothing was done yet" in boss.post(page(mandate, "evidence"), {"form": "zip", "language": "ko"}).text
    boss.get(page(mandate, "evidence"), {"form": "zip", "reason": "x"})
    assert not TimelineEntry.objects.filter(kind="evidence_exported").exists()


# --- the customer --------------------------------------------------------------------------------


def copy_of(mandate, **query):
    return reverse("krcard:mandate-copy", args=[mandate.public_id], query=query)


def test_a_customer_keeps_a_copy(minji, mandate, unpack):
    services.hold(mandate, by="staff:boss", reason="suspicious")
    shown = minji.get(reverse("krcard:mandate", args=[mandate.public_id])).text
    assert copy_of(mandate) in shown

    response = minji.get(copy_of(mandate, form="zip"))
    assert response.headers["Content-Disposition"] == f'attachment; filename="{mandate.reference}.zip"'
    assert "no-store" in response.headers["Cache-Control"]
    assert unpack(response.content).verify().returncode == 0
    everything = zipfile.ZipFile(BytesIO(response.content)).read("evidence.json").decode()
    assert "suspicious" not in everything
    assert "staff:boss" not in everything
    to_print = minji.get(copy_of(mandate, form="html"))
    assert to_print.headers["Content-Disposition"] == f'inline; filename="{mandate.reference}.html"'
    assert mandate.consent.text in to_print.text
    assert mandate.consent.text in minji.get(copy_of(mandate)).text


def test_nobody_else_gets_it(client, mandate):
    assert client.get(copy_of(mandate)).status_code == 302
    client.force_login(UserFactory(username="somebody"))
    assert client.get(copy_of(mandate)).status_code == 404


@pytest.mark.parametrize("form", ["exe", "", "../zip"])
def test_there_are_no_other_forms(minji, mandate, form):
    assert minji.get(copy_of(mandate, form=form)).status_code == 404


# --- the mail ------------------------------------------------------------------------------------


@pytest.fixture
def confirming(settings):
    settings.KRCARD_CONFIRM_AGREEMENT = True
    settings.KRCARD_BASE_URL = "https://shop.example"


def test_a_customer_is_sent_what_they_agreed_to(confirming, save_card, membership, user):
    mandate = save_card(membership)
    (message,) = mail.outbox

    assert message.to == [user.email]
    assert message.subject == "[한강 멤버십] 동의하신 내용: 멤버십 자동결제 약관"
    told = ("신한카드 ****-1234", "12,900원", "매월", "해지할 수 있으며", f"https://shop.example{copy_of(mandate)}")
    for fact in (*told, f"https://shop.example/krcard/mandates/{mandate.public_id}/", mandate.reference):
        assert fact in message.body
    assert Notice.objects.get().kind == "agreement_confirmed"


def test_each_agreement_is_confirmed_once(confirming, save_card, membership):
    mandate = save_card(membership)
    services.hold(mandate, by="staff:boss", reason="x")
    services.resume(mandate, by="staff:boss", reason="x")
    assert len(mail.outbox) == 1

    again = consent_of(mandate.customer, membership)
    setup = services.start_checkout(again, success_url="http://testserver/ok", cancel_url="http://testserver/no")
    control.authorise(setup.checkout_session_id, brand="kookmin", last4="9876")
    services.complete_setup(setup)
    services.complete_setup(setup)
    assert len(mail.outbox) == 2
    assert "KB국민카드 ****-9876" in mail.outbox[1].body


def test_a_site_may_do_without(settings, save_card, membership):
    settings.KRCARD_CONFIRM_AGREEMENT = True
    settings.KRCARD_NOTICE_KINDS = ["charge_succeeded"]
    save_card(membership)
    assert mail.outbox == []


def test_what_was_sent_is_in_the_pack(confirming, save_card, membership):
    facts = json.loads(evidence(save_card(membership)).as_json())
    assert [notice["kind"] for notice in facts["notices"]] == ["agreement_confirmed"]
