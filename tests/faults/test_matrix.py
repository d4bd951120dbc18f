"""Every answer of Stripe's, and every way of losing one, to each POST that we make."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest
from django.test import override_settings

from django_krcard import declines, services
from django_krcard.exceptions import GatewayError, StripeRefusedKey
from django_krcard.models import CardSetup, Consent, Customer, Mandate, Refund
from django_krcard.sandbox import control
from django_krcard.testing.factories import consent_of, customer_for, published_terms
from django_krcard.testing.sandbox import books
from tests.effort import part_of
from tests.faults import books as auditor
from tests.faults import crash
from tests.faults.crash import recover, run_due
from tests.faults.scenarios import (
    AMOUNT,
    CHARGED,
    DECLINED,
    PAID,
    after,
    cancel,
    charge,
    nothing,
    pay_at_the_issuers,
    refund,
    revoke,
    the_charge,
    wait,
)
from tests.faults.weather import FAULTS, KEPT, KEY_USED_OTHERWISE, LASTING, LATE, Fault, Storm

pytestmark = [pytest.mark.faults, pytest.mark.django_db(transaction=True)]

WAITS_FOR_CUSTOMER = after(CHARGED, lambda world: control.require_action_next(), charge)
#: Under this key Stripe will not do it any more; the next try needs another one.
SPENT_KEY = [fault for fault in [*KEPT, *KEY_USED_OTHERWISE] if not fault.executed]


@dataclass(frozen=True)
class Post:
    """One POST of ours: the act it belongs to, what the act may raise, and how all must have ended."""

    name: str
    path: str
    begin: Callable[[Any], Any]
    act: Callable[[Any], Any]
    again: Callable[[Any], Any]
    ended: Callable[[Fault], str]
    documented: tuple[type[Exception], ...] = ()
    settings: dict[str, Any] = field(default_factory=dict)
    #: The customer is there, and tries again before the session they never saw has run out.
    at_once: bool = False

    def __str__(self):
        return self.name


def ended_as(*statuses, refused="declined", spent=None):
    """The charge did what was asked, unless Stripe said no, or the key was spent before Stripe did it."""

    def ended(fault):
        wanted = {refused} if fault.is_refusal else {spent} if spent and fault in SPENT_KEY else set(statuses)
        status = the_charge().status
        return "" if status in wanted else f"the charge is {status}, not {wanted}"

    return ended


def paid_back(fault):
    wanted = "failed" if fault.is_refusal else "succeeded"
    (row,) = Refund.objects.all()
    return "" if row.status == wanted else f"the refund is {row.status} {row.failure_code}, not {wanted}"


def withdrawn(fault):
    return "" if Mandate.objects.get().status == "revoked" else "the mandate is not revoked"


# --- saving a card --------------------------------------------------------------------------------


def somebody(world):
    control.set_delivery("dropped")
    customer_for(reference="minji")


def ensure(world):
    services.ensure_at_stripe(Customer.objects.get())


def is_one_customer(fault):
    there = [customer["id"] for customer in books("customer")]
    # An answer that Stripe repeats for a day makes a new try necessary; what was made stays unused.
    most = 2 if fault.executed else 1
    known = Customer.objects.get().stripe_id in there
    return "" if known and len(there) <= most else f"customers at Stripe: {len(there)}, ours is one of them: {known}"


def agreed(world):
    somebody(world)
    ensure(world)
    consent_of(Customer.objects.get(), published_terms())


def start(world):
    consent = Consent.objects.get()
    services.start_checkout(consent, success_url="http://testserver/ok", cancel_url="http://testserver/no")


def is_one_session(fault):
    there = [session["id"] for session in books("checkout.session")]
    ours = list(CardSetup.objects.exclude(checkout_session_id=None).values_list("checkout_session_id", flat=True))
    most = 2 if fault.executed else 1
    right = len(ours) == 1 and ours[0] in there and len(there) <= most
    return "" if right else f"sessions at Stripe: {len(there)}, ours: {len(ours)}"


def is_closed(fault):
    statuses = [session["status"] for session in books("checkout.session")]
    rows = list(CardSetup.objects.values_list("status", flat=True))
    return "" if (statuses, rows) == (["expired"], ["cancelled"]) else f"sessions {statuses}, rows {rows}"


POSTS = [
    Post("charge", "/v1/payment_intents", CHARGED, charge, charge, ended_as("succeeded"), (StripeRefusedKey,)),
    Post(
        "retry of a decline",
        "/v1/payment_intents/[^/]+/confirm",
        after(DECLINED, wait(hours=24, seconds=5)),
        lambda world: run_due(),
        charge,
        ended_as("succeeded", spent="declined"),
        (StripeRefusedKey,),
    ),
    Post(
        "customer comes to finish",
        "/v1/payment_intents/[^/]+/confirm",
        WAITS_FOR_CUSTOMER,
        pay_at_the_issuers,
        nothing,
        ended_as("succeeded", "cancelled", refused="cancelled"),
        (GatewayError,),
        {"KRCARD_ACTION_REQUIRED_HOURS": 24},
    ),
    Post(
        "cancel",
        "/v1/payment_intents/[^/]+/cancel",
        WAITS_FOR_CUSTOMER,
        cancel,
        cancel,
        ended_as("cancelled", refused="cancelled"),
        (GatewayError,),
        {"KRCARD_ACTION_REQUIRED_HOURS": 24},
    ),
    Post("refund", "/v1/refunds", PAID, refund(), refund(), paid_back, (StripeRefusedKey,)),
    Post("detach", "/v1/payment_methods/[^/]+/detach", CHARGED, revoke, revoke, withdrawn),
    Post("customer", "/v1/customers", somebody, ensure, ensure, is_one_customer, (GatewayError,)),
    Post("session", "/v1/checkout/sessions", agreed, start, start, is_one_session, (GatewayError,), at_once=True),
    Post("expire", "/v1/checkout/sessions/[^/]+/expire", after(agreed, start), revoke, nothing, is_closed),
]


@pytest.fixture
def world():
    with crash.world(Storm) as made:
        yield made
    Storm.end()


def cells():
    yield from ((fault, {"requests": 1}) for fault in FAULTS)
    yield from ((fault, {"lasting": timedelta(minutes=20)}) for fault in LASTING)


@pytest.mark.parametrize("post", POSTS, ids=str)
def test_whatever_comes_back_no_money_is_moved_twice_and_none_is_lost(world, post):
    complaints = []
    with override_settings(**post.settings):
        post.begin(world)
        start = world.picture()
        for fault, spell in part_of(list(cells())):
            world.put_back(start)
            complaints += [f"{post}: {fault} {spell}: {wrong}" for wrong in weathered(world, post, fault, spell)]
    assert not complaints, "\n".join(complaints)


def weathered(world, post, fault, spell):
    Storm.begin(fault, post.path, **spell)
    try:
        post.act(world)
    except post.documented:
        pass
    except Exception as error:
        yield f"UNCAUGHT {error!r}"
    # A fault that lasts goes on while the timer tries; then the site's key is still refused.
    Storm.requests = 0
    if not post.at_once:
        recover(world, StripeRefusedKey)
        yield from auditor.complaints()
    if not Storm.hits:
        yield "the request was never made"
    Storm.end()
    post.again(world)
    recover(world)
    yield from auditor.complaints()
    if wrong := post.ended(fault):
        yield wrong


# --- what arrives late ----------------------------------------------------------------------------


def hold(world):
    services.hold(Mandate.objects.get(), by="staff:han", reason="a question")


@pytest.mark.parametrize("hours", [1, 3, 20])
@pytest.mark.parametrize(
    ("then", "ended"),
    [
        (nothing, "succeeded"),
        (charge, "succeeded"),
        # Nothing is sent again while the mandate is on hold; what was sent before is found.
        (hold, "succeeded"),
        # The card went with the agreement: Stripe refuses what arrives after that.
        (revoke, "cancelled"),
    ],
)
def test_a_charge_that_arrives_late_is_one(world, then, ended, hours):
    CHARGED(world)
    Storm.begin(LATE, "/v1/payment_intents", lasting=timedelta(hours=hours))
    assert charge(world).status == "unknown"
    then(world)
    later(world, hours)
    assert the_charge().status == ended
    assert auditor.complaints() == []


@pytest.mark.parametrize("hours", [1, 3, 20])
def test_a_refund_that_arrives_late_is_one(world, hours):
    PAID(world)
    Storm.begin(LATE, "/v1/refunds", lasting=timedelta(hours=hours))
    refund(5_000)(world)
    later(world, hours)
    assert [row.status for row in Refund.objects.all()] == ["succeeded"]
    assert auditor.complaints() == []


def later(world, hours):
    """The timer goes every hour. Then arrives what was on its way."""
    for _hour in range(hours):
        world.advance(timedelta(hours=1))
        run_due()
    Storm.arrive()
    recover(world)


# --- what the issuer says -------------------------------------------------------------------------


FAMILIES = {
    "insufficient_funds": declines.Family.RETRY_LATER,
    "expired_card": declines.Family.ASK_CUSTOMER,
    "lost_card": declines.Family.STOP,
    "revocation_of_authorization": declines.Family.STOP,
}


@pytest.mark.parametrize("post", POSTS[:2], ids=str)
@pytest.mark.parametrize("lose", [False, True], ids=["answer comes", "answer is lost"])
def test_each_family_of_declines_is_one_answer(world, post, lose):
    complaints = []
    post.begin(world)
    start = world.picture()
    for code, family in FAMILIES.items():
        assert declines.family_of("card_declined", code) == family
        world.put_back(start)
        control.decline_next(code)
        Storm.begin(FAULTS[1], post.path, requests=int(lose))
        post.act(world)
        recover(world)
        complaints += auditor.complaints()
        if the_charge().status != "declined":
            complaints.append(f"{code}: {the_charge().status}")
        on_hold = Mandate.objects.get().status == "on_hold"
        assert on_hold == (code in declines.REVOKED)
    assert not complaints, "\n".join(complaints)


@pytest.mark.parametrize("happens", [control.detach, control.deactivate_mandate])
@pytest.mark.parametrize("post", POSTS[:2], ids=str)
def test_a_card_that_ended_at_stripe_is_a_business_outcome_that_comes_as_400(world, post, happens):
    post.begin(world)
    happens(Mandate.objects.get().payment_method.stripe_id)
    post.act(world)
    recover(world)
    assert the_charge().status == "declined"
    assert not services.can_charge(Mandate.objects.get(), AMOUNT).allowed
    assert auditor.complaints() == []
