"""Play a story once for every moment at which the process may be stopped."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from django.test import override_settings

from tests.faults import books
from tests.faults.crash import Picture, Process, Wire, World, recover
from tests.faults.scenarios import Story


@dataclass
class Played:
    """How often the process was stopped, how many different worlds that left behind, and what was wrong with them."""

    moments: int = 0
    worlds: int = 0
    complaints: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        return f"stopped at {self.moments} moments, which left {self.worlds} different worlds"


@dataclass
class Stop:
    """What a stop left behind, and at how many moments it does so."""

    where: str
    left: Picture
    moments: int = 1


def play(world: World, story: Story, which: Callable[[list[Stop]], Sequence[Stop]] = list) -> Played:
    """Stop at each moment in turn, start again, and ask the auditor. ``which`` says what of that is followed up.

    What comes after depends on nothing but the world that is left: two stops that left the same are followed up once.
    """
    played = Played()
    with override_settings(**story.settings):
        world.put_back(world.empty)
        story.begin(world)
        for stop in which(stops(world, lambda: story.act(world), played)):
            for wrong in aftermaths(world, story, stop):
                played.complaints.append(f"{story}, stopped {stop.where}, {wrong}")
    return played


def play_pairs(world: World, story: Story, told: Callable[[str], None]) -> tuple[int, Played]:
    """Stop at each moment, and once more at each moment of what follows: the timer, or the caller who tries again.

    Returns how many ordered pairs of moments that are, and what was played for them.
    """
    first, second, pairs = Played(), Played(), 0
    with override_settings(**story.settings):
        world.put_back(world.empty)
        story.begin(world)
        once = stops(world, lambda: story.act(world), first)
        for number, stop in enumerate(once, start=1):
            for name, follows in (("timer", recover), ("caller", story.again)):
                world.put_back(stop.left)
                before = second.moments
                for again in stops(world, lambda follows=follows: follows(world), second):
                    for wrong in aftermaths(world, story, again):
                        second.complaints.append(f"{story}, stopped {stop.where}, the {name} {again.where}, {wrong}")
                pairs += stop.moments * (second.moments - before)
                told(f"{story}: world {number} of {first.worlds}, {name}: {pairs} pairs")
    second.complaints += first.complaints
    return pairs, second


def stops(world: World, act: Callable[[], object], played: Played) -> list[Stop]:
    """Stop ``act`` at each of its moments. Gives each different world that this left behind."""
    start = world.picture()
    moments = len(Process().run(act).trail)
    found: dict[tuple, Stop] = {}
    for moment in range(moments):
        world.put_back(start)
        dead = Process(moment).run(act)
        if dead.ghosts:
            played.complaints.append(f"stopped {dead.end}, it went on: {dead.ghosts}")
        likeness = world.likeness()
        if likeness in found:
            found[likeness].moments += 1
        else:
            found[likeness] = Stop(f"{dead.end} ({moment})", world.picture())
    played.moments += moments
    played.worlds += len(found)
    return list(found.values())


def aftermaths(world: World, story: Story, stop: Stop) -> Iterator[str]:
    for aftermath in (two_days_later, at_once):
        world.put_back(stop.left)
        yield from (f"then {aftermath.__name__}: {wrong}" for wrong in aftermath(world, story))


def two_days_later(world: World, story: Story) -> Iterator[str]:
    """The timer has gone for two days when the caller comes back; should they never, it is in order as well."""
    yield from _in_order(lambda: recover(world))
    yield from _in_order(lambda: (story.again(world), recover(world)))
    if wrong := story.ended():
        yield wrong
    yield from (f"OUTSIDE THE TERMS: asked of {path} after the withdrawal" for path in Wire.too_late)


def at_once(world: World, story: Story) -> Iterator[str]:
    """The caller tries again before anything else happens, and once more in the end."""
    Process().run(lambda: story.again(world))
    yield from two_days_later(world, story)


def _in_order(act: Callable[[], object]) -> Iterator[str]:
    try:
        Process().run(act)
    except Exception as error:
        yield f"UNCAUGHT: {error!r}"
    yield from books.complaints()
