"""One task for each row that is due, in the queue of the site."""

import importlib
import subprocess
import sys
from datetime import timedelta
from importlib.util import find_spec
from pathlib import Path

import django
import pytest
from django.core import mail
from django.core.exceptions import ImproperlyConfigured
from django.core.management import call_command
from django.test import override_settings
from django.utils import timezone

from django_krcard import services, tasks
from django_krcard.exceptions import DatabaseIsBehind, StripeRefusedKey
from django_krcard.models import Charge, Event, Notice, Refund
from django_krcard.sandbox import control
from django_krcard.sandbox.models import Event as SandboxEvent
from django_krcard.services import backup, run
from django_krcard.webhooks import inbox
from tests.factories import as_used_terms
from tests.test_concurrency import all_at_once

FRAMEWORK = "django.tasks" if django.VERSION >= (6, 0) else "django_tasks"
ROOT = Path(__file__).parents[1]

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("krcard_clock", "no_waiting"),
    pytest.mark.skipif(find_spec(FRAMEWORK) is None, reason="needs Django 6.0 or the package django-tasks"),
]


@pytest.fixture
def site():
    """A site with this backend. Its process imports the tasks once, and so do we, anew."""

    def with_backend(name, **options):
        # There it is that a change of TASKS is noticed.
        importlib.import_module(f"{FRAMEWORK}.signals")
        backend = {"BACKEND": f"{FRAMEWORK}.backends.{name}", **options}
        site = override_settings(TASKS={"payments": backend}, KRCARD_TASK_BACKEND="payments")
        site.enable()
        sites.append(site)
        importlib.reload(tasks)
        return tasks.task_backends["payments"]

    sites = []
    yield with_backend
    for site in reversed(sites):
        site.disable()
    importlib.reload(tasks)


@pytest.fixture
def queue(site):
    """Keeps what is enqueued, and works off nothing."""
    return site("dummy.DummyBackend")


@pytest.fixture
def work(queue):
    """The worker: everything in the queue, in order. What each task gave, or raised."""

    def work():
        results, queue.results = queue.results, []
        return [outcome(result) for result in results]

    def outcome(result):
        try:
            return result.task.call(*result.args, **result.kwargs)
        except Exception as error:
            return error

    return work


@pytest.fixture
def mandate(save_card):
    """Stripe's messages about its charges do not come: they would be tasks, too."""
    mandate = save_card(as_used_terms(period="month"))
    control.set_delivery("dropped")
    return mandate


@pytest.fixture
def due(mandate, krcard_clock):
    """Charges that are due now."""

    def plan(*amounts):
        at = timezone.now() + timedelta(minutes=1)
        for amount in amounts:
            services.schedule_charge(mandate, amount, reference=f"r{amount}", due_at=at)
        krcard_clock.advance(minutes=2)

    return plan


def in_queue(queue):
    return [(result.task.name, result.args) for result in queue.results]


# --- one row, one task ----------------------------------------------------------------------------


def test_each_charge_that_is_due_is_a_task_with_its_id(due, queue, ledger):
    due(1_000, 2_000)
    services.schedule_charge(
        Charge.objects.first().mandate, 3_000, reference="later", due_at=timezone.now() + timedelta(days=1)
    )
    assert tasks.enqueue_due() == 2
    of_amount = dict(Charge.objects.values_list("amount", "pk"))
    assert in_queue(queue) == [("step_charge", [of_amount[1_000]]), ("step_charge", [of_amount[2_000]])]
    assert ledger() == []


def test_a_worker_charges_it_once(due, work, ledger):
    due(1_000, 2_000)
    tasks.enqueue_due()
    assert work() == ["succeeded", "succeeded"]
    assert [paid["amount"] for paid in ledger()] == [1_000, 2_000]


def test_a_task_that_comes_twice_finds_nothing_to_do(due, queue, work, ledger):
    due(1_000)
    tasks.enqueue_due()
    queue.results *= 2
    assert work() == ["succeeded", "succeeded"]
    assert len(ledger()) == 1


def test_what_is_queued_is_not_queued_again(due, queue, krcard_clock):
    due(1_000, 2_000)
    assert tasks.enqueue_due() == 2
    krcard_clock.advance(minutes=20)
    assert tasks.enqueue_due() == 0
    assert len(queue.results) == 2


def test_two_who_enqueue_at_once_share_the_work(due, monkeypatch):
    due(*range(1_000, 1_020))
    given = []
    counts = all_at_once(lambda number: run.hand_over({Charge: given.append}), 4)
    assert sum(counts) == len(given) == 20
    assert set(given) == set(Charge.objects.values_list("pk", flat=True))


def test_a_lost_task_is_made_again(due, queue, work, ledger, krcard_clock):
    due(1_000)
    tasks.enqueue_due()
    queue.clear()
    krcard_clock.advance(minutes=31)
    assert tasks.enqueue_due() == 1
    assert work() == ["succeeded"]
    assert len(ledger()) == 1


def test_a_task_that_waited_long_still_works_and_its_double_does_nothing(due, work, ledger, krcard_clock):
    due(1_000)
    tasks.enqueue_due()
    krcard_clock.advance(minutes=31)
    tasks.enqueue_due()
    assert work() == ["succeeded", "succeeded"]
    assert len(ledger()) == 1


def test_the_next_step_of_a_charge_is_a_new_task_at_once(due, work, krcard_clock):
    due(1_000)
    control.fail_next("POST", "/v1/payment_intents", status="timeout")
    tasks.enqueue_due()
    assert work() == ["unknown"]
    # Long before a lost task would be made again.
    krcard_clock.advance(minutes=6)
    assert tasks.enqueue_due() == 1
    assert work() == ["succeeded"]


def test_a_worker_killed_while_sending_is_found_out_when_its_claim_lapses(due, work, ledger, krcard_clock, monkeypatch):
    due(1_000)
    tasks.enqueue_due()

    def die(*args, **kwargs):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("django_krcard.gateway.create_payment_intent", die)
        with pytest.raises(KeyboardInterrupt):
            work()
    assert Charge.objects.get().status == "sending"
    assert tasks.enqueue_due() == 0
    krcard_clock.advance(minutes=3)
    assert tasks.enqueue_due() == 1
    assert work() == ["succeeded"]
    assert len(ledger()) == 1


# --- the other rows -------------------------------------------------------------------------------


def test_a_refund_that_is_due_is_a_task(mandate, queue, work, krcard_clock):
    paid = services.charge(mandate, 1_000, reference="r")
    for _ in range(3):
        control.fail_next("POST", "/v1/refunds", status="timeout")
    refund = services.refund(paid, reference="back")
    assert refund.status == "unknown"
    queue.clear()
    krcard_clock.advance(hours=2)
    tasks.enqueue_due()
    assert ("step_refund", [refund.pk]) in in_queue(queue)
    work()
    assert Refund.objects.get().status == "succeeded"


def test_what_a_customer_is_told_is_a_task_of_its_own(due, queue, work):
    due(1_000)
    tasks.enqueue_due()
    work()
    told = Notice.objects.get(kind="charge_succeeded")
    assert (told.sent_at, mail.outbox) == (None, [])
    tasks.enqueue_due()
    assert ("deliver_notice", [told.pk]) in in_queue(queue)
    assert tasks.enqueue_due() == 0
    assert work() == [""]
    assert len(mail.outbox) == 1


def test_a_notice_that_could_not_be_sent_is_a_task_again_in_its_time(due, work, settings, krcard_clock):
    settings.KRCARD_NOTIFIER = "tests.test_notices.broken"
    due(1_000)
    tasks.enqueue_due()
    work()
    tasks.enqueue_due()
    assert work() == ["ConnectionRefusedError"]
    assert tasks.enqueue_due() == 0
    krcard_clock.advance(minutes=6)
    assert tasks.enqueue_due() == 1


# --- Stripe's messages ----------------------------------------------------------------------------


@pytest.fixture
def knock(krcard_events, mandate):
    """Stripe's message that the issuer ended the mandate; the same one each time."""
    control.deactivate_mandate(mandate.payment_method.stripe_id)
    body = bytes(SandboxEvent.objects.filter(type="mandate.updated").latest("pk").body)
    return lambda: krcard_events.post_raw(body).status_code


def test_a_message_is_answered_when_it_is_stored_and_queued(knock, mandate, queue, work):
    assert knock() == 200
    event = Event.objects.get(type="mandate.updated")
    assert (event.status, in_queue(queue)) == ("received", [("process_event", [event.pk])])
    assert work() == ["done"]
    mandate.refresh_from_db()
    assert mandate.status == "inactive"


def test_the_same_message_again_is_no_task_more(knock, queue):
    assert [knock() for _ in range(3)] == [200] * 3
    assert len(queue.results) == 1
    assert tasks.enqueue_events() == 0


def test_a_message_whose_task_was_lost_is_queued_once_more(knock, queue, krcard_clock):
    knock()
    queue.clear()
    krcard_clock.advance(run.QUEUED_FOR + timedelta(seconds=1))
    assert tasks.enqueue_events() == 1
    assert tasks.enqueue_events() == 0
    assert len(queue.results) == 1


def test_a_message_whose_worker_died_is_queued_again_when_the_claim_has_run_out(knock, queue, krcard_clock):
    knock()
    queue.clear()
    assert inbox._claim(Event.objects.get(type="mandate.updated").pk, again=False)
    assert tasks.enqueue_events() == 0
    krcard_clock.advance(inbox.LEASE + timedelta(seconds=1))
    assert tasks.enqueue_events() == 1


def test_a_message_that_failed_is_queued_in_its_time_also_by_the_command(knock, work, krcard_clock):
    control.fail_next("GET", "/v1/mandates", status=401)
    knock()
    assert work() == ["failed"]
    assert tasks.enqueue_events() == 0
    krcard_clock.advance(minutes=2)
    call_command("krcard_process_events")
    assert work() == ["done"]


def test_when_the_queue_is_down_stripe_hears_it_and_knocks_again(knock, queue, monkeypatch):
    with monkeypatch.context() as broken:
        broken.setattr(type(queue), "enqueue", lambda *args, **kwargs: 1 / 0)
        assert knock() == 500
    assert Event.objects.get(type="mandate.updated").queued_at is None
    assert knock() == 200
    assert len(queue.results) == 1


def test_a_backend_that_works_at_once_and_swallows_errors_loses_nothing(site, knock, krcard_clock):
    site("immediate.ImmediateBackend")
    control.fail_next("GET", "/v1/mandates", status=401)
    assert knock() == 200
    assert Event.objects.get(type="mandate.updated").status == "failed"
    krcard_clock.advance(minutes=2)
    assert tasks.enqueue_events() == 1
    assert Event.objects.get(type="mandate.updated").status == "done"


# --- when nothing may be sent ---------------------------------------------------------------------


def test_a_refused_key_fails_the_task_and_the_charge_is_ready(due, work, krcard_clock, ledger):
    due(1_000)
    tasks.enqueue_due()
    control.fail_next("POST", "/v1/payment_intents", status=401)
    (failed,) = work()
    assert isinstance(failed, StripeRefusedKey)
    assert Charge.objects.get().status == "ready"
    krcard_clock.advance(minutes=2)
    assert tasks.enqueue_due() == 1
    assert work() == ["succeeded"]
    assert len(ledger()) == 1


def test_a_database_that_is_behind_gives_nothing_to_the_queue(due, queue, monkeypatch):
    due(1_000)
    monkeypatch.setattr(backup, "refuse_if_behind", behind)
    with pytest.raises(DatabaseIsBehind):
        tasks.enqueue_due()
    assert queue.results == []


def test_a_worker_on_a_database_that_is_behind_sends_nothing(due, work, monkeypatch, ledger):
    due(1_000)
    tasks.enqueue_due()
    monkeypatch.setattr(backup, "refuse_if_behind", behind)
    (failed,) = work()
    assert isinstance(failed, DatabaseIsBehind)
    assert ledger() == []


def behind(**kwargs):
    raise DatabaseIsBehind("a backup was restored")


def test_a_queue_that_is_down_is_told_and_gets_everything_later(due, krcard_clock):
    due(1_000, 2_000, 3_000)

    def broken(pk):
        raise ConnectionError("no queue")

    with pytest.raises(ConnectionError):
        run.hand_over({Charge: broken})
    given = []
    # The one that was tried counts as queued: nobody knows whether the queue has it.
    assert run.hand_over({Charge: given.append}) == 2
    krcard_clock.advance(minutes=31)
    run.hand_over({Charge: given.append})
    assert set(given) == set(Charge.objects.values_list("pk", flat=True))


# --- the site's backend ---------------------------------------------------------------------------


def test_an_immediate_backend_does_the_work_at_once(site, due, ledger):
    site("immediate.ImmediateBackend")
    due(1_000)
    assert tasks.enqueue_due() == 1
    assert Charge.objects.get().status == "succeeded"
    assert len(ledger()) == 1


@pytest.mark.parametrize(
    ("queues", "used"),
    [(["money", "mail"], "mail"), (["money"], "money"), (["money", "default"], "default"), ([], "default")],
)
def test_the_queue_is_the_default_one_or_one_of_the_backend(site, queues, used):
    site("dummy.DummyBackend", QUEUES=queues)
    assert {task.queue_name for task in (tasks.step_charge, tasks.step_refund, tasks.deliver_notice)} == {used}
    assert tasks.step_charge.backend == "payments"


@pytest.mark.parametrize("alias", [None, "nobody"])
def test_without_a_backend_there_is_nothing_to_enqueue_to(alias):
    with override_settings(KRCARD_TASK_BACKEND=alias):
        importlib.reload(tasks)
        with pytest.raises(ImproperlyConfigured, match=f"{alias!r}"):
            tasks.enqueue_due()


SITE_WITHOUT_A_FRAMEWORK = """
import sys
for name in ("django.tasks", "django_tasks"):
    sys.modules[name] = None

import django
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.core.management import call_command

settings.configure(
    SECRET_KEY="tasks",
    USE_TZ=True,
    INSTALLED_APPS=["django.contrib.auth", "django.contrib.contenttypes", "django_krcard"],
    KRCARD_TASK_BACKEND="default",
    TASKS={"default": {"BACKEND": "somewhere.Else"}},
)
django.setup()
from django_krcard import tasks

try:
    tasks.enqueue_due()
except ImproperlyConfigured as error:
    assert "django-tasks" in str(error)
else:
    raise SystemExit("It did not say what is missing.")
"""


def test_where_django_has_no_tasks_the_module_can_be_imported_and_says_what_is_missing():
    result = subprocess.run([sys.executable, "-c", SITE_WITHOUT_A_FRAMEWORK], cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr


# --- Celery ---------------------------------------------------------------------------------------


@pytest.fixture
def celery():
    """A Celery that does each task where it is sent."""
    from celery import Celery

    app = Celery("shop", set_as_current=True)
    app.conf.update(task_always_eager=True, task_eager_propagates=True)
    from django_krcard.contrib import celery

    yield celery
    app.close()


@pytest.mark.skipif(find_spec("celery") is None, reason="needs the package celery")
def test_the_same_through_celery(celery, due, ledger):
    due(1_000, 2_000)
    assert celery.enqueue_due.delay().get() == 2
    assert [paid["amount"] for paid in ledger()] == [1_000, 2_000]
    # Those of this run were written after it looked for notices, or in it: the next one brings the rest.
    celery.enqueue_due.delay()
    assert len(mail.outbox) == 2
    assert celery.enqueue_due.delay().get() == 0
