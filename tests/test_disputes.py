"""A payment is disputed: nothing more is charged, and when it is over the agreement goes on or ends as configured."""

import itertools
from datetime import UTC, datetime

import pytest

from django_krcard import gateway, services
from django_krcard.exceptions import ChargeRefused
from django_krcard.models import Charge, Event
from django_krcard.sandbox import control
from django_krcard.services import disputes
from django_krcard.services.acts import finish
from django_krcard.signals import dispute_closed, dispute_opened, mandate_ended
from django_krcard.webhooks.handlers import HANDLERS
from tests.factories import as_used_terms
from tests.test_concurrency import all_at_once

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def mandate(save_card):
    return save_card(as_used_terms())


@pytest.fixture
def paid(mandate):
    return services.charge(mandate, 9_000, reference="taxi")


@pytest.fixture
def heard():
    """The signals in the order in which they came, each with what its mandate and its charge were then."""
    told = []
    signals = {"opened": dispute_opened, "closed": dispute_closed, "ended": mandate_ended}
    receivers = {}
    for name, signal in signals.items():

        def hear(sender, mandate, charge=None, name=name, **kwargs):
            told.append((name, str(mandate.status), charge.dispute_status if charge else None))

        signal.connect(hear)
        receivers[name] = hear
    yield told
    for name, signal in signals.items():
        signal.disconnect(receivers[name])


def told(charge, status, *, id="du_1", reason="fraudulent"):
    return gateway.Dispute(
        id=id,
        status=status,
        amount=charge.amount,
        payment_intent=charge.stripe_id,
        reason=reason,
        respond_by=datetime(2026, 12, 1, tzinfo=UTC),
    )


def kinds(mandate, *wanted):
    """What the timeline says of holds and disputes, oldest first."""
    wanted = wanted or ("dispute_opened", "dispute_closed", "mandate_held", "mandate_resumed", "mandate_ended")
    return [entry.kind for entry in mandate.timeline.filter(kind__in=wanted).order_by("pk")]


def status_of(mandate):
    mandate.refresh_from_db()
    return mandate.status


# --- opened ----------------------------------------------------------------------------------------


def test_a_dispute_puts_the_mandate_on_hold_and_tells(paid, mandate, heard):
    dispute = control.dispute(paid.stripe_id, "product_not_received")

    paid.refresh_from_db()
    assert (paid.dispute_id, paid.dispute_status, paid.is_disputed) == (dispute["id"], "needs_response", True)
    assert status_of(mandate) == "on_hold"
    assert heard == [("opened", "on_hold", "needs_response")]
    entry = mandate.timeline.get(kind="dispute_opened")
    assert (entry.actor, entry.data["reason"], entry.data["amount"]) == ("stripe", "product_not_received", 9_000)
    due_by = datetime.fromtimestamp(dispute["evidence_details"]["due_by"], UTC)
    assert entry.data["respond_by"] == due_by.isoformat()
    held = mandate.timeline.get(kind="mandate_held")
    assert (held.actor, held.data["reason"]) == ("stripe", f"dispute {dispute['id']}")
    with pytest.raises(ChargeRefused) as refused:
        services.charge(mandate, 1_000, reference="next")
    assert refused.value.code in ("dispute_open", "mandate_not_active")


def test_also_resumed_by_hand_nothing_is_charged_while_it_is_open(paid, mandate):
    dispute = control.dispute(paid.stripe_id)
    services.resume(mandate, by="staff:han", reason="talked to her")
    with pytest.raises(ChargeRefused) as refused:
        services.charge(mandate, 1_000, reference="next")
    assert refused.value.code == "dispute_open"

    control.close_dispute(dispute["id"], won=True)
    assert status_of(mandate) == "active"
    assert services.charge(mandate, 1_000, reference="next").status == "succeeded"


def test_a_mandate_that_has_ended_stays_ended(paid, mandate, heard):
    services.revoke(mandate, by="customer", reason="enough")
    dispute = control.dispute(paid.stripe_id)
    control.close_dispute(dispute["id"], won=False)
    assert status_of(mandate) == "revoked"
    assert mandate.ended_by == "customer"
    assert [name for name, *_ in heard] == ["ended", "opened", "closed"]


def test_a_dispute_of_another_payment_is_not_applied(paid, mandate, caplog):
    other = services.charge(mandate, 1_000, reference="other")
    disputes.apply(paid, told(other, "needs_response"))
    assert "not applied" in caplog.text
    assert status_of(mandate) == "active"


# --- over ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("won", "status", "signals"),
    [
        (True, "active", ["opened", "closed"]),
        (False, "revoked", ["opened", "ended", "closed"]),
    ],
)
def test_over_it_goes_on_or_ends(paid, mandate, heard, won, status, signals):
    dispute = control.dispute(paid.stripe_id)
    control.close_dispute(dispute["id"], won=won)

    assert status_of(mandate) == status
    assert [name for name, *_ in heard] == signals
    paid.refresh_from_db()
    assert (paid.dispute_status, paid.is_disputed) == ("won" if won else "lost", False)
    assert mandate.timeline.get(kind="dispute_closed").data["status"] == paid.dispute_status


def test_ended_after_a_lost_dispute_the_card_is_removed_and_the_reason_kept(paid, mandate):
    dispute = control.dispute(paid.stripe_id)
    control.close_dispute(dispute["id"], won=False)
    mandate.refresh_from_db()
    assert (mandate.ended_by, mandate.end_reason) == ("stripe", f"dispute {dispute['id']}: lost")
    mandate.payment_method.refresh_from_db()
    assert mandate.payment_method.detached_at


@pytest.mark.parametrize("outcome", ["won", "lost"])
@pytest.mark.parametrize(
    ("wish", "status"), [("resume", "active"), ("hold", "on_hold"), ("end", "revoked"), ("??", "on_hold")]
)
def test_what_follows_is_the_sites_to_say(paid, mandate, settings, outcome, wish, status):
    settings.KRCARD_AFTER_DISPUTE = {outcome: wish}
    disputes.apply(paid, told(paid, "needs_response"))
    disputes.apply(paid, told(paid, outcome))
    assert status_of(mandate) == status


@pytest.mark.parametrize("wish", ["hold", "end", "resume"])
def test_heard_of_only_when_it_is_over(paid, mandate, settings, heard, wish):
    settings.KRCARD_AFTER_DISPUTE = {"lost": wish}
    disputes.apply(paid, told(paid, "lost"))
    assert status_of(mandate) == {"hold": "on_hold", "end": "revoked", "resume": "active"}[wish]
    assert [name for name, *_ in heard if name != "ended"] == ["closed"]


@pytest.mark.parametrize("status", ["won", "warning_closed", "prevented"])
def test_what_costs_the_site_nothing_counts_as_won(paid, mandate, status):
    disputes.apply(paid, told(paid, "warning_needs_response"))
    disputes.apply(paid, told(paid, status))
    assert status_of(mandate) == "active"


def test_what_a_person_shall_decide_the_next_dispute_does_not(paid, mandate, settings):
    settings.KRCARD_AFTER_DISPUTE = {"lost": "hold"}
    disputes.apply(paid, told(paid, "lost"))
    for status in ("needs_response", "won"):
        disputes.apply(paid, told(paid, status, id="du_2"))
    assert status_of(mandate) == "on_hold"


# --- somebody else wants it on hold ------------------------------------------------------------------


@pytest.mark.parametrize("when", ["before", "during"])
@pytest.mark.parametrize("by", ["staff:han", "stripe"])
def test_what_somebody_else_holds_is_not_resumed(paid, mandate, when, by):
    def hold():
        services.hold(mandate, by=by, reason="told the issuer to stop")

    if when == "before":
        hold()
    dispute = control.dispute(paid.stripe_id)
    if when == "during":
        hold()
    control.close_dispute(dispute["id"], won=True)

    assert status_of(mandate) == "on_hold"
    assert kinds(mandate, "mandate_held", "mandate_resumed") == ["mandate_held", "mandate_held"]
    services.resume(mandate, by="staff:han", reason="settled")
    assert status_of(mandate) == "active"


def test_a_hold_that_was_lifted_before_does_not_count(paid, mandate):
    services.hold(mandate, by="staff:han", reason="a question")
    services.resume(mandate, by="staff:han", reason="answered")
    dispute = control.dispute(paid.stripe_id)
    control.close_dispute(dispute["id"], won=True)
    assert status_of(mandate) == "active"


def test_the_same_hold_twice_is_written_down_once(mandate):
    for _time in range(2):
        services.hold(mandate, by="staff:han", reason="a question")
    services.hold(mandate, by="staff:lee", reason="another")
    assert kinds(mandate) == ["mandate_held", "mandate_held"]


@pytest.mark.parametrize("same_charge", [True, False])
@pytest.mark.parametrize("first_over", ["du_1", "du_2"])
def test_only_when_the_last_dispute_is_over_it_goes_on(paid, mandate, same_charge, first_over):
    other = paid if same_charge else services.charge(mandate, 1_000, reference="other")
    disputed = {"du_1": paid, "du_2": other}
    for id, charge in disputed.items():
        disputes.apply(charge, told(charge, "needs_response", id=id))
    last = ({"du_1", "du_2"} - {first_over}).pop()

    disputes.apply(disputed[first_over], told(disputed[first_over], "won", id=first_over))
    assert status_of(mandate) == "on_hold"
    disputed[last].refresh_from_db()
    assert (disputed[last].dispute_id, disputed[last].is_disputed) == (last, True)

    disputes.apply(disputed[last], told(disputed[last], "won", id=last))
    assert status_of(mandate) == "active"
    assert not Charge.objects.filter(dispute_status="needs_response").exists()


# --- twice, late, in any order -----------------------------------------------------------------------


@pytest.mark.parametrize("order", list(itertools.permutations(["needs_response", "under_review", "won"])))
def test_what_was_seen_in_any_order_ends_the_same(paid, mandate, heard, order):
    for status in order * 2:
        disputes.apply(paid, told(paid, status))
    paid.refresh_from_db()
    assert (paid.dispute_status, status_of(mandate)) == ("won", "active")
    names = [name for name, *_ in heard]
    assert names == (["closed"] if order[0] == "won" else ["opened", "closed"])
    assert kinds(mandate, "dispute_closed") == ["dispute_closed"]


@pytest.mark.parametrize("late", ["warning_needs_response", "warning_under_review"])
def test_an_inquiry_seen_late_does_not_hide_the_dispute(paid, late):
    disputes.apply(paid, told(paid, "needs_response"))
    disputes.apply(paid, told(paid, late))
    paid.refresh_from_db()
    assert paid.dispute_status == "needs_response"


def test_an_inquiry_that_was_over_and_became_a_dispute_is_told_again(paid, mandate, heard):
    for status in ("warning_needs_response", "warning_closed"):
        disputes.apply(paid, told(paid, status))
    assert status_of(mandate) == "active"
    for status in ("needs_response", "lost"):
        disputes.apply(paid, told(paid, status))
    assert status_of(mandate) == "revoked"
    assert [name for name, *_ in heard] == ["opened", "closed", "opened", "ended", "closed"]


def test_won_at_first_and_lost_in_the_end(paid, mandate, heard):
    for status in ("needs_response", "won", "lost", "won"):
        disputes.apply(paid, told(paid, status))
    paid.refresh_from_db()
    assert (paid.dispute_status, status_of(mandate)) == ("lost", "revoked")
    assert [name for name, *_ in heard] == ["opened", "closed", "ended", "closed"]


def test_a_word_that_nobody_knows_is_an_open_dispute(paid, mandate):
    disputes.apply(paid, told(paid, "a_new_word"))
    paid.refresh_from_db()
    assert paid.is_disputed
    assert status_of(mandate) == "on_hold"


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("won", [True, False])
def test_messages_twice_and_in_disorder_are_the_same_rows_and_one_signal_each(paid, mandate, heard, seed, won):
    control.set_delivery("held")
    dispute = control.dispute(paid.stripe_id)
    if seed % 2:
        control.deliver(shuffled=True, copies=2, seed=seed)
    control.close_dispute(dispute["id"], won=won)
    control.deliver(shuffled=True, copies=3, seed=seed)

    assert set(Event.objects.exclude(status="ignored").values_list("status", flat=True)) == {"done"}
    paid.refresh_from_db()
    assert paid.dispute_status == ("won" if won else "lost")
    assert status_of(mandate) == ("active" if won else "revoked")
    names = [name for name, *_ in heard if name != "ended"]
    assert names == (["opened", "closed"] if seed % 2 else ["closed"])


@pytest.mark.parametrize("kind", ["created", "updated", "closed", "funds_withdrawn", "funds_reinstated"])
def test_each_message_leads_to_the_dispute_as_it_is_now(krcard_events, paid, kind):
    control.set_delivery("dropped")
    dispute = control.dispute(paid.stripe_id)
    told = {"id": dispute["id"], "payment_intent": paid.stripe_id, "status": "won"}
    assert krcard_events.post(f"charge.dispute.{kind}", told).status_code == 200
    paid.refresh_from_db()
    assert paid.dispute_status == "needs_response"


@pytest.mark.parametrize("payment", ["pi_other", None, {}])
def test_disputes_of_others_are_ignored(paid, monkeypatch, payment):
    monkeypatch.setattr("django_krcard.gateway.retrieve_dispute", lambda id: pytest.fail("Stripe was asked"))
    finish(HANDLERS["charge.dispute.created"]({"id": "du_other", "payment_intent": payment, "created": 0}))
    assert not Charge.objects.exclude(dispute_id="").exists()


def test_many_messages_charges_and_holds_at_once(paid, mandate, heard):
    control.set_delivery("dropped")
    dispute = gateway.retrieve_dispute(control.dispute(paid.stripe_id)["id"])

    def act(number):
        match number % 4:
            case 0 | 1:
                return disputes.apply(paid, dispute)
            case 2:
                return services.hold(mandate, by="staff:han", reason="a question")
            case 3:
                return services.charge(mandate, 100, reference=str(number))

    results = all_at_once(act, 16)
    unexpected = [each for each in results if isinstance(each, Exception) and not isinstance(each, ChargeRefused)]
    assert not unexpected
    assert status_of(mandate) == "on_hold"
    assert heard == [("opened", "on_hold", "needs_response")]
    assert sorted(kinds(mandate)) == ["dispute_opened", "mandate_held", "mandate_held"]


def test_a_customer_who_told_the_issuer_to_stop_is_held_beside_the_dispute(save_card):
    mandate = save_card(as_used_terms(period="month"))
    paid = services.charge(mandate, 1_000, reference="paid")
    control.decline_next("revocation_of_authorization")
    on_its_way = services.charge(mandate, 1_000, reference="declined")
    assert on_its_way.status == "declined"
    mandate.refresh_from_db()
    assert mandate.status == "on_hold"
    control.dispute(paid.stripe_id)
    dispute = next(iter(gateway.disputes_of(paid.stripe_id)))
    disputes.apply(paid, dispute)
    control.close_dispute(dispute.id, won=True)
    disputes.apply(paid, gateway.retrieve_dispute(dispute.id))
    mandate.refresh_from_db()
    assert mandate.status == "on_hold"
