"""What is in the box now: for the command's `status` and for the panel."""

from . import control
from .due import catch_up
from .models import Event, Fault, Resource
from .store import Body, of_kind, read_state

NEWEST_EVENTS = 10
NEWEST_OF_A_KIND = 5


def overview() -> Body:
    catch_up()
    state = read_state()
    return {
        "now": control.now().isoformat(timespec="seconds"),
        "clock_offset": state.clock_offset,
        "delivery": state.delivery,
        "event_format": state.event_format,
        "enabled_types": state.enabled_types,
        "pages_at": state.pages_at,
        "coming": [{"kind": fault.kind, **fault.data} for fault in Fault.objects.order_by("pk")],
        "open_sessions": [brief(row.body) for row in of_kind("checkout.session").filter(status="open")],
        "held_events": [told(event) for event in Event.objects.filter(state=Event.State.WAITING).order_by("pk")],
        "newest_events": [told(event) for event in Event.objects.order_by("-pk")[:NEWEST_EVENTS]],
        "newest": [brief(row.body) for row in newest()],
    }


def newest() -> list[Resource]:
    """Some of each kind, so that many charges do not hide the card."""
    kinds = Resource.objects.values_list("kind", flat=True).distinct()
    rows = [row for kind in kinds for row in of_kind(kind)[:NEWEST_OF_A_KIND]]
    return sorted(rows, key=lambda row: -row.pk)


def brief(body: Body) -> Body:
    wanted = ("id", "object", "status", "brand", "last4", "customer", "payment_method", "amount", "url")
    full = {**body.get(body.get("type") or "", {}), **redirect_of(body), **body}
    return {name: full[name] for name in wanted if full.get(name) is not None}


def redirect_of(body: Body) -> Body:
    """Where the customer of a payment is sent, as long as there is something to do."""
    return (body.get("next_action") or {}).get("redirect_to_url", {})


def told(event: Event) -> Body:
    return {
        "id": event.stripe_id,
        "type": event.type,
        "state": event.state,
        "attempts": event.attempts,
        "last_status": event.last_status,
    }
