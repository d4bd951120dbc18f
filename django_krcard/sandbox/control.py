"""The other hands on the sandbox: the customer's, the issuer's, and fate's.

The hosted page calls these functions, and so may tests and demos. Each one is a change like any
other: it is committed, then its webhook messages are sent.
"""

from datetime import timedelta
from typing import Any

from django.db import transaction

from . import events, faults
from .errors import SandboxError
from .models import Event, Fault, IdempotencyKey, Resource, State
from .resources import cards, checkout, payments
from .store import Body, find, mandate_of, writing


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
    checkout.expire_due()
    with writing() as act:
        session = checkout.authorise(act, session_id, type, brand, last4, ip_address=ip_address, user_agent=user_agent)
    events.deliver_new(act)
    return session


def fail(session_id: str, *, type: str = "kr_card") -> Body:
    """The issuer refuses to authorise the card. The Session stays open for another try."""
    checkout.expire_due()
    with writing() as act:
        session = checkout.fail(act, session_id, type)
    events.deliver_new(act)
    return session


def expire(session_id: str) -> Body:
    """The Session runs out of time."""
    with writing() as act:
        checkout.open_session(session_id)
        session = checkout.expire(act, {}, session_id)
    events.deliver_new(act)
    return session


def detach(pm_id: str) -> Body:
    """Somebody detaches the card in Stripe's dashboard."""
    method = find("payment_method", pm_id)
    if method is None or method["customer"] is None:
        raise SandboxError(f"There is no attached PaymentMethod {pm_id}.")
    with writing() as act:
        method = cards.detach(act, {}, pm_id)
    events.deliver_new(act)
    return method


def deactivate_mandate(pm_id: str) -> Body:
    """The customer withdraws the permission at the issuer; the card stays attached."""
    with writing() as act:
        mandate = mandate_of(pm_id)
        if mandate is None:
            raise SandboxError(f"PaymentMethod {pm_id} has no mandate.")
        mandate = cards.deactivate(act, mandate)
    events.deliver_new(act)
    return mandate


def decline_next(code: str = "card_declined", decline_code: str | None = "generic_decline") -> None:
    """The next charge is answered with 402 and these codes."""
    faults.queue("decline", code=code, decline_code=decline_code)


def require_action_next() -> None:
    """The next charge needs the customer: 402 `authentication_required`."""
    faults.queue("action")


def processing_next() -> None:
    """The next charge stays `processing` until `settle`."""
    faults.queue("processing")


def settle(pi_id: str, succeeded: bool = True) -> Body:
    """The issuer's late answer to a charge that is processing."""
    with writing() as act:
        intent = payments.settle(act, pi_id, succeeded)
    events.deliver_new(act)
    return intent


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


def set_delivery(mode: str) -> None:
    """Webhook messages are sent at once ("now"), on `deliver()` ("held"), or never ("dropped")."""
    if mode not in State.Delivery.values:
        raise ValueError(f"delivery is one of {', '.join(State.Delivery.values)}")
    change_state(delivery=mode)


def deliver() -> int:
    """Sends every message that still waits, oldest first. Returns how many the site took."""
    waiting = Event.objects.filter(state=Event.State.WAITING).order_by("pk")
    return events.deliver(list(waiting.values_list("pk", flat=True)))


def set_enabled_types(types: list[str]) -> None:
    """The payment method types that are switched on for the account."""
    change_state(enabled_types=list(types))


def advance(by: timedelta) -> None:
    """Turns the sandbox's clock forward. Sessions that run out on the way expire."""
    with writing() as act:
        offset = act.state.clock_offset + int(by.total_seconds())
        State.objects.filter(pk=1).update(clock_offset=offset)
    checkout.expire_due()


def reset() -> None:
    """Forgets everything, settings included."""
    with transaction.atomic():
        for model in (Event, Resource, IdempotencyKey, Fault, State):
            model.objects.all().delete()


def change_state(**values: Any) -> None:
    with writing():
        State.objects.filter(pk=1).update(**values)
