"""Not faster than Stripe allows: one pace for each endpoint, slower while Stripe turns requests away."""

import random
import threading
import time
from collections import defaultdict
from dataclasses import dataclass

#: Seconds. After the first 429, and the most after many in a row.
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 30.0


@dataclass
class Lane:
    next_at: float = 0.0
    turned_away: int = 0


class Throttle:
    """Threads of one process share one. ``per_second`` requests go to each endpoint, evenly spaced: no bursts.

    https://docs.stripe.com/rate-limits
    """

    def __init__(self, per_second: float) -> None:
        self.gap = 1 / per_second
        self.lanes: dict[str, Lane] = defaultdict(Lane)
        self.lock = threading.Lock()

    def wait(self, endpoint: str) -> None:
        """Sleep until it is this request's turn."""
        with self.lock:
            lane, now = self.lanes[endpoint], time.monotonic()
            turn = max(lane.next_at, now)
            lane.next_at = turn + self.gap
        if turn > now:
            time.sleep(turn - now)

    def take(self, endpoint: str) -> bool:
        """Take the turn if it is here: then nobody has to wait."""
        with self.lock:
            lane, now = self.lanes[endpoint], time.monotonic()
            if lane.next_at > now:
                return False
            lane.next_at = now + self.gap
            return True

    def give_back(self, endpoint: str) -> None:
        """The turn that somebody waited for is not needed: the next ones come as much earlier."""
        with self.lock:
            self.lanes[endpoint].next_at -= self.gap

    def turned_away(self, endpoint: str) -> None:
        """Stripe said 429: nobody asks this endpoint for a while, and longer each time in a row."""
        with self.lock:
            lane = self.lanes[endpoint]
            pause = min(FIRST_PAUSE * 2**lane.turned_away, LONGEST_PAUSE)
            lane.turned_away += 1
            # Not all machines of a site at the same moment.
            lane.next_at = max(lane.next_at, time.monotonic() + pause * random.uniform(0.75, 1.25))

    def let_in(self, endpoint: str) -> None:
        self.lanes[endpoint].turned_away = 0
