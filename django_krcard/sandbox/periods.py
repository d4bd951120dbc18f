"""When a period of a subscription ends: same day of the month, or the month's last."""

import calendar
from datetime import UTC, datetime, timedelta

DAYS = {"day": 1, "week": 7}
MONTHS = {"month": 1, "year": 12}


def end_after(anchor: int, moment: int, interval: str, count: int) -> int:
    """The first whole number of intervals after the anchor that is later than this moment."""
    periods = 1
    while (end := shifted(anchor, interval, count * periods)) <= moment:
        periods += 1
    return end


def shifted(anchor: int, interval: str, many: int) -> int:
    start = datetime.fromtimestamp(anchor, UTC)
    if interval in DAYS:
        return int((start + timedelta(days=DAYS[interval] * many)).timestamp())
    years, month = divmod(start.month - 1 + MONTHS[interval] * many, 12)
    year, month = start.year + years, month + 1
    last = calendar.monthrange(year, month)[1]
    return int(start.replace(year=year, month=month, day=min(start.day, last)).timestamp())
