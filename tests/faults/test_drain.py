"""Real workers, with a real queue or without, killed by SIGKILL. The whole of it: `python benchmarks/drain.py`."""

import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

DRAIN = Path(__file__).parents[2] / "benchmarks" / "drain.py"


@pytest.mark.faults
@pytest.mark.postgresql
@pytest.mark.skipif(find_spec("django_tasks_db") is None, reason="needs the package django-tasks-db")
@pytest.mark.parametrize("how", [[], ["--no-queue"]], ids=["queue", "run_due"])
def test_killed_workers_charge_everybody_once(how):
    options = [
        *how,
        "--charges",
        "240",
        "--workers",
        "3",
        "--kills",
        "8",
        "--every",
        "0.8",
        "--notices",
        "--patience",
        "240",
    ]
    result = subprocess.run([sys.executable, str(DRAIN), *options], capture_output=True, text=True)
    # It prints its seed: the same kills can be tried again.
    assert result.returncode == 0, result.stdout + result.stderr
    killed = int(re.search(r"(\d+) workers killed", result.stdout)[1])
    assert killed >= 3, result.stdout
    assert "0 double, 0 lost: all 240 succeeded" in result.stdout
