"""What a charge costs beside a bare loop over Stripe's SDK: run `python benchmarks/charges.py`, read README.md."""

import cProfile
import pstats
import statistics
import time
from collections import Counter
from functools import partial

import scratch
import stripe
from django.conf import settings
from django.db import connection

GOAL = 2.0


def main():
    parser = scratch.arguments(__doc__)
    parser.add_argument("--charges", type=int, default=500, help="in each round; default: %(default)s")
    parser.add_argument("--rounds", type=int, default=5, help="default: %(default)s")
    parser.add_argument("--notices", action="store_true", help="each customer has an address and is told by e-mail")
    parser.add_argument("--profile", action="store_true", help="say where the time goes, and which queries there are")
    options = parser.parse_args()
    kinds = None if options.notices else []
    with scratch.site(options.server, KRCARD_NOTICE_KINDS=kinds):
        bench = Bench(options.charges, "minji@example.com" if options.notices else "")
        if options.profile:
            bench.profile()
        else:
            # The first round is for the imports, the connections and the byte code.
            tell([bench.round() for _ in range(options.rounds + 1)][1:], options.charges)


class Bench:
    def __init__(self, charges, address):
        # Not at the top: models need the settings.
        import rows

        from django_krcard import services

        self.rows, self.services, self.charges, self.address = rows, services, charges, address
        self.made = 0

    def due(self):
        numbers = range(self.made, self.made + self.charges)
        self.made += self.charges
        self.rows.put_away()
        self.rows.due_charges(numbers, address=self.address)

    def round(self):
        """Both by turns, so that a busy moment of the machine hits both. (CPU, wall clock) of each, in seconds."""
        self.due()
        with scratch.stand_in() as address:
            settings.KRCARD_STRIPE_API_BASE = address
            engine = spent(self.engine)
        # Its requests are those of the engine, one for one.
        asked = self.rows.asked_last(self.charges)
        with scratch.stand_in() as address:
            bare = spent(partial(bare_loop, address, asked))
        return engine, bare

    def engine(self):
        """Every charge that is due, as krcard_run_due does it."""
        ended = Counter(getattr(result, "status", repr(result)) for result in self.services.run_due())
        if ended != {"succeeded": self.charges}:
            raise SystemExit(f"Not every charge succeeded: {ended.most_common(3)}")

    def profile(self):
        self.round()
        self.due()
        queries, profiler = Counter(), cProfile.Profile(time.process_time)
        with scratch.stand_in() as address:
            settings.KRCARD_STRIPE_API_BASE = address
            with connection.execute_wrapper(partial(count, queries)):
                self.engine()
        self.due()
        with scratch.stand_in() as address:
            settings.KRCARD_STRIPE_API_BASE = address
            profiler.runcall(self.engine)
        print(f"{queries.total() / self.charges:.2f} queries a charge:")
        for sql, times in queries.most_common():
            if times >= self.charges / 2:
                print(f"{times / self.charges:6.2f} × {sql[:160]}")
        pstats.Stats(profiler).sort_stats("cumulative").print_stats(60)
        pstats.Stats(profiler).sort_stats("tottime").print_stats(30)


def bare_loop(address, asked):
    """What somebody would write who keeps nothing and asks nobody."""
    client = stripe.StripeClient("sk_test_krcard_benchmarks", base_addresses={"api": address})
    for key, params in asked:
        client.v1.payment_intents.create(params, {"idempotency_key": key})


def spent(act):
    cpu, wall = time.process_time(), time.perf_counter()
    act()
    return time.process_time() - cpu, time.perf_counter() - wall


def count(queries, execute, sql, params, many, context):
    queries[sql] += 1
    return execute(sql, params, many, context)


def tell(rounds, charges):
    for which, name, goal in ((0, "CPU", GOAL), (1, "wall clock", "–")):
        engine, bare = (statistics.median(both[which] for both in column) for column in zip(*rounds, strict=True))
        each = f"{engine / charges * 1000:.2f} ms, {bare / charges * 1000:.2f} ms"
        print(f"{name + ' of a charge, of a bare call':<40} {engine / bare:5.2f} ×   goal: {goal}   ({each})")


if __name__ == "__main__":
    main()
