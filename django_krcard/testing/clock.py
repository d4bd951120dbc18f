"""Later, without waiting and without another package."""

from datetime import datetime, timedelta

from django.utils import timezone


class LooksLikeDatetime(type):
    # Django asks isinstance(value, datetime) in the module where the name is replaced.
    def __instancecheck__(cls, value):
        return isinstance(value, datetime)


class Clock:
    """Moves `django.utils.timezone.now()`, whoever calls it, and the sandbox's clock with it. Only forward.

    What does not move: `time.time()` and `datetime.now()`, the database's own clock, the age of webhook signatures.
    """

    def __init__(self, monkeypatch, sandbox):
        self.ahead = timedelta()
        self.sandbox = sandbox
        monkeypatch.setattr(timezone, "datetime", self._datetime())

    def advance(self, by: timedelta | None = None, **units: float) -> datetime:
        """`advance(days=31)`, or a timedelta. Returns the new time."""
        by = timedelta(**units) if by is None else by
        if by < timedelta():
            raise ValueError("The clock goes forward only: Stripe's does, too.")
        self.ahead += by
        self.sandbox.advance(by)
        return timezone.now()

    def _datetime(clock):
        # Not timezone.now itself: fields with default=timezone.now hold that function since the models were made.
        class Later(datetime, metaclass=LooksLikeDatetime):
            @classmethod
            def now(cls, tz=None):
                return datetime.now(tz) + clock.ahead

        return Later
