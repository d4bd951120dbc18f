"""What one run over very many due charges keeps in memory: run `python benchmarks/memory.py`, read README.md."""

import resource
import subprocess
import sys
import time

import scratch

GOAL = 40
WARM = 1_000


def main():
    parser = scratch.arguments(__doc__)
    parser.add_argument("--charges", type=int, default=100_000, help="default: %(default)s")
    parser.add_argument("--make", metavar="URL", help="only write the rows: in a process of its own, they take memory")
    options = parser.parse_args()
    if options.make:
        make(options.make, options.charges)
        return
    changes = {"KRCARD_NOTICE_KINDS": []}
    with scratch.stand_in() as address, scratch.site(options.server, KRCARD_STRIPE_API_BASE=address, **changes) as url:
        subprocess.run([sys.executable, __file__, "--make", url, "--charges", str(options.charges)], check=True)
        measure(options.charges)


def make(database, number):
    scratch.configure(database)
    # Not at the top: models need the settings.
    import rows

    rows.due_charges(range(number))


def measure(number):
    import rows

    began, warm, done = time.monotonic(), 0, 0
    for done, result in enumerate(rows.run.run_due(), start=1):
        if getattr(result, "status", "") != "succeeded":
            raise SystemExit(f"A charge did not succeed: {result!r}")
        if done == WARM:
            warm = most()
        if done % (number // 5) == 0:
            print(f"{done:9,} charges: {most():6.1f} MiB at most, {done / (time.monotonic() - began):.0f} charges/s")
    if done != number:
        raise SystemExit(f"{done} of {number} charges were taken up.")
    print(f"Growth of the peak since the first {WARM:,}: {most() - warm:.1f} MiB   goal: {GOAL}")


def most():
    """The most memory that this process ever had, in MiB."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20


if __name__ == "__main__":
    main()
