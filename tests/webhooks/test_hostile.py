"""What Stripe signed is believed to come from Stripe, and in nothing else: 10,000 signed documents out of all shape."""

import json
import logging
import random
from collections import Counter
from datetime import timedelta
from functools import partial

import pytest
from django.core.handlers.wsgi import WSGIRequest
from django.db.models import F
from django.urls import resolve, reverse
from django.utils import timezone
from stripe import StripeClient

from django_krcard import gateway, services
from django_krcard.conf import conf
from django_krcard.models import (
    CardSetup,
    Charge,
    Consent,
    Customer,
    Event,
    Mandate,
    Notice,
    PaymentMethod,
    Refund,
    Subscription,
    SubscriptionChange,
    TimelineEntry,
)
from django_krcard.sandbox import control
from django_krcard.sandbox.http import SandboxHTTPClient
from django_krcard.sandbox.models import Event as Told
from django_krcard.sandbox.models import Resource
from django_krcard.services import mandates, outcomes
from django_krcard.testing import sign
from django_krcard.webhooks import inbox
from django_krcard.webhooks.handlers import HANDLERS
from tests.effort import EFFORT, tries
from tests.factories import PublishedTerms, UserFactory, as_used_terms, consent_of
from tests.webhooks.documents import Documents
from tests.webhooks.ears import all_ears
from tests.webhooks.mutations import SEED, Message, new_seed

logger = logging.getLogger(__name__)

pytestmark = [pytest.mark.faults, pytest.mark.django_db(transaction=True)]

#: In parts, so that several processes of a suite share them.
PARTS, DOCUMENTS = 4, tries(2_500, short=250)
#: So many between two looks at all rows.
AT_A_TIME = 100

#: Why an event may be given up at once: Stripe was asked, and does not have it, or it is somebody else's.
HOPELESS = ("StripeRefusedRequest", "SetupNotAllowed")
WAITS = "NotHereYet"


@pytest.fixture
def town(mandate, membership, save_card, no_waiting):
    """Two customers, with something of everything that a message can be about. Stripe and we agree on all of it."""
    control.set_event_format("both")
    minji, hana = mandate.customer, services.get_or_create_customer(UserFactory(username="hana"))
    theirs, used = save_card(membership, customer=hana), as_used_terms()
    pay(mandate, theirs)
    lose_an_answer(save_card(used, customer=hana))
    subscribe(save_card(PublishedTerms(slug="monthly", amount=8_000), customer=minji))
    subscribe(theirs, metadata={})
    save_cards_or_not(minji, hana, used, save_card)
    assert not Event.objects.filter(status__in=Event.OPEN).exists()
    control.set_delivery("dropped")


def pay(mandate, theirs):
    paid = services.charge(mandate, 12_900, reference="november")
    services.refund(paid, 4_000, reference="half")
    control.dispute(services.charge(theirs, 12_900, reference="november").stripe_id)


def lose_an_answer(mandate):
    """Stripe never heard of the charge. Meanwhile somebody else charges the same customer as much."""
    control.decline_next("insufficient_funds")
    services.charge(mandate, 7_000, reference="declined")
    for _ in range(3):
        control.fail_next("POST", "/v1/payment_intents", effect="before", status="timeout")
    lost = services.charge(mandate, 9_000, reference="lost")
    assert (lost.status, lost.stripe_id) == ("unknown", None)
    of_them = {"customer": mandate.customer.stripe_id, "payment_method": mandate.payment_method.stripe_id}
    dashboard().payment_intents.create(
        of_them | {"amount": 9_000, "currency": "krw", "confirm": True, "off_session": True}
    )


def subscribe(mandate, **changes):
    """With its first invoice. By other `metadata` it is a subscription of another site on the same account."""
    product = {"name": "달빛 회원권"}
    monthly = {"currency": "krw", "unit_amount": 8_000, "recurring": {"interval": "month"}, "product_data": product}
    params = {
        "customer": mandate.customer.stripe_id,
        "items": [{"price": dashboard().prices.create(monthly).id}],
        "default_payment_method": mandate.payment_method.stripe_id,
        "payment_settings": {"payment_method_types": ["kr_card"]},
        "off_session": True,
        "metadata": {"krcard_mandate": str(mandate.public_id)},
    }
    dashboard().subscriptions.create(params | changes)


def save_cards_or_not(minji, hana, used, save_card):
    addresses = {"success_url": "http://testserver/", "cancel_url": "http://testserver/"}
    services.start_checkout(consent_of(minji, used), **addresses)
    over = PublishedTerms(slug="over", amount=5_000)
    services.revoke(save_card(over, customer=minji), by="customer", reason="enough")
    control.detach(save_card(over, customer=minji).payment_method.stripe_id)
    failed = services.start_checkout(consent_of(hana, over), **addresses)
    control.fail(failed.checkout_session_id)
    control.expire(failed.checkout_session_id)


def dashboard():
    """Other hands than ours at Stripe."""
    return StripeClient(conf.STRIPE_SECRET_KEY, http_client=SandboxHTTPClient()).v1


OURS = (
    Customer,
    Consent,
    CardSetup,
    PaymentMethod,
    Mandate,
    Charge,
    Refund,
    Subscription,
    SubscriptionChange,
    TimelineEntry,
    Notice,
)

#: They only say when Stripe was asked.
NOT_A_CHANGE = {"checked_at", "told_at"}


def everything():
    """All we know and all that Stripe has, row by row."""
    rows = {}
    for model in (*OURS, Resource):
        for row in model.objects.values():
            key = (model.__name__, row.pop("public_id", None) or row.get("stripe_id") or row["id"])
            rows[key] = {name: value for name, value in row.items() if name not in NOT_A_CHANGE}
    return rows


def changes(before, after):
    for key in before.keys() | after.keys():
        old, new = before.get(key, {}), after.get(key, {})
        yield from (
            f"{key} {name}: {old.get(name)!r} became {new.get(name)!r}"
            for name in old.keys() | new.keys()
            if old.get(name) != new.get(name)
        )


def all_that_has_a_name(seed):
    told = [json.loads(row.raw) for row in Told.objects.order_by("pk")]
    ids = {}
    for kind, name in Resource.objects.order_by("pk").values_list("kind", "stripe_id"):
        ids.setdefault(kind, []).append(name)
    metadata = [{"krcard_setup": str(setup.public_id)} for setup in CardSetup.objects.order_by("pk")]
    metadata += [
        {"krcard_mandate": str(charge.mandate.public_id), "krcard_reference": charge.reference}
        for charge in Charge.objects.order_by("pk")
    ]
    metadata += [{"krcard_mandate": str(mandate.public_id)} for mandate in Mandate.objects.order_by("pk")]
    names = [*(event["id"] for event in told[:5]), "november", "lost", "pi_none"]
    for model in (Mandate, CardSetup, Charge, Consent):
        names += map(str, model.objects.order_by("pk").values_list("public_id", flat=True))
    return Documents(random.Random(seed), told, ids, metadata, names)


class Door:
    """Posts signed bytes and says what was wrong with the answer, or nothing."""

    def __init__(self):
        self.path = reverse("krcard:webhook")
        self.view = resolve(self.path).func

    def knock(self, body):
        message = Message(body, sign(body, conf.STRIPE_WEBHOOK_SECRETS[0]), str(len(body)))
        try:
            status = self.view(WSGIRequest(message.environ(self.path))).status_code
        except Exception as error:
            return f"raised {error!r}"
        if not is_text(body):
            # Stripe's own check cannot read it, so it is not proved.
            return None if status == 400 else f"answered {status} to what is no text"
        if status == 200:
            return None
        errors = unexplained()
        return None if status == 500 and waiting() and not errors else f"answered {status}: {errors}"


def is_text(body):
    try:
        body.decode()
    except UnicodeDecodeError:
        return False
    return True


def waiting():
    return Event.objects.filter(status__in=Event.OPEN)


def unexplained():
    """Errors that nobody foresaw. The rows are put away, so that each is told once."""
    rows = waiting().exclude(last_error__startswith=WAITS)
    errors = [f"{row.type}: {row.last_error}" for row in rows]
    rows.update(status=Event.Status.DEAD, last_error="StripeRefusedRequest: not really, but told")
    return errors


def attack(documents, count):
    """What went wrong, as `{what: [by which, …]}`. Nothing may."""
    before, door, wrong = everything(), Door(), {}
    with all_ears() as ears:
        for at in range(0, count, AT_A_TIME):
            for body in [documents.next() for _ in range(AT_A_TIME)]:
                if fault := door.knock(body):
                    wrong.setdefault(fault, []).append(body[:1_000])
            now = everything()
            for change in changes(before, now):
                wrong.setdefault(change, []).append(f"message {at} to {at + AT_A_TIME - 1}")
            before = now
            ears.heard.clear()
    return wrong


@pytest.mark.parametrize("part", range(PARTS))
def test_signed_nonsense_changes_nothing_and_stops_nobody(town, mandate, part):
    seed = new_seed()

    wrong = attack(all_that_has_a_name(seed + part), DOCUMENTS)

    assert not wrong, report(wrong, seed)
    with all_ears():
        assert_all_is_told()
        assert_nobody_is_stopped(mandate)
        assert_what_waits_ends()


def report(wrong, seed):
    lines = [f"{len(bodies)} times {fault}, by\n    {bodies[0]}" for fault, bodies in list(wrong.items())[:10]]
    return f"Again with {SEED}={seed} (and AT_A_TIME = 1), {len(wrong)} faults:\n" + "\n".join(lines)


def assert_all_is_told():
    """Every way in which a message can end was taken, each row says which, and no error is one that nobody foresaw."""
    ends = Counter(Event.objects.values_list("status", flat=True))
    ways = {"done", "ignored", "dead", "quarantined", "foreign", "received"}
    assert set(ends) <= ways, ends
    # Of a few hundred messages none may happen to be one that waits.
    assert set(ends) == ways or EFFORT == "short", ends
    dead = Event.objects.filter(status="dead").values_list("last_error", flat=True)
    assert [error for error in dead if not error.startswith(HOPELESS)] == []


def assert_nobody_is_stopped(mandate):
    """The next true message is worked off at once."""
    control.set_delivery("now")
    control.detach(mandate.payment_method.stripe_id)
    mandate.payment_method.refresh_from_db()
    assert mandate.payment_method.detached_at
    assert Told.objects.order_by("pk").last().state == "delivered"


def assert_what_waits_ends():
    """Whatever waits is tried again, and given up when it is too old. None is left, and none is in the way."""
    for age in (timedelta(), inbox.GIVE_UP_AFTER):
        waiting().update(received_at=F("received_at") - age)
        for pk in inbox.due(timezone.now() + timedelta(days=2)):
            inbox.process(pk)
    assert not waiting().exists()


# --- would it be noticed? -------------------------------------------------------------------------


def believes_the_status(thing):
    ours = Mandate.objects.filter(stripe_id=thing["id"]).first()
    return partial(mandates.follow_stripe, ours, thing["status"]) if ours else None


def believes_the_names(thing):
    names = thing.get("metadata") or {}
    ours = Charge.objects.filter(reference=names.get("krcard_reference"), stripe_id=None).first()
    return partial(outcomes.apply, ours, gateway.retrieve_payment_intent(thing["id"])) if ours else None


def reckons_with_every_key(thing):
    logger.debug("%s won", thing["amount"])


HOLES = [
    (believes_the_status, "mandate.updated", "aimed", "Mandate"),
    (believes_the_names, "payment_intent.succeeded", "aimed", "Charge"),
    (reckons_with_every_key, "payment_method.attached", "mangled", "KeyError"),
]


@pytest.mark.parametrize(("handler", "type", "way", "told"), HOLES, ids=[hole[0].__name__ for hole in HOLES])
def test_a_handler_with_a_hole_would_be_noticed(town, monkeypatch, handler, type, way, told):
    documents = all_that_has_a_name(seed=1)
    documents.next = getattr(documents, way)
    monkeypatch.setattr("tests.webhooks.documents.HANDLERS", {type: None})
    monkeypatch.setitem(HANDLERS, type, handler)

    wrong = attack(documents, 500)

    assert any(told in fault for fault in wrong)
