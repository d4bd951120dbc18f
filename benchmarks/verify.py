"""How long krcard_verify takes over many consents, and whether its memory stays flat.

Two sizes are run, each in a process of its own; the peak of the larger one may not grow with the number of records.
"""

import json
import resource
import subprocess
import sys
import time
from pathlib import Path

import scratch

SMALL = 1_000


def main():
    parser = scratch.arguments(__doc__.splitlines()[0])
    parser.add_argument("records", nargs="?", type=int, default=100_000, help="default: %(default)s")
    parser.add_argument("--per-customer", type=int, default=2, help="records in a chain; default: %(default)s")
    parser.add_argument("--one", metavar="URL", help="verify this database, and print the figures as JSON")
    options = parser.parse_args()
    if options.one:
        return measure(options.one)
    results = [run(options, number) for number in (SMALL, options.records)]
    for result in results:
        print(
            f"{result['records']:>9,} records: {result['seconds']:6.1f} s, CPU {result['cpu']:6.1f} s, "
            f"peak {result['peak']:6.1f} MiB, {result['findings']} findings"
        )
    small, large = results
    print(f"{large['records'] / large['seconds']:,.0f} a second; peak grew by {large['peak'] - small['peak']:.1f} MiB")
    return None


def run(options, number):
    with scratch.database(options.server) as url:
        # Written in a process of its own, whose memory does not count.
        for arguments in (["--fill", url, str(number), str(options.per_customer)], ["--one", url]):
            command = [sys.executable, str(Path(__file__).resolve()), *arguments]
            done = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True)
    return json.loads(done.stdout)


def fill(url, number, per_customer):
    scratch.configure(url)
    from django.core.management import call_command

    call_command("migrate", verbosity=0)
    import rows

    rows.consents_of_many(number, per_customer)


def measure(url):
    scratch.configure(url)
    from django_krcard.services import verify

    began, cpu = time.monotonic(), time.process_time()
    findings = sum(1 for _found in verify.verify())
    print(
        json.dumps(
            {
                "records": verify.Consent.objects.count(),
                "seconds": time.monotonic() - began,
                "cpu": time.process_time() - cpu,
                "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
                "findings": findings,
            }
        )
    )


if __name__ == "__main__":
    if sys.argv[1:2] == ["--fill"]:
        fill(sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
    else:
        main()
