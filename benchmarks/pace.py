"""How near one process comes to Stripe's limit: run `python benchmarks/pace.py`, read benchmarks/README.md."""

import time

import scratch

SECONDS = 15


def main():
    parser = scratch.arguments(__doc__)
    parser.add_argument("--latency", type=float, default=0.6, metavar="SECONDS", help="default: %(default)s")
    parser.add_argument("--pace", type=float, default=25, metavar="PER_SECOND", help="default: %(default)s")
    parser.add_argument("--in-flight", type=int, help="KRCARD_IN_FLIGHT; default: what the package has")
    options = parser.parse_args()
    changes = {"KRCARD_REQUESTS_PER_SECOND": options.pace, "KRCARD_NOTICE_KINDS": []}
    if options.in_flight:
        changes["KRCARD_IN_FLIGHT"] = options.in_flight
    with (
        # Stripe's own limit is a little above ours: nothing may be turned away.
        scratch.stand_in(options.latency, limit=options.pace * 1.1) as address,
        scratch.site(options.server, KRCARD_STRIPE_API_BASE=address, **changes),
    ):
        measure(options, address)


def measure(options, address):
    # Not at the top: models need the settings.
    import rows

    number = round(options.pace * SECONDS)
    rows.due_charges(range(number))
    cpu, began = time.process_time(), time.perf_counter()
    came = [time.perf_counter() for result in rows.run.run_due() if result.status == "succeeded"]
    busy = (time.process_time() - cpu) / (time.perf_counter() - began)
    if len(came) != number:
        raise SystemExit(f"{number - len(came)} of {number} charges did not succeed.")
    # From the first answer to the last: before it there was nothing to wait for but the latency.
    rate = (number - 1) / (came[-1] - came[0])
    print(
        f"{rate:.1f} charges/s of {options.pace:g} ({rate / options.pace:.0%}), latency {options.latency:g} s, "
        f"{scratch.ledger(address)['limited']} turned away, CPU {busy:.0%}"
    )


if __name__ == "__main__":
    main()
