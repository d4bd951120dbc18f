"""Every order in which Stripe's messages can come, and the customer with them: same rows, and each thing told once.

Not order by order. What comes after depends on nothing but the rows that are there: two orders that have led to the
same rows and signals are followed up once, and count as two.
"""

from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from io import StringIO
from math import factorial

import pytest
from django.core.management import call_command
from django.db import transaction
from django.db.models import Model
from django.urls import reverse
from django.utils import timezone

from django_krcard import services, signals
from django_krcard.models import CardSetup, Charge, Customer, Event
from django_krcard.sandbox import control
from django_krcard.sandbox.models import Event as StripeEvent
from django_krcard.sandbox.models import Resource
from django_krcard.services.acts import finish
from django_krcard.testing.factories import customer_for, saved_mandate
from django_krcard.testing.sandbox import books
from django_krcard.testing.webhooks import Events
from django_krcard.webhooks import messages
from django_krcard.webhooks.handlers import HANDLERS, NotHereYet
from tests.factories import as_used_terms
from tests.faults import crash
from tests.webhooks.stories import answer_lost, ask_stripe, card_at_stripe
from tests.webhooks.worlds import alike as in_short
from tests.webhooks.worlds import in_words, rows_of

pytestmark = [pytest.mark.faults, pytest.mark.django_db(transaction=True)]

SIGNALS = {name: signal for name, signal in vars(signals).items() if isinstance(signal, signals.Signal)}

#: Takes one step from the world as it is.
Step = Callable[[], object]


@dataclass
class Place:
    """A world that was reached: by which order first, and by how many. ``hands``: what workers have asked Stripe and
    not written down yet."""

    order: tuple[str, ...]
    world: crash.Picture
    signals: Counter[str]
    hands: dict[str, Step]
    orders: int


@pytest.fixture
def world(db):
    with crash.world() as world:
        yield world


@pytest.fixture
def heard():
    """How often each signal was sent."""
    heard = Counter()

    def listen(name):
        return lambda **kwargs: heard.update([name])

    ears = {name: listen(name) for name in SIGNALS}
    for name, signal in SIGNALS.items():
        signal.connect(ears[name], weak=False)
    yield heard
    for name, signal in SIGNALS.items():
        signal.disconnect(ears[name])


@pytest.fixture
def hands():
    """What each worker is about to write."""
    return {}


@pytest.fixture
def in_every_order(world, heard, hands):
    """Take all steps in each order in which they can be taken. Gives the different worlds at the end.

    ``after``: steps that have to be taken before another one can be.
    """

    def walk(steps: dict[str, Step], after: dict[str, set[str]] | None = None) -> list[Place]:
        heard.clear()
        places = [Place((), world.picture(), Counter(), {}, 1)]
        for _ in steps:
            reached: dict[tuple, Place] = {}
            for place in places:
                for name in steps.keys() - set(place.order):
                    if (after or {}).get(name, set()) <= set(place.order):
                        reach(reached, place, name, steps[name])
            places = list(reached.values())
        return places

    def reach(reached, place, name, step):
        order = (*place.order, name)
        world.put_back(place.world)
        heard.clear()
        heard.update(place.signals)
        hands.clear()
        hands.update(place.hands)
        try:
            step()
        except Exception as error:
            error.add_note(f"The order was {order}")
            raise
        picture = world.picture()
        here = frozenset(order), likeness(world, picture), frozenset(heard.items()), frozenset(map(held, hands.items()))
        if here in reached:
            reached[here].orders += place.orders
        else:
            reached[here] = Place(order, picture, Counter(heard), dict(hands), place.orders)

    return walk


def likeness(world, picture):
    """The same for two worlds with the same rows, in whatever order they were written."""
    _ahead, rows = picture
    tables = ((model, rows[model._meta.db_table]) for model in world.models)
    return tuple(tuple(sorted(map(str, map(tuple, crash.alike(rows, model))))) for model, rows in tables)


def held(hand):
    name, write = hand
    things = [in_words(arg) if isinstance(arg, Model) else in_short(arg) for arg in getattr(write, "args", ())]
    return name, *things


def alike(world, places, customer) -> dict:
    """The rows of ``customer`` at the one end of all orders. If there are more ends, say how two of them come about."""
    ends = []
    for place in places:
        world.put_back(place.world)
        ends.append((place, rows_of(customer)))
    first, rows = ends[0]
    for other, other_rows in ends[1:]:
        assert (first.order, first.signals, rows) == (other.order, other.signals, other_rows), "two ends"
    return rows


def messages_of(kind):
    """All messages of one kind that Stripe has sent so far, the newest first, and so a thin one before its twin."""
    return [event.raw for event in StripeEvent.objects.filter(type=kind, state="waiting").order_by("-pk")]


@pytest.fixture
def format():
    """In which Stripe sends its messages; a test may choose another."""
    return "snapshot"


@pytest.fixture
def comes():
    """The step in which the messages of this kind come."""

    def message(kind, times=1, answers=(200,)):
        def step():
            bodies = messages_of(kind)
            assert bodies, f"There is no message {kind}"
            for body in bodies * times:
                answer = Events().post_raw(body)
                assert answer.status_code in answers, (kind, Event.objects.values_list("type", "status", "last_error"))

        return step

    return message


@pytest.fixture
def worker(hands):
    """The two steps of a worker that works off a message of this kind: it looks, and it writes. Others come between."""

    def steps(kind):
        def look():
            body = messages_of(kind)[0]
            with suppress(NotHereYet):
                hands[kind] = finish(HANDLERS[kind](messages.read(body).subject()))

        def write():
            act = hands.pop(kind, None)
            if act:
                with transaction.atomic():
                    act()

        return {f"look: {kind}": look, f"write: {kind}": write}

    def all_steps(*kinds):
        steps_of_all = {}
        for kind in kinds:
            steps_of_all |= steps(kind)
        return steps_of_all, {f"write: {kind}": {f"look: {kind}"} for kind in kinds}

    return all_steps


def sweep():
    """What waits is due now."""
    Event.objects.exclude(next_attempt_at=None).update(next_attempt_at=timezone.now())
    call_command("krcard_process_events", stdout=StringIO())


# --- a card is saved ------------------------------------------------------------------------------

SAVED = ["checkout.session.completed", "setup_intent.succeeded", "payment_method.attached", "mandate.updated"]


@pytest.fixture
def setup(agree, format):
    """Minji has agreed and is at the issuer's. Nothing has come back yet."""
    control.set_delivery("held")
    control.set_event_format(format)
    control.mandate_pending_next()
    agree()
    return CardSetup.objects.get()


@pytest.fixture
def page(minji, setup):
    """The step in which Minji comes back."""
    address = reverse("krcard:success", args=[setup.public_id])

    def step():
        assert minji.get(address).status_code == 200

    return step


@pytest.mark.parametrize(("format", "times"), [("snapshot", 1), ("snapshot", 2), ("thin", 1), ("both", 2)])
def test_a_card_is_saved_once(setup, page, comes, in_every_order, world, times):
    control.authorise(setup.checkout_session_id)
    control.activate_mandate(card_at_stripe(Customer.objects.get()))

    ends = in_every_order({kind: comes(kind, times) for kind in SAVED} | {"page": page})
    rows = alike(world, ends, Customer.objects.get())
    assert sum(end.orders for end in ends) == factorial(5)
    assert [end.signals["card_saved"] for end in ends] == [1]
    assert [end.signals["mandate_activated"] for end in ends] == [1]
    assert told(rows) == {"consent_given": 1, "session_created": 1, "card_saved": 1, "mandate_activated": 1}


def test_a_card_is_saved_while_messages_are_late(setup, page, comes, in_every_order, world):
    """Things go on at Stripe while messages are on their way, and in the end the customer withdraws at the issuer."""
    at_stripe = {
        "authorised": lambda: control.authorise(setup.checkout_session_id),
        "in force": lambda: control.activate_mandate(card_at_stripe(Customer.objects.get())),
        "withdrawn": lambda: control.deactivate_mandate(card_at_stripe(Customer.objects.get())),
    }
    kinds = SAVED[:3]
    after = {"in force": {"authorised"}, "withdrawn": {"in force"}, "mandate.updated": {"withdrawn"}}
    after |= {kind: {"authorised"} for kind in kinds}
    steps = at_stripe | {kind: comes(kind, answers=(200, 500)) for kind in SAVED} | {"page": page}

    for end in in_every_order(steps, after):
        world.put_back(end.world)
        sweep()
        rows = rows_of(Customer.objects.get())
        seen = told(rows)
        # Whether it was ever in force, as far as we know, is a matter of when we looked.
        assert seen.pop("mandate_activated", 0) == end.signals["mandate_activated"] <= 1, end.order
        once = {"consent_given", "session_created", "card_saved", "card_removed", "mandate_ended"}
        assert seen == dict.fromkeys(once, 1), end.order
        assert 'status="inactive"' in rows["mandates"][0], end.order
        assert 'status="complete"' in rows["attempts"][0], end.order


def test_a_card_is_saved_once_by_workers_at_the_same_time(setup, worker, in_every_order, world):
    """Whoever has asked Stripe may be slow to write, and what was asked later is written first."""
    at_stripe = {"withdrawn": lambda: control.deactivate_mandate(card_at_stripe(Customer.objects.get()))}
    control.authorise(setup.checkout_session_id)
    control.activate_mandate(card_at_stripe(Customer.objects.get()))
    steps, after = worker("checkout.session.completed", "setup_intent.succeeded", "mandate.updated")

    for end in in_every_order(at_stripe | steps, after | {"look: mandate.updated": {"withdrawn"}}):
        world.put_back(end.world)
        # The message may have waited. It comes again.
        steps["look: mandate.updated"]()
        steps["write: mandate.updated"]()
        rows = rows_of(Customer.objects.get())
        seen = told(rows)
        assert seen.pop("mandate_activated", 0) <= 1, end.order
        once = {"consent_given", "session_created", "card_saved", "card_removed", "mandate_ended"}
        assert seen == dict.fromkeys(once, 1), end.order
        assert 'status="inactive"' in rows["mandates"][0], end.order


def told(rows):
    kinds = Counter(entry.strip('"').split(" by ")[0] for entry in rows["timeline"])
    del kinds["notice_sent"]
    return kinds


def test_a_card_is_gone_before_we_know_of_it(setup, page, comes, in_every_order, world):
    """For some cards Stripe makes no mandate, so that it is the card alone that tells."""
    control.authorise(setup.checkout_session_id, type="card")
    Resource.objects.filter(kind="mandate").delete()
    intent = Resource.objects.get(kind="setup_intent")
    intent.body["mandate"] = None
    intent.save()
    control.detach(card_at_stripe(Customer.objects.get()))

    kinds = [*SAVED[:3], "payment_method.detached"]
    ends = in_every_order({kind: comes(kind) for kind in kinds} | {"page": page})
    rows = alike(world, ends, Customer.objects.get())
    assert 'detached_at="·"' in rows["cards"][0]
    assert [end.signals["card_removed"] for end in ends] == [1]


# --- money moves ----------------------------------------------------------------------------------

PAID = [
    "payment_intent.processing",
    "payment_intent.succeeded",
    "charge.refunded",
    "refund.updated",
    "charge.dispute.created",
    "charge.dispute.closed",
]


@pytest.fixture
def charge(db, format):
    """A charge that is still with the issuer."""
    control.set_delivery("held")
    control.set_event_format(format)
    customer = customer_for(reference="minji")
    Customer.objects.update(notice_address="minji@example.com")
    mandate = saved_mandate(customer, as_used_terms(period="month"))
    control.processing_next()
    return services.charge(mandate, 10_000, reference="august")


def paid_back(charge):
    back = ask_stripe("POST", "/v1/refunds", {"payment_intent": charge.stripe_id, "amount": "4000"})
    ask_stripe("POST", f"/v1/refunds/{back['id']}", {"metadata": {"asked_by": "phone"}})


def closed(charge):
    [dispute] = books("dispute")
    control.close_dispute(dispute["id"], won=True)


@pytest.mark.parametrize(("format", "times"), [("snapshot", 1), ("both", 2)])
def test_money_is_counted_once(charge, comes, in_every_order, world, times):
    control.settle(charge.stripe_id)
    paid_back(charge)
    control.dispute(charge.stripe_id)
    closed(charge)

    ends = in_every_order({kind: comes(kind, times) for kind in PAID})
    rows = alike(world, ends, charge.mandate.customer)
    assert sum(end.orders for end in ends) == factorial(6)
    signals = ends[0].signals
    assert (signals["charge_succeeded"], signals["charge_refunded"], signals["dispute_closed"]) == (1, 1, 1)
    seen = told(rows)
    assert (seen["charge_succeeded"], seen["charge_refunded"], seen["dispute_closed"]) == (1, 1, 1)
    charge.refresh_from_db()
    assert (charge.status, charge.refunded_amount, charge.dispute_status) == ("succeeded", 4_000, "won")


def test_money_is_counted_once_while_messages_are_late(charge, comes, in_every_order, world):
    """Things go on at Stripe while messages are on their way."""
    at_stripe = {
        "settled": lambda: control.settle(charge.stripe_id),
        "paid back": lambda: paid_back(charge),
        "disputed": lambda: control.dispute(charge.stripe_id),
        "closed": lambda: closed(charge),
    }
    after = {
        "paid back": {"settled"},
        "disputed": {"paid back"},
        "closed": {"disputed"},
        "payment_intent.succeeded": {"settled"},
        "charge.refunded": {"paid back"},
        "charge.dispute.created": {"disputed"},
        "charge.dispute.closed": {"closed"},
    }
    kinds = [kind for kind in PAID if kind != "refund.updated"]

    for end in in_every_order(at_stripe | {kind: comes(kind) for kind in kinds}, after):
        world.put_back(end.world)
        seen = told(rows_of(charge.mandate.customer))
        once = "charge_succeeded", "charge_refunded", "dispute_closed"
        assert [seen[kind] for kind in once] == [end.signals[kind] for kind in once] == [1, 1, 1], end.order
        # Whether we saw it open is a matter of when we looked. What was held for it is not held any more.
        assert seen["dispute_opened"] == end.signals["dispute_opened"] <= 1, end.order
        assert seen["mandate_held"] == seen["mandate_resumed"] == seen["dispute_opened"], end.order
        row = Charge.objects.get()
        assert (row.status, row.refunded_amount, row.dispute_status) == ("succeeded", 4_000, "won"), end.order
        assert row.mandate.status == "active", end.order


def test_money_is_counted_once_when_our_answer_was_lost(save_card, comes, in_every_order, world):
    """A dispute does not bear our names. So it waits for the message that does, and is worked off by the command."""
    control.set_delivery("held")
    mandate = save_card(as_used_terms(period="month"))
    with answer_lost("payment_intents"):
        charge = services.charge(mandate, 10_000, reference="august")
    [payment] = books("payment_intent")
    ask_stripe("POST", "/v1/refunds", {"payment_intent": payment["id"], "amount": "4000"})
    control.dispute(payment["id"])
    assert (charge.status, charge.stripe_id) == ("unknown", None)

    kinds = ["payment_intent.succeeded", "charge.refunded", "refund.created", "charge.dispute.created"]
    ends = in_every_order({kind: comes(kind, answers=(200, 500)) for kind in kinds})
    assert sum(end.orders for end in ends) == factorial(4)
    for end in ends:
        world.put_back(end.world)
        sweep()
        sweep()
        charge.refresh_from_db()
        assert (charge.status, charge.refunded_amount, charge.is_disputed) == ("succeeded", 4_000, True), end.order
        seen = told(rows_of(charge.mandate.customer))
        once = "charge_succeeded", "charge_refunded", "dispute_opened"
        assert [seen[kind] for kind in once] == [1, 1, 1], end.order
        assert not Event.objects.filter(status__in=[*Event.OPEN, "dead"]).exists(), end.order


def test_money_is_counted_once_by_workers_at_the_same_time(charge, worker, in_every_order, world):
    """Whoever has asked Stripe may be slow to write, and what was asked later is written first."""
    at_stripe = {"settled": lambda: control.settle(charge.stripe_id)}
    steps, after = worker("payment_intent.processing", "payment_intent.succeeded")

    for end in in_every_order(at_stripe | steps, after | {"look: payment_intent.succeeded": {"settled"}}):
        world.put_back(end.world)
        assert end.signals["charge_succeeded"] == told(rows_of(charge.mandate.customer))["charge_succeeded"] == 1
        assert Charge.objects.get().status == "succeeded", end.order


def test_disputes_are_counted_once_by_workers_at_the_same_time(charge, worker, in_every_order, world):
    control.set_delivery("now")
    control.settle(charge.stripe_id)
    control.set_delivery("held")
    control.dispute(charge.stripe_id)
    at_stripe = {"closed": lambda: closed(charge)}
    steps, after = worker("charge.dispute.created", "charge.dispute.closed")

    for end in in_every_order(at_stripe | steps, after | {"look: charge.dispute.closed": {"closed"}}):
        world.put_back(end.world)
        seen = told(rows_of(charge.mandate.customer))
        assert seen["dispute_closed"] == end.signals["dispute_closed"] == 1, end.order
        assert seen["dispute_opened"] == end.signals["dispute_opened"] <= 1, end.order
        row = Charge.objects.get()
        assert (row.dispute_status, row.mandate.status) == ("won", "active"), end.order
