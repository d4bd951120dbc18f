"""What happens to customers while Stripe's messages are on their way.

A story is a generator. What stands between its yields happens at once, at Stripe and in our own rows; at each yield the
messages about it are delivered, in whatever order and however often. A yield may hand out acts of our own side, which
happen somewhere among these messages.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

from django_krcard import gateway, services
from django_krcard.conf import conf
from django_krcard.models import Charge, Customer, Mandate, PaymentMethod
from django_krcard.sandbox import api, control
from django_krcard.sandbox.models import Fault, Resource
from django_krcard.services.charges import PAUSES
from django_krcard.testing.factories import consent_of

AMOUNT = 9_000

#: An act of our own side, and the row that it is about.
Act = tuple[str, int]
Telling = Iterator[list[Act] | None]


@dataclass(frozen=True)
class Story:
    """``told``: how often the timeline tells of each of ``EFFECTS``, however the messages came. Several, when it is up
    to the moment at which the customer acts."""

    name: str
    live: Callable[[Customer, Any], Telling]
    told: list[Counter] = field(default_factory=list)


#: What the timeline tells exactly once for each time that it happened.
EFFECTS = (
    "card_saved",
    "card_removed",
    "mandate_activated",
    "mandate_ended",
    "setup_expired",
    "charge_succeeded",
    "charge_declined",
    "charge_refunded",
    "refund_failed",
    "dispute_opened",
    "dispute_closed",
)

STORIES: dict[str, Story] = {}


def story(*, or_else: dict[str, int] | None = None, **told: int):
    def keep(live):
        STORIES[live.__name__] = Story(
            live.__name__, live, [Counter(each) for each in (told, or_else) if each is not None]
        )
        return live

    return keep


# --- a card is saved ------------------------------------------------------------------------------


@story(card_saved=1, mandate_activated=1)
def saves_a_card(customer, terms):
    control.mandate_pending_next()
    setup = attempt(customer, terms)
    authorise(setup)
    control.activate_mandate(card_at_stripe(customer))
    yield


@story(card_saved=1, mandate_activated=1)
def waits_for_the_issuer(customer, terms):
    control.mandate_pending_next()
    authorise(attempt(customer, terms))
    yield
    control.activate_mandate(card_at_stripe(customer))
    yield


@story(card_saved=1, mandate_activated=1)
def saves_a_card_at_the_second_try(customer, terms):
    setup = attempt(customer, terms)
    control.fail(setup.checkout_session_id)
    yield
    authorise(setup, type="card")
    yield


@story(mandate_ended=1, setup_expired=1)
def lets_the_session_run_out(customer, terms):
    setup = attempt(customer, terms)
    control.fail(setup.checkout_session_id)
    control.expire(setup.checkout_session_id)
    yield


@story(or_else={"card_saved": 1, "mandate_activated": 1, "mandate_ended": 1, "card_removed": 1}, mandate_ended=1)
def withdraws_before_we_know_of_the_card(customer, terms):
    setup = attempt(customer, terms)
    authorise(setup)
    yield [("withdraw", setup.mandate_id)]


# --- a card is taken away -------------------------------------------------------------------------


@story(card_saved=1, card_removed=1, mandate_activated=1, mandate_ended=1)
def withdraws_at_the_issuer(customer, terms):
    authorise(attempt(customer, terms))
    yield
    control.deactivate_mandate(card_at_stripe(customer))
    yield


@story(card_saved=1, card_removed=1, mandate_ended=1)
def withdraws_at_the_issuer_before_we_know_of_the_card(customer, terms):
    authorise(attempt(customer, terms))
    control.deactivate_mandate(card_at_stripe(customer))
    yield


@story(card_saved=1, card_removed=1, mandate_activated=1, mandate_ended=1)
def card_is_removed_in_the_dashboard(customer, terms):
    authorise(attempt(customer, terms))
    yield
    control.detach(card_at_stripe(customer))
    yield


@story(card_saved=1, card_removed=1, mandate_ended=1)
def foreign_card_is_removed_before_we_know_of_it(customer, terms):
    authorise(attempt(customer, terms), type="card")
    control.detach(card_at_stripe(customer))
    yield


@story(card_saved=1, card_removed=1, mandate_activated=1, mandate_ended=1, charge_succeeded=2)
def withdraws_here_while_money_is_on_its_way(customer, terms):
    mandate = saved(customer, terms)
    payments = [pay_slowly(mandate, reference) for reference in ("august", "september")]
    for payment in payments:
        control.settle(payment.stripe_id)
    yield [("withdraw", mandate.pk)]


# --- money moves ----------------------------------------------------------------------------------


@story(card_saved=1, mandate_activated=1, charge_succeeded=3)
def pays_and_our_answer_is_lost(customer, terms):
    mandate = saved(customer, terms)
    for reference in ("june", "july"):
        with answer_lost("payment_intents"):
            pay(mandate, reference)
    pay(mandate, "august")
    yield


@story(card_saved=1, mandate_activated=1, charge_succeeded=3, charge_declined=1)
def pays_slowly(customer, terms):
    mandate = saved(customer, terms)
    first, second, third, refused = (pay_slowly(mandate, reference) for reference in "abcd")
    control.settle(first.stripe_id)
    control.settle(second.stripe_id)
    control.settle(refused.stripe_id, succeeded=False)
    yield
    control.settle(third.stripe_id)
    yield


@story(card_saved=1, mandate_activated=1, charge_succeeded=1)
def has_to_finish_a_payment(customer, terms):
    mandate = saved(customer, terms)
    control.require_action_next()
    payment = pay(mandate, "august")
    yield
    gateway.confirm_payment_intent(payment.stripe_id, customer_is_here(mandate), key=f"here-{payment.public_id}")
    yield
    control.finish_payment(payment.stripe_id)
    yield


@story(card_saved=1, mandate_activated=1, charge_succeeded=2, charge_refunded=8)
def is_paid_back_in_the_dashboard(customer, terms):
    mandate = saved(customer, terms)
    for reference in ("june", "july"):
        with answer_lost("payment_intents"):
            pay(mandate, reference)
    for intent in payments_of(customer):
        for amount in ("1000", "2000", "500", "1500"):
            back = ask_stripe("POST", "/v1/refunds", {"payment_intent": intent["id"], "amount": amount})
            ask_stripe("POST", f"/v1/refunds/{back['id']}", {"metadata": {"asked_by": "phone"}})
    yield


@story(card_saved=1, mandate_activated=1, charge_succeeded=1, charge_refunded=2, refund_failed=1)
def is_paid_back_and_the_bank_says_no(customer, terms):
    mandate = saved(customer, terms)
    payment = pay(mandate, "august")
    with answer_lost("refunds"):
        services.refund(payment, 4_000, reference="half")
    other = services.refund(payment, 3_000, reference="rest")
    yield
    control.fail_refund(other.stripe_id)
    yield


@story(card_saved=1, mandate_activated=1, charge_succeeded=1, dispute_opened=1)
def disputes_a_payment(customer, terms):
    with answer_lost("payment_intents"):
        pay(saved(customer, terms), "august")
    control.dispute(payments_of(customer)[0]["id"])
    yield


@story(card_saved=1, mandate_activated=1, charge_succeeded=1, dispute_opened=1, dispute_closed=1)
def disputes_and_the_shop_wins(customer, terms):
    payment = pay(saved(customer, terms), "august")
    dispute = control.dispute(payment.stripe_id)
    yield
    control.close_dispute(dispute["id"], won=True)
    yield


@story(
    card_saved=1,
    card_removed=1,
    mandate_activated=1,
    mandate_ended=1,
    charge_succeeded=2,
    dispute_opened=1,
    dispute_closed=1,
)
def disputes_and_the_shop_loses(customer, terms):
    mandate = saved(customer, terms)
    pay(mandate, "july")
    dispute = control.dispute(pay(mandate, "august").stripe_id)
    yield
    control.close_dispute(dispute["id"], won=False)
    yield


@story(card_saved=1, mandate_activated=1, charge_succeeded=1, dispute_closed=1)
def disputes_and_it_is_over_before_we_hear_of_it(customer, terms):
    payment = pay(saved(customer, terms), "august")
    control.close_dispute(control.dispute(payment.stripe_id)["id"], won=True)
    yield


# --- others on the same account -------------------------------------------------------------------


@story()
def is_a_customer_of_another_site(customer, terms):
    """The row is ours, and nothing of what happens at Stripe is."""
    them = ask_stripe("POST", "/v1/customers", {"metadata": {"krcard_setup": "not a number of ours"}})["id"]
    asked = {"mode": "setup", "currency": "krw", "customer": them, "client_reference_id": str(uuid4())}
    session = ask_stripe("POST", "/v1/checkout/sessions", asked | {"success_url": "https://other.example/"})
    control.authorise(session["id"])
    card = gateway.retrieve_checkout_session(session["id"]).card.id
    params = gateway.payment_intent_params(
        amount=AMOUNT, customer=them, card=card, card_type="kr_card", description="", metadata={"order": "7"}
    )
    intent = gateway.create_payment_intent(params, key=f"other-site-{them}").id
    ask_stripe("POST", "/v1/refunds", {"payment_intent": intent, "amount": "1000"})
    control.dispute(intent)
    yield
    control.detach(card)
    yield


# --- hands ----------------------------------------------------------------------------------------


def attempt(customer, terms):
    """The customer agrees and is sent to Stripe's page."""
    consent = consent_of(customer, terms)
    return services.start_checkout(consent, success_url="http://testserver/ok", cancel_url="http://testserver/no")


def authorise(setup, **card):
    control.authorise(setup.checkout_session_id, last4="1234", **card)


def saved(customer, terms) -> Mandate:
    """The customer comes back from Stripe's page, and it is the result page that learns of the card."""
    setup = attempt(customer, terms)
    authorise(setup)
    return services.complete_setup(setup)


def pay(mandate, reference) -> Charge:
    return services.charge(mandate, AMOUNT, reference=reference)


def pay_slowly(mandate, reference) -> Charge:
    """The issuer takes its time."""
    control.processing_next()
    return pay(mandate, reference)


@contextmanager
def answer_lost(path):
    """Stripe carries out what it is asked, and we do not hear of it, however often we ask."""
    control.fail_next("POST", path, effect="after", status="timeout")
    for _again in PAUSES:
        control.fail_next("POST", path, status="timeout")
    yield
    assert not Fault.objects.exists()


def card_at_stripe(customer) -> str:
    return in_the_books("payment_method", customer)[-1]["id"]


def payments_of(customer):
    return in_the_books("payment_intent", customer)


def in_the_books(kind, customer):
    """What Stripe has of a customer, oldest first."""
    customer.refresh_from_db()
    return [row.body for row in Resource.objects.filter(kind=kind, customer=customer.stripe_id).order_by("pk")]


def customer_is_here(mandate):
    card = PaymentMethod.objects.get(mandates=mandate)
    return gateway.confirm_params(card=card.stripe_id, card_type=card.type, return_url="http://testserver/back")


def ask_stripe(method, path, params):
    """Somebody else at Stripe: a person at the dashboard, another site."""
    headers = {"authorization": f"Bearer {conf.STRIPE_SECRET_KEY}", "stripe-version": conf.STRIPE_API_VERSION}
    answer = api.handle(method, path, params, headers)
    assert answer.status == 200, answer.body
    return answer.body
