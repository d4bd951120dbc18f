"""The stories in which the process is stopped: how each begins, what is done, and how it must have ended."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from django.utils import timezone

from django_krcard import services
from django_krcard.models import Charge, Customer, Mandate, Refund
from django_krcard.sandbox import control
from django_krcard.services import backup, present
from django_krcard.testing.factories import customer_for, published_terms, saved_mandate
from django_krcard.testing.sandbox import books
from tests.faults.crash import Process, World, next_round, offstage, run_due
from tests.side_by_side import side_by_side

AMOUNT = 12_900
REFERENCE = "2026-11"
PAYMENTS = "/v1/payment_intents"


@dataclass(frozen=True)
class Story:
    """``begin`` sets the scene; ``act`` is what the process does when it is stopped; ``again`` what the site does
    after that, the same call with the same reference; ``ended`` complains if it did not end as it must."""

    name: str
    begin: Callable[[World], None]
    act: Callable[[World], Any]
    again: Callable[[World], Any]
    ended: Callable[[], str]
    settings: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return self.name


# --- who and what ---------------------------------------------------------------------------------


def a_mandate(**rule):
    def begin(world):
        control.reset()
        control.set_delivery("dropped")
        customer = customer_for(reference="minji")
        Customer.objects.update(notice_address="minji@example.com")
        saved_mandate(customer, published_terms(**rule))
        backup.refuse_if_behind(again=True)

    return begin


def the_mandate():
    related = ("customer__user", "consent__terms", "consent__customer", "payment_method")
    return Mandate.objects.select_related(*related).get()


def the_charge():
    return Charge.objects.select_related("mandate__customer").get(reference=REFERENCE)


def after(*steps):
    def begin(world):
        for step in steps:
            step(world)

    return begin


def many_are_due(*statuses_of_mandates):
    """Somebody for each of these, with a charge that is due now. ``on_hold``: theirs has to wait."""

    def begin(world):
        control.reset()
        control.set_delivery("dropped")
        terms = published_terms()
        for number, status in enumerate(statuses_of_mandates):
            mandate = saved_mandate(customer_for(reference=f"org-{number}"), terms)
            due_at = timezone.now() + timedelta(hours=1)
            services.schedule_charge(mandate, AMOUNT, reference=f"{REFERENCE} {number}", due_at=due_at)
            if status == "on_hold":
                services.hold(mandate, by="staff:han", reason="a question")
        Customer.objects.update(notice_address="minji@example.com")
        backup.refuse_if_behind(again=True)
        world.advance(timedelta(hours=1, seconds=5))

    return begin


# --- what is done ---------------------------------------------------------------------------------


def charge(world):
    return services.charge(the_mandate(), AMOUNT, reference=REFERENCE)


def schedule(world):
    mandate = the_mandate()
    due_at = mandate.activated_at + timedelta(hours=40)
    return services.schedule_charge(mandate, AMOUNT, reference=REFERENCE, due_at=due_at)


def refund(amount=None):
    return lambda world: services.refund(the_charge(), amount, reference="back")


def revoke(world):
    return services.revoke(the_mandate(), by="customer", reason="enough")


def cancel(world):
    return services.cancel_charge(the_charge(), by="staff:han", reason="ordered twice")


def pay_at_the_issuers(world):
    """The customer takes the link, and pays on the issuer's page."""
    address = present.finish_charge(the_charge(), return_url="http://testserver/back")
    with offstage():
        if address:
            control.finish_payment(the_charge().stripe_id)


def look(world):
    return present.look(the_charge())


def nothing(world):
    """The site's caller never comes back."""


def wait(**units):
    return lambda world: world.advance(timedelta(**units))


def run_together(world):
    """The timer goes once, and all that is due is taken up at the same time."""
    with side_by_side(24):
        run_due()


def rounds(number):
    """The timer goes so many times."""
    return after(*[lambda world: next_round(world)] * number)


def lose(path, *effects):
    def begin(world):
        for effect in effects:
            control.fail_next("POST", path, effect=effect, status="timeout")

    return begin


def deliver_at_once(world):
    """Stripe's messages come while the sender still waits for its answer; another process takes them."""
    control.set_delivery("now")


def decline(code):
    return lambda world: control.decline_next(code)


def killed(act, where):
    """The process was stopped once already, at this moment."""

    def begin(world):
        picture = world.picture()
        trail = Process().run(lambda: act(world)).trail
        world.put_back(picture)
        Process(trail.index(where)).run(lambda: act(world))

    return begin


# --- how it must have ended -----------------------------------------------------------------------


def is_charged(*statuses):
    """Once, with this outcome: that it fits what Stripe says is for the auditor to see."""
    wanted = statuses or ("succeeded",)

    def ended():
        rows = list(Charge.objects.filter(reference=REFERENCE).values_list("status", flat=True))
        return "" if len(rows) == 1 and rows[0] in wanted else f"LOST: {REFERENCE!r} is {rows}, not {wanted}"

    return ended


def have_come_to(*wanted):
    """All charges, whichever it was that met what was prepared at Stripe."""

    def ended():
        rows = sorted(Charge.objects.values_list("status", flat=True))
        return "" if rows == sorted(wanted) else f"LOST: the charges are {rows}, not {wanted}"

    return ended


def is_refunded(amount):
    def ended():
        paid = [row["amount"] for row in books("refund") if row["status"] == "succeeded"]
        rows = list(Refund.objects.filter(status="succeeded").values_list("amount", flat=True))
        return "" if paid == rows == [amount] else f"LOST: paid back were {paid}, by our rows {rows}, not {amount}"

    return ended


def is_withdrawn():
    mandate = the_mandate()
    return "" if mandate.status == Mandate.Status.REVOKED else f"LOST: the mandate is {mandate.status}"


PATIENT = {"max_retries": 1, "retry_after_days": 1}

CHARGED = a_mandate()
PAID = after(CHARGED, charge)
DECLINED = after(a_mandate(**PATIENT), decline("insufficient_funds"), charge)


def unknown(*effects):
    """As often as the caller's process tries, no answer came."""
    return after(CHARGED, lose(PAYMENTS, *effects), charge)


NEVER_HEARD = unknown("before", "before", "before")
EXECUTED = unknown("after", "before", "before")

BEFORE, AFTER = f"before POST {PAYMENTS}", f"after POST {PAYMENTS}"

CHARGES = [
    Story("charge", CHARGED, charge, charge, is_charged()),
    Story("charge, answer lost once", after(CHARGED, lose(PAYMENTS, "after")), charge, charge, is_charged()),
    Story("charge, the message is faster", after(CHARGED, deliver_at_once), charge, charge, is_charged()),
    Story("charge, declined", after(CHARGED, decline("lost_card")), charge, charge, is_charged("declined")),
    Story(
        "charge, issuer told to stop",
        after(CHARGED, decline("revocation_of_authorization")),
        charge,
        charge,
        is_charged("declined"),
    ),
    Story(
        "charge, customer is needed",
        after(CHARGED, lambda world: control.require_action_next()),
        charge,
        charge,
        is_charged("cancelled"),
        {"KRCARD_ACTION_REQUIRED_HOURS": 24},
    ),
    Story(
        "customer pays what the issuer held up",
        after(CHARGED, lambda world: control.require_action_next(), charge),
        after(pay_at_the_issuers, look),
        nothing,
        is_charged("succeeded", "cancelled"),
        {"KRCARD_ACTION_REQUIRED_HOURS": 24},
    ),
    Story("schedule and send", CHARGED, after(schedule, rounds(1)), schedule, is_charged()),
    Story("announce and send", a_mandate(notice_days=1), after(schedule, rounds(2)), schedule, is_charged()),
]
TOGETHER = [
    Story(
        "many at a time",
        many_are_due("active", "active"),
        run_together,
        nothing,
        have_come_to("succeeded", "succeeded"),
    ),
    Story(
        "many at a time, each with another outcome",
        after(
            many_are_due("active", "active", "on_hold"),
            lose(PAYMENTS, "before"),
            decline("lost_card"),
        ),
        run_together,
        nothing,
        have_come_to("declined", "scheduled", "succeeded"),
    ),
    Story(
        "many at a time, the messages are faster",
        after(many_are_due("active", "active"), deliver_at_once),
        run_together,
        nothing,
        have_come_to("succeeded", "succeeded"),
    ),
]
RECOVERIES = [
    Story("recover: never heard of", NEVER_HEARD, rounds(1), charge, is_charged()),
    Story("recover: executed, no answer", EXECUTED, rounds(1), charge, is_charged()),
    Story("recover: sender died before", after(CHARGED, killed(charge, BEFORE)), rounds(1), charge, is_charged()),
    Story("recover: sender died after", after(CHARGED, killed(charge, AFTER)), rounds(1), charge, is_charged()),
    Story("look up: never heard of", after(NEVER_HEARD, wait(hours=26)), rounds(2), charge, is_charged()),
    Story("look up: executed, no answer", after(EXECUTED, wait(hours=26)), rounds(1), charge, is_charged()),
]
RETRIES = [
    Story("retry", DECLINED, rounds(1), charge, is_charged()),
    Story(
        "retry, answer lost",
        after(DECLINED, wait(hours=24, seconds=5), lose(PAYMENTS, "after"), lambda world: run_due()),
        rounds(1),
        charge,
        is_charged(),
    ),
    Story(
        "retry, never heard of",
        after(DECLINED, wait(hours=24, seconds=5), lose(PAYMENTS, "before"), lambda world: run_due()),
        rounds(1),
        charge,
        is_charged(),
    ),
]
REFUNDS = [
    Story("refund", PAID, refund(), refund(), is_refunded(AMOUNT)),
    Story("refund of a part", PAID, refund(5_000), refund(5_000), is_refunded(5_000)),
    Story(
        "refund recovered: never heard of",
        after(PAID, lose("/v1/refunds", "before", "before", "before"), refund()),
        rounds(1),
        refund(),
        is_refunded(AMOUNT),
    ),
    Story(
        "refund recovered: executed, no answer",
        after(PAID, lose("/v1/refunds", "after", "before", "before"), refund()),
        rounds(1),
        refund(),
        is_refunded(AMOUNT),
    ),
]
WITHDRAWALS = [
    Story("withdraw", CHARGED, revoke, revoke, is_withdrawn),
    Story("withdraw what is scheduled", after(CHARGED, schedule), after(revoke, rounds(1)), revoke, is_withdrawn),
    Story(
        "withdraw what is unknown", after(NEVER_HEARD, wait(hours=22)), after(revoke, rounds(1)), revoke, is_withdrawn
    ),
    Story("withdraw what was declined", DECLINED, revoke, revoke, is_withdrawn),
    Story(
        "withdraw what waits for the customer",
        after(CHARGED, lambda world: control.require_action_next(), charge),
        after(revoke, rounds(1)),
        revoke,
        is_withdrawn,
    ),
    Story(
        "cancel what waits for the customer",
        after(CHARGED, lambda world: control.require_action_next(), charge),
        cancel,
        cancel,
        is_charged("cancelled"),
        {"KRCARD_ACTION_REQUIRED_HOURS": 24},
    ),
]
STORIES = [*CHARGES, *TOGETHER, *RECOVERIES, *RETRIES, *REFUNDS, *WITHDRAWALS]
