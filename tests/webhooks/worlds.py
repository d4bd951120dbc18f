"""Customers who live their stories, the messages about them, and what our rows say in the end."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any
from unittest import mock

from django.db.models import BinaryField, Model, QuerySet

from django_krcard import services
from django_krcard.models import (
    CardSetup,
    Charge,
    Customer,
    Event,
    Mandate,
    Notice,
    PaymentMethod,
    Refund,
    Terms,
    TimelineEntry,
)
from django_krcard.sandbox import control
from django_krcard.sandbox.models import Event as StripeEvent
from django_krcard.testing.webhooks import Events
from django_krcard.webhooks.handlers import HANDLERS
from tests.faults.crash import NEVER_TWICE
from tests.webhooks.stories import EFFECTS, STORIES, Act, Story

OVER = object()


@dataclass(frozen=True)
class Message:
    """``row``: the name of the one row that it and its twin become. ``end``: what becomes of that row."""

    row: str
    end: str
    body: bytes = field(repr=False)


#: Brings these messages to the site, and does these acts somewhere among them.
Deliver = Callable[[list[Message], list[Act]], None]


def play(
    people: dict[Customer, Story], deliver: Deliver, *, terms: Terms, format: Callable[[], str] = lambda: "snapshot"
) -> None:
    """Let everybody live through their story, side by side. What we do at Stripe on the way is news there as well.

    ``format``: of the messages about the next customer.
    """
    control.set_delivery("held")
    seen = StripeEvent.objects.order_by("pk").values_list("pk", flat=True).last() or 0
    lives = {customer: story.live(customer, terms) for customer, story in people.items()}
    while lives:
        acts: list[Act] = []
        for customer in list(lives):
            control.set_event_format(format())
            # We wait between two tries; the customers of a storm do not.
            with mock.patch("time.sleep"):
                happened = next(lives[customer], OVER)
            if happened is OVER:
                del lives[customer]
            else:
                acts += happened or []
        while (news := news_after(seen)) or acts:
            seen = news[-1].pk if news else seen
            deliver([message_of(event) for event in news], acts)
            acts = []


def news_after(seen: int) -> list[StripeEvent]:
    return list(StripeEvent.objects.filter(pk__gt=seen, state=StripeEvent.State.WAITING).order_by("pk"))


def message_of(event: StripeEvent) -> Message:
    twin = json.loads(event.raw).get("snapshot_event", event.stripe_id)
    return Message(twin, "done" if event.type in HANDLERS else "ignored", event.raw)


# --- in order, once -------------------------------------------------------------------------------


@dataclass
class Ordered:
    """What becomes of each story when its messages come in order, once: with the acts of our own side before them, and
    after them."""

    ends: dict[str, list[Any]] = field(default_factory=lambda: defaultdict(list))
    messages: Counter[str] = field(default_factory=Counter)


def in_order(terms: Terms) -> Ordered:
    ordered = Ordered()
    for story in STORIES.values():
        postman = _live_in_order(story, Postman(acts_first=True), terms, ordered)
        if postman.has_acted:
            _live_in_order(story, Postman(acts_first=False), terms, ordered)
    return ordered


def _live_in_order(story: Story, postman: Postman, terms: Terms, ordered: Ordered) -> Postman:
    customer = arrives(f"{story.name}, acts {'first' if postman.acts_first else 'last'}")
    play({customer: story}, postman, terms=terms)
    ordered.messages[story.name] = postman.count
    if (end := rows_of(customer)) not in ordered.ends[story.name]:
        ordered.ends[story.name].append(end)
    return postman


class Postman:
    """One message after the other, each once, through the front door."""

    def __init__(self, *, acts_first: bool) -> None:
        self.acts_first, self.has_acted, self.count, self.events = acts_first, False, 0, Events()

    def __call__(self, messages: list[Message], acts: list[Act]) -> None:
        if self.acts_first:
            self.do(acts)
        for message in messages:
            answer = self.events.post_raw(message.body)
            assert answer.status_code == 200, (message, Event.objects.get(stripe_id=message.row).last_error)
            self.count += 1
        if not self.acts_first:
            self.do(acts)

    def do(self, acts: list[Act]) -> None:
        for name, pk in acts:
            ACTS[name](pk)
            self.has_acted = True


def withdraw(pk: int) -> None:
    services.revoke(Mandate.objects.get(pk=pk), by="customer", reason="enough")


ACTS: dict[str, Callable[[int], None]] = {"withdraw": withdraw}


def arrives(name: str) -> Customer:
    customer = services.get_or_create_customer(reference=name)
    customer.notice_address = "minji@example.com"
    customer.save()
    return customer


# --- what the rows say ----------------------------------------------------------------------------

#: How we came to know is another matter, and differs: when somebody looked, which tries it took, what names were drawn.
LEFT_OUT = {"public_id", "created_at", "checked_at", "removal_tried_at", "removal_tries", "at"}
TOLD = ("kind", "actor", "data")
TRIES = "detach_failed"


def rows_of(customer: Customer) -> dict[str, list[str]]:
    """All rows of a customer in words, without what is never the same twice: ids, moments, secrets."""
    mandates = Mandate.objects.filter(customer=customer)
    ours: dict[str, QuerySet] = {
        "customer": Customer.objects.filter(pk=customer.pk),
        "attempts": CardSetup.objects.filter(mandate__in=mandates),
        "cards": PaymentMethod.objects.filter(customer=customer),
        "mandates": mandates,
        "charges": Charge.objects.filter(mandate__in=mandates),
        "refunds": Refund.objects.filter(charge__mandate__in=mandates),
    }
    rows = {name: sorted(in_words(row) for row in query) for name, query in ours.items()}
    entries = TimelineEntry.objects.filter(mandate__in=mandates).exclude(kind=TRIES).values_list(*TOLD)
    rows["timeline"] = sorted(alike(f"{kind} by {actor}: {json.dumps(data)}") for kind, actor, data in entries)
    notices = Notice.objects.filter(mandate__in=mandates)
    rows["notices"] = sorted(f"{kind} {alike(about)}" for kind, about in notices.values_list("kind", "about"))
    return rows


def in_words(row: Model) -> str:
    fields = [f for f in row._meta.concrete_fields if not (f.primary_key or f.is_relation or f.name in LEFT_OUT)]
    # Names that are drawn. And bytes: the snapshot's or the thin event's, whichever was first.
    drawn = {"reference"} if isinstance(row, Customer | Mandate) else set()
    told = {f.name: getattr(row, f.name) for f in fields if f.name not in drawn and not isinstance(f, BinaryField)}
    return ", ".join(f"{name}={alike(value)}" for name, value in told.items())


def alike(value: Any) -> str:
    # Dictionaries in one order, whatever order a database kept them in.
    return NEVER_TWICE.sub("·", json.dumps(value, sort_keys=True, default=str, ensure_ascii=False))


def told_of(customer: Customer) -> Counter:
    kinds = TimelineEntry.objects.filter(mandate__customer=customer, kind__in=EFFECTS).values_list("kind", flat=True)
    return Counter(kinds)


def differences(there: dict[str, list[str]], here: dict[str, list[str]]) -> Iterator[str]:
    for name in there:
        gone, more = Counter(there[name]) - Counter(here[name]), Counter(here[name]) - Counter(there[name])
        yield from (f"  {name}: in order it is   {row}" for row in gone.elements())
        yield from (f"  {name}: in the storm it is {row}" for row in more.elements())


def complaints_about(customer: Customer, story: Story, ends: list[Any]) -> Iterator[str]:
    told, here = told_of(customer), rows_of(customer)
    if told not in story.told:
        yield f"{customer.reference}: the timeline tells {dict(told)}; it should tell {[dict(t) for t in story.told]}"
    if here not in ends:
        nearest = min((list(differences(end, here)) for end in ends), key=len)
        yield "\n".join([f"{customer.reference}: other rows than in order", *nearest])
