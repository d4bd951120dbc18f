"""`expand[]`: the id of another object is replaced by the object."""

from typing import Any

from .errors import ApiError
from .store import Body, find

KINDS = {
    "customer": "customer",
    "setup_intent": "setup_intent",
    "payment_intent": "payment_intent",
    "payment_method": "payment_method",
    "mandate": "mandate",
    "latest_charge": "charge",
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
    if name not in KINDS or name not in node:
        raise ApiError(400, f"This property cannot be expanded ({path}).", param="expand")
    if isinstance(node[name], str):
        node[name] = find(KINDS[name], node[name])
    follow(node[name], rest, path)
