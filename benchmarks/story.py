"""What Stripe says of one customer who saves a card and pays once: objects, answers, and messages about them.

The objects are in `story.json`, in Stripe's shapes, with `#` for the customer's number. This file knows no Django: the
stand-in and every receiver that is measured use it.
"""

import hashlib
import hmac
import json
import time
from copy import deepcopy
from functools import cache
from pathlib import Path
from urllib.parse import parse_qsl

OBJECTS = json.loads(Path(__file__).with_name("story.json").read_text())
KIND_OF = {thing["id"].removesuffix("_story_#"): kind for kind, thing in OBJECTS.items()}
ACCOUNT = {"id": "acct_story", "object": "account", "country": "KR", "default_currency": "krw", "type": "standard"}

#: In the order in which it happens, and what each message is about.
SAVING = {
    "payment_method.attached": "payment_method",
    "setup_intent.succeeded": "setup_intent",
    "checkout.session.completed": "checkout.session",
    "mandate.updated": "mandate",
}
PAYING = {"payment_intent.succeeded": "payment_intent"}
EVENTS = SAVING | PAYING

SECRET = "whsec_krcard_benchmarks"


def of(text, number):
    return text.replace("#", f"{number:012}")


def name(kind, number):
    """Stripe's id of the customer's object of this kind."""
    return of(OBJECTS[kind]["id"], number)


def thing(kind, number):
    return json.loads(of(_as_text(kind), number))


# --- what Stripe answers -------------------------------------------------------------------------


def answer(path, query):
    """The bytes that Stripe would answer to a GET, or ``None`` for what is not in the story."""
    if path == "/v1/account":
        return json.dumps(ACCOUNT).encode()
    prefix, _, number = path.rpartition("/")[2].partition("_story_")
    if prefix not in KIND_OF or not number.isdecimal():
        return None
    wanted = tuple(value for key, value in parse_qsl(query) if key.startswith("expand"))
    return of(_as_text(KIND_OF[prefix], wanted), int(number)).encode()


@cache
def _as_text(kind, expand=()):
    thing = deepcopy(OBJECTS[kind])
    for path in expand:
        _put_in(thing, *path.split("."))
    return json.dumps(thing)


def _put_in(thing, field, *deeper):
    value = thing.get(field)
    if isinstance(value, str):
        value = thing[field] = deepcopy(OBJECTS[KIND_OF[value.partition("_story_")[0]]])
        if value["object"] == "mandate":
            # Whoever asks for the session asks before `mandate.updated`, which has something to say.
            value["status"] = "pending"
    if deeper and isinstance(value, dict):
        _put_in(value, *deeper)


# --- what Stripe tells ---------------------------------------------------------------------------


def message(type, number):
    """The bytes of a message. Stripe's are indented, too."""
    return of(_template(type), number).encode()


@cache
def _template(type):
    data = {"object": OBJECTS[EVENTS[type]]}
    if type == "mandate.updated":
        data["previous_attributes"] = {"status": "pending"}
    event = {
        "id": f"evt_{type.replace('.', '_')}_#",
        "object": "event",
        "api_version": "2026-10-28.endive",
        "created": int(time.time()),
        "data": data,
        "livemode": False,
        "pending_webhooks": 1,
        "request": {"id": "req_story", "idempotency_key": None},
        "type": type,
    }
    return json.dumps(event, indent=2)


def signature(body):
    """Stripe's header. Good for five minutes."""
    now = int(time.time())
    return f"t={now},v1={hmac.new(SECRET.encode(), b'%d.%b' % (now, body), hashlib.sha256).hexdigest()}"
