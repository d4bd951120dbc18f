"""The other hands on the sandbox: the customer's, the issuer's, and fate's.

The hosted page calls these functions, and so may tests and demos. Each one is a change like any
other: it is committed, then its webhook messages are sent.
"""

import random
import re
from datetime import UTC, datetime, timedelta
from typing import Any

from django.db import transaction

from . import delivery, due, faults
from .delivery import acting
from .errors import SandboxError
from .models import Event, Fault, IdempotencyKey, Resource, State
from .resources import attempts, billing, cards, checkout, disputes, refunds, setup_intents
from .store import Act, Body, find, mandate_of, read_state, writing

#: The ways in which an issuer or the processor says no: name → (code, decline_code).
DECLINES: dict[str, tuple[str, str | None]] = {
    "card_declined": ("card_declined", "generic_decline"),
    **{
        name: ("card_declined", name)
        for name in (
            "generic_decline",
            "insufficient_funds",
            "lost_card",
            "stolen_card",
            "do_not_honor",
            "card_velocity_exceeded",
            "withdrawal_count_limit_exceeded",
            "card_not_supported",
            "transaction_not_allowed",
            "restricted_card",
            "pickup_card",
            "fraudulent",
            "invalid_account",
            "issuer_not_available",
            "try_again_later",
            "revocation_of_authorization",
            "revocation_of_all_authorizations",
            "stop_payment_order",
        )
    },
    "expired_card": ("expired_card", "expired_card"),
    "processing_error": ("processing_error", "processing_error"),
    "expired_payment_method": ("expired_payment_method", None),
    "payment_method_customer_decline": ("payment_method_customer_decline", None),
    "payment_method_not_available": ("payment_method_not_available", None),
    "payment_method_provider_decline": ("payment_method_provider_decline", None),
    "payment_method_provider_timeout": ("payment_method_provider_timeout", None),
    "payment_method_restricted": ("payment_method_restricted", None),
}

# Python's own calendar ends with the year 9999, and periods and deadlines reach beyond the clock.
END_OF_TIME = int(datetime(9001, 1, 1, tzinfo=UTC).timestamp())

# "http://127.0.0.1:8000": a site without a path.
ORIGIN = re.compile(r"https?://([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?")


# --- the customer and the issuer --------------------------------------------------------------------


def authorise(
    session_id: str,
    brand: str = "shinhan",
    last4: str | None = None,
    *,
    type: str = "kr_card",
    ip_address: str | None = "127.0.0.1",
    user_agent: str | None = "sandbox",
) -> Body:
    """The customer saves a card of this issuer (`type="card"`: a Visa) and returns the Session."""
    due.catch_up()
    with acting() as act:
        return checkout.authorise(act, session_id, type, brand, last4, ip_address=ip_address, user_agent=user_agent)


def fail(session_id: str, *, type: str = "kr_card") -> Body:
    """The issuer refuses to authorise the card. The Session stays open for another try."""
    due.catch_up()
    with acting() as act:
        return checkout.fail(act, session_id, type)


def expire(session_id: str) -> Body:
    """The Session runs out of time."""
    with acting() as act:
        checkout.open_session(session_id)
        return checkout.expire(act, {}, session_id)


def finish_setup(seti_id: str, succeeded: bool = True, *, brand: str = "shinhan", last4: str | None = None) -> Body:
    """The customer was sent to the processor by the Direct API, and saves a card of this issuer there, or fails to."""
    due.catch_up()
    with acting() as act:
        return setup_intents.finish(act, seti_id, succeeded, brand=brand, last4=last4)


def no_redirect_next() -> None:
    """What is confirmed next by the Direct API succeeds at once: nobody is sent anywhere."""
    faults.queue("no_redirect")


def finish_payment(pi_id: str, succeeded: bool = True, *, brand: str = "shinhan", last4: str | None = None) -> Body:
    """The customer was sent to the issuer for this payment, and authorises it there, or fails to.

    A card that is new is one of this issuer.
    """
    due.catch_up()
    with acting() as act:
        intent = attempts.finish(act, pi_id, succeeded, brand=brand, last4=last4)
        billing.intent_settled(act, intent)
        return intent


def detach(pm_id: str) -> Body:
    """Somebody detaches the card in Stripe's dashboard."""
    with acting() as act:
        method = find("payment_method", pm_id)
        if method is None or method["customer"] is None:
            raise SandboxError(f"There is no attached PaymentMethod {pm_id}.")
        return cards.detach(act, {}, pm_id)


def mandate_pending_next() -> None:
    """The mandate of the next card that is saved stays `pending` until `activate_mandate`."""
    faults.queue("mandate_pending")


def activate_mandate(pm_id: str) -> Body:
    """The issuer confirms a pending mandate."""
    return turn_mandate(pm_id, "active")


def deactivate_mandate(pm_id: str) -> Body:
    """The customer withdraws the permission at the issuer; the card stays attached."""
    return turn_mandate(pm_id, "inactive")


def turn_mandate(pm_id: str, status: str) -> Body:
    with acting() as act:
        mandate = mandate_of(pm_id)
        if mandate is None:
            raise SandboxError(f"PaymentMethod {pm_id} has no mandate.")
        return cards.turn(act, mandate, status)


def dispute(pi_id: str, reason: str = "fraudulent") -> Body:
    """The customer disputes a charge; the money is taken back until it is decided."""
    with acting() as act:
        return disputes.open_(act, pi_id, reason)


def close_dispute(dispute_id: str, won: bool) -> Body:
    """The issuer decides. `won`: the shop keeps the money."""
    with acting() as act:
        return disputes.decide(act, dispute_id, won=won)


def fail_refund(refund_id: str) -> Body:
    """The money of a refund comes back: the customer's account is gone."""
    with acting() as act:
        return refunds.fail(act, refund_id)


# --- the next charge --------------------------------------------------------------------------------
# These wait for a charge made while the customer is away. One that the customer finishes is decided by the customer.


def decline_next(code: str = "card_declined", decline_code: str | None = None) -> None:
    """The next charge is answered with 402. `code` is a name of `DECLINES`, or any code of Stripe's."""
    code, usual = DECLINES.get(code, (code, None))
    faults.queue("decline", code=code, decline_code=decline_code or usual)


def require_action_next() -> None:
    """The next charge needs the customer: 402 `authentication_required`."""
    faults.queue("action")


def processing_next() -> None:
    """The next charge stays `processing` until `settle`."""
    faults.queue("processing")


def settle(pi_id: str, succeeded: bool = True) -> Body:
    """The issuer's late answer to a charge that is processing."""
    with acting() as act:
        intent = attempts.settle(act, pi_id, succeeded)
        billing.intent_settled(act, intent)
        checkout.payment_settled(act, intent)
        return intent


# --- the network ------------------------------------------------------------------------------------


def fail_next(method: str, path_prefix: str, *, effect: str = "before", status: int | str = 500) -> None:
    """The next request like this one fails: with an HTTP status, or with "timeout" (no answer).

    `effect="after"`: the request is carried out first, and only the answer is lost. A refusal (401,
    403, 409, 429) never has an effect, and nothing is kept under its idempotency key.
    """
    if effect not in ("before", "after"):
        raise ValueError('effect is "before" or "after"')
    refusal = status in faults.REFUSALS
    if status != "timeout" and not refusal and not (isinstance(status, int) and 500 <= status <= 599):
        raise ValueError('status is "timeout", 401, 403, 409, 429 or 500 to 599')
    if refusal and effect == "after":
        raise ValueError(f"A request that is answered with {status} has no effect.")
    path = path_prefix if path_prefix.startswith("/") else f"/v1/{path_prefix}"
    faults.queue("outage", method=method.upper(), path=path, effect=effect, status=status)


def rate_limit_next(times: int = 1) -> None:
    """The next requests, whatever they are, are turned away with 429."""
    for _ in range(times):
        faults.queue("outage", method="*", path="/", effect="before", status=429)


# --- webhook messages -------------------------------------------------------------------------------


def set_delivery(mode: str) -> None:
    """Webhook messages are sent at once ("now"), on `deliver()` ("held"), or never ("dropped")."""
    if mode not in State.Delivery.values:
        raise ValueError(f"delivery is one of {', '.join(State.Delivery.values)}")
    change_state(delivery=mode)


def set_event_format(format: str) -> None:
    """Messages carry the whole object ("snapshot"), its address only ("thin"), or come in pairs ("both")."""
    if format not in State.Format.values:
        raise ValueError(f"the format is one of {', '.join(State.Format.values)}")
    change_state(event_format=format)


def deliver(*, shuffled: bool = False, copies: int = 1, seed: int | None = None) -> int:
    """Sends every message that still waits, each so many times. Returns how many the site took.

    Oldest first, or in a disorder that the same `seed` gives again.
    """
    keys = list(waiting_events().values_list("pk", flat=True)) * copies
    if shuffled:
        random.Random(seed).shuffle(keys)
    return delivery.deliver(keys)


def redeliver(event_id: str) -> bool:
    """Sends one message once more, whatever became of it before. Did the site take it?"""
    event = Event.objects.filter(stripe_id=event_id).first()
    if event is None:
        raise SandboxError(f"There is no event {event_id}.")
    return delivery.deliver_one(event.pk, again=True)


def retry_failed() -> int:
    """Sends again what the site did not take. Returns how many it took now."""
    return delivery.deliver(waiting_events().filter(attempts__gt=0).values_list("pk", flat=True))


def waiting_events() -> Any:
    return Event.objects.filter(state=Event.State.WAITING).order_by("pk")


# --- the box itself ---------------------------------------------------------------------------------


def set_enabled_types(types: list[str]) -> None:
    """The payment method types that are switched on for the account."""
    change_state(enabled_types=list(types))


def set_pages_at(address: str) -> None:
    """Where the hosted pages of new Sessions are: the origin of this site, when the shop is another one.

    Empty: on the site of `success_url`, whatever its port.
    """
    origin = address.strip().removesuffix("/")
    if origin and (len(origin) > 200 or not ORIGIN.fullmatch(origin)):
        raise SandboxError(f"Not the address of a site, as http://127.0.0.1:8000 is: {address!r}.")
    change_state(pages_at=origin)


def now() -> datetime:
    """What the sandbox's clock says."""
    return datetime.fromtimestamp(Act(read_state()).now, UTC)


def advance(by: timedelta) -> None:
    """Turns the sandbox's clock forward. What is due on the way happens at its own time."""
    seconds = int(by.total_seconds())
    if Act(read_state()).now + seconds >= END_OF_TIME:
        raise SandboxError("The sandbox's clock does not go past the year 9000.")
    due.advance(seconds)


def reset() -> None:
    """Forgets everything, settings included."""
    with transaction.atomic():
        for model in (Event, Resource, IdempotencyKey, Fault, State):
            model.objects.all().delete()


def change_state(**values: Any) -> None:
    with writing():
        State.objects.filter(pk=1).update(**values)
