"""Charges that are taken up at the same time: one transaction for many, and each as if it were alone."""

from dataclasses import replace

import pytest
from django.db import DataError, connection, transaction
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from django_krcard import gateway, services, signals
from django_krcard.exceptions import StripeRefusedKey
from django_krcard.models import Charge, Customer, Mandate, lock_all, save_all
from django_krcard.sandbox import control
from tests.factories import PublishedTerms
from tests.side_by_side import side_by_side
from tests.test_steps import in_days

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("krcard_clock", "no_waiting")]


@pytest.fixture
def run():
    def run():
        with side_by_side(24):
            return list(services.run_due())

    return run


@pytest.fixture
def due(save_card, krcard_clock):
    """So many customers, each with a charge that is due now."""

    def due(number):
        terms = PublishedTerms()
        for n in range(number):
            mandate = save_card(terms, customer=services.get_or_create_customer(reference=f"org-{n}"))
            services.schedule_charge(mandate, 12_900, reference=f"r{n}", due_at=in_days(1))
        Customer.objects.update(notice_address="minji@example.com")
        krcard_clock.advance(days=1, minutes=1)
        return list(Mandate.objects.order_by("pk"))

    return due


@pytest.fixture
def heard():
    """What a site's receiver hears of charges."""
    heard = []

    def hear(sender, charge, **kwargs):
        heard.append((charge.reference, str(charge.status)))

    signals.charge_succeeded.connect(hear)
    signals.charge_failed.connect(hear)
    yield heard
    signals.charge_succeeded.disconnect(hear)
    signals.charge_failed.disconnect(hear)


def statuses():
    return dict(Charge.objects.values_list("reference", "status"))


def test_many_cost_the_database_little_more_than_one(due, run, ledger):
    control.set_delivery("dropped")
    due(4)
    with CaptureQueriesContext(connection) as asked:
        results = run()
    assert [charge.status for charge in results] == ["succeeded"] * 4 == [paid["status"] for paid in ledger()]
    written = [query["sql"] for query in asked if query["sql"].startswith('UPDATE "krcard_charge" SET "status"')]
    assert len(written) == 2, "all of them taken, and all of them settled"


def test_each_is_told_of_once(due, run, heard, mailoutbox):
    mandates = due(3)
    run()
    assert sorted(heard) == [("r0", "succeeded"), ("r1", "succeeded"), ("r2", "succeeded")]
    assert len(mailoutbox) == 3
    for mandate in mandates:
        kinds = list(mandate.timeline.order_by("pk").values_list("kind", flat=True))
        assert kinds[-3:] == ["charge_requested", "charge_succeeded", "notice_sent"]


def test_each_has_an_outcome_of_its_own(due, run, heard, ledger):
    _first, held, refused, _last = due(4)
    services.hold(held, by="staff:han", reason="a question")
    Charge.objects.filter(mandate=refused).update(due_at=in_days(-30))
    control.decline_next("revocation_of_authorization")
    results = run()
    assert statuses() == {"r0": "declined", "r1": "scheduled", "r2": "refused", "r3": "succeeded"}
    assert sorted(str(charge.status) for charge in results) == ["declined", "refused", "scheduled", "succeeded"]
    assert sorted(heard) == [("r0", "declined"), ("r3", "succeeded")]
    assert sorted(Mandate.objects.values_list("status", flat=True)) == ["active", "active", "on_hold", "on_hold"]
    assert len(ledger()) == 2


def test_two_of_one_mandate_see_each_other(save_card, run, ledger, krcard_clock):
    """Planned for two months, and late they come to the same one."""
    mandate = save_card(PublishedTerms())
    services.schedule_charge(mandate, 12_900, reference="this month", due_at=in_days(27))
    services.schedule_charge(mandate, 12_900, reference="next month", due_at=in_days(32))
    krcard_clock.advance(days=33)
    run()
    assert statuses() == {"this month": "succeeded", "next month": "refused"}
    assert Charge.objects.get(reference="next month").refusal_code == "period_count_reached"
    assert len(ledger()) == 1


def test_one_that_is_broken_does_not_hold_up_the_others(due, run, monkeypatch):
    broken = due(3)[1]
    kept = services.gate.judge

    def judge(mandate, *args, **kwargs):
        if mandate == broken:
            raise TypeError("a rule that is none")
        return kept(mandate, *args, **kwargs)

    monkeypatch.setattr(services.gate, "judge", judge)
    results = run()
    assert statuses() == {"r0": "succeeded", "r1": "scheduled", "r2": "succeeded"}
    (error,) = (result for result in results if isinstance(result, Exception))
    assert f"charge {broken.charges.get().pk}" in error.__notes__


def test_an_answer_that_cannot_be_written_down_does_not_hold_up_the_others(due, run, ledger, krcard_clock):
    """Stripe names a payment that another charge has already: nobody knows what is true."""
    control.set_delivery("dropped")
    due(3)
    ids = iter(["pi_one", "pi_one", "pi_two"])
    kept = gateway.create_payment_intent
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gateway, "create_payment_intent", lambda *args, **kw: replace(kept(*args, **kw), id=next(ids)))
        results = run()
    assert sorted(str(getattr(result, "status", type(result).__name__)) for result in results) == [
        "IntegrityError",
        "succeeded",
        "succeeded",
    ]
    assert sorted(statuses().values()) == ["sending", "succeeded", "succeeded"]
    krcard_clock.advance(minutes=3)
    run()
    assert set(statuses().values()) == {"succeeded"}
    assert len(ledger()) == 3


def test_what_changed_since_it_was_read_is_left_alone(due, run, ledger, monkeypatch):
    """Somebody else takes one of them between the reading and the lock."""
    mandates = due(3)
    kept = services.gate.locked_all

    def late(rows):
        Charge.objects.filter(mandate=mandates[0]).update(next_step_at=in_days(1))
        return kept(rows)

    monkeypatch.setattr(services.gate, "locked_all", late)
    run()
    assert statuses() == {"r0": "scheduled", "r1": "succeeded", "r2": "succeeded"}
    assert len(ledger()) == 2


def test_the_kill_switch_stops_all_of_them(due, run, ledger, settings):
    due(3)
    settings.KRCARD_CHARGING_PAUSED = True
    run()
    assert (set(statuses().values()), ledger()) == ({"scheduled"}, [])


def test_a_refused_key_ends_the_run_and_loses_nothing(due, run, ledger, krcard_clock):
    due(3)
    for _ in range(3):
        control.fail_next("POST", "/v1/payment_intents", status=401)
    with pytest.raises(StripeRefusedKey):
        run()
    assert (set(statuses().values()), ledger()) == ({"ready"}, [])
    krcard_clock.advance(minutes=2)
    run()
    assert set(statuses().values()) == {"succeeded"}
    assert len(ledger()) == 3


# --- rows -----------------------------------------------------------------------------------------


def test_rows_are_locked_in_the_order_of_their_ids_and_given_in_that_of_the_caller(due):
    mandates = due(3)
    turned = [mandates[2], mandates[0], mandates[2]]
    with transaction.atomic():
        assert lock_all(turned, "customer") == turned
        assert lock_all([]) == []
    gone = Mandate(pk=0)
    with pytest.raises(Mandate.DoesNotExist), transaction.atomic():
        lock_all([mandates[0], gone])


def test_many_rows_are_saved_each_with_values_of_its_own(due):
    due(3)
    charges = list(Charge.objects.order_by("pk"))
    now = timezone.now()
    for n, charge in enumerate(charges):
        charge.params = {"n": [n, None, "한"]}
        charge.stripe_id = None if n == 1 else f"pi_{n}'%s"
        charge.first_sent_at = None if n == 0 else now
        charge.reason, charge.sends, charge.amount = f"reason {n}", n, 99
    save_all(charges, ["params", "stripe_id", "first_sent_at", "reason", "sends"])
    stored = list(Charge.objects.order_by("pk"))
    assert [row.params["n"] for row in stored] == [[0, None, "한"], [1, None, "한"], [2, None, "한"]]
    assert [row.stripe_id for row in stored] == ["pi_0'%s", None, "pi_2'%s"]
    assert [row.first_sent_at for row in stored] == [None, now, now]
    assert [(row.reason, row.sends) for row in stored] == [("reason 0", 0), ("reason 1", 1), ("reason 2", 2)]
    assert {row.amount for row in stored} == {12_900}, "only what was named"


@pytest.mark.postgresql
def test_what_is_too_long_is_not_cut(due):
    due(2)
    one, other = Charge.objects.order_by("pk")
    one.stripe_id, other.stripe_id = "x" * 300, "y"
    with pytest.raises(DataError):
        save_all([one, other], ["stripe_id"])
