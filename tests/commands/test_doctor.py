"""krcard_doctor: what a monitor is told, and a person at a terminal."""

import json
import re
from datetime import timedelta
from pathlib import Path

import pytest
from django.core.management import call_command
from django.db import connection
from django.utils import timezone

from django_krcard import services
from django_krcard.models import Charge, Event, Watermark
from django_krcard.services.findings import RULES

DOCS = Path(__file__).parents[2] / "docs" / "health.md"

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def kept_up(mandate):
    """Both commands have just run."""
    list(services.run_due())
    Watermark.objects.create(name="events:test", at=timezone.now())
    return mandate


@pytest.fixture
def dead():
    ago = timezone.now() - timedelta(hours=3)
    return Event.objects.create(
        stripe_id="evt_dead", type="a.b", status="dead", body=b"{}", created=ago, received_at=ago
    )


def test_when_all_is_well_it_says_so_to_the_scheduler(play, kept_up, caplog):
    ended = play("krcard_doctor")
    # That there is no such thing (404) is an answer that it reckons with.
    assert [record for record in caplog.records if record.levelname == "WARNING"] == []
    assert (ended.code, ended.error) == (0, "")
    assert "mode: test" in ended.lines
    assert "webhook dead: 0" in ended.lines
    assert "charges unknown references: none" in ended.lines


def test_each_finding_is_a_line_with_what_to_do(play, kept_up, dead):
    ended = play("krcard_doctor")
    assert ended.code == 1
    assert ended.error == "1 to look at: events_dead."
    assert "webhook dead: 1, the oldest 3 hours" in ended.lines
    [line] = [line for line in ended.lines if line.startswith("ERROR")]
    assert line.startswith("ERROR events_dead: 1 webhook event was given up; it came 3 hours ago. Its error says")


def test_one_object_for_a_machine(play, kept_up, dead):
    ended = play("krcard_doctor", "--json")
    [told] = ended.objects
    assert ended.code == 1
    assert told["ok"] is False
    assert [(each["level"], each["code"]) for each in told["findings"]] == [("error", "events_dead")]
    assert set(told["findings"][0]) == {"level", "code", "sentence", "hint"}
    assert told["records"]["webhook"]["dead"]["count"] == 1
    assert 3 * 3600 <= told["records"]["webhook"]["dead"]["oldest_seconds"] < 3 * 3600 + 60

    dead.delete()
    [told] = play("krcard_doctor", "--json").objects
    assert (told["ok"], told["findings"]) == (True, [])


def test_unknown_charges_are_named(play, kept_up):
    services.charge(kept_up, 12_900, reference="2026-11")
    ago = timezone.now() - timedelta(hours=30)
    Charge.objects.update(status="unknown", first_sent_at=ago, next_step_at=timezone.now())
    [told] = play("krcard_doctor", "--json").objects
    assert told["records"]["charges"]["unknown_references"] == [f"{kept_up.reference} 2026-11"]
    assert f"charges unknown references: {kept_up.reference} 2026-11" in play("krcard_doctor").lines


def test_it_is_the_commands_that_take_their_own_findings_away(play, mandate):
    began = timezone.now() - timedelta(days=3)
    mandate.activated_at = began
    mandate.save()
    assert play("krcard_doctor").error == "2 to look at: run_due_stale, reconcile_stale."
    play("krcard_run_due")
    assert play("krcard_doctor").error == "1 to look at: reconcile_stale."
    play("krcard_reconcile")
    assert play("krcard_doctor").code == 0


def test_a_command_that_refuses_to_work_leaves_its_finding(play, kept_up, restore):
    before = restore.take()
    services.charge(kept_up, 12_900, reference="r")
    restore(before)
    Watermark.objects.update(at=timezone.now() - timedelta(hours=2))
    assert play("krcard_run_due").code == 2
    assert play("krcard_doctor").error == "1 to look at: run_due_stale."


def test_offline_it_asks_stripe_nothing_and_changes_nothing(play, kept_up, dead, monkeypatch):
    def asked(*arguments, **options):
        raise AssertionError("Stripe was asked.")

    monkeypatch.setattr("django_krcard.gateway.client.client", asked)
    before = list(Event.objects.values()), list(Watermark.objects.values())
    assert play("krcard_doctor", "--offline").code == 1
    assert (list(Event.objects.values()), list(Watermark.objects.values())) == before


def test_without_a_key_or_a_database_it_could_not_run(play, kept_up, settings, monkeypatch):
    def gone():
        with connection.cursor() as cursor:
            cursor.execute("SELECT * FROM krcard_no_such_table")

    monkeypatch.setattr("django_krcard.services.health.look", gone)
    ended = play("krcard_doctor", "--json")
    assert (ended.code, ended.out) == (2, "")
    assert ended.error == "The database does not answer (OperationalError). Is it migrated?".replace(
        "OperationalError", "ProgrammingError" if connection.vendor == "postgresql" else "OperationalError"
    )
    monkeypatch.undo()

    settings.KRCARD_SANDBOX, settings.STRIPE_SECRET_KEY = False, ""
    ended = play("krcard_doctor")
    assert ended.code == 2
    assert "STRIPE_SECRET_KEY" in ended.error


def test_it_speaks_english_on_a_korean_site(play, kept_up, dead, settings):
    assert settings.LANGUAGE_CODE == "ko"
    assert play("krcard_doctor").out.isascii()
    assert json.dumps(play("krcard_doctor", "--json").objects, ensure_ascii=False).isascii()


def test_its_help_says_what_it_looks_at(capsys):
    with pytest.raises(SystemExit):
        call_command("krcard_doctor", "--help")
    told = " ".join(capsys.readouterr().out.split())
    for words in ("own records", "webhook messages", "outcome is unknown", "Exit code 0"):
        assert words in told


def shape(value):
    """The names in an object of JSON, all the way down."""
    return {name: shape(inner) for name, inner in value.items()} if isinstance(value, dict) else None


def test_the_docs_show_what_it_prints_and_explain_every_finding(play, kept_up, dead):
    [told] = play("krcard_doctor", "--offline", "--json").objects
    [block] = re.findall(r"```json\n(.*?)```", DOCS.read_text(encoding="utf-8"), re.DOTALL)
    shown = json.loads(block)
    assert shape(shown) == shape(told)
    assert [shape(each) for each in shown["findings"]] == [shape(each) for each in told["findings"]]
    assert shown["findings"][0] == told["findings"][0]

    rows = re.findall(r"^\| (`[a-z_`, ]+`) \|.*\|.*\|.*\|$", DOCS.read_text(encoding="utf-8"), re.MULTILINE)
    explained = set(re.findall(r"`([a-z_]+)`", " ".join(rows)))
    by_age = {rule.code for rule in RULES}
    assert explained == by_age | {
        "webhook_silent",
        "webhook_lag",
        "charges_paused",
        "triggers_missing",
        "run_due_stale",
        "reconcile_stale",
    }
