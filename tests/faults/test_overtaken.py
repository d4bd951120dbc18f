"""A sender is held up before its request (a paused machine, say), another takes over, and then the first goes on."""

import pytest

from django_krcard.exceptions import StripeRefusedKey
from django_krcard.models import Charge, Mandate, Refund
from django_krcard.sandbox import control
from django_krcard.services import refunds, steps
from tests.faults import books as auditor
from tests.faults import crash
from tests.faults.crash import recover, run_due
from tests.faults.scenarios import CHARGED, DECLINED, PAID, after, nothing, refund, revoke, schedule, the_charge, wait
from tests.faults.weather import FAULTS, Storm

pytestmark = [pytest.mark.faults, pytest.mark.django_db(transaction=True)]

MEETS = [None, *(fault for fault in FAULTS if fault.name in ("time-out", "429", "400"))]


def too_many(path):
    """The first try was turned away, so that the next is the timer's."""

    def begin(world):
        for _time in range(3):
            control.fail_next("POST", path, status=429)

    return begin


#: What is sent, how it comes to be the timer's to send, and how many questions come before the one that matters.
SENT = {
    "charge": (after(CHARGED, schedule, wait(hours=41)), lambda: steps.step(Charge.objects.get().pk), 1),
    "retry": (after(DECLINED, wait(hours=25)), lambda: steps.step(Charge.objects.get().pk), 0),
    "refund": (
        after(PAID, too_many("/v1/refunds"), refund(5_000), wait(minutes=2)),
        lambda: refunds.step(Refund.objects.get().pk),
        1,
    ),
}


@pytest.fixture
def world():
    with crash.world(Storm) as made:
        yield made
    Storm.end()


@pytest.mark.parametrize("then", [nothing, revoke])
@pytest.mark.parametrize("sent", SENT)
def test_one_payment_whoever_comes_last(world, sent, then):
    begin, act, before = SENT[sent]
    begin(world)
    start = world.picture()
    complaints = []
    for first in MEETS:
        for second in MEETS:
            world.put_back(start)
            slow, question = held_up(act(), before)
            wait(minutes=3)(world)
            meet(second, lambda: run_due(StripeRefusedKey))
            meet(first, lambda slow=slow, question=question: go_on(slow, question))
            then(world)
            recover(world, StripeRefusedKey)
            wrong = auditor.complaints() + ended(sent, then, refused={first, second})
            complaints += [f"{sent}: the second meets {second}, then the first {first}: {what}" for what in wrong]
    assert not complaints, "\n".join(complaints)


def held_up(act, questions):
    """The sender just before the request that matters."""
    question = next(act)
    for _question in range(questions):
        question = act.send(question())
    return act, question


def meet(fault, go):
    if fault:
        Storm.begin(fault, "/v1/(payment_intents|payment_intents/[^/]+/confirm|refunds)", requests=1)
    go()
    Storm.end()


def go_on(act, question):
    """What ``finish`` does, from here."""
    try:
        while True:
            try:
                answer = question()
            except Exception as error:
                question = act.throw(error)
            else:
                question = act.send(answer)
    except (StopIteration, StripeRefusedKey):
        pass


def ended(sent, then, refused):
    """Without a withdrawal, and if Stripe did not say no, all of it was done in the end."""
    if then is revoke:
        return [] if Mandate.objects.get().status == "revoked" else ["not revoked"]
    if any(fault and (fault.is_refusal or fault.name.startswith("500")) for fault in refused):
        return []
    row = Refund.objects.get() if sent == "refund" else the_charge()
    return [] if row.status == "succeeded" else [f"the {sent} is {row.status}"]
