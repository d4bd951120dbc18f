"""The storm of tests/webhooks as large as wanted: `python benchmarks/storm.py --deliveries 100000`.

On SQLite, or on the PostgreSQL that KRCARD_TEST_DATABASE_URL names. Prints its seed and what happened. The exit code is
1 if a message was lost or counted twice, or if anybody's rows are not those that come of messages in order.
"""

import argparse
import logging
import os
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

sys.path.insert(0, str(Path(__file__).parents[1]))
os.environ["DJANGO_SETTINGS_MODULE"] = "tests.settings"

import django
from django.db import connection
from django.test.utils import setup_test_environment

django.setup()
logging.disable()  # every failure that the storm makes is told of
setup_test_environment()

from tests.webhooks import storm  # noqa: E402
from tests.webhooks.mutations import SEED, new_seed  # noqa: E402


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--deliveries", type=int, default=5_000, help="default: %(default)s")
    parser.add_argument("--workers", type=int, default=storm.WORKERS, help="processes; default: %(default)s")
    parser.add_argument("--seed", type=int, help=f"what is random, but for moments; default: {SEED}, or a new one")
    options = parser.parse_args()
    seed = new_seed() if options.seed is None else options.seed
    print(f"seed {seed}, {connection.vendor}", flush=True)
    connection.creation.create_test_db(verbosity=0)
    try:
        with TemporaryDirectory() as folder:
            size = {"deliveries": options.deliveries, "workers": options.workers}
            figures, complaints = storm.run(seed=seed, folder=Path(folder), told=progress, **size)
    finally:
        connection.creation.destroy_test_db(connection.settings_dict["NAME"], verbosity=0)
    progress("")
    print(figures)
    print(*complaints[:20] or ["all in order"], sep="\n")
    return 1 if complaints else 0


def progress(words):
    if sys.stderr.isatty():
        sys.stderr.write(f"\r\033[K{words}")
        sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(main())
