"""What happened to a mandate, in order, with who did it."""

from collections.abc import Iterable
from typing import Any

from django_krcard.models import Mandate, TimelineEntry


def record(mandate: Mandate, kind: str, *, actor: str, **data: Any) -> TimelineEntry:
    """Write one entry. ``actor`` is "customer", "staff:<name>", "stripe" or "system"; ``data`` is JSON."""
    written = entry(mandate, kind, actor=actor, **data)
    written.save()
    return written


def entry(mandate: Mandate, kind: str, *, actor: str, **data: Any) -> TimelineEntry:
    """An entry for ``record_all``."""
    return TimelineEntry(mandate=mandate, kind=kind, actor=actor, data=data)


def record_all(entries: Iterable[TimelineEntry]) -> list[TimelineEntry]:
    """Write many, in this order."""
    return TimelineEntry.objects.bulk_create(entries)
