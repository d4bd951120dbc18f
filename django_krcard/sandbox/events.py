"""What the sandbox tells the site: webhook messages, written with the change and sent after it."""

import copy
import json
from datetime import UTC, datetime

from .models import Event, State
from .store import LATEST, Act, Body, account_of, new_id

# Where the object of an event can be asked for. What has no id (an invoice to come) has no address.
ADDRESSES = {
    "account": "/v1/account",
    "charge": "/v1/charges/{id}",
    "checkout.session": "/v1/checkout/sessions/{id}",
    "customer": "/v1/customers/{id}",
    "dispute": "/v1/disputes/{id}",
    "invoice": "/v1/invoices/{id}",
    "invoice_payment": "/v1/invoice_payments/{id}",
    "mandate": "/v1/mandates/{id}",
    "payment_intent": "/v1/payment_intents/{id}",
    "payment_method": "/v1/payment_methods/{id}",
    "price": "/v1/prices/{id}",
    "product": "/v1/products/{id}",
    "refund": "/v1/refunds/{id}",
    "setup_intent": "/v1/setup_intents/{id}",
    "subscription": "/v1/subscriptions/{id}",
}


def emit(act: Act, type: str, subject: Body, previous: Body | None = None) -> None:
    """Writes down that something happened. `delivery` sends it once the change is committed."""
    data: Body = {"object": copy.deepcopy(subject)}
    if previous is not None:
        data["previous_attributes"] = previous
    format = act.state.event_format
    body: Body = {
        "id": new_id("event"),
        "object": "event",
        "api_version": LATEST,
        "created": act.now,
        "data": data,
        "livemode": False,
        "pending_webhooks": int(act.state.delivery != State.Delivery.DROPPED and format != State.Format.THIN),
        "request": {"id": act.request_id, "idempotency_key": act.idempotency_key},
        "type": type,
    }
    if account := account_of(subject):
        body["account"] = account
    write(act, body, type, Event.Format.SNAPSHOT)
    if format != State.Format.SNAPSHOT:
        write(act, thin(act, body), type, Event.Format.THIN)


def thin(act: Act, snapshot: Body) -> Body:
    """The same news without the object: where to ask for it, and which snapshot is its twin."""
    subject = snapshot["data"]["object"]
    request = snapshot["request"]
    body: Body = {
        "id": new_id("v2.core.event"),
        "object": "v2.core.event",
        "type": f"v1.{snapshot['type']}",
        "created": datetime.fromtimestamp(act.now, UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z"),
        "livemode": False,
        "context": snapshot.get("account"),
        "changes": None,
        "reason": {"type": "request", "request": request} if request["id"] else None,
        "snapshot_event": snapshot["id"],
    }
    if "id" not in subject:
        return body
    kind = subject["object"]
    address = ADDRESSES[kind].format(id=subject["id"])
    return body | {"related_object": {"id": subject["id"], "type": kind, "url": address}}


def write(act: Act, body: Body, type: str, format: str) -> None:
    wanted = act.state.event_format in (format, State.Format.BOTH)
    sent = wanted and act.state.delivery != State.Delivery.DROPPED
    event = Event.objects.create(
        stripe_id=body["id"],
        type=type,
        format=format,
        account=body.get("account") or body.get("context") or "",
        created=act.now,
        body=json.dumps(body, indent=2, ensure_ascii=False).encode(),
        state=Event.State.WAITING if sent else Event.State.DROPPED,
    )
    act.events.append(event)
