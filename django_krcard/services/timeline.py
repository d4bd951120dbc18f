"""What happened to a mandate, in order, with who did it."""

from typing import Any

from django_krcard.models import Mandate, TimelineEntry


def record(mandate: Mandate, kind: str, *, actor: str, **data: Any) -> TimelineEntry:
    """Write one entry. ``actor`` is "customer", "staff:<name>", "stripe" or "system"; ``data`` is JSON."""
    return TimelineEntry.objects.create(mandate=mandate, kind=kind, actor=actor, data=data)
