"""What it costs a site to have the app: run `python benchmarks/startup.py`, read benchmarks/README.md."""

import argparse
import os
import statistics
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]

SITE = """
import time
start = time.perf_counter()
import django
from django.conf import settings

settings.configure(
    SECRET_KEY="benchmark",
    DATABASES={{"default": {{"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}}}},
    INSTALLED_APPS=[
        "django.contrib.admin",
        "django.contrib.auth",
        "django.contrib.contenttypes",
        "django.contrib.sessions",
        "django.contrib.messages",
        "django.contrib.staticfiles",
        {app}
    ],
)
django.setup()
{then}
print(time.perf_counter() - start)
"""
MIGRATE = """
from django.core.management import call_command
start = time.perf_counter()
call_command("migrate", "{app}", verbosity=0)
"""

PROGRAMS = {
    "plain Django": SITE.format(app="", then=""),
    "with django_krcard": SITE.format(app='"django_krcard",', then=""),
    "plain Django and import stripe": SITE.format(app="", then="import stripe"),
    "migrate auth": SITE.format(app="", then=MIGRATE.format(app="auth")),
    "migrate krcard": SITE.format(app='"django_krcard",', then=MIGRATE.format(app="krcard")),
}
MIGRATE_GOAL = 1.5


def seconds(program):
    # Byte code is written and found again, as on any server, whatever this shell says.
    env = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    command = [sys.executable, "-c", program]
    result = subprocess.run(command, cwd=ROOT, env=env, check=True, stdout=subprocess.PIPE, text=True)
    return float(result.stdout)


def measure(rounds, prefix):
    """The median of each program. They take turns, so that a busy moment of the machine hits all of them."""
    programs = {name: prefix + program for name, program in PROGRAMS.items()}
    for program in programs.values():
        seconds(program)  # once for the byte code
    times = {name: [] for name in programs}
    for _ in range(rounds):
        for name, program in programs.items():
            times[name].append(seconds(program))
    return {name: statistics.median(values) for name, values in times.items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--no-gc", action="store_true", help="without Python's garbage collector, see README.md")
    options = parser.parse_args()
    median = measure(options.rounds, prefix="import gc; gc.disable()" if options.no_gc else "")

    plain = median["plain Django"]
    rows = [
        ("django.setup() with django_krcard, of plain Django", median["with django_krcard"] / plain, "1.10"),
        ("plain Django and import stripe, of plain Django", median["plain Django and import stripe"] / plain, "–"),
        ("migrate krcard (and what it needs), of 1.5 s", median["migrate krcard"] / MIGRATE_GOAL, "1.00"),
        ("migrate krcard (and what it needs), of migrate auth", median["migrate krcard"] / median["migrate auth"], "–"),
    ]
    for label, ratio, goal in rows:
        print(f"{label:<54} {ratio:5.2f} ×   goal: {goal}")


if __name__ == "__main__":
    main()
