import json

from django.db.models import QuerySet

from ..errors import no_such
from ..models import Event
from ..params import Params, text, texts
from ..store import ACCOUNT, Act, Body
from .lists import PAGING, page

RETRIEVE = Params({})
LIST = Params({**PAGING, "type": text(), "types": texts})


def retrieve(act: Act, wanted: Body, id: str) -> Body:
    event = snapshots().filter(stripe_id=id).first()
    if event is None:
        raise no_such("event", id)
    return shown(event)


def retrieve_thin(act: Act, wanted: Body, id: str) -> Body:
    event = of_account(Event.objects.filter(stripe_id=id, format=Event.Format.THIN)).first()
    if event is None:
        raise no_such("event", id)
    body: Body = json.loads(event.raw)
    return body


def of_account(events: QuerySet[Event]) -> QuerySet[Event]:
    account = ACCOUNT.get()
    return events if account is None else events.filter(account=account)


def snapshots() -> QuerySet[Event]:
    return of_account(Event.objects.filter(format=Event.Format.SNAPSHOT))


def list_(act: Act, wanted: Body) -> Body:
    rows = snapshots()
    if "type" in wanted:
        rows = rows.filter(type=wanted["type"])
    if "types" in wanted:
        rows = rows.filter(type__in=wanted["types"])
    found, body = page(snapshots(), rows, wanted, "/v1/events")
    body["data"] = [shown(event) for event in found]
    return body


def shown(event: Event) -> Body:
    body: Body = json.loads(event.raw)
    return body | {"pending_webhooks": int(event.state == Event.State.WAITING)}
