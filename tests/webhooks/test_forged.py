"""Nothing forged gets in: 20,000 messages that are Stripe's no longer, and what each of them may not do."""

import hmac
import importlib
import itertools
import logging
import random
from collections import Counter

import pytest
from django.core.handlers.wsgi import WSGIRequest
from django.db import connection
from django.test.client import ClientHandler
from django.urls import resolve, reverse

from django_krcard import gateway
from django_krcard.conf import conf
from django_krcard.exceptions import InvalidSignature
from django_krcard.models import Event
from tests.effort import tries
from tests.webhooks import mutations
from tests.webhooks.ears import all_ears
from tests.webhooks.mutations import CONFIGURED, KINDS, MARK, NEW_SECRET, NOW, OLD_SECRET, Message, is_genuine

pytestmark = [pytest.mark.faults, pytest.mark.django_db]

MUTANTS = tries(20_000, short=2_000)
THROUGH_THE_WHOLE_SITE = tries(2_000, short=400)

view_module = importlib.import_module("django_krcard.views.webhook")


@pytest.fixture(autouse=True)
def site(settings, monkeypatch):
    """A site in the middle of a roll of its secrets, at a moment that does not pass."""
    settings.STRIPE_WEBHOOK_SECRET = CONFIGURED
    monkeypatch.setattr("time.time", lambda: float(NOW))


@pytest.fixture
def view():
    """The view alone: twenty thousand requests in seconds."""
    path = reverse("krcard:webhook")
    function = resolve(path).func
    return lambda message: function(WSGIRequest(message.environ(path)))


@pytest.fixture
def whole_site():
    """With all middleware, as a server calls it."""
    path = reverse("krcard:webhook")
    handler = ClientHandler(enforce_csrf_checks=True)
    return lambda message: handler(message.environ(path))


def mutants(count, seed):
    """`(name, message, forged)`: the kinds in turn, each on a message of its own."""
    rng = random.Random(seed)
    for name, forge in itertools.islice(itertools.cycle(KINDS.items()), count):
        message = Message.of(mutations.genuine_body(rng), rng.choice([NEW_SECRET, OLD_SECRET]))
        yield name, message, forge(message, rng)


def attack(door, count, seed):
    """What went wrong, as `{kind: [what, …]}`. Nothing may."""
    wrong = {}
    with all_ears() as ears:
        for name, message, forged in mutants(count, seed):
            assert is_genuine(message), f"{name} began with a message that was wrong already (seed {seed})"
            assert not is_genuine(forged), f"{name} leaves the message genuine (seed {seed}): {forged}"
            ears.heard.clear()
            for fault in faults_of(door, ears, name, forged):
                wrong.setdefault(name, []).append(f"{fault}: {forged.told()}")
    return wrong


def faults_of(door, ears, name, forged):
    queries = []

    def refuse(execute, sql, *rest):
        queries.append(sql)
        raise AssertionError("A forged message made a query.")

    with connection.execute_wrapper(refuse):
        try:
            response = door(forged)
        except Exception as error:
            response = None
            yield f"raised {type(error).__name__}"
    if queries:
        yield f"{len(queries)} queries"
    if any(MARK in told for told in ears.heard):
        yield "the body is in the log"
    if any("\n" in told.split("\n(")[0] for told in ears.heard if told.startswith("Webhook")):
        yield "a line of its own in the log"
    expected = 413 if name in mutations.TOO_LARGE else 400
    if response is not None and response.status_code != expected:
        yield f"answered {response.status_code}"
    if response is not None and response.content:
        yield "told something"


def report(wrong, seed):
    lines = [f"  {name} ({len(faults)}): {faults[0]}" for name, faults in sorted(wrong.items())]
    return f"Again with {mutations.SEED}={seed}:\n" + "\n".join(lines)


def test_no_forged_message_gets_in(view):
    seed = mutations.new_seed()

    wrong = attack(view, MUTANTS, seed)

    assert not wrong, report(wrong, seed)
    assert not Event.objects.exists()


def test_no_forged_message_gets_through_the_whole_site(whole_site):
    seed = mutations.new_seed()

    wrong = attack(whole_site, THROUGH_THE_WHOLE_SITE, seed)

    assert not wrong, report(wrong, seed)
    assert not Event.objects.exists()


@pytest.mark.parametrize("door", ["view", "whole_site"])
def test_the_messages_that_were_forged_are_taken_when_they_are_left_alone(door, request):
    door = request.getfixturevalue(door)
    seed = mutations.new_seed()

    answers = Counter(door(message).status_code for _, message, _ in mutants(len(KINDS), seed))

    assert answers == {200: len(KINDS)}, f"Again with {mutations.SEED}={seed}"
    assert Event.objects.count() == len(KINDS) >= 40


@pytest.mark.parametrize(
    ("seconds", "status"), [(-301, 400), (-300, 200), (-1, 200), (0, 200), (299, 200), (300, 200), (301, 400)]
)
def test_a_signature_counts_for_five_minutes_either_way(view, seconds, status):
    body = mutations.genuine_body(random.Random(1))

    response = view(Message.of(body).with_header(mutations.signed(body, at=NOW + seconds)))

    assert response.status_code == status
    assert Event.objects.count() == (status == 200)


@pytest.mark.parametrize(
    "write",
    [
        lambda at, right: f"t={at},v1={right}",
        lambda at, right: f"t={at},v1={right},v0={'0' * 64}",
        lambda at, right: f"t={at},v0={'0' * 64},v1={right}",
        lambda at, right: f"t={at},v1={'0' * 64},v1={right}",
        lambda at, right: f"t={at},v1={right},v1={'0' * 64},v2=later",
        lambda at, right: f"v1={right},t={at}",
    ],
    ids=["one", "with-v0", "v0-first", "two-secrets-at-stripe", "right-one-first", "time-last"],
)
def test_what_stripe_may_write_into_the_header_is_taken(view, write):
    message = Message.of(mutations.genuine_body(random.Random(2)))

    assert view(message.with_header(write(NOW, message.signature))).status_code == 200


# --- would it be noticed? -------------------------------------------------------------------------
# Doors with one hole each, as they are found in other people's code.


def right_parts(header):
    return dict(part.split("=", 1) for part in header.split(","))


def believes_everything(body, header):
    pass


def lets_stripes_errors_through(body, header):
    for secret in conf.STRIPE_WEBHOOK_SECRETS:
        gateway.verify_signature(body, header, secret, 300)


def only_stripes_check(body, header):
    """What the SDK does, with all it raises caught: knows no future, and a time that is written oddly."""
    for secret in conf.STRIPE_WEBHOOK_SECRETS:
        try:
            return gateway.verify_signature(body, header, secret, 300)
        except Exception:
            continue
    raise InvalidSignature("mismatch")


def by_hand(secrets=lambda: conf.STRIPE_WEBHOOK_SECRETS, clean=lambda body: body, equal=hmac.compare_digest, ages=True):
    def verify(body, header):
        try:
            parts = right_parts(header)
            at, given = parts["t"], parts["v1"]
            digests = [mutations.mac(clean(body), secret, at) for secret in secrets()]
            if any(equal(digest, given) for digest in digests) and (not ages or abs(NOW - int(at)) <= 300):
                return
        except Exception:
            pass
        raise InvalidSignature("mismatch")

    return verify


def asks_first(body, header):
    Event.objects.filter(stripe_id="evt_1").exists()
    raise InvalidSignature("mismatch")


def tells_all(body, header):
    logging.getLogger("shop").warning("Wrong signature on %s", body.decode("utf-8", "replace"))
    raise InvalidSignature("mismatch")


HOLES = {
    "believes everything": (believes_everything, "bit_of_body_flipped"),
    "lets Stripe's errors through": (lets_stripes_errors_through, "time_huge"),
    "only Stripe's check": (only_stripes_check, "signed_too_far_in_the_future"),
    "asks the database first": (asks_first, "header_blank"),
    "logs the body": (tells_all, "signature_missing"),
    "blank secrets count": (by_hand(secrets=lambda: CONFIGURED), "empty_secret"),
    "a removed secret counts": (by_hand(secrets=lambda: [mutations.REMOVED_SECRET]), "secret_that_was_removed"),
    "strips the body": (by_hand(clean=bytes.strip), "white_space_after_body"),
    "any case": (by_hand(equal=lambda one, other: one == other.lower()), "signature_in_capitals"),
    "the beginning is enough": (by_hand(equal=lambda one, other: one.startswith(other)), "signature_empty"),
    "any age": (by_hand(ages=False), "signed_too_long_ago"),
}


@pytest.mark.parametrize(("verify", "kind"), HOLES.values(), ids=HOLES)
def test_a_door_with_a_hole_would_be_noticed(view, monkeypatch, verify, kind):
    monkeypatch.setattr(view_module, "verify", verify)

    wrong = attack(view, 12 * len(KINDS), seed=1)

    assert kind in wrong
