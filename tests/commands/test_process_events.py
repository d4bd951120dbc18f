"""`krcard_process_events`: nothing that Stripe told stays undone."""

import json
import re

import pytest
from django.core.management import CommandError, call_command

from django_krcard.models import Event
from django_krcard.sandbox import control
from django_krcard.sandbox.models import Event as SandboxEvent

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("krcard_clock", "no_waiting")]


@pytest.fixture
def run(capsys):
    """Run the command: its exit code, its lines, and what it says at the end if all is not well."""

    def call(*options):
        code, said = 0, ""
        try:
            call_command("krcard_process_events", *options)
        except CommandError as error:
            code, said = error.returncode, str(error)
        return code, re.sub(r"; [\d.]+ s$", "", capsys.readouterr().out, flags=re.MULTILINE).splitlines(), said

    return call


@pytest.fixture
def failed(mandate, krcard_clock):
    """A message that failed, and whose time has come."""
    control.fail_next("GET", "/v1/mandates", status=401)
    control.deactivate_mandate(mandate.payment_method.stripe_id)
    krcard_clock.advance(minutes=2)
    return Event.objects.get(status="failed")


def test_nothing_is_due(run, mandate):
    assert run() == (0, ["nothing was due"], "")


def test_what_failed_is_done_now(run, failed, mandate):
    code, lines, _said = run()
    assert (code, lines) == (0, ["1 done"])
    mandate.refresh_from_db()
    assert mandate.status == "inactive"
    assert run()[1] == ["nothing was due"]


def test_what_fails_again_is_told_and_the_next_one_is_done_all_the_same(run, failed, mandate):
    control.set_delivery("held")
    control.detach(mandate.payment_method.stripe_id)
    body = bytes(SandboxEvent.objects.filter(type="payment_method.detached").latest("pk").body)
    Event.objects.create(stripe_id="evt_next", type="payment_method.detached", body=body)
    control.fail_next("GET", "/v1/mandates", status=401)
    code, lines, said = run()
    assert (code, lines[-1]) == (1, "1 failed, 1 done")
    assert lines[0].startswith(f"{failed.stripe_id} mandate.updated: failed StripeRefusedKey")
    assert said.startswith("1 failed.")


def test_before_its_time_nothing_is_tried(run, failed):
    control.fail_next("GET", "/v1/mandates", status=401)
    run()
    assert run() == (0, ["nothing was due"], "")


def test_replay_does_what_is_done_dead_or_not_due(run, failed, mandate):
    Event.objects.filter(pk=failed.pk).update(status="dead", next_attempt_at=None)
    assert run()[1] == ["nothing was due"]
    code, lines, _said = run("--replay", failed.stripe_id)
    assert (code, lines) == (0, [f"{failed.stripe_id} mandate.updated: done", "1 done"])
    assert run("--replay", failed.stripe_id, failed.stripe_id)[0] == 0
    assert mandate.timeline.filter(kind="mandate_ended").count() == 1


def test_replay_of_what_is_not_here_or_not_usable_does_nothing(run, failed):
    Event.objects.create(stripe_id="evt_foreign", body=b"{}", status="foreign")
    code, _lines, said = run("--replay", failed.stripe_id, "evt_nowhere")
    assert (code, said[:35]) == (2, "No such event here: evt_nowhere. kr")
    code, _lines, said = run("--replay", failed.stripe_id, "evt_foreign")
    assert (code, "evt_foreign" in said) == (2, True)
    failed.refresh_from_db()
    assert failed.status == "failed"


def test_dry_run_tells_and_changes_nothing(run, failed):
    code, lines, _said = run("--dry-run")
    assert (code, len(lines)) == (0, 1)
    assert lines[0].startswith(f"{failed.stripe_id} mandate.updated: failed")
    failed.refresh_from_db()
    assert failed.attempts == 1


def test_json_is_one_object_a_line(run, failed):
    control.fail_next("GET", "/v1/mandates", status=401)
    code, lines, _said = run("--json")
    told, sums = map(json.loads, lines)
    assert (code, told["event"], told["status"], told["attempts"]) == (1, failed.stripe_id, "failed", 2)
    assert sums["events"] == {"failed": 1}
