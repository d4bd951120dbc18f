"""Several workers charge what is due while they are killed: run `python benchmarks/drain.py`, read README.md."""

import random
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import scratch
from django.core.management import call_command
from django.db import connection

QUEUE = "charges"
#: In place of minutes, so that what a killed worker left is taken up while we watch.
LEASE, QUEUED_FOR = timedelta(seconds=5), timedelta(seconds=15)


def main():
    parser = scratch.arguments(__doc__)
    parser.add_argument("--charges", type=int, default=10_000, help="default: %(default)s")
    parser.add_argument("--workers", type=int, default=4, help="processes; default: %(default)s")
    parser.add_argument("--kills", type=int, default=60, help="workers killed by SIGKILL; default: %(default)s")
    parser.add_argument("--every", type=float, default=5, metavar="SECONDS", help="on average; default: %(default)s")
    parser.add_argument("--latency", type=float, default=0.05, metavar="SECONDS", help="of the stand-in's answers")
    parser.add_argument("--notices", action="store_true", help="each customer is told by e-mail, too")
    parser.add_argument("--no-queue", action="store_true", help="the workers run krcard_run_due, all at once")
    parser.add_argument("--patience", type=float, default=3600, metavar="SECONDS", help="then it is given up")
    parser.add_argument("--seed", type=int, default=random.randrange(1_000_000))
    parser.add_argument("--work", nargs=2, help="be one of the workers: address of database and of the stand-in")
    options = parser.parse_args()
    if options.work:
        work(*options.work, options)
    else:
        sys.exit(drain(options))


def changes(stripe, options):
    return {
        "INSTALLED_APPS": ["django.contrib.auth", "django.contrib.contenttypes", "django_krcard", "django_tasks_db"],
        "TASKS": {QUEUE: {"BACKEND": "django_tasks_db.DatabaseBackend"}},
        "KRCARD_TASK_BACKEND": None if options.no_queue else QUEUE,
        "KRCARD_STRIPE_API_BASE": stripe,
        "KRCARD_NOTICE_KINDS": None if options.notices else [],
    }


# --- a worker ------------------------------------------------------------------------------------


def work(database, stripe, options):
    """What `manage.py db_worker --backend charges` does, or `krcard_run_due` again and again, with a shorter lease."""
    scratch.configure(database, **changes(stripe, options))
    # Not at the top: models need the settings.
    from django_krcard import services

    services.charges.LEASE = services.steps.LEASE = services.notices.LEASE = LEASE
    while options.no_queue:
        list(services.run_due())
        time.sleep(0.2)
    call_command("db_worker", "--backend", QUEUE, "--interval", "0.2", "--no-startup-delay", verbosity=0)


class Workers:
    def __init__(self, number, command):
        self.command = command
        self.running = [self.start() for _ in range(number)]

    def start(self):
        return subprocess.Popen(self.command)

    def kill_one(self, dice):
        which = dice.randrange(len(self.running))
        self.running[which].send_signal(signal.SIGKILL)
        self.running[which].wait()
        self.running[which] = self.start()

    def stop(self):
        for worker in self.running:
            worker.kill()
            worker.wait()


# --- those who watch -----------------------------------------------------------------------------


def drain(options):
    with (
        scratch.stand_in(options.latency) as stripe,
        scratch.site(options.server, **changes(stripe, options)) as database,
    ):
        return watch(options, database, stripe)


def watch(options, database, stripe):
    import rows

    rows.run.QUEUED_FOR = QUEUED_FOR
    print(f"{options.charges:,} charges, {options.workers} workers, {options.kills} kills, --seed {options.seed}")
    rows.due_charges(range(options.charges), address="minji@example.com" if options.notices else "")
    given = 0 if options.no_queue else sum(all_at_once(rows.tasks.enqueue_due, 2))
    if given != options.charges and not options.no_queue:
        print(f"WRONG: {given} tasks for {options.charges} charges")
        return 1
    command = [sys.executable, __file__, "--work", database, stripe, *flags(options)]
    began, killed, dice = time.monotonic(), 0, random.Random(options.seed)
    workers = Workers(options.workers, command)
    try:
        while left := rows.left():
            if time.monotonic() - began > options.patience:
                break
            time.sleep(dice.uniform(0, 2 * options.every))
            if killed < options.kills:
                workers.kill_one(dice)
                killed += 1
            if not options.no_queue and not rows.tasks_waiting():
                given += rows.tasks.enqueue_due()
    finally:
        workers.stop()
    seconds = time.monotonic() - began
    print(f"{seconds:.0f} s, {options.charges / seconds:.1f} charges/s; {killed} workers killed; {given} tasks")
    books = scratch.ledger(stripe)
    complaints = [*rows.audit(books, options.charges, notices=options.notices)]
    print(f"At Stripe: {books['created']} payments, {books['replayed']} requests answered as before.")
    if left:
        complaints.append(f"{left} charges or notices are left")
    print("\n".join(complaints) or f"0 double, 0 lost: all {options.charges:,} succeeded")
    return 1 if complaints else 0


def flags(options):
    return [f"--{name.replace('_', '-')}" for name in ("notices", "no_queue") if getattr(options, name)]


def all_at_once(act, times):
    def run(_):
        try:
            return act()
        finally:
            connection.close()

    with ThreadPoolExecutor(times) as pool:
        return list(pool.map(run, range(times)))


if __name__ == "__main__":
    main()
