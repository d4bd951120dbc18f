"""Reading and writing the sandbox's objects, one change at a time."""

import secrets
import string
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

from django.db import transaction
from django.db.models import F, QuerySet

from .models import Event, Resource, State
from .params import within_limits

LATEST = "2026-10-28.endive"
LETTERS = string.ascii_letters + string.digits

PREFIXES = {
    "customer": "cus_sandbox_",
    "checkout.session": "cs_test_sandbox_",
    "setup_intent": "seti_sandbox_",
    "payment_method": "pm_sandbox_",
    "mandate": "mandate_sandbox_",
    "payment_intent": "pi_sandbox_",
    "charge": "ch_sandbox_",
    "refund": "re_sandbox_",
    "dispute": "du_sandbox_",
    "product": "prod_sandbox_",
    "price": "price_sandbox_",
    "subscription": "sub_sandbox_",
    "subscription_item": "si_sandbox_",
    "invoice": "in_sandbox_",
    "line_item": "il_sandbox_",
    "invoice_payment": "inpay_sandbox_",
    "webhook_endpoint": "we_sandbox_",
    "event": "evt_sandbox_",
    "v2.core.event": "evt_thin_sandbox_",
    "request": "req_sandbox_",
}

Body = dict[str, Any]

#: The account of every key. Its objects are those of no connected account.
OWN_ACCOUNT = "acct_sandbox_1"

#: The account that the present request is made for; `None` outside of requests, where any object is found.
ACCOUNT: ContextVar[str | None] = ContextVar("account", default=None)


@contextmanager
def on_behalf_of(account: str) -> Iterator[None]:
    token = ACCOUNT.set(account)
    try:
        yield
    finally:
        ACCOUNT.reset(token)


def account_of(body: Body) -> str:
    """Whose an object is: the request's; without one, that of the customer or the card that it hangs on."""
    asked = ACCOUNT.get()
    if asked is not None:
        return asked
    names = [name for name in (body.get("id"), body.get("customer"), body.get("payment_method")) if name]
    row = Resource.objects.filter(stripe_id__in=names).first()
    return row.account if row else ""


def new_id(kind: str) -> str:
    """An id that cannot be guessed, nor mistaken for one of Stripe's."""
    return PREFIXES[kind] + suffix()


def suffix() -> str:
    return "".join(secrets.choice(LETTERS) for _ in range(24))


@dataclass
class Act:
    """One request or one press of a button: when it happens, and what it tells the outside."""

    state: State
    version: str = LATEST
    request_id: str | None = None
    idempotency_key: str | None = None
    events: list[Event] = field(default_factory=list)

    @property
    def now(self) -> int:
        return int(time.time()) + self.state.clock_offset


def read_state() -> State:
    state = State.objects.filter(pk=1).first()
    if state is None:
        State.objects.bulk_create([State(pk=1)], ignore_conflicts=True)
        state = State.objects.get(pk=1)
    return state


@contextmanager
def writing(**details: Any) -> Iterator[Act]:
    """A transaction in which nobody else changes the sandbox.

    It begins with a write of the one State row: on PostgreSQL that locks the row, on SQLite it takes
    the write lock at once instead of failing later with "database is locked".
    """
    read_state()
    with transaction.atomic():
        State.objects.filter(pk=1).update(changes=F("changes") + 1)
        yield Act(read_state(), **details)


def save(act: Act, body: Body) -> Body:
    columns = {
        "kind": body["object"],
        "customer": body.get("customer") or "",
        "payment_method": body.get("payment_method") or "",
        "status": "deleted" if body.get("deleted") else body.get("status") or "",
        "account": account_of(body),
        "body": body,
    }
    created = body.get("created") or act.now
    Resource.objects.update_or_create(
        stripe_id=body["id"], defaults=columns, create_defaults={**columns, "created": created}
    )
    return body


def put_aside(body: Body, said: Body) -> None:
    """What is needed of it later, and no field of Stripe's."""
    Resource.objects.filter(stripe_id=body["id"]).update(aside=said)


def aside(body: Body) -> Body:
    said: Body = Resource.objects.values_list("aside", flat=True).get(stripe_id=body["id"])
    return said


def schedule(body: Body, at: int | None) -> None:
    """When time itself will change this object next: see `due`."""
    Resource.objects.filter(stripe_id=body["id"]).update(due_at=at)


def changed(before: Body, after: Body) -> Body:
    """What an update's event tells as `previous_attributes`."""
    return {name: before[name] for name in after if name in before and before[name] != after[name]}


def merged(before: Body, given: Body) -> Body:
    """An update. Metadata is merged key by key: an empty value takes its key away, an empty string all of them."""
    after = before | given
    if given.get("metadata"):
        both = before["metadata"] | given["metadata"]
        after["metadata"] = within_limits({key: value for key, value in both.items() if value})
    return after


def remove(stripe_id: str) -> None:
    Resource.objects.filter(stripe_id=stripe_id).delete()


def of_kind(kind: str) -> QuerySet[Resource]:
    rows = Resource.objects.filter(kind=kind).order_by("-pk")
    account = ACCOUNT.get()
    return rows if account is None else rows.filter(account=account)


def find(kind: str, stripe_id: str) -> Body | None:
    row = of_kind(kind).filter(stripe_id=stripe_id).first()
    return row.body if row else None


def mandate_of(payment_method: str) -> Body | None:
    row = of_kind("mandate").filter(payment_method=payment_method).first()
    return row.body if row else None
