"""A sandbox that another process serves, as `krcard_sandbox serve` does it."""

import os
import re
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[2]
COMMAND = [sys.executable, "-m", "django"]


def environment(database):
    return os.environ | {
        "DJANGO_SETTINGS_MODULE": "tests.sandbox.served_settings",
        "KRCARD_SERVED_DATABASE": str(database),
        "PYTHONPATH": str(ROOT),
    }


@contextmanager
def served(folder, *options):
    """The process, with its `address`, its `environment`, and a file of all it said: `log`."""
    env = environment(folder / "served.sqlite3")
    subprocess.run([*COMMAND, "migrate", "--verbosity", "0"], env=env, cwd=folder, check=True)
    command = [*COMMAND, "krcard_sandbox", "serve", "--port", "0", *options]
    log = folder / "served.log"
    with log.open("w") as out, subprocess.Popen(command, env=env, cwd=folder, stdout=out, stderr=out) as process:
        process.environment, process.log = env, log
        try:
            process.address = address_in(log, process)
            yield process
        finally:
            process.kill()


def address_in(log, process):
    for _ in range(200):
        if found := re.search(r"http://\S+", log.read_text()):
            return found[0]
        if process.poll() is not None:
            break
        time.sleep(0.1)
    raise AssertionError(f"The sandbox is not served: {log.read_text()}")
