import json
from io import StringIO

import pytest
import stripe
from django.core.management import CommandError, call_command, load_command_class

from django_krcard.sandbox import control
from django_krcard.sandbox.models import Event, Fault
from django_krcard.sandbox.scenarios import SCENARIOS, duration

from .conftest import charge_params, session_params


def play(*arguments):
    out = StringIO()
    call_command("krcard_sandbox", *arguments, stdout=out)
    return out.getvalue()


def status():
    return json.loads(play("status", "--json"))


def test_the_customer_saves_a_samsung_card(api, customer, session):
    said = play("authorise", session.id, "--brand", "samsung", "--last4", "9876")

    [card] = api.customers.payment_methods.list(customer.id)
    assert (card.kr_card.brand, card.kr_card.last4) == ("samsung", "9876")
    assert card.id in said


def test_the_customer_saves_a_visa(api, customer, session):
    play("authorise", session.id, "--type", "card")

    [card] = api.customers.payment_methods.list(customer.id)
    assert card.card.brand == "visa"


def test_the_issuer_fails_then_time_runs_out(api, session):
    assert "still open" in play("fail", session.id)
    assert api.checkout.sessions.retrieve(session.id).status == "open"

    assert "expired" in play("expire", session.id)
    assert api.checkout.sessions.retrieve(session.id).status == "expired"


@pytest.mark.parametrize("name", ["insufficient_funds", "lost_card"])
def test_the_next_charge_is_declined_by_name(api, saved, name):
    play("decline-next", name)

    with pytest.raises(stripe.CardError) as declined:
        api.payment_intents.create(charge_params(saved))
    assert declined.value.error.decline_code == name


def test_the_next_charge_needs_the_customer(api, saved):
    play("require-action-next")

    with pytest.raises(stripe.CardError) as refused:
        api.payment_intents.create(charge_params(saved))
    assert refused.value.code == "authentication_required"


@pytest.mark.parametrize(("outcome", "status"), [("succeeded", "succeeded"), ("failed", "requires_payment_method")])
def test_a_charge_that_is_processing_is_settled(api, saved, outcome, status):
    play("processing-next")
    intent = api.payment_intents.create(charge_params(saved))
    assert intent.status == "processing"

    assert status in play("settle", intent.id, "--outcome", outcome)
    assert api.payment_intents.retrieve(intent.id).status == status


@pytest.mark.parametrize(("outcome", "status"), [("succeeded", "succeeded"), ("failed", "requires_payment_method")])
def test_the_customer_finishes_a_payment(api, saved, outcome, status):
    made = api.payment_intents.create({"amount": 100, "currency": "krw", "customer": saved.customer})
    here = {"payment_method": saved.card, "return_url": "http://127.0.0.1:8000/"}
    intent = api.payment_intents.confirm(made.id, here)
    assert intent.next_action.redirect_to_url.url in play("status")

    assert status in play("finish-payment", intent.id, "--outcome", outcome)
    assert api.payment_intents.retrieve(intent.id).status == status


def test_a_card_is_detached(api, saved):
    play("detach", saved.card)
    assert api.payment_methods.retrieve(saved.card).customer is None


def test_the_permission_is_withdrawn_at_the_issuer(api, saved):
    assert "inactive" in play("revoke", saved.card)
    assert api.mandates.retrieve(saved.mandate).status == "inactive"


def test_a_mandate_waits_until_it_is_activated(api, session):
    play("mandate-pending-next")
    play("authorise", session.id)
    intent = api.checkout.sessions.retrieve(session.id, {"expand": ["setup_intent.mandate"]}).setup_intent
    assert intent.mandate.status == "pending"

    play("activate-mandate", intent.payment_method)
    assert api.mandates.retrieve(intent.mandate.id).status == "active"


def test_a_dispute_is_opened_and_lost(api, saved, heard):
    intent = api.payment_intents.create(charge_params(saved))

    opened = play("dispute", intent.id, "--reason", "duplicate").split()[0]
    assert "lost" in play("close-dispute", opened)
    assert [event["type"] for event in heard if "dispute" in event["type"]][-1] == "charge.dispute.closed"


def test_requests_are_turned_away(api, saved):
    play("rate-limit-next", "1")

    with pytest.raises(stripe.RateLimitError):
        api.customers.retrieve(saved.customer)
    assert api.customers.retrieve(saved.customer).id == saved.customer


def test_an_outage_after_the_effect(api, customer):
    play("outage", "POST", "/v1/customers", "--effect", "after", "--status", "timeout")

    with pytest.raises(stripe.APIConnectionError):
        api.customers.create({"name": "민지"})
    assert len(api.customers.list().data) == 2


def test_events_are_held_and_delivered(api, saved, heard):
    play("delivery", "held")
    api.payment_intents.create(charge_params(saved))
    assert heard == []
    assert [event["type"] for event in status()["held_events"]] == ["charge.succeeded", "payment_intent.succeeded"]

    assert "took 4 message(s). Seed 7." in play("deliver", "--shuffled", "--copies", "2", "--seed", "7")
    assert len(heard) == 4
    assert status()["held_events"] == []


def test_one_event_is_delivered_again(api, saved, heard):
    event = Event.objects.latest("pk")

    play("redeliver", event.stripe_id)

    assert [each["id"] for each in heard] == [event.stripe_id]


def test_a_message_that_was_not_taken_is_retried(api, saved, heard, site):
    site.answers += [500, 500]
    api.payment_intents.create(charge_params(saved))

    assert "took 2 message(s)" in play("retry-failed")


def test_a_refund_fails(api, saved):
    intent = api.payment_intents.create(charge_params(saved))
    refund = api.refunds.create({"payment_intent": intent.id})

    assert play("fail-refund", refund.id) == f"{refund.id} is failed.\n"


def test_messages_are_hints(api, saved, heard):
    play("event-format", "thin")
    api.payment_intents.create(charge_params(saved))

    assert {event["object"] for event in heard} == {"v2.core.event"}


def test_korean_cards_are_switched_off(api, customer):
    play("enabled-types", "card, naver_pay")
    assert status()["enabled_types"] == ["card", "naver_pay"]


def test_time_passes(session):
    before = control.now()

    play("advance", "1 day 1 hour")

    assert (control.now() - before).total_seconds() == pytest.approx(25 * 3600, abs=5)
    assert status()["open_sessions"] == []


@pytest.mark.parametrize(("text", "seconds"), [("3 days", 259_200), ("1 hour 30 minutes", 5400), ("2WEEKS", 1_209_600)])
def test_lengths_of_time_are_read(text, seconds):
    assert duration(text).total_seconds() == seconds


def test_status_for_a_person(api, session, saved):
    control.decline_next("insufficient_funds")

    said = play("status")

    for part in ("Delivery", "insufficient_funds", saved.card, "Held events\n  none"):
        assert part in said


def test_status_names_the_open_sessions(session):
    assert [each["id"] for each in status()["open_sessions"]] == [session.id]
    assert session.url in play("status")


def test_reset_forgets_everything(api, customer):
    play("reset")
    assert status()["newest"] == []


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["authorise", "cs_test_nothing"], "There is no Session cs_test_nothing."),
        (["authorise", "cs_test_nothing", "--last4", "12"], "last4 is four digits"),
        (["authorise", "cs_test_nothing", "--brand", "acme"], "invalid choice: 'acme'"),
        (["decline-next", "insuficient_funds"], "invalid choice: 'insuficient_funds'"),
        (["settle", "pi_nothing"], "pi_nothing"),
        (["detach", "pm_nothing"], "pm_nothing"),
        (["revoke", "pm_nothing"], "pm_nothing"),
        (["activate-mandate", "pm_nothing"], "pm_nothing"),
        (["dispute", "pi_nothing"], "pi_nothing"),
        (["close-dispute", "du_nothing"], "du_nothing"),
        (["fail-refund", "re_nothing"], "re_nothing"),
        (["redeliver", "evt_nothing"], "evt_nothing"),
        (["outage", "POST", "/v1/customers", "--status", "200"], "401, 403, 409, 429"),
        (["outage", "POST", "/v1/customers", "--status", "soon"], "whole number"),
        (["rate-limit-next", "0"], "from 1 to 1000"),
        (["advance", "a while"], "for example 3 days"),
        (["delivery", "never"], "invalid choice: 'never'"),
        (["pages-at", "localhost:8000"], "Not the address of a site"),
        (["nonsense"], "invalid choice: 'nonsense'"),
        ([], "ACTION"),
    ],
)
def test_what_cannot_be_is_said_plainly(arguments, says):
    with pytest.raises(CommandError) as refused:
        play(*arguments)
    assert says in str(refused.value)
    assert not Fault.objects.exists()


def test_nothing_is_played_in_production(settings):
    settings.KRCARD_SANDBOX_WITHOUT_DEBUG_I_KNOW_NO_MONEY_MOVES = False

    with pytest.raises(CommandError, match="runs only with DEBUG"):
        play("reset")


@pytest.mark.parametrize("action", ["", "status", "serve", *SCENARIOS])
def test_help_explains_each(action, capsys):
    command = load_command_class("django_krcard.sandbox", "krcard_sandbox")
    arguments = [action, "--help"] if action else ["--help"]

    with pytest.raises(SystemExit) as left:
        command.create_parser("manage.py", "krcard_sandbox").parse_args(arguments)

    said = " ".join(capsys.readouterr().out.split())
    assert left.value.code == 0
    if action in SCENARIOS:
        assert SCENARIOS[action].help in said
    if not action:
        assert all(name in said for name in SCENARIOS)


def test_the_hosted_pages_are_moved_and_moved_back(api, customer):
    assert "http://127.0.0.1:8001" in play("pages-at", "http://127.0.0.1:8001")
    assert api.checkout.sessions.create(session_params(customer)).url.startswith("http://127.0.0.1:8001/")
    assert "Hosted pages   http://127.0.0.1:8001" in play("status")

    assert "success_url" in play("pages-at")
    assert status()["pages_at"] == ""
    play("pages-at", "http://127.0.0.1:8001")
    play("reset")
    assert status()["pages_at"] == ""
