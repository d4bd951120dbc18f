"""krcard_reconcile: our books and Stripe's."""

import threading
from datetime import timedelta

import pytest
from django.utils import timezone

from django_krcard import gateway, services
from django_krcard.exceptions import CardDeclined, DatabaseIsBehind, StripeRefusedKey, StripeUnavailable
from django_krcard.models import Charge, Customer, Refund, TimelineEntry, Watermark
from django_krcard.sandbox import control
from django_krcard.sandbox.models import Resource
from django_krcard.services import backup
from django_krcard.services.reconcile import Finding, reconcile
from django_krcard.testing.sandbox import books
from django_krcard.webhooks import missed
from tests.factories import as_used_terms

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("krcard_clock", "no_waiting"),
]


@pytest.fixture
def used(save_card):
    return save_card(as_used_terms(period="month"))


@pytest.fixture
def deaf(used):
    """No message of Stripe's reaches the site."""
    control.set_delivery("dropped")


@pytest.fixture
def paid(used):
    return services.charge(used, 1_000, reference="r")


def lose_answer(effect="after"):
    control.fail_next("POST", "/v1/payment_intents", effect=effect, status="timeout")


def unknown_charge(mandate, *effects):
    """Sent three times with no answer; what happened at Stripe nobody told."""
    for effect in effects or ("after", "before", "before"):
        lose_answer(effect)
    charge = services.charge(mandate, 1_000, reference="r")
    assert charge.status == "unknown"
    return charge


def at_stripe(**changes):
    """Something happened to the newest payment at Stripe, and nobody told us."""
    row = Resource.objects.filter(kind="payment_intent").latest("pk")
    row.body |= changes
    row.status = changes.get("status", row.status)
    row.save()


def here(charge, **changes):
    """The row is not what it should be."""
    Charge.objects.filter(pk=charge.pk).update(**changes)


def found(**options):
    return [(each.kind, each.here, each.there, each.fixed) for each in reconcile(**options)]


def status_of(reference="r"):
    return Charge.objects.get(reference=reference).status


def test_when_all_is_well_nothing_is_found_and_nothing_changes(play, paid):
    before = TimelineEntry.objects.count(), Charge.objects.values().get()
    ended = play("krcard_reconcile")
    assert (ended.code, ended.error) == (0, "")
    looked_at = "4 events, 1 payments and 1 customers looked at, 0 differences settled, 0 left; "
    assert ended.out.startswith(looked_at)
    assert play("krcard_reconcile", "--fix").code == 0
    assert (TimelineEntry.objects.count(), Charge.objects.values().get()) == before


# --- on their way --------------------------------------------------------------------------------


def test_an_outcome_that_stripe_knows_is_written_down(used, deaf, ledger):
    unknown_charge(used)
    assert found() == [("status", "unknown", "succeeded", True)]
    assert (status_of(), len(ledger())) == ("succeeded", 1)
    assert found() == []


def test_an_outcome_that_nobody_knows_is_left_until_its_step_is_due(play, used, deaf, ledger, krcard_clock):
    unknown_charge(used, "before", "before", "before")
    ended = play("krcard_reconcile")
    assert (ended.code, ended.lines[0]) == (
        1,
        f"unknown: {used.reference} r (no payment): here unknown, at Stripe nothing; left",
    )
    assert ledger() == []

    krcard_clock.advance(hours=1)
    assert found() == [("unknown", "unknown", "succeeded", True)]
    assert len(ledger()) == 1


def test_what_stripe_never_heard_of_is_declared_so_after_two_looks(used, deaf, ledger, krcard_clock):
    unknown_charge(used, "before", "before", "before")
    krcard_clock.advance(hours=26)
    assert found() == [("unknown", "unknown", "", False)]
    # Right after the first look there is no second one, however often somebody asks.
    assert found() == found() == [("unknown", "unknown", "", False)]
    krcard_clock.advance(hours=1)
    assert found() == [("unknown", "unknown", "cancelled", True)]
    assert (status_of(), ledger()) == ("cancelled", [])


def test_what_somebody_sends_at_this_moment_is_left_alone(used, deaf, ledger):
    unknown_charge(used)
    Charge.objects.update(status="sending", next_step_at=timezone.now() + timedelta(minutes=1))
    assert found(fix=True) == []
    assert status_of() == "sending"
    Charge.objects.update(next_step_at=timezone.now() - timedelta(minutes=1))
    assert found() == [("status", "sending", "succeeded", True)]


@pytest.mark.parametrize(("outcome", "status"), [(True, "succeeded"), (False, "declined")])
def test_what_was_processing_follows(used, deaf, outcome, status):
    control.processing_next()
    charge = services.charge(used, 1_000, reference="r")
    assert found() == []
    intent = control.settle(charge.stripe_id, succeeded=outcome)
    assert found() == [("status", "processing", intent["status"], True)]
    assert status_of() == status


def test_what_a_customer_did_not_finish_in_time_is_called_off(used, deaf, ledger, krcard_clock):
    control.require_action_next()
    services.charge(used, 1_000, reference="r")
    assert found() == []
    krcard_clock.advance(hours=73)
    assert found() == []
    assert (status_of(), ledger()[0]["status"]) == ("cancelled", "canceled")


def test_found_and_no_longer_covered_it_is_called_off(used, deaf, ledger, krcard_clock):
    control.require_action_next()
    unknown_charge(used)
    services.revoke(used, by="customer", reason="enough")
    krcard_clock.advance(hours=1)
    assert [each.fixed for each in reconcile()] == [True]
    assert (status_of(), ledger()[0]["status"]) == ("cancelled", "canceled")


def test_refunds_on_their_way_follow(paid, deaf):
    refund = services.refund(paid, 400, reference="back")
    Refund.objects.update(status="unknown", stripe_id=None, next_step_at=timezone.now() + timedelta(hours=1))
    assert found() == [("unknown", "refund unknown", "refund succeeded", True)]
    refund.refresh_from_db()
    assert (refund.status, len(books("refund"))) == ("succeeded", 1)


def test_a_refund_that_nobody_knows_of_is_left(paid, deaf):
    for _ in range(3):
        control.fail_next("POST", "/v1/refunds", effect="before", status="timeout")
    assert services.refund(paid, 400, reference="back").status == "unknown"
    assert found() == [("unknown", "refund unknown", "", False)]


# --- a restored backup ---------------------------------------------------------------------------


@pytest.mark.parametrize("later", [timedelta(minutes=1), timedelta(days=2)])
def test_a_restored_backup_is_made_whole_and_moves_no_money(
    play, used, deaf, ledger, krcard_clock, restore, later, tmp_path
):
    yesterday = restore.take()
    services.charge(used, 1_000, reference="a")
    services.charge(used, 2_000, reference="b")
    krcard_clock.advance(later)
    restore(yesterday)

    with pytest.raises(DatabaseIsBehind):
        services.charge(used, 1_000, reference="a")
    assert play("krcard_run_due").code == 2
    file = tmp_path / "again.csv"
    file.write_text(f"mandate,amount,reference\n{used.reference},1000,a\n{used.reference},2000,b\n")
    assert play("krcard_charge", file).code == 2

    told = play("krcard_reconcile")
    assert told.code == 1
    # Their messages wait for the charges that they speak of.
    assert [line.split()[0] for line in told.lines[:-1]] == ["orphan:", "orphan:", "event:", "event:"]
    assert told.error == "4 left. --fix settles what can be settled."
    assert Charge.objects.count() == 0
    assert play("krcard_run_due").code == 2

    fixed = play("krcard_reconcile", "--fix", "--json")
    assert fixed.code == 0
    assert [each["fixed"] for each in fixed.objects[:-1]] == [True, True]
    assert (fixed.objects[-1]["settled"], fixed.objects[-1]["left"]) == (2, 0)
    for amount, reference in ((1_000, "a"), (2_000, "b")):
        assert services.charge(used, amount, reference=reference).status == "succeeded"
    assert play("krcard_charge", file).code == 0
    assert play("krcard_run_due").code == 0
    assert len(ledger()) == 2
    assert play("krcard_reconcile").code == 0


@pytest.mark.parametrize("was", ["scheduled", "refused", "ready"])
def test_a_row_that_was_not_sent_yet_when_the_backup_was_made_is_not_sent_again(
    play, used, deaf, ledger, krcard_clock, restore, was
):
    charge = services.schedule_charge(used, 1_000, reference="r", due_at=timezone.now() + timedelta(hours=1))
    here(charge, status=was, refusal_code="mandate_not_active" if was == "refused" else "")
    yesterday = restore.take()
    krcard_clock.advance(hours=2)
    assert services.charge(used, 1_000, reference="r").status == "succeeded"
    krcard_clock.advance(days=2)
    restore(yesterday)

    assert play("krcard_run_due").code == 2
    assert found() == [("orphan", "", "succeeded, 1,000 won", False)]
    assert found(fix=True) == [("orphan", "", "succeeded, 1,000 won", True)]
    assert play("krcard_run_due").code == 0
    assert services.charge(used, 1_000, reference="r").status == "succeeded"
    assert len(ledger()) == 1


def test_nothing_is_sent_before_all_is_taken_in(used, deaf, ledger, krcard_clock, restore):
    unknown_charge(used, "before", "before", "before")
    yesterday = restore.take()
    services.charge(used, 2_000, reference="lost")
    krcard_clock.advance(hours=1)
    restore(yesterday)

    assert [kind for kind, *_ in found()] == ["orphan", "unknown"]
    assert len(ledger()) == 1
    assert found(fix=True) == [
        ("orphan", "", "succeeded, 2,000 won", True),
        ("unknown", "unknown", "succeeded", True),
    ]
    assert len(ledger()) == 2


@pytest.mark.parametrize(("covered", "status"), [(True, "action_required"), (False, "cancelled")])
def test_an_open_payment_that_was_lost_is_kept_only_if_the_terms_still_cover_it(
    used, deaf, ledger, restore, covered, status
):
    yesterday = restore.take()
    control.require_action_next()
    services.charge(used, 1_000, reference="r")
    restore(yesterday)
    if not covered:
        services.revoke(used, by="customer", reason="enough")
    assert [each.fixed for each in reconcile(fix=True)] == [True]
    assert status_of() == status
    assert (ledger()[0]["status"] == "canceled") is not covered


def test_the_gap_between_an_old_backup_and_the_days_looked_at_is_looked_at_too(
    used, deaf, ledger, krcard_clock, restore
):
    backup.refuse_if_behind(again=True)
    mark = Watermark.objects.get().at
    yesterday = restore.take()
    services.charge(used, 1_000, reference="r")
    krcard_clock.advance(days=40)
    restore(yesterday)
    Watermark.objects.update(at=mark)
    assert found(fix=True, since=timezone.now() - timedelta(days=1)) == [("orphan", "", "succeeded, 1,000 won", True)]
    assert Watermark.objects.get().at > mark


def test_payments_of_other_sites_on_the_account_are_none_of_ours(paid, deaf):
    theirs = {"krcard_mandate": "00000000-0000-4000-8000-000000000000", "krcard_reference": "r"}
    at_stripe(metadata=theirs, customer="cus_theirs", payment_method="pm_theirs")
    Charge.objects.all().update(stripe_id=None, status="cancelled")
    assert found(fix=True) == []


# --- drift ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("was", "there"),
    [("declined", "succeeded"), ("action_required", "succeeded"), ("processing", "succeeded"), ("ready", "succeeded")],
)
def test_a_status_that_differs_is_told_and_follows_with_fix(play, paid, deaf, was, there):
    here(paid, status=was)
    settles_itself = was in ("action_required", "processing")
    assert found() == [("status", was, there, settles_itself)]
    assert status_of() == ("succeeded" if settles_itself else was)
    assert play("krcard_reconcile").code == (0 if settles_itself else 1)
    assert play("krcard_reconcile", "--fix").code == 0
    assert (status_of(), found()) == ("succeeded", [])


def test_what_is_final_here_is_for_a_person(play, paid, deaf):
    at_stripe(status="canceled")
    assert found(fix=True) == [("status", "succeeded", "canceled", False)]
    ended = play("krcard_reconcile", "--fix")
    assert (ended.code, status_of()) == (1, "succeeded")
    assert "for a person" in ended.error


@pytest.mark.parametrize("was", ["cancelled", "refused"])
def test_an_open_payment_that_nobody_waits_for_is_called_off(used, deaf, ledger, was):
    control.require_action_next()
    charge = services.charge(used, 1_000, reference="r")
    here(charge, status=was, next_step_at=None)
    assert [each.fixed for each in reconcile()] == [False]
    assert ledger()[0]["status"] == "requires_payment_method"
    list(reconcile(fix=True))
    assert (status_of(), ledger()[0]["status"]) == (was, "canceled")


@pytest.mark.parametrize(("there", "kind"), [({"amount": 1_001}, "amount"), ({"currency": "usd"}, "amount")])
def test_another_amount_is_told_and_never_changed(paid, deaf, there, kind):
    at_stripe(**there)
    assert [(each.kind, each.fixed) for each in reconcile(fix=True)] == [(kind, False)]
    assert Charge.objects.get().amount == 1_000


def test_a_payment_that_stripe_does_not_have_is_told_and_never_changed(play, paid, deaf):
    Resource.objects.filter(kind="payment_intent").delete()
    [each] = reconcile(fix=True)
    assert each == Finding("missing", paid.mandate.reference, "r", paid.stripe_id, "succeeded", "", False)
    assert (status_of(), play("krcard_reconcile", "--fix").code) == ("succeeded", 1)


def test_a_second_payment_of_one_charge_is_told_and_called_off_while_it_is_open(paid, deaf, ledger):
    control.require_action_next()
    with pytest.raises(CardDeclined):
        gateway.create_payment_intent(paid.params, key="another")
    assert ("second", paid.stripe_id, "requires_payment_method", False) in found()
    assert ("second", paid.stripe_id, "requires_payment_method", True) in found(fix=True)
    assert [each["status"] for each in ledger()] == ["succeeded", "canceled"]
    assert Charge.objects.get().stripe_id == paid.stripe_id


def test_a_second_payment_that_moved_money_is_for_a_person(paid, deaf, ledger):
    gateway.create_payment_intent(paid.params, key="another")
    assert ("second", paid.stripe_id, "succeeded", False) in found(fix=True)
    assert (Charge.objects.get().stripe_id, len(ledger())) == (paid.stripe_id, 2)


def test_money_paid_back_in_the_dashboard(play, paid, deaf):
    gateway.create_refund({"payment_intent": paid.stripe_id, "amount": 300}, key="dashboard")
    assert found() == [("refunded", "0 won", "300 won", False)]
    assert Refund.objects.count() == 0
    assert found(fix=True) == [("refunded", "0 won", "300 won", True)]
    assert (Refund.objects.get().amount, Charge.objects.get().refunded_amount) == (300, 300)
    assert play("krcard_reconcile").code == 0


def test_paid_back_before_its_outcome_was_known(used, deaf):
    unknown_charge(used)
    [intent] = books("payment_intent")
    gateway.create_refund({"payment_intent": intent["id"], "amount": 300}, key="dashboard")
    assert found(fix=True) == [
        ("status", "unknown", "succeeded", True),
        ("refunded", "0 won", "300 won", True),
    ]
    assert Charge.objects.get().refunded_amount == 300


def test_a_dispute_that_nobody_told_us_of(play, used, paid, deaf):
    dispute = control.dispute(paid.stripe_id)
    assert found() == [("dispute", "", f"{dispute['id']} needs_response", False)]
    assert not Charge.objects.get().is_disputed
    assert [fixed for *_, fixed in found(fix=True)] == [True]
    used.refresh_from_db()
    assert (Charge.objects.get().is_disputed, used.status) == (True, "on_hold")
    assert play("krcard_reconcile").code == 0

    control.close_dispute(dispute["id"], won=True)
    assert found() == [("dispute", f"{dispute['id']} needs_response", f"{dispute['id']} won", False)]
    assert [fixed for *_, fixed in found(fix=True)] == [True]
    assert not Charge.objects.get().is_disputed
    assert found() == []


def test_it_looks_back_so_many_days_or_to_a_date(play, paid, deaf, krcard_clock):
    here(paid, status="declined")
    day = timezone.now().date() - timedelta(days=1)
    krcard_clock.advance(days=45)
    assert found() == []
    ended = play("krcard_reconcile", "--since", day)
    assert (ended.code, ended.lines[0].split()[0]) == (1, "status:")
    wrong = play("krcard_reconcile", "--since", "yesterday")
    assert "is no date" in wrong.error
    assert wrong.code != 0


def test_the_charges_of_the_other_mode_are_left_alone(used, paid, deaf):
    here(paid, stripe_id="pi_live", status="processing")
    used.customer.livemode, used.customer.stripe_id = True, "cus_live"
    used.customer.save()
    assert found(fix=True) == []
    assert status_of() == "processing"


# --- when it cannot be done ----------------------------------------------------------------------


def test_one_payment_that_could_not_be_asked_for_stops_nobody(play, used, deaf, monkeypatch):
    charges = [services.charge(used, 1_000, reference=reference) for reference in "ab"]
    list(missed.read())
    Charge.objects.update(status="declined")
    retrieve = gateway.retrieve_payment_intent

    def sometimes(intent_id):
        if intent_id == charges[0].stripe_id:
            raise StripeUnavailable("APIConnectionError")
        return retrieve(intent_id)

    monkeypatch.setattr(gateway, "retrieve_payment_intent", sometimes)
    ended = play("krcard_reconcile", "--fix")
    assert ended.code == 1
    assert sorted(line.split(":")[0] for line in ended.lines[:2]) == ["status", "unanswered"]
    assert (status_of("a"), status_of("b")) == ("declined", "succeeded")


def test_without_stripes_list_it_could_not_run(play, paid, deaf):
    for _ in range(3):
        control.fail_next("GET", "/v1/payment_intents", status="timeout")
    ended = play("krcard_reconcile")
    assert ended.code == 2
    assert "asked in vain" in ended.error


def test_with_a_refused_key_it_could_not_run(play, paid, deaf):
    control.fail_next("GET", "/v1/payment_intents", status=401)
    ended = play("krcard_reconcile")
    assert ended.code == 2
    assert "STRIPE_SECRET_KEY" in ended.error


def test_stopped_half_way_it_may_be_run_again(used, deaf, ledger):
    for reference in "abc":
        services.charge(used, 1_000, reference=reference)
    Charge.objects.update(status="declined")
    begun = reconcile(fix=True)
    next(begun)
    begun.close()
    assert sorted(Charge.objects.values_list("status", flat=True)) == ["declined", "declined", "succeeded"]
    assert len(list(reconcile(fix=True))) == 2
    assert set(Charge.objects.values_list("status", flat=True)) == {"succeeded"}


def test_it_asks_for_each_payment_only_where_something_differs(used, deaf, monkeypatch):
    for number in range(5):
        services.charge(used, 1_000, reference=str(number))
    asked = []
    retrieve = gateway.retrieve_payment_intent
    monkeypatch.setattr(gateway, "retrieve_payment_intent", lambda each: asked.append(each) or retrieve(each))
    assert found() == []
    assert asked == []
    here(Charge.objects.first(), status="declined")
    assert len(found()) == len(asked) == 1


def test_many_are_asked_for_at_a_time(used, deaf, settings, monkeypatch):
    for number in range(6):
        services.charge(used, 1_000, reference=str(number))
    there = {each["id"]: gateway.retrieve_payment_intent(each["id"]) for each in books("payment_intent")}
    Charge.objects.update(status="declined")
    Customer.objects.update(compared_at=timezone.now())
    all_here = threading.Barrier(3)

    def retrieve(intent_id):
        all_here.wait(timeout=10)
        return there[intent_id]

    settings.KRCARD_SANDBOX, settings.KRCARD_IN_FLIGHT = False, 3
    monkeypatch.setattr(gateway, "customers_since", lambda *args, **kwargs: iter(()))
    monkeypatch.setattr(gateway, "payment_intents_since", lambda *args, **kwargs: iter(there.values()))
    monkeypatch.setattr(gateway, "retrieve_payment_intent", retrieve)
    assert [fixed for *_, fixed in found(fix=True)] == [True] * 6
    assert set(Charge.objects.values_list("status", flat=True)) == {"succeeded"}


def test_after_a_refused_key_nothing_more_is_begun_and_what_is_on_its_way_ends(used, deaf, settings, monkeypatch):
    for number in range(5):
        services.charge(used, 1_000, reference=str(number))
    there = {each["id"]: gateway.retrieve_payment_intent(each["id"]) for each in books("payment_intent")}
    Charge.objects.update(status="declined")
    both_here, asked = threading.Barrier(2), []

    def retrieve(intent_id):
        asked.append(intent_id)
        both_here.wait(timeout=10)
        if intent_id == next(iter(there)):
            raise StripeRefusedKey("AuthenticationError", http_status=401)
        # Later than the refusal, so that it is known by then.
        threading.Event().wait(0.5)
        return there[intent_id]

    settings.KRCARD_SANDBOX, settings.KRCARD_IN_FLIGHT = False, 2
    monkeypatch.setattr(gateway, "payment_intents_since", lambda *args, **kwargs: iter(there.values()))
    monkeypatch.setattr(gateway, "retrieve_payment_intent", retrieve)
    with pytest.raises(StripeRefusedKey):
        found(fix=True)
    assert len(asked) == 2
    assert sorted(Charge.objects.values_list("status", flat=True)) == ["declined"] * 4 + ["succeeded"]
