"""What a webhook message costs, beside other receivers: run `python benchmarks/webhooks.py`, read README.md."""

import json
import statistics
import subprocess
import sys
import tempfile
import venv
from contextlib import ExitStack
from importlib.metadata import version
from pathlib import Path

import scratch
import story

PEERS = Path(__file__).with_name("webhook_peers.py")

NAMES = {
    "floor": "(a) verify, insert",
    "least": "(b) claim, upsert",
    "asking": "(b) that asks Stripe, too",
    "djstripe": "(c) dj-stripe",
    "djstripe_new": "(c) dj-stripe, new customers",
    "inline": "ours, inline",
    "inline_notices": "ours, inline, with notices",
    "dummy": "ours, DummyBackend",
    "database": "ours, django-tasks-db",
}
DJSTRIPE = ("djstripe", "djstripe_new")
OURS = ("inline", "inline_notices")
QUEUED = ("dummy", "database")


def main():
    parser = scratch.arguments(__doc__)
    parser.add_argument("--stories", type=int, default=60, help="customers in each round; default: %(default)s")
    parser.add_argument("--rounds", type=int, default=7, help="default: %(default)s")
    parser.add_argument("--only", nargs="+", choices=NAMES, metavar="NAME", help=f"of {', '.join(NAMES)}")
    parser.add_argument(
        "--profile", action="store_true", help="list our statements for each type, and where our CPU goes"
    )
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--djstripe-python", metavar="PATH", help="of an environment with dj-stripe, see README.md")
    where.add_argument("--make-djstripe", action="store_true", help="make one in a temporary folder, from PyPI")
    options = parser.parse_args()
    with ExitStack() as stack:
        if options.make_djstripe:
            options.djstripe_python = djstripe_environment(stack.enter_context(tempfile.TemporaryDirectory()))
        stand_in = stack.enter_context(scratch.stand_in())
        if options.profile:
            profile(stack.enter_context(Peer("inline", sys.executable, options.server, stand_in)))
            return
        peers = {
            name: stack.enter_context(Peer(name, python, options.server, stand_in))
            for name, python in receivers(options).items()
        }
        for peer in peers.values():
            peer.wait()
        # The first round is for the imports, the connections and the byte code.
        rounds = [one_round(peers, options.stories, number) for number in range(options.rounds + 1)][1:]
        tell({name: peer.ask("versions") for name, peer in peers.items()}, "versions")
        tell_counts({name: peer.ask("count", 30) for name, peer in peers.items()})
        tell_times(rounds, options.stories)


def receivers(options):
    """{name: the Python that runs it}."""
    pythons = dict.fromkeys(options.only or NAMES, sys.executable)
    for name in pythons.keys() & DJSTRIPE:
        pythons[name] = options.djstripe_python
    if not all(pythons.values()):
        print("dj-stripe is left out: see --djstripe-python and --make-djstripe.\n")
    return {name: python for name, python in pythons.items() if python}


def djstripe_environment(folder):
    """The newest dj-stripe, on the Python and the Django that we run on."""
    venv.create(folder, with_pip=True)
    python = str(Path(folder) / "bin" / "python")
    same = [f"{name}=={version(name)}" for name in ("Django", "psycopg", "psycopg-binary", "requests")]
    needed = ["dj-stripe", *same, "django-environ"]
    subprocess.run([python, "-m", "pip", "install", "--quiet", *needed], check=True)
    return python


class Peer:
    """A receiver in its own process. Only the one that is asked does anything."""

    def __init__(self, name, python, server, stand_in):
        self.command = [python, str(PEERS), name, server, stand_in]

    def __enter__(self):
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        self.process = subprocess.Popen(self.command, text=True, **pipes)
        return self

    def __exit__(self, *error):
        # It removes its database when nothing more is asked.
        self.process.communicate()

    def ask(self, what, number=0):
        print(json.dumps([what, number]), file=self.process.stdin, flush=True)
        return self.wait()

    def wait(self):
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"{self.command[2]} has ended.")
        return json.loads(line)


def one_round(peers, stories, number):
    """All by turns, so that a busy moment of the machine hits all; and not always in the same order."""
    order = list(peers) if number % 2 else list(reversed(peers))
    return {name: peers[name].ask("time", stories) for name in order}


# --- what came out -------------------------------------------------------------------------------


def tell(found, title):
    print(f"{title}:")
    for name, what in found.items():
        print(f"  {NAMES[name]:<28} {', '.join(f'{key} {value}' for key, value in what.items())}")


def tell_counts(counted):
    print("\nStatements of a message, + begin, commit and savepoints (median); its calls to Stripe (the most)")
    print(f"  {'':<28} {'':<28} {'first':>12} {'again':>12}   calls")
    for name, counts in counted.items():
        for type in story.EVENTS:
            first, again = counts["first"][type], counts["again"][type]
            print(f"  {NAMES[name]:<28} {type:<28} {pair(first)} {pair(again)}   {', '.join(first['calls'])}")
    print("\nOver the story")
    for name, counts in counted.items():
        print(f"  {NAMES[name]:<28} {over_the_story(counts, has_goals=name in OURS)}")


def pair(counts):
    return f"{counts['statements']:>6.4g} +{counts['control']:>4.4g}"


def over_the_story(counts, *, has_goals):
    first, again = (
        statistics.median(one["statements"] for one in counts[which].values()) for which in ("first", "again")
    )
    calls = [one["calls"] for one in counts["first"].values()]
    inside = sum("inside" in call for one in calls for call in one)
    told = [
        (first, "statements, median", "<= 8"),
        (again, "a duplicate", "<= 3"),
        (counts["new_rows"], "new rows a duplicate", "0"),
        (max(map(len, calls)), "calls at most", "<= 1"),
        (inside, "of all inside a transaction", "0"),
    ]
    return "; ".join(f"{value:g} {what}{f' (goal {goal})' if has_goals else ''}" for value, what, goal in told)


def tell_times(rounds, stories):
    print("\nTime of a message in process, latency 0 (medians of rounds, by turns)")
    number = stories * len(story.EVENTS)
    for name in rounds[0]:
        each = {type: median(rounds, name, [type]) / stories * 1e6 for type in story.EVENTS}
        wall, cpu = (median(rounds, name, story.EVENTS, which) / number * 1e6 for which in (1, 0))
        print(f"  {NAMES[name]:<28} {1e6 / wall:6.0f} events/s, {wall:5.0f} µs, CPU {cpu:5.0f} µs")
        print(f"  {'':<28} {', '.join(f'{type} {value:.0f}' for type, value in each.items())}")
    print("\nRatios of the time, and of our process's CPU (medians of the ratios of each round)")
    for name in rounds[0]:
        if name in OURS:
            tell_ratio(rounds, name, "djstripe", "times as many events/s", ">= 6")
            tell_ratio(rounds, name, "djstripe_new", "times as many events/s", "–")
            tell_ratio(rounds, name, "least", "times as many events/s", ">= 0.6")
            tell_ratio(rounds, name, "asking", "times as many events/s", "–")
            tell_ratio(rounds, name, "floor", "times as many events/s", "–")
        if name in QUEUED:
            tell_ratio(rounds, name, "floor", "times the cost of an answer", "<= 1.5", of_cost=True)


def tell_ratio(rounds, name, other, words, goal, of_cost=False):
    if other not in rounds[0]:
        return
    above, below = (name, other) if of_cost else (other, name)
    time, cpu = (
        statistics.median(spent(one, above, which=which) / spent(one, below, which=which) for one in rounds)
        for which in (1, 0)
    )
    print(f"  {NAMES[name]:<28} {time:5.2f} {words} of {NAMES[other]:<30} goal: {goal:<7} (CPU: {cpu:.2f})")


def spent(one, name, types=story.EVENTS, which=1):
    return sum(one[name][type][which] for type in types)


def median(rounds, name, types, which=1):
    return statistics.median(spent(one, name, types, which) for one in rounds)


def profile(peer):
    peer.wait()
    peer.ask("count", 5)
    counts = peer.ask("count", 20)
    for which, title in (("first", "first delivery"), ("again", "again")):
        for type, one in counts[which].items():
            print(f"\n{type}, {title}: {one['statements']:g} + {one['control']:g}; {one['calls']}")
            for sql in one["sql"]:
                print(f"    {sql if len(sql) < 240 else sql[:120] + ' … ' + sql[-110:]}")
    print(peer.ask("profile", 100))


if __name__ == "__main__":
    main()
