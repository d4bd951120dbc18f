"""Every ordered pair of crashes: the process is stopped, started again, and stopped once more while it recovers.

Run `python benchmarks/crash_pairs.py`, read docs/faults.md. The exit code is 1 if anything was wrong with the money.
"""

import argparse
import logging
import os
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
os.environ["DJANGO_SETTINGS_MODULE"] = "tests.settings"

import django
from django.db import connection
from django.test.utils import setup_test_environment

django.setup()
logging.disable()  # each of these faults is told of, thousands of times
setup_test_environment()

from tests.faults import crash  # noqa: E402
from tests.faults.play import play_pairs  # noqa: E402
from tests.faults.scenarios import STORIES  # noqa: E402


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("stories", nargs="*", help="part of a story's name, e.g. refund; default: all")
    parser.add_argument("--list", action="store_true", help="name the stories and stop")
    options = parser.parse_args()
    chosen = [story for story in STORIES if not options.stories or any(part in story.name for part in options.stories)]
    if options.list:
        print(*chosen, sep="\n")
        return 0
    connection.creation.create_test_db(verbosity=0)
    try:
        with crash.world() as world:
            return max([play(world, story) for story in chosen], default=2)
    finally:
        connection.creation.destroy_test_db(connection.settings_dict["NAME"], verbosity=0)


def play(world, story):
    began = time.monotonic()
    pairs, played = play_pairs(world, story, told=progress)
    progress("")
    print(f"{story}: {pairs} pairs, {played.worlds} different ends, {time.monotonic() - began:.0f} s: ", end="")
    print("all in order" if not played.complaints else f"{len(played.complaints)} COMPLAINTS")
    for wrong in played.complaints[:20]:
        print(f"  {wrong}")
    return 1 if played.complaints else 0


def progress(words):
    if sys.stderr.isatty():
        sys.stderr.write(f"\r\033[K{words}")
        sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(main())
