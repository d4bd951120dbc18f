"""JSON as only somebody with the secret could send it, with bad intent or on a bad day: events out of all shape."""

import copy
import json
import random
import secrets
import time
from collections.abc import Callable
from typing import Any

from django_krcard.webhooks.handlers import HANDLERS

#: What no JSON writer writes; put in when the document is text.
DEEP, HUGE = "@deep@", "@huge@"

ODD_TEXTS = [
    "",
    " ",
    "\0",
    "evt_\0",
    "\n",
    "\x1b[2J",
    "\u202e",
    "\u2028",
    "\ufeff",
    "\ud800",
    "\udfff\ud800",
    "💳",
    "한강",
    "é" * 255,
    "e" * 256,
    "x" * 70_000,
    "null",
    "0",
    "true",
    "[]",
    "{}",
    "NaN",
    "..",
    "../../v1/customers",
    "//evil.example",
    "https://evil.example/v1/charges",
    "?expand[]=customer",
    "%2e%2e%2f",
    "'; DROP TABLE krcard_event; --",
    "{{ 7 * 7 }}",
    "${jndi:ldap://evil.example}",
    "<script>alert(1)</script>",
    "2026-11-24",
    "2026-13-45T99:99:99Z",
    "0001-01-01T00:00:00+23:59",
    "9999-12-31T23:59:59-23:59",
    "2026-11-24T12:00:00+99:99",
    "00000000-0000-0000-0000-000000000000",
]
ODD_NUMBERS = [
    *(0, -1, 1, 2**31, 2**32, 2**53 + 1, 2**63, -(2**63), 10**400, -(10**400), 253_402_300_800, 10**17),
    *(0.5, -0.0, 1e-320, 1e308, float("nan"), float("inf"), float("-inf")),
]
ODD_THINGS = [None, True, False, [], {}, [[]], [None], {"": None}, {"id": None}, {"id": []}, {"object": "event"}]

#: Where a handler looks, and the inbox before it.
LOOKED_AT = [
    *(("id",), ("object",), ("type",), ("livemode",), ("account",), ("context",), ("created",), ("api_version",)),
    *(("data",), ("data", "object"), ("data", "object", "id"), ("data", "object", "object")),
    *(
        ("data", "object", name)
        for name in ("metadata", "client_reference_id", "payment_intent", "customer", "created")
    ),
    *(("data", "object", "metadata", name) for name in ("krcard_setup", "krcard_mandate", "krcard_reference")),
    *(("data", "object", name) for name in ("status", "payment_method", "charge", "setup_intent", "mode", "deleted")),
    *(("related_object",), ("related_object", "id"), ("related_object", "type"), ("related_object", "url")),
    *(("snapshot_event",), ("changes",), ("reason",)),
]

KINDS_OF_OBJECTS = [
    *("charge", "checkout.session", "customer", "dispute", "event", "invoice", "mandate", "payment_intent"),
    *("payment_method", "refund", "setup_intent", "subscription", "account", "__class__", "v2.core.event"),
]

Document = dict[str, Any]


class Documents:
    """Made of what exists.

    `told`: events that Stripe really sent, of both formats. `ids`: those of Stripe's objects, by kind. `metadata`: what
    stands on them of ours, set by set. `names`: whatever else has a name.
    """

    def __init__(
        self,
        rng: random.Random,
        told: list[Document],
        ids: dict[str, list[str]],
        metadata: list[dict[str, str]],
        names: list[str],
    ) -> None:
        self.rng, self.told, self.ids, self.metadata = rng, told, ids, metadata
        self.names = [name for some in ids.values() for name in some] + names

    def next(self) -> bytes:
        make = self.rng.choices([self.mangled, self.crossed, self.aimed, self.thin, self.torn], [4, 2, 2, 1, 1])[0]
        return make()

    # --- events with some of their parts gone wrong -----------------------------------------------

    def mangled(self) -> bytes:
        event = self.an_event()
        for _ in range(self.rng.choice([1, 1, 1, 2, 3, 5])):
            self.spoil(event, self.rng.choice(LOOKED_AT) if self.rng.random() < 0.7 else self.any_path(event))
        return self.written(event)

    def spoil(self, event: Document, path: tuple) -> None:
        place = event
        for name in path[:-1]:
            place = child_of(place, name)
        last = path[-1]
        if isinstance(place, dict) and self.rng.random() < 0.15:
            place.pop(last, None)
        elif isinstance(place, dict) or child_of(place, last) is not None:
            place[last] = self.odd_value(child_of(place, last))

    def any_path(self, thing: Any, path: tuple = ()) -> tuple:
        children = list(
            thing.items() if isinstance(thing, dict) else enumerate(thing) if isinstance(thing, list) else []
        )
        if not children or (path and self.rng.random() < 0.3):
            return path or ("more",)
        name, child = self.rng.choice(children)
        return self.any_path(child, (*path, name))

    def odd_value(self, value: Any) -> Any:
        rng = self.rng
        ways: list[Callable[[], Any]] = [
            lambda: rng.choice(ODD_TEXTS),
            lambda: rng.choice(ODD_NUMBERS),
            lambda: copy.deepcopy(rng.choice(ODD_THINGS)),
            lambda: rng.choice([DEEP, HUGE]),
            lambda: [value],
            lambda: {"id": value},
            lambda: str(value),
            lambda: rng.choice(self.names),
            lambda: f"{rng.choice(self.names)}{rng.choice(ODD_TEXTS)}",
        ]
        return rng.choice(ways)()

    # --- events that are well made and lie --------------------------------------------------------

    def crossed(self) -> bytes:
        """Ids of other things and other people where an id is; the type of one event on the object of another."""
        event = self.an_event()
        event = self.with_other_names(event, self.rng.choice([0.1, 0.5]))
        if self.rng.random() < 0.7:
            prefix = "v1." if event["object"] == "v2.core.event" else ""
            event["type"] = prefix + self.rng.choice(list(HANDLERS))
        return self.written(event)

    def aimed(self) -> bytes:
        """Names what is ours rightly, and the thing at Stripe wrongly; or the other way round."""
        rng = self.rng
        ours = rng.choice(self.metadata)
        subject = {
            "id": rng.choice(rng.choice(list(self.ids.values()))),
            "object": rng.choice(list(self.ids)),
            "client_reference_id": ours.get("krcard_setup"),
            "created": rng.choice([int(time.time()), *ODD_NUMBERS]),
            "customer": self.any_of("customer"),
            "payment_intent": self.any_of("payment_intent"),
            "payment_method": self.any_of("payment_method"),
            "parent": {"subscription_details": {"subscription": self.any_of("subscription"), "metadata": ours}},
            "metadata": ours if rng.random() < 0.8 else self.odd_value(ours),
            "status": rng.choice(["succeeded", "complete", "inactive", "lost", "canceled"]),
            "amount": 9_000,
            "deleted": True,
        }
        type = rng.choice(list(HANDLERS))
        # Mostly an object of the kind that such an event is about.
        kind = max((kind for kind in self.ids if type.startswith(kind)), key=len, default="payment_intent")
        if rng.random() < 0.8:
            subject |= {"id": self.any_of(kind), "object": kind}
        event = copy.deepcopy(self.told[0]) | {"id": new_id(), "object": "event", "type": type, "livemode": False}
        return self.written(event | {"data": {"object": subject}})

    def any_of(self, kind: str) -> str:
        return self.rng.choice(self.ids[kind])

    def with_other_names(self, thing: Any, share: float) -> Any:
        if isinstance(thing, dict):
            return {name: self.with_other_names(value, share) for name, value in thing.items()}
        if isinstance(thing, list):
            return [self.with_other_names(value, share) for value in thing]
        if thing in self.names and self.rng.random() < share:
            return self.rng.choice(self.names)
        return thing

    def thin(self) -> bytes:
        rng, name = self.rng, self.rng.choice(self.names)
        kind = rng.choice(KINDS_OF_OBJECTS)
        addresses = [
            f"/v1/{kind}s/{name}",
            "//evil.example/v1",
            "/v1/../v2",
            f"https://evil.example/{name}",
            "",
            None,
            7,
        ]
        event = {
            "id": new_id(),
            "object": "v2.core.event",
            "type": rng.choice(["v1.", "v1.", "v1.", "v1.v1.", "v2.", ""]) + rng.choice(list(HANDLERS)),
            "created": rng.choice(["2026-11-24T12:00:00.000Z", *ODD_TEXTS[-6:], 1_795_000_000]),
            "livemode": False,
            "context": None,
            "related_object": {"id": name, "type": kind, "url": rng.choice(addresses)},
            "snapshot_event": rng.choice([new_id(), None, self.odd_value(None), rng.choice(self.told)["id"]]),
        }
        if rng.random() < 0.3:
            event["related_object"] = self.odd_value(event["related_object"])
        return self.written(event)

    # --- bytes that are hardly JSON ---------------------------------------------------------------

    def torn(self) -> bytes:
        rng = self.rng
        body = self.written(self.an_event())
        at = rng.randrange(len(body))
        return rng.choice(
            [
                lambda: body[:at],
                lambda: body[:at] + bytes([rng.randrange(256)]) + body[at + 1 :],
                lambda: body[:at] + rng.choice([b"\xff", b"\xed\xa0\x80", b"\xc0\xaf", b"\0"]) + body[at:],
                lambda: b"\xef\xbb\xbf" + body,
                lambda: body.decode("utf-8", "replace").encode("utf-16-le"),
                lambda: body + body,
                lambda: b"[" + body + b"]",
                lambda: json.dumps(body.decode("utf-8", "replace")).encode(),
                lambda: rng.choice([b"", b" ", b"null", b"true", b"0", b"-", b"NaN", b'"', b"[]", b"{}", b'{"id"']),
                lambda: nested(rng).encode(),
                lambda: rng.randbytes(rng.randrange(1, 300)),
                lambda: body.replace(b'"', b"'"),
                lambda: body.replace(b"false", b"FALSE"),
            ]
        )()

    # --- words ------------------------------------------------------------------------------------

    def an_event(self) -> Document:
        event = copy.deepcopy(self.rng.choice(self.told))
        # One in a hundred comes under the id of an event that was here before.
        if self.rng.random() > 0.01:
            event["id"] = new_id()
            if "snapshot_event" in event:
                event["snapshot_event"] = new_id()
        return event

    def written(self, event: Document) -> bytes:
        rng = self.rng
        told = json.dumps(event, ensure_ascii=rng.random() < 0.5)
        told = told.replace(f'"{DEEP}"', nested(rng)).replace(f'"{HUGE}"', rng.choice("-123456789") + "9" * 5_000)
        if rng.random() < 0.03:
            key = rng.choice(["id", "type", "object", "livemode", "data", "account"])
            value = json.dumps(self.odd_value(event.get(key)))
            told = rng.choice([f'{{"{key}": {value}, {told[1:]}', f'{told[:-1]}, "{key}": {value}}}'])
        # A lone surrogate that is not written as an escape makes bytes that are no UTF-8.
        return told.encode("utf-8", "surrogatepass")


def child_of(thing: Any, name: str | int) -> Any:
    if isinstance(thing, dict):
        return thing.get(name)
    return thing[name] if isinstance(thing, list) and isinstance(name, int) and name < len(thing) else None


def nested(rng: random.Random) -> str:
    depth = rng.choice([20, 200, 900, 1_100, 20_000])
    before, after = rng.choice([("[", "]"), ('{"a":', "}")])
    return before * depth + ("0" if before != "[" else "") + after * depth


def new_id() -> str:
    return f"evt_{secrets.token_hex(12)}"
