"""`expand[]`: the id of another object is replaced by the object."""

from typing import Any

from .errors import ApiError
from .store import Body, find, of_kind

KINDS = {
    "charge": "charge",
    "customer": "customer",
    "default_payment_method": "payment_method",
    "invoice": "invoice",
    "latest_charge": "charge",
    "latest_invoice": "invoice",
    "mandate": "mandate",
    "payment_intent": "payment_intent",
    "payment_method": "payment_method",
    "product": "product",
    "setup_intent": "setup_intent",
    "subscription": "subscription",
}
MAX_DEPTH = 4


def expand(body: Body, paths: list[str]) -> Body:
    for path in paths:
        names = path.split(".")
        if len(names) > MAX_DEPTH + (names[0] == "data"):
            message = f"You cannot expand more than {MAX_DEPTH} levels of a property. Property: {path}"
            raise ApiError(400, message, param="expand")
        follow(body, names, path)
    return body


def follow(node: Any, names: list[str], path: str) -> None:
    if not names or node is None:
        return
    name, *rest = names
    if name == "data" and node.get("object") == "list":
        for item in node["data"]:
            follow(item, rest, path)
        return
    if name == "payments" and node.get("object") == "invoice":
        node["payments"] = payments_of(node["id"])
    inner = node.get(name)
    if isinstance(inner, str) and name in KINDS:
        node[name] = find(KINDS[name], inner)
    elif not leads_on(node, name, rest):
        raise ApiError(400, f"This property cannot be expanded ({path}).", param="expand")
    follow(node[name], rest, path)


def leads_on(node: Body, name: str, rest: list[str]) -> bool:
    """There is nothing to fetch here, but there may be further down."""
    if name not in node:
        return False
    inner = node[name]
    if inner is None:
        return name in KINDS
    return isinstance(inner, dict) and (bool(rest) or "object" in inner)


def payments_of(invoice: str) -> Body:
    rows = of_kind("invoice_payment").filter(body__invoice=invoice)
    return {
        "object": "list",
        "data": [row.body for row in rows],
        "has_more": False,
        "url": f"/v1/invoice_payments?invoice={invoice}",
    }
