"""The page of a mandate, and the acts that are not about money."""

from datetime import timedelta

import pytest
from django.utils import timezone

from django_krcard import services
from django_krcard.admin.display import stripe_id
from django_krcard.admin.mandate_page import masked
from django_krcard.models import Charge, Notice, PaymentMethod, TimelineEntry
from django_krcard.sandbox import control
from tests.admin.pages import act, page
from tests.factories import as_used_terms
from tests.unguarded import tamper

pytestmark = pytest.mark.django_db(transaction=True)


def test_the_page_says_whether_the_customer_may_be_charged(boss, mandate):
    text = boss.get(page(mandate)).text
    assert "May be charged" in text
    assert "₩12,900" in text
    assert "Shinhan Card ****-1234" in text
    assert "TEST" in text
    assert "SANDBOX" in text

    services.charge(mandate, 12_900, reference="2026-11")
    text = boss.get(page(mandate)).text
    assert "May not be charged" in text
    assert "All payments agreed for this period were made." in text


def test_the_page_shows_what_proves_the_agreement(boss, mandate):
    consent = mandate.consent
    text = boss.get(page(mandate)).text

    assert "matches its hash" in text
    for shown in ("자동결제 이용 동의", "203.0.113.7", "Test browser", consent.text_sha256, consent.record_hash):
        assert shown in text
    assert boss.get(page(consent)).text.count(consent.text_sha256) == 1


def test_a_record_that_was_tampered_with_is_shown_as_broken(boss, mandate):
    tamper("UPDATE krcard_consent SET ticked = '[]'")

    text = boss.get(page(mandate)).text
    assert "DOES NOT match its hash" in text
    assert "May not be charged" in text


def test_missing_korean_cards_cannot_be_overlooked(boss, mandate):
    assert "Stripe did not offer Korean cards" not in boss.get(page(mandate)).text

    TimelineEntry.objects.create(mandate=mandate, kind="korean_cards_missing", actor="stripe")
    assert "Stripe did not offer Korean cards to this customer." in boss.get(page(mandate)).text


def test_what_others_wrote_is_text_and_not_markup(boss, mandate):
    services.hold(mandate, by="staff:<b>x</b>", reason="<script>alert(1)</script>")

    text = boss.get(page(mandate)).text
    assert "<script>alert(1)" not in text
    assert "<b>x</b>" not in text


@pytest.mark.parametrize(
    ("value", "livemode", "address"),
    [
        ("pi_123", False, "https://dashboard.stripe.com/test/payments/pi_123"),
        ("cus_9", True, "https://dashboard.stripe.com/customers/cus_9"),
        ("cus_9/../../login", True, None),
        ("pm_without_a_page", True, None),
    ],
)
def test_ids_lead_to_the_dashboard(settings, value, livemode, address):
    assert "href" not in stripe_id(value, livemode=livemode)

    settings.KRCARD_SANDBOX = False
    link = stripe_id(value, livemode=livemode)
    assert (f'href="{address}"' in link) if address else ("href" not in link)


# --- what became of the payments --------------------------------------------------------------------


@pytest.fixture
def used(save_card):
    """An agreement to pay what was used: up to 30,000 won a time, 100,000 a month."""
    return save_card(as_used_terms(max_retries=1, retry_after_days=3))


def test_refunds_and_disputes_stand_beside_their_payment(boss, used):
    charge = services.charge(used, 9_000, reference="taxi")
    services.refund(charge, 4_000, reference="too much", reason="two passengers only")
    text = boss.get(page(used)).text
    assert "Refund: ₩4,000" in text
    assert "two passengers only" in text
    assert "dispute" not in text

    control.dispute(charge.stripe_id)
    charge.refresh_from_db()
    text = boss.get(page(used)).text
    assert "disputed: an answer is needed" in text
    assert charge.dispute_id in text


def test_what_happens_next_by_itself_is_told(boss, used):
    control.decline_next("card_declined", "insufficient_funds")
    charge = services.charge(used, 9_000, reference="taxi")
    text = boss.get(page(used)).text
    assert "after a declined payment one more try after 3 days" in text
    assert "tried again" in text
    assert "overdue" not in text

    Charge.objects.filter(pk=charge.pk).update(next_step_at=timezone.now() - timedelta(days=1))
    assert "overdue: krcard_run_due does not run" in boss.get(page(used)).text


def test_what_the_customer_was_told_and_where(boss, staff, used):
    charge = services.charge(used, 9_000, reference="taxi")
    told = Notice.objects.get(kind="charge_succeeded")
    assert told.sent_at

    text = boss.get(page(used)).text
    for shown in ("payment made", told.subject, told.address, page(charge)):
        assert shown in text
    reviewer = staff("view_mandate").get(page(used)).text
    assert told.subject in reviewer
    assert told.address not in reviewer
    assert masked(told.address) in reviewer


def test_what_could_not_be_told_is_seen(boss, used):
    services.charge(used, 9_000, reference="taxi")
    Notice.objects.update(sent_at=None, next_attempt_at=None, last_error="SMTPServerDisconnected")

    text = boss.get(page(used)).text
    assert "not sent" in text
    assert "SMTPServerDisconnected" in text


@pytest.mark.parametrize(
    ("address", "shown"), [("minji@example.com", "mi…@example.com"), ("01012345678", "010…"), ("", "")]
)
def test_a_masked_address_is_enough_to_recognise(address, shown):
    assert masked(address) == shown


# --- ending, holding, comparing --------------------------------------------------------------------


def test_ending_stops_charges_and_removes_the_card(boss, mandate):
    asked = boss.get(page(mandate, "end")).text
    assert "This cannot be undone." in asked
    assert "Shinhan Card ****-1234 is removed at Stripe" in asked

    act(boss, mandate, "end", reason="customer called")
    mandate.refresh_from_db()
    assert (mandate.status, mandate.ended_by, mandate.end_reason) == ("revoked", "staff:boss", "customer called")
    assert PaymentMethod.objects.get().detached_at
    assert "This cannot be done now." in boss.post(page(mandate, "end"), {"reason": "again"}, follow=True).text


def test_holding_and_resuming(boss, mandate):
    act(boss, mandate, "hold", reason="a question")
    assert not services.can_charge(mandate, 12_900).allowed

    act(boss, mandate, "resume", reason="answered")
    assert services.can_charge(mandate, 12_900).allowed
    assert [entry.data["reason"] for entry in mandate.timeline.filter(actor="staff:boss")] == ["answered", "a question"]


def test_comparing_with_stripe_finds_a_card_that_is_gone(boss, mandate):
    assert "nothing has changed" in act(boss, mandate, "compare").text

    control.set_delivery("dropped")
    control.detach(mandate.payment_method.stripe_id)
    assert "Stripe says otherwise" in act(boss, mandate, "compare").text
    assert "May not be charged" in boss.get(page(mandate)).text


def test_a_silent_stripe_is_a_message_and_not_an_error_page(boss, mandate, no_waiting):
    for _try in range(3):
        control.fail_next("GET", "payment_methods", status="timeout")

    answer = act(boss, mandate, "compare")
    assert answer.status_code == 200
    assert "Stripe did not do this" in answer.text
