"""The commands as a scheduler and a person at a terminal meet them: processes with an exit code."""

import os
import pty
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest
from django.db import connection
from django.utils import timezone

from django_krcard import services
from django_krcard.models import Charge
from django_krcard.sandbox import control
from tests.factories import as_used_terms

pytestmark = pytest.mark.django_db(transaction=True)

ROOT = Path(__file__).parents[2]


@pytest.fixture
def used(save_card):
    return save_card(as_used_terms(period="month"))


@pytest.fixture
def due(used):
    """A charge that is due."""
    return services.schedule_charge(used, 1_000, reference="due", due_at=timezone.now() - timedelta(minutes=1))


def started(*arguments, **options):
    env = os.environ | {
        "DJANGO_SETTINGS_MODULE": "tests.commands.process_settings",
        "KRCARD_TEST_DATABASE_NAME": str(connection.settings_dict["NAME"]),
        "PYTHONPATH": str(ROOT),
        "PYTHONIOENCODING": "utf-8",
    }
    return subprocess.Popen([sys.executable, "-m", "django", *map(str, arguments)], env=env, cwd=ROOT, **options)


def run(*arguments):
    with started(*arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        out, error = process.communicate(timeout=60)
    assert "Traceback" not in error
    return process.returncode, out, error


def test_done(due, ledger):
    code, out, error = run("krcard_run_due")
    assert (code, error) == (0, "")
    assert out.startswith("1 succeeded; ")
    assert len(ledger()) == 1


def test_not_all_well(used, tmp_path, ledger):
    path = tmp_path / "charges.csv"
    path.write_text(f"mandate,amount,reference\n{used.reference},1000,a\n{used.reference},1.000,b\n", "utf-8")
    code, out, error = run("krcard_charge", path)
    assert code == 1
    assert "line 3 has the amount '1.000'" in out
    assert "1 of 2 lines need a look" in error
    assert len(ledger()) == 1


def test_could_not_run(due, ledger):
    control.fail_next("GET", "/v1/payment_intents", status=401)
    code, out, error = run("krcard_run_due")
    assert (code, out.split(";")[0]) == (2, "nothing was due")
    assert "Stripe refuses this site's key (401)" in error
    assert ledger() == []


def test_two_at_once_send_each_charge_once(used, ledger):
    for number in range(12):
        services.schedule_charge(used, 1_000, reference=str(number), due_at=timezone.now() - timedelta(minutes=1))
    both = [started("krcard_run_due", stdout=subprocess.PIPE, stderr=subprocess.PIPE) for _ in range(2)]
    errors = [process.communicate(timeout=60)[1] for process in both]
    assert [process.returncode for process in both] == [0, 0], errors
    assert sorted(paid["metadata"]["krcard_reference"] for paid in ledger()) == sorted(map(str, range(12)))
    assert set(Charge.objects.values_list("status", flat=True)) == {"succeeded"}


def test_at_a_terminal_there_is_a_bar_and_at_the_end_it_is_gone(used, tmp_path):
    path = tmp_path / "charges.csv"
    lines = [f"{used.reference},1000,{number % 3}" for number in range(300)]
    path.write_text("\n".join(["mandate,amount,reference", *lines]), "utf-8")
    terminal, end = pty.openpty()
    with started("krcard_charge", path, stdout=subprocess.PIPE, stderr=end) as process:
        os.close(end)
        shown = ""
        while part := read_from(terminal):
            shown += part
        out = process.communicate(timeout=60)[0]
    os.close(terminal)
    *_, last = shown.rstrip("\r").split("\r")
    assert process.returncode == 0
    assert "%" in shown
    assert "/s" in shown
    assert last.strip() == ""
    assert out.decode().startswith("300 succeeded; ")


def read_from(terminal):
    try:
        return os.read(terminal, 4_096).decode()
    except OSError:  # The other end was closed.
        return ""
