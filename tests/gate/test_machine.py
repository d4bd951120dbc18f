"""Any order of legal and illegal acts, over the real services and the sandbox, against a model in plain Python.

The model knows nothing of rows: it keeps what was asked for, asks the oracle what the gate must say, and reads in
Stripe's books what happened to the money. ``KRCARD_TEST_EFFORT=long`` plays for as long as it takes.
"""

from collections import Counter, defaultdict
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise

import pytest
from django.test import override_settings
from django.utils import timezone
from hypothesis import HealthCheck, Phase, event, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from django_krcard import gateway, services
from django_krcard.exceptions import (
    ChargeRefused,
    KrcardError,
    ReferenceConflict,
    RefundRefused,
    StripeRefusedKey,
)
from django_krcard.rules import Facts
from django_krcard.sandbox import control
from django_krcard.sandbox.models import Fault
from django_krcard.services import disputes, reconcile
from django_krcard.services.gate import day_of
from django_krcard.testing.clock import Clock
from django_krcard.testing.sandbox import Sandbox, books
from tests.effort import tries
from tests.factories import PublishedTerms, UserFactory, saved_mandate
from tests.gate.oracle import expected, is_whole_won, period_of
from tests.unguarded import empty_database

EFFORT = settings(
    deadline=None,
    max_examples=tries(25, short=5, long=1_000),
    stateful_step_count=tries(30, short=30, long=60),
    suppress_health_check=list(HealthCheck),
    phases=set(Phase) - {Phase.explain},
)

TERMS = {
    "monthly": {"frequency": "recurring", "amount": 12_900, "max_retries": 2, "retry_after_days": 3},
    "taxi": {
        "frequency": "as_used",
        "amount_kind": "maximum",
        "amount": 30_000,
        "max_charges_per_period": 3,
        "max_amount_per_period": 70_000,
        "max_retries": 1,
    },
    "weekly": {
        "frequency": "recurring",
        "period": "week",
        "amount_kind": "maximum",
        "amount": 20_000,
        "max_charges_per_period": 2,
        "valid_for_days": 40,
    },
    "every other day": {
        "frequency": "as_used",
        "period": "day",
        "period_count": 2,
        "amount": 5_000,
        "max_amount_per_period": 10_000,
        "max_retries": 3,
    },
    "once": {"frequency": "one_time", "amount": 50_000, "max_retries": 1, "valid_for_days": 60},
    "announced": {"frequency": "recurring", "amount": 9_900, "notice_days": 3},
    "announced rides": {
        "frequency": "as_used",
        "amount_kind": "maximum",
        "amount": 30_000,
        "max_amount_per_period": 90_000,
        "notice_days": 2,
    },
}

AMOUNTS = {
    "agreed": lambda agreed: agreed,
    "half": lambda agreed: agreed // 2,
    "a little": lambda agreed: 100,
    "one won more": lambda agreed: agreed + 1,
    "no amount": float,
}
amounts = st.sampled_from(["agreed", "agreed", "agreed", "half", "half", "a little", "one won more", "no amount"])


def payments_lost(times, effect):
    return lambda: [control.fail_next("POST", "payment_intents", status="timeout", effect=effect) for _ in range(times)]


def payments_refused(times, status):
    return lambda: [control.fail_next("POST", "payment_intents", status=status) for _ in range(times)]


#: What goes wrong at the next payment, and the state in which that leaves a charge.
TROUBLES = {
    "none": (lambda: None, "succeeded"),
    "too little money": (lambda: control.decline_next("insufficient_funds"), "declined"),
    "declined": (lambda: control.decline_next("do_not_honor"), "declined"),
    "stolen": (lambda: control.decline_next("stolen_card"), "declined"),
    "revoked at the issuer": (lambda: control.decline_next("stop_payment_order"), "declined"),
    "customer needed": (control.require_action_next, "action_required"),
    "lost once before": (payments_lost(1, "before"), "succeeded"),
    "lost once after": (payments_lost(1, "after"), "succeeded"),
    "lost before": (payments_lost(3, "before"), "unknown"),
    "lost after": (payments_lost(3, "after"), "unknown"),
    "busy": (payments_refused(1, 429), "succeeded"),
    "very busy": (payments_refused(3, 429), "ready"),
    "no key": (payments_refused(1, 401), "ready"),
}
troubles = st.sampled_from(["none"] * len(TROUBLES) + list(TROUBLES))

#: Moved money or may still.
COUNTED = {"ready", "unknown", "action_required", "succeeded"}
#: Reasons that time or a person may lift: what is scheduled waits.
WAITS = {"charging_paused", "dispute_open", "mandate_not_active", "before_start", "notice_not_given"}
#: What a charge may become while nobody asks for it.
BECOMES = {
    "scheduled": {"succeeded", "declined", "action_required", "unknown", "ready", "refused", "cancelled"},
    "ready": {"succeeded", "declined", "action_required", "unknown", "refused", "cancelled"},
    "unknown": {"succeeded", "declined", "action_required", "cancelled"},
    "declined": {"succeeded", "action_required", "unknown", "ready"},
    "action_required": {"cancelled"},
    "refused": set(),
    "cancelled": set(),
    "succeeded": set(),
}


def has_a_past(world):
    """So much was charged or planned that it is worth a blow."""
    return len(world.asked) > 4


@dataclass
class Asked:
    """One charge as the model knows it."""

    amount: int
    status: str
    #: The day it was, or is to be, sent: that decides in which period it counts.
    day: date
    due: object = None
    refunds: list = field(default_factory=list)
    dispute: str = ""
    #: How often the card was asked when it said no for good.
    last_try: int | None = None


class World(RuleBasedStateMachine):
    """One customer, one mandate, one card; and whatever may come."""

    def __init__(self):
        super().__init__()
        self.patch = pytest.MonkeyPatch()
        self.patch.setattr("time.sleep", lambda seconds: None)
        self.asked: dict[str, Asked] = {}
        self.holds: set[str] = set()
        self.paused = None
        #: How the agreement ended, and whether the card is gone at Stripe, which we may not have heard of.
        self.over = ""
        self.card_gone = False
        self.numbers = iter(range(10_000))

    @initialize(terms=st.sampled_from(sorted(TERMS)), days=st.integers(0, 60), hours=st.integers(0, 23))
    def begin(self, terms, days, hours):
        empty_database()
        control.set_delivery("held")
        self.clock = Clock(self.patch, Sandbox())
        self.clock.advance(days=days, hours=hours)
        customer = services.get_or_create_customer(UserFactory())
        self.mandate = saved_mandate(customer, PublishedTerms(slug="world", **TERMS[terms]))
        self.rule = self.mandate.consent.terms.rule
        self.began = self.today
        event(terms)

    def teardown(self):
        try:
            if hasattr(self, "mandate"):
                self.comes_to_an_end()
        finally:
            if self.paused:
                self.paused.disable()
            self.patch.undo()

    # --- the model --------------------------------------------------------------------------------

    @property
    def today(self):
        return day_of(timezone.now())

    @property
    def status(self):
        return self.over or ("on_hold" if self.holds else "active")

    def verdict(self, amount, *, day=None, without="", planned=False):
        """What the gate must say, told by the oracle."""
        day = day or self.today
        counted = COUNTED | {"scheduled"} if planned else COUNTED
        others = [asked for name, asked in self.asked.items() if name != without and asked.status in counted]
        inside = [asked for asked in others if self.period(asked.day) == self.period(day)]
        return expected(
            Facts(
                rule=self.rule,
                day=day,
                began_on=self.began,
                agreed_on=self.began,
                mandate_status=self.status,
                charging_paused=bool(self.paused),
                card_attached=not self.over,
                dispute_open=any(asked.dispute for asked in self.asked.values()),
                charges_ever=len(others),
                charges_in_period=len(inside) if self.rule.period else 0,
                amount_in_period=sum(asked.amount for asked in inside) if self.rule.period else 0,
            ),
            amount,
        )

    def period(self, day):
        if not self.rule.period:
            return None
        return period_of(day, anchor=self.began, unit=self.rule.period, count=self.rule.period_count)

    def is_stopped(self):
        """Whatever the amount, and whatever was charged before."""
        after_end = self.rule.valid_for_days and (self.today - self.began).days >= self.rule.valid_for_days
        in_dispute = any(asked.dispute for asked in self.asked.values())
        return bool(self.paused) or self.status != "active" or in_dispute or bool(after_end)

    @contextmanager
    def watched(self):
        """Nothing is asked of the card while the agreement does not allow it."""
        stopped, before = self.is_stopped(), len(books("charge"))
        yield
        assert not stopped or len(books("charge")) == before

    def take_over(self, *, asked_for=""):
        """Read what has become of the charges, and see that it could."""
        for row in self.rows():
            asked = self.asked[row.reference]
            if row.status == asked.status and asked.status != "declined":
                continue
            sent_anew = asked.status != "unknown" and row.first_sent_at and row.stripe_id != ""
            if row.status != asked.status:
                assert row.status in BECOMES[asked.status] or row.reference == asked_for, (asked, row.status)
            if sent_anew and row.status not in ("refused", "cancelled"):
                asked.day = day_of(row.due_at)
                assert asked.day == self.today or row.status == "declined"
            if row.decline_code == "stop_payment_order" and row.status == "declined" != asked.status:
                self.holds.add("revoked")
            asked.status = row.status
        self.mandate.refresh_from_db()
        if self.mandate.status == "inactive" and not self.over:
            assert self.card_gone
            self.over = "inactive"

    def rows(self):
        return list(self.mandate.charges.order_by("pk"))

    def row(self, name):
        return self.mandate.charges.get(reference=name)

    def pick(self, data):
        return data.draw(st.sampled_from(list(self.asked)))

    # --- charging ---------------------------------------------------------------------------------

    @rule(kind=amounts, trouble=troubles)
    def charge(self, kind, trouble):
        amount = AMOUNTS[kind](self.rule.amount)
        name = f"charge-{next(self.numbers)}"
        code = self.verdict(amount)
        event(f"charge: {code or 'allowed'}")
        prepare, ends = TROUBLES["none" if self.card_gone else trouble]
        assert services.can_charge(self.mandate, amount).code == code
        prepare()
        with self.watched():
            if code:
                with pytest.raises(ChargeRefused) as refused:
                    services.charge(self.mandate, amount, reference=name)
                assert refused.value.code == code
                ends = "refused"
            elif trouble == "no key" and not self.card_gone:
                with pytest.raises(StripeRefusedKey):
                    services.charge(self.mandate, amount, reference=name)
            else:
                charge = services.charge(self.mandate, amount, reference=name)
                ends = "declined" if self.card_gone else ends
                assert charge.status == ends
        Fault.objects.all().delete()
        if type(amount) is int:
            self.asked[name] = Asked(amount, ends, self.today)
            if trouble == "revoked at the issuer" and ends == "declined" and not self.card_gone:
                self.holds.add("revoked")
            self.take_over()
            assert code or not self.card_gone or self.over == "inactive"

    @rule(trouble=troubles)
    def charge_as_agreed(self, trouble):
        self.charge("agreed", trouble)

    @rule(days=st.integers(0, 8), trouble=troubles)
    def charge_as_planned(self, days, trouble):
        self.schedule("agreed", days, 0)
        for _ in range(days):
            self.the_work_is_done(24, "none")
        self.the_work_is_done(1, trouble)

    @precondition(lambda self: self.rule.notice_days)
    @rule()
    def charge_beside_an_announced_one(self):
        """The notice of one payment is not the notice of another."""
        self.schedule("agreed", self.rule.notice_days + 1, 0)
        self.the_work_is_done(24, "none")
        self.clock.advance(days=self.rule.notice_days, hours=1)
        self.charge("agreed", "none")

    @precondition(lambda self: self.asked)
    @rule(data=st.data(), trouble=troubles)
    def charge_again(self, data, trouble):
        name = self.pick(data)
        asked = self.asked[name]
        settled = asked.status in ("succeeded", "action_required")
        payments = books("payment_intent")
        TROUBLES["none" if self.card_gone else trouble][0]()
        code = ""
        with self.watched():
            try:
                charge = services.charge(self.mandate, asked.amount, reference=name)
                assert charge.reference == name
            except ChargeRefused as refused:
                code = refused.code
            except StripeRefusedKey:
                assert trouble == "no key"
        Fault.objects.all().delete()
        assert not code or asked.status in ("refused", "scheduled", "ready", "cancelled")
        assert not code or code == self.verdict(asked.amount, without=name)
        assert not settled or books("payment_intent") == payments
        self.take_over(asked_for=name)

    @precondition(lambda self: self.asked)
    @rule(data=st.data())
    def charge_again_for_another_amount(self, data):
        name = self.pick(data)
        with pytest.raises(ReferenceConflict):
            services.charge(self.mandate, self.asked[name].amount + 1, reference=name)

    @rule(kind=amounts, days=st.integers(0, 12) | st.integers(0, 45), hours=st.integers(0, 23))
    def schedule(self, kind, days, hours):
        amount = AMOUNTS[kind](self.rule.amount)
        name = f"plan-{next(self.numbers)}"
        due = timezone.now() + timedelta(days=days, hours=hours)
        code = self.verdict(amount, day=day_of(due), planned=True)
        event(f"schedule: {code or 'allowed'}")
        if not is_whole_won(amount):
            code = "amount_invalid"
        with self.watched():
            if code and code not in WAITS:
                with pytest.raises(ChargeRefused) as refused:
                    services.schedule_charge(self.mandate, amount, reference=name, due_at=due)
                assert refused.value.code == code
            else:
                assert services.schedule_charge(self.mandate, amount, reference=name, due_at=due).status == "scheduled"
        if type(amount) is int:
            self.asked[name] = Asked(amount, self.row(name).status, day_of(due), due)

    @precondition(lambda self: self.asked)
    @rule(data=st.data())
    def cancel(self, data):
        name = self.pick(data)
        at_stripe = self.row(name).stripe_id
        may = self.asked[name].status in ("scheduled", "ready", "action_required", "cancelled")
        if may or (self.asked[name].status == "declined" and at_stripe):
            assert services.cancel_charge(self.row(name), by="staff:han", reason="a mistake").status == "cancelled"
            self.asked[name].status = "cancelled"
        else:
            with pytest.raises(KrcardError):
                services.cancel_charge(self.row(name), by="staff:han", reason="a mistake")

    # --- time -------------------------------------------------------------------------------------

    @rule(hours=st.sampled_from([1, 5, 12, 23, 24, 26, 72, 24 * 8, 24 * 31]))
    def time_passes(self, hours):
        self.clock.advance(hours=hours)

    @rule(hours=st.sampled_from([1, 24, 24, 48, 72, 100]), trouble=troubles)
    def the_work_is_done(self, hours, trouble):
        self.clock.advance(hours=hours)
        self.run_due("none" if self.card_gone else trouble)

    def run_due(self, trouble):
        before = {name: asked.status for name, asked in self.asked.items()}
        TROUBLES[trouble][0]()
        with self.watched():
            try:
                for result in services.run_due():
                    assert not isinstance(result, Exception) or isinstance(result, StripeRefusedKey), result
            except StripeRefusedKey:
                assert trouble == "no key"
        Fault.objects.all().delete()
        self.take_over()
        for name, was in before.items():
            asked = self.asked[name]
            if was == "scheduled" and asked.status in COUNTED | {"declined"}:
                assert asked.due <= timezone.now() <= asked.due + timedelta(days=7), "sent too early, or too late"

    @rule(fix=st.booleans())
    def the_books_are_compared(self, fix):
        with self.watched():
            found = list(reconcile.reconcile(fix=fix))
        self.take_over()
        # Stripe's messages are held back: that the card is gone there, only the comparison tells.
        known = {"unknown", "status"} | ({"card_gone", "mandate"} if self.card_gone else set())
        assert {finding.kind for finding in found} <= known, found

    @rule(copies=st.integers(1, 2), seed=st.integers(0, 9))
    def messages_arrive(self, copies, seed):
        """Late, twice, and in any order."""
        with self.watched():
            control.deliver(shuffled=True, copies=copies, seed=seed)
        self.take_over()

    # --- people -----------------------------------------------------------------------------------

    @precondition(has_a_past)
    @rule()
    def hold(self):
        self.legal(services.hold)
        self.holds.add("staff")

    @rule()
    def resume(self):
        self.legal(services.resume)
        self.holds.clear()

    @precondition(has_a_past)
    @rule()
    def revoke(self):
        services.revoke(self.mandate, by="customer", reason="moved away")
        self.mandate_ends()

    def mandate_ends(self):
        if not self.over:
            self.over, self.card_gone = "revoked", True
        self.take_over()

    def legal(self, act):
        if not self.over:
            act(self.mandate, by="staff:han", reason="a complaint")
        else:
            with pytest.raises(KrcardError):
                act(self.mandate, by="staff:han", reason="a complaint")

    @precondition(lambda self: self.paused or has_a_past(self))
    @rule()
    def the_kill_switch_is_turned(self):
        if self.paused:
            self.paused.disable()
            self.paused = None
        else:
            self.paused = override_settings(KRCARD_CHARGING_PAUSED=True)
            self.paused.enable()

    @precondition(lambda self: has_a_past(self) and not self.card_gone)
    @rule()
    def the_card_is_detached_at_stripe(self):
        control.detach(self.mandate.payment_method.stripe_id)
        self.card_gone = True

    # --- money back -------------------------------------------------------------------------------

    def may_be_paid_back(self):
        # What is so after a dispute was won, Stripe does not say.
        return [row.reference for row in self.rows() if row.dispute_status != "won"]

    @precondition(lambda self: self.may_be_paid_back())
    @rule(data=st.data(), part=st.sampled_from([None, 1, 2, 3]), trouble=st.sampled_from(["", "", "before", "after"]))
    def refund(self, data, part, trouble):
        name = data.draw(st.sampled_from(self.may_be_paid_back()))
        asked, row = self.asked[name], self.row(name)
        left = asked.amount - sum(asked.refunds)
        amount = left if part is None else asked.amount // part + part % 2
        old = asked.status == "succeeded" and timezone.now() - row.last_sent_at > timedelta(days=365)
        may = asked.status == "succeeded" and not asked.dispute and 1 <= amount <= left and not old
        may = may and row.dispute_status != "lost"
        if trouble:
            control.fail_next("POST", "refunds", status="timeout", effect=trouble)
        if may:
            refund = services.refund(row, None if part is None else amount, reference=f"back-{next(self.numbers)}")
            assert (refund.status, refund.amount) == ("succeeded", amount)
            asked.refunds.append(amount)
        else:
            with pytest.raises(RefundRefused):
                services.refund(row, amount, reference="never")
        Fault.objects.all().delete()

    def may_be_disputed(self):
        rows = self.mandate.charges.filter(status="succeeded", dispute_id="", refunded_amount=0)
        return list(rows.values_list("reference", flat=True))

    @precondition(lambda self: self.may_be_disputed())
    @rule(data=st.data())
    def dispute(self, data):
        name = data.draw(st.sampled_from(self.may_be_disputed()))
        opened = control.dispute(self.row(name).stripe_id)
        disputes.apply(self.row(name), gateway.retrieve_dispute(opened["id"]))
        self.asked[name].dispute = opened["id"]
        self.holds.add("dispute")

    @precondition(lambda self: any(asked.dispute for asked in self.asked.values()))
    @rule(data=st.data(), won=st.sampled_from([True, True, False]))
    def dispute_is_decided(self, data, won):
        name = data.draw(st.sampled_from([name for name, asked in self.asked.items() if asked.dispute]))
        control.close_dispute(self.asked[name].dispute, won=won)
        disputes.apply(self.row(name), gateway.retrieve_dispute(self.asked[name].dispute))
        self.asked[name].dispute = ""
        if not won:
            self.mandate_ends()
        elif self.holds == {"dispute"} and not any(asked.dispute for asked in self.asked.values()):
            self.holds.clear()

    # --- what holds after every step --------------------------------------------------------------

    @invariant()
    def all_is_well(self):
        self.the_mandate_is_what_the_model_says()
        self.no_reference_was_paid_twice()
        self.the_books_here_and_there_are_the_same()
        self.no_period_holds_more_than_agreed()
        self.what_was_promised_to_be_announced_was_announced()
        self.a_declined_card_is_tried_again_only_as_agreed()
        self.money_back_is_the_same_here_and_there()

    def the_mandate_is_what_the_model_says(self):
        self.mandate.refresh_from_db()
        assert self.mandate.status == self.status

    def no_reference_was_paid_twice(self):
        assert all(times == 1 for times in Counter(self.paid()).values())

    def the_books_here_and_there_are_the_same(self):
        """Only of an outcome that nobody here knows yet may Stripe know more."""
        rows = {row.reference: row for row in self.rows()}
        assert {name: row.status for name, row in rows.items()} == {n: asked.status for n, asked in self.asked.items()}
        paid = set(self.paid())
        assert {name for name, asked in self.asked.items() if asked.status == "succeeded"} <= paid
        assert {self.asked[name].status for name in paid} <= {"succeeded", "unknown"}
        for intent in books("payment_intent"):
            row = rows[intent["metadata"]["krcard_reference"]]
            assert (intent["amount"], intent["currency"]) == (row.amount, "krw")
            assert row.stripe_id in (None, intent["id"])

    def no_period_holds_more_than_agreed(self):
        sent = [asked for asked in self.asked.values() if asked.status in COUNTED]
        if self.rule.frequency == "one_time":
            assert len(sent) <= 1
        if not self.rule.period:
            return
        periods = Counter(self.period(asked.day) for asked in sent)
        for period, times in periods.items():
            won = sum(asked.amount for asked in sent if self.period(asked.day) == period)
            assert times <= (self.rule.charges_per_period or times)
            assert won <= (self.rule.max_amount_per_period or won)

    def what_was_promised_to_be_announced_was_announced(self):
        if not self.rule.notice_days:
            return
        for row in self.mandate.charges.exclude(first_sent_at=None):
            told = row.notices.filter(kind="charge_upcoming", sent_at__isnull=False).first()
            assert told
            assert (day_of(row.first_sent_at) - day_of(told.sent_at)).days >= self.rule.notice_days

    def a_declined_card_is_tried_again_only_as_agreed(self):
        tries = defaultdict(list)
        for charge in books("charge"):
            tries[charge["payment_intent"]].append(charge["created"])
        for row in self.mandate.charges.exclude(stripe_id=None):
            asked, made = self.asked[row.reference], tries[row.stripe_id]
            assert len(made) <= 1 + self.rule.max_retries
            assert all(then + self.rule.retry_after_days * 86_400 <= now for then, now in pairwise(made))
            assert len({self.period(day_of(datetime.fromtimestamp(moment, UTC))) for moment in made}) <= 1
            if row.decline_code not in ("", "insufficient_funds"):
                asked.last_try = asked.last_try or len(made)
            assert asked.last_try in (None, len(made))

    def money_back_is_the_same_here_and_there(self):
        back = {charge["payment_intent"]: charge["amount_refunded"] for charge in books("charge")}
        for row in self.mandate.charges.filter(status="succeeded"):
            assert row.refunded_amount == sum(self.asked[row.reference].refunds) == back[row.stripe_id] <= row.amount

    def paid(self):
        return [i["metadata"]["krcard_reference"] for i in books("payment_intent") if i["status"] == "succeeded"]

    # --- and at the end ---------------------------------------------------------------------------

    def comes_to_an_end(self):
        """Nothing stays open for ever: a few days of ordinary work settle whatever was left."""
        for _ in range(6):
            self.clock.advance(hours=30)
            self.run_due("none")
        left = {asked.status for asked in self.asked.values()}
        explained = {"succeeded", "declined", "refused", "cancelled"} | (
            {"scheduled", "ready"} if self.is_stopped() else {"scheduled"}
        )
        assert left <= explained
        self.all_is_well()


@pytest.mark.faults
@pytest.mark.django_db(transaction=True)
def test_no_order_of_acts_slips_past_the_gate():
    run_state_machine_as_test(World, settings=EFFORT)
