"""krcard_run_due: everything that is due, once through."""

from datetime import timedelta

import pytest
from django.utils import timezone

from django_krcard import services, tasks
from django_krcard.models import Charge, Notice, Refund, TimelineEntry
from django_krcard.sandbox import control
from django_krcard.services import backup, steps
from tests.factories import PublishedTerms, as_used_terms

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("krcard_clock", "no_waiting"),
]


@pytest.fixture
def used(save_card):
    return save_card(as_used_terms(period="month"))


@pytest.fixture
def plan(used):
    """Charges that are due in an hour."""

    def schedule(*amounts, mandate=used):
        due_at = timezone.now() + timedelta(hours=1)
        for amount in amounts:
            services.schedule_charge(mandate, amount, reference=f"r{amount}", due_at=due_at)

    return schedule


def test_nothing_is_due(play, plan, ledger):
    plan(1_000)
    ended = play("krcard_run_due")
    assert (ended.code, ended.error) == (0, "")
    assert ended.out.startswith("nothing was due; ")
    assert ledger() == []


def test_it_sends_what_is_due_and_tells_what_became_of_it(play, plan, used, ledger, krcard_clock):
    plan(1_000, 2_000, 3_000)
    krcard_clock.advance(hours=1)
    control.decline_next("insufficient_funds")
    ended = play("krcard_run_due")
    assert ended.code == 0
    assert ended.lines[0] == f"{used.reference} r1000: declined card_declined insufficient_funds"
    assert ended.lines[1].startswith("2 succeeded, 1 declined; ")
    assert [paid["amount"] for paid in ledger()] == [1_000, 2_000, 3_000]
    assert play("krcard_run_due").out.startswith("nothing was due; ")


def test_json_is_one_object(play, plan, used, krcard_clock):
    plan(1_000, 2_000)
    krcard_clock.advance(hours=1)
    control.decline_next("insufficient_funds")
    [sums] = play("krcard_run_due", "--json").objects
    assert sums.pop("seconds") >= 0
    assert sums == {"charges": {"declined": 1, "succeeded": 1}, "refunds": {}, "subscriptions": {}, "errors": []}


def test_an_unknown_outcome_is_no_success(play, plan, used, krcard_clock):
    plan(1_000)
    krcard_clock.advance(hours=1)
    control.set_delivery("dropped")
    control.fail_next("POST", "/v1/payment_intents", effect="after", status="timeout")
    ended = play("krcard_run_due", "--json")
    [sums] = ended.objects
    assert (ended.code, sums["charges"], sums["errors"]) == (1, {"unknown": 1}, [f"{used.reference} r1000: unknown"])

    krcard_clock.advance(minutes=5)
    ended = play("krcard_run_due")
    assert (ended.code, ended.lines[0].split(";")[0]) == (0, "1 succeeded")


def test_an_error_is_named_and_stops_nobody(play, plan, ledger, monkeypatch, krcard_clock):
    plan(1_000, 2_000)
    krcard_clock.advance(hours=1)
    first = Charge.objects.get(amount=1_000)
    send = steps.send

    def sometimes(charge, **kwargs):
        if charge.pk == first.pk:
            raise ZeroDivisionError("minji@example.com")
        return (yield from send(charge, **kwargs))

    monkeypatch.setattr(steps, "send", sometimes)
    ended = play("krcard_run_due")
    assert ended.code == 1
    assert ended.lines[0] == f"ZeroDivisionError charge {first.pk}"
    assert "minji@" not in ended.out + ended.error
    assert [paid["amount"] for paid in ledger()] == [2_000]


def test_refunds_are_counted_by_themselves(play, used, krcard_clock):
    charge = services.charge(used, 1_000, reference="r")
    refund = services.refund(charge, 400, reference="back")
    Refund.objects.update(status="pending", next_step_at=timezone.now())
    assert refund.status == "succeeded"
    [sums] = play("krcard_run_due", "--json").objects
    assert (sums["charges"], sums["refunds"]) == ({}, {"succeeded": 1})


@pytest.mark.parametrize("status", [401, 403])
def test_a_refused_key_stops_the_run(play, plan, ledger, krcard_clock, status):
    plan(1_000, 2_000, 3_000)
    backup.refuse_if_behind(again=True)
    krcard_clock.advance(hours=1)
    control.fail_next("POST", "/v1/payment_intents", status=status)
    ended = play("krcard_run_due")
    assert ended.code == 2
    assert f"refuses this site's key ({status})" in ended.error
    assert "sk_test" not in ended.out + ended.error
    assert ledger() == []
    assert sorted(Charge.objects.values_list("status", flat=True)) == ["ready", "scheduled", "scheduled"]


def test_after_a_restored_backup_nothing_is_sent(play, plan, used, ledger, krcard_clock, restore):
    plan(1_000)
    yesterday = restore.take()
    services.charge(used, 500, reference="lost")
    restore(yesterday)
    krcard_clock.advance(hours=1)
    ended = play("krcard_run_due")
    assert ended.code == 2
    assert "krcard_reconcile --fix" in ended.error
    assert len(ledger()) == 1


def test_without_an_answer_at_the_start_nothing_is_sent(play, plan, ledger, krcard_clock):
    plan(1_000)
    krcard_clock.advance(hours=1)
    for _ in range(3):
        control.fail_next("GET", "/v1/payment_intents", status="timeout")
    ended = play("krcard_run_due")
    assert ended.code == 2
    assert "asked in vain" in ended.error
    assert ledger() == []


def test_without_a_key_it_could_not_run(play, settings):
    settings.STRIPE_SECRET_KEY, settings.KRCARD_SANDBOX = "", False
    ended = play("krcard_run_due")
    assert ended.code == 2
    assert "STRIPE_SECRET_KEY is not set" in ended.error


def test_stopped_by_hand_it_says_that_nothing_is_lost(play, plan, ledger, monkeypatch, krcard_clock):
    def stop(charge, **kwargs):
        raise KeyboardInterrupt
        yield

    plan(1_000)
    krcard_clock.advance(hours=1)
    with monkeypatch.context() as patched:
        patched.setattr(steps, "send", stop)
        ended = play("krcard_run_due")
    assert ended.code == 130
    assert "Nothing is lost" in ended.error

    krcard_clock.advance(minutes=5)
    assert play("krcard_run_due").out.startswith("1 succeeded; ")
    assert len(ledger()) == 1


def test_a_dry_run_tells_what_is_due_and_changes_nothing(play, plan, used, mandate, ledger, krcard_clock):
    plan(1_000)
    plan(12_900, mandate=mandate)
    services.hold(mandate, by="staff:han", reason="a complaint")
    control.processing_next()
    waiting = services.charge(used, 2_000, reference="slow")
    assert waiting.status == "processing"
    krcard_clock.advance(hours=2)
    before = rows()
    control.fail_next("GET", "/", status=500)

    ended = play("krcard_run_due", "--dry-run", "--json")
    told = {each["reference"].split()[1]: each for each in ended.objects}
    assert ended.code == 0
    assert {name: (each["step"], each["code"]) for name, each in told.items()} == {
        "r1000": ("send", ""),
        "r12900": ("send", "mandate_not_active"),
        "slow": ("ask", ""),
    }
    assert (told["r1000"]["amount"], told["r1000"]["due_at"][-6:]) == (1_000, "+09:00")
    assert rows() == before

    lines = play("krcard_run_due", "--dry-run").lines
    assert f"{mandate.reference} r12900 12,900 won, scheduled, due {told['r12900']['due_at']}: send. " in "\n".join(
        lines
    )
    assert rows() == before


def rows():
    everything = [model.objects.order_by("pk").values() for model in (Charge, Refund, Notice, TimelineEntry)]
    return [list(each) for each in everything]


def test_a_dry_run_knows_what_is_only_announced_and_what_goes_back(play, save_card, used, krcard_clock):
    terms = PublishedTerms(slug="noticed", notice_days=3)
    services.schedule_charge(save_card(terms), 12_900, reference="r", due_at=timezone.now() + timedelta(days=10))
    charge = services.charge(used, 1_000, reference="paid")
    services.refund(charge, 400, reference="back")
    Refund.objects.update(status="pending", next_step_at=timezone.now())
    krcard_clock.advance(days=8)
    told = play("krcard_run_due", "--dry-run", "--json").objects
    assert [(each["status"], each["step"], each["amount"]) for each in told] == [
        ("scheduled", "announce", 12_900),
        ("pending", "refund", 400),
    ]


def test_with_a_queue_each_step_becomes_a_task(play, settings, monkeypatch):
    settings.KRCARD_TASK_BACKEND = "payments"
    monkeypatch.setattr(tasks, "enqueue_due", lambda: 1_204)
    assert play("krcard_run_due").out == "1,204 tasks enqueued\n"
    assert play("krcard_run_due", "--json").objects == [{"enqueued": 1_204}]


def test_with_a_queue_that_is_not_there_it_could_not_run(play, plan, settings, krcard_clock, ledger):
    plan(1_000)
    krcard_clock.advance(hours=1)
    settings.KRCARD_TASK_BACKEND = "nowhere"
    ended = play("krcard_run_due")
    assert ended.code == 2
    assert "KRCARD_TASK_BACKEND is 'nowhere'" in ended.error
    assert play("krcard_run_due", "--dry-run").code == 0
    assert ledger() == []


def test_help_tells_the_exit_codes(capsys, play):
    for name in ("krcard_run_due", "krcard_charge", "krcard_reconcile"):
        with pytest.raises(SystemExit):
            play(name, "--help")
        assert "Exit code 0" in " ".join(capsys.readouterr().out.split())
