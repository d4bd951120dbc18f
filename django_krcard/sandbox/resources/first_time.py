"""A payment method that is used for the first time: what the shop says of it, and when it becomes the customer's."""

import random
from typing import Any

from .. import events, objects
from ..errors import SandboxError
from ..faults import take
from ..issuers import ISSUERS
from ..params import choice, integer, invalid, mapping, metadata, missing, text
from ..store import Act, Body, find, mandate_of, save

# Cards of the world need a form of Stripe's, and its script; these are chosen on the processor's page.
REDIRECTED = ("kr_card", "naver_pay", "kakao_pay")

ADDRESS = mapping(**dict.fromkeys(("city", "country", "line1", "line2", "postal_code", "state"), text()))
METHOD_DATA = mapping(
    "type",
    allow_redisplay=choice("always", "limited", "unspecified"),
    billing_details=mapping(address=ADDRESS, email=text(), name=text(), phone=text()),
    kakao_pay=mapping(),
    kr_card=mapping(),
    metadata=metadata,
    naver_pay=mapping(funding=choice("card", "points")),
    type=choice(*REDIRECTED),
)
MANDATE_DATA = mapping(
    "customer_acceptance",
    customer_acceptance=mapping(
        "type",
        accepted_at=integer,
        offline=mapping(),
        online=mapping(ip_address=text(), user_agent=text()),
        type=choice("offline", "online"),
    ),
)


def only_when_confirmed(given: Body, *names: str) -> None:
    """On a create: these belong to a confirmation. Where the customer was is said in full, as no browser tells it."""
    for name in names:
        if name in given and not given.get("confirm"):
            raise invalid(f"You can only set `{name}` together with `confirm=true`.", name)
    acceptance = given.get("mandate_data", {}).get("customer_acceptance", {})
    for name in ("ip_address", "user_agent"):
        if acceptance.get("type") == "online" and name not in acceptance.get("online", {}):
            raise missing(f"mandate_data[customer_acceptance][online][{name}]")


def method(act: Act, data: Body) -> Body:
    """Nobody's yet, and nothing is known of it but its type."""
    owner: Body = {"id": None, **data.get("billing_details", {})}
    details: dict[str, Any] = {
        "kakao_pay": {},
        "kr_card": {"brand": None, "last4": None},
        "naver_pay": {"buyer_id": None, "funding": data.get("naver_pay", {}).get("funding", "card")},
    }
    body = objects.payment_method(act, owner, data["type"], details[data["type"]])
    body |= {"allow_redisplay": data.get("allow_redisplay", "unspecified"), "metadata": data.get("metadata", {})}
    return save(act, body)


def permission(act: Act, method: Body, given: Body) -> Body:
    """The mandate with the acceptance that the shop saw. It comes into force when the customer authorises."""
    acceptance = given.get("mandate_data", {}).get("customer_acceptance", {"type": "offline"})
    online = {name: acceptance.get("online", {}).get(name) for name in ("ip_address", "user_agent")}
    body = objects.mandate(act, method, "pending", **online)
    body["customer_acceptance"] = {"type": acceptance["type"], "accepted_at": acceptance.get("accepted_at", act.now)}
    body["customer_acceptance"] |= {"online": online} if acceptance["type"] == "online" else {"offline": {}}
    return save(act, body)


def is_new(method: Body) -> bool:
    """Nobody's yet: not one that was somebody's and was detached."""
    mandate = mandate_of(method["id"])
    return method["customer"] is None and (mandate is None or mandate["status"] == "pending")


def authorised(act: Act, method: Body, owner: str, brand: str = "shinhan", last4: str | None = None) -> Body:
    """The customer chose a card, or the wallet said yes: it is saved for the customer, and its mandate in force."""
    if method["type"] == "kr_card" and brand not in ISSUERS:
        raise SandboxError(f"There is no issuer {brand!r}.")
    customer = find("customer", owner) or {}
    method |= {"customer": owner, method["type"]: details_of(method["type"], brand, last4, owner)}
    method["billing_details"] |= {name: customer.get(name) for name in ("email", "name", "phone")}
    save(act, method)
    events.emit(act, "payment_method.attached", method)
    mandate = mandate_of(method["id"])
    if mandate and not take("mandate_pending"):
        mandate = save(act, mandate | {"status": "active"})
        events.emit(act, "mandate.updated", mandate, {"status": "pending"})
    return method


def details_of(type: str, brand: str, last4: str | None, owner: str) -> Body:
    last4 = last4 or f"{random.randrange(10000):04}"
    if type == "card":
        return objects.visa(last4)
    if type == "kr_card":
        return {"brand": brand, "last4": last4}
    return {"buyer_id": f"sandbox_{owner}", "funding": "card"} if type == "naver_pay" else {}


def refused(act: Act, method: Body) -> None:
    """It will never be used."""
    mandate = mandate_of(method["id"])
    if mandate:
        save(act, mandate | {"status": "inactive"})
