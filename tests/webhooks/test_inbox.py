"""Stored once, worked off once, tried again, given up, and done once more when somebody asks."""

import json
import logging
import time
from datetime import timedelta

import pytest
from django.db import transaction
from django.utils import timezone

from django_krcard import gateway, services
from django_krcard.exceptions import InsideTransaction
from django_krcard.models import CardSetup, Event, Mandate, TimelineEntry
from django_krcard.sandbox import control
from django_krcard.sandbox.models import Event as SandboxEvent
from django_krcard.signals import event_processed
from django_krcard.webhooks import inbox
from django_krcard.webhooks.handlers import HANDLERS, NotHereYet
from tests.factories import as_used_terms

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def knock(krcard_events):
    """Post an event of a type that we handle, about nothing of ours."""

    def post(**changes):
        event = {
            "id": "evt_1",
            "object": "event",
            "type": "mandate.updated",
            "created": int(time.time()),
            "livemode": False,
            "data": {"object": {"id": "mandate_other", "object": "mandate"}},
        }
        return krcard_events.post_raw(json.dumps(event | changes)).status_code

    return post


@pytest.fixture
def handler(monkeypatch):
    """Let this function handle ``mandate.updated``."""
    return lambda function: monkeypatch.setitem(HANDLERS, "mandate.updated", function)


def fail(thing):
    raise RuntimeError("no")


# --- phases ---------------------------------------------------------------------------------------


def test_what_a_handler_returns_is_written_together_with_the_end_of_the_event(knock, handler, mandate):
    def write():
        TimelineEntry.objects.create(mandate=mandate, kind="half", actor="system", data={})
        raise RuntimeError("in the middle")

    handler(lambda thing: write)
    assert knock() == 500
    assert not mandate.timeline.filter(kind="half").exists()
    assert Event.objects.get(stripe_id="evt_1").status == "failed"


def test_a_handler_looks_with_no_transaction_open_and_writes_inside_of_one(knock, handler):
    seen = []
    handler(lambda thing: seen.append(in_transaction()) or (lambda: seen.append(in_transaction())))
    assert knock() == 200
    assert seen == [False, True]


def test_an_act_shares_the_transaction_of_its_message_and_asks_between_two(knock, handler, mandate):
    seen = []

    def act(thing):
        look_around("look")
        look_around((yield lambda: look_around("ask") or "answer"))
        return lambda: look_around("write")

    def look_around(step):
        seen.append((step, in_transaction(), Event.objects.get(stripe_id="evt_1").status))

    handler(act)
    assert knock() == 200
    assert seen == [
        ("look", True, "done"),
        ("ask", False, "received"),
        ("answer", False, "received"),
        ("write", True, "done"),
    ]


def test_an_act_without_a_question_is_one_transaction(knock, handler, django_assert_num_queries):
    def act(thing):
        return Event.objects.count
        yield

    handler(act)
    knock()
    with django_assert_num_queries(4) as queries:
        assert knock(id="evt_2") == 200
    assert [query["sql"].split()[0] for query in queries] == ["BEGIN", "INSERT", "SELECT", "COMMIT"]
    assert Event.objects.get(stripe_id="evt_2").attempts == 1


@pytest.mark.parametrize("where", ["look", "ask", "answer", "write"])
def test_wherever_an_act_fails_its_message_stays_and_nothing_else(knock, handler, mandate, where):
    fails = [where]

    def act(thing):
        step("look")
        yield lambda: step("ask")
        step("answer")
        return lambda: step("write")

    def step(name):
        TimelineEntry.objects.create(mandate=mandate, kind=f"half_{name}", actor="system", data={})
        if name in fails:
            raise RuntimeError(name)

    handler(act)
    assert knock() == 500
    event = Event.objects.get(stripe_id="evt_1")
    assert (event.status, event.attempts, event.last_error) == ("failed", 1, f"RuntimeError: {where}")
    assert event.lease_until is None
    assert not mandate.timeline.filter(kind="half_write").exists()
    fails.clear()
    assert knock() == 200
    event.refresh_from_db()
    assert (event.status, event.attempts) == ("done", 2)
    assert mandate.timeline.filter(kind="half_write").count() == 1


def in_transaction():
    return transaction.get_connection().in_atomic_block


def test_stripe_cannot_be_asked_while_it_is_written_down(knock, handler, mandate):
    handler(lambda thing: lambda: gateway.retrieve_mandate_status(mandate.stripe_id))
    assert knock() == 500
    assert InsideTransaction.__name__ in Event.objects.get(stripe_id="evt_1").last_error


def test_a_sites_own_handler_needs_to_return_nothing(knock, monkeypatch):
    seen, told = [], []

    def own(customer):
        seen.append(customer["id"])
        return customer

    monkeypatch.setitem(HANDLERS, "customer.updated", own)

    def hear(event, **kwargs):
        told.append((event.stripe_id, event.status))

    event_processed.connect(hear)
    try:
        assert knock(type="customer.updated", data={"object": {"id": "cus_1"}}) == 200
    finally:
        event_processed.disconnect(hear)
    assert (seen, told) == (["cus_1"], [("evt_1", "done")])


# --- again, later, never --------------------------------------------------------------------------


def test_the_pauses_grow_and_after_three_days_it_is_given_up(knock, handler, monkeypatch, krcard_clock):
    pauses = []
    monkeypatch.setattr("random.uniform", lambda low, high: (low, high)[len(pauses) % 2])
    handler(fail)
    assert knock() == 500
    event = Event.objects.get()
    while event.status == "failed":
        pauses.append((event.next_attempt_at - timezone.now()) / timedelta(minutes=1))
        krcard_clock.advance(event.next_attempt_at - timezone.now())
        event = inbox.process(event.pk)
    expected = [1 * 0.8, 5 * 1.2, 30 * 0.8, 120 * 1.2, 360 * 0.8, 720 * 1.2, 1440 * 0.8, 1440 * 1.2, 1440 * 0.8]
    assert pauses == pytest.approx(expected[: len(pauses)], rel=0.05)
    assert timedelta(days=3) < timezone.now() - event.received_at < timedelta(days=4.5)
    assert (event.status, event.next_attempt_at, event.last_error) == ("dead", None, "RuntimeError: no")
    assert knock() == 200


def test_knocks_alone_do_not_make_it_given_up(knock, handler):
    handler(fail)
    assert [knock() for _ in range(12)] == [500] * 12
    assert Event.objects.get().status == "failed"


@pytest.mark.parametrize("words", ["\ud800 half", "nul \x00 nul"])
def test_what_went_wrong_is_kept_whatever_it_says_and_holds_up_nobody(knock, handler, words, caplog):
    caplog.set_level(logging.CRITICAL)  # pytest-xdist cannot carry half a surrogate pair from one process to another

    def break_down(thing):
        raise RuntimeError(words)

    handler(break_down)
    assert knock() == 500
    assert Event.objects.get().last_error.startswith("RuntimeError: ")


def test_a_message_that_is_too_early_waits_and_is_not_a_failure(knock, handler, caplog):
    def early(thing):
        raise NotHereYet("not yet")

    handler(early)
    assert knock() == 500
    event = Event.objects.get(stripe_id="evt_1")
    assert (event.status, event.last_error) == ("received", "NotHereYet: not yet")
    assert not [record for record in caplog.records if record.name.startswith("django_krcard") and record.exc_info]
    assert [knock() for _ in range(10)] == [500] * 10
    handler(lambda thing: None)
    assert knock() == 200


def test_a_message_that_waits_in_vain_is_given_up_as_well(knock, handler, krcard_clock):
    def early(thing):
        raise NotHereYet("not yet")

    handler(early)
    assert knock() == 500
    krcard_clock.advance(inbox.GIVE_UP_AFTER + timedelta(seconds=1))
    assert inbox.process(Event.objects.get().pk).status == "dead"


def test_what_stripe_does_not_have_is_given_up_at_once_and_can_be_replayed(mandate, knock):
    """A key of another account, say."""
    Mandate.objects.update(stripe_id="mandate_elsewhere")
    assert knock(data={"object": {"id": "mandate_elsewhere"}}) == 200
    event = Event.objects.get(stripe_id="evt_1")
    assert (event.status, event.attempts) == ("dead", 1)
    Mandate.objects.update(stripe_id=mandate.stripe_id)
    assert inbox.process(event.pk, again=True).status == "done"


def test_another_session_than_the_attempts_is_not_believed_and_given_up(agree, knock, save_card, user):
    stranger = save_card(as_used_terms(), customer=services.get_or_create_customer(reference="stranger"))
    theirs = stranger.setups.get().checkout_session_id
    agree()
    setup = CardSetup.objects.latest("pk")
    CardSetup.objects.filter(pk=setup.pk).update(checkout_session_id=None)
    session = {"id": theirs, "client_reference_id": str(setup.public_id)}
    stranger.setups.update(checkout_session_id="cs_forgotten")
    assert knock(type="checkout.session.completed", data={"object": session}) == 200
    assert Event.objects.get(stripe_id="evt_1").status == "dead"
    assert setup.mandate.status == "pending"


@pytest.mark.parametrize("body", [b"[]", b'{"object": "event"}', b'{"object": "v2.core.event", "id": "x"}'])
def test_the_same_unusable_message_again_is_one_row(krcard_events, body, caplog):
    assert [krcard_events.post_raw(body).status_code for _ in range(3)] == [200] * 3
    event = Event.objects.get()
    assert (event.status, bytes(event.body)) == ("quarantined", body)
    assert inbox.process(event.pk, again=True).status == "quarantined"


# --- claims ---------------------------------------------------------------------------------------


def test_what_a_dead_process_had_claimed_is_anybodys_after_a_while(krcard_clock):
    subject = {"object": {"id": "mandate_other"}}
    body = json.dumps({"object": "event", "id": "evt_1", "type": "mandate.updated", "livemode": False, "data": subject})
    event, is_new = inbox.keep(body.encode(), claimed=True)
    assert (is_new, event.attempts) == (True, 1)
    assert list(inbox.due(timezone.now())) == []
    assert inbox.process(event.pk).status == "received"
    krcard_clock.advance(inbox.LEASE + timedelta(seconds=1))
    assert list(inbox.due(timezone.now())) == [event.pk]
    assert inbox.process(event.pk).status == "done"


@pytest.mark.parametrize("ends", ["well", "badly"])
def test_who_was_overtaken_writes_nothing_and_spoils_nothing(knock, handler, krcard_clock, ends):
    """A process that stood still for longer than its claim goes on when another one is through with the event."""
    written, told = [], []

    def slow(thing):
        handler(lambda thing: lambda: written.append("the other"))
        krcard_clock.advance(inbox.LEASE + timedelta(seconds=1))
        assert inbox.process(Event.objects.get().pk).status == "done"
        if ends == "badly":
            raise RuntimeError("too late")
        return lambda: written.append("the slow one")

    def hear(event, **kwargs):
        told.append(event.status)

    handler(slow)
    event_processed.connect(hear)
    try:
        assert knock() == 200
    finally:
        event_processed.disconnect(hear)
    event = Event.objects.get()
    assert (written, told) == (["the other"], ["done"])
    assert (event.status, event.last_error, event.lease_until) == ("done", "", None)


def test_due_gives_the_oldest_first_and_each_once(monkeypatch):
    monkeypatch.setattr(inbox, "CHUNK", 3)
    now = timezone.now()
    ages = [5, 1, 9, 9, 2, 7, 7, 7]
    rows = [Event(stripe_id=f"evt_{n}", body=b"", created=now - timedelta(hours=age)) for n, age in enumerate(ages)]
    Event.objects.bulk_create(rows)
    Event.objects.create(stripe_id="evt_later", body=b"", next_attempt_at=now + timedelta(hours=1))
    Event.objects.create(stripe_id="evt_done", body=b"", status="done")
    given = [Event.objects.get(pk=pk) for pk in inbox.due(now)]
    assert [(now - event.created) // timedelta(hours=1) for event in given] == sorted(ages, reverse=True)
    assert len({event.pk for event in given}) == len(ages)


# --- thin events ----------------------------------------------------------------------------------


def test_a_site_that_only_hears_thin_events_knows_the_same(save_card, krcard_clock):
    control.set_event_format("thin")
    mandate = save_card(as_used_terms())
    charge = services.charge(mandate, 5_000, reference="r")
    dispute = control.dispute(charge.stripe_id)
    mandate.refresh_from_db()
    assert mandate.status == "on_hold"
    control.close_dispute(dispute["id"], won=True)
    control.deactivate_mandate(mandate.payment_method.stripe_id)
    mandate.refresh_from_db()
    assert mandate.status == "inactive"
    assert not Event.objects.exclude(status__in=["done", "ignored"]).exists()
    assert {json.loads(bytes(event.body))["object"] for event in Event.objects.all()} == {"v2.core.event"}


def test_a_thin_event_and_its_twin_are_one(save_card):
    control.set_event_format("both")
    mandate = save_card(as_used_terms())
    control.detach(mandate.payment_method.stripe_id)
    told = set(SandboxEvent.objects.filter(format="snapshot").values_list("stripe_id", flat=True))
    assert set(Event.objects.values_list("stripe_id", flat=True)) == told
    assert mandate.timeline.filter(kind="card_removed").count() == 1


def test_a_card_saved_with_only_thin_events_and_no_result_page(agree):
    control.set_event_format("thin")
    agree()
    control.authorise(CardSetup.objects.get().checkout_session_id)
    assert Mandate.objects.get().status == "active"


# --- messages are hints ---------------------------------------------------------------------------


def test_a_card_that_is_still_saved_at_stripe_is_not_removed_because_a_message_says_so(mandate, knock):
    card = {"id": mandate.payment_method.stripe_id, "object": "payment_method", "customer": None}
    assert knock(type="payment_method.detached", data={"object": card}) == 200
    mandate.payment_method.refresh_from_db()
    assert mandate.payment_method.detached_at is None


def test_a_customer_who_is_still_there_is_not_gone_because_a_message_says_so(mandate, knock):
    assert knock(type="customer.deleted", data={"object": {"id": mandate.customer.stripe_id}}) == 200
    mandate.refresh_from_db()
    assert mandate.status == "active"


def test_a_customer_who_was_deleted_at_stripe_cannot_be_charged(mandate):
    gateway.client.client().v1.customers.delete(mandate.customer.stripe_id)
    mandate.refresh_from_db()
    mandate.payment_method.refresh_from_db()
    assert (mandate.status, mandate.ended_by) == ("inactive", "stripe")
    assert mandate.payment_method.detached_at
    assert services.can_charge(mandate, 12_900).code == "mandate_not_active"
    assert not Event.objects.exclude(status__in=["done", "ignored"]).exists()


def test_a_card_attached_is_a_hint_at_the_attempt_whose_own_messages_are_lost(agree):
    control.set_delivery("held")
    agree()
    control.authorise(CardSetup.objects.get().checkout_session_id)
    lost = SandboxEvent.objects.exclude(type="payment_method.attached")
    lost.update(state="dropped")
    control.deliver()
    assert Mandate.objects.get().status == "active"
