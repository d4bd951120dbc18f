"""Messages that never came: Stripe keeps all events for 30 days, and this reads what is missing here.

https://docs.stripe.com/webhooks/process-undelivered-events
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from itertools import islice

from django.utils import timezone

from django_krcard import gateway
from django_krcard.models import Event
from django_krcard.services import watermarks
from django_krcard.webhooks import inbox
from django_krcard.webhooks.handlers import HANDLERS

#: Clocks differ, and Stripe may list an event a little later than it was made.
OVERLAP = timedelta(hours=1)
#: What is older, Stripe has forgotten.
KEPT_FOR = timedelta(days=30)


def read(looked: Callable[[], object] = lambda: None) -> Iterator[Event]:
    """Put every event of a type that we handle, and that is not here, into the inbox, work it off, and give its row.

    Reads what was made since the last reading was complete. ``looked`` is called for each event of Stripe's list.
    Safe to stop at any time: what is stored by then is worked off by ``krcard_process_events``.
    """
    began = timezone.now()
    stored: list[tuple[datetime, int]] = []
    told = gateway.events_since(max(watermarks.since(watermarks.EVENTS) - OVERLAP, began - KEPT_FOR), HANDLERS)
    while page := list(islice(told, gateway.PAGE)):
        here = set(
            Event.objects.filter(stripe_id__in=[data["id"] for data in page]).values_list("stripe_id", flat=True)
        )
        for data in page:
            looked()
            if data["id"] not in here:
                event, is_new = inbox.keep(json.dumps(data, default=str).encode())
                stored += [(event.created, event.pk)] if is_new else []
    watermarks.move(watermarks.EVENTS, began)
    # In the order in which it happened, though any would do.
    yield from (inbox.process(pk) for _created, pk in sorted(stored))
