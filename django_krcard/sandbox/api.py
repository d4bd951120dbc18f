"""The heart: one request of Stripe's API in, one answer out. It knows nothing of HTTP libraries."""

import json
import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field

from django.core.exceptions import ImproperlyConfigured
from django.db import transaction

from . import delivery, faults, idempotency
from .checks import LIVE_KEYS, refuse_in_production
from .due import catch_up
from .encoding import decode
from .errors import ApiError, Timeout
from .expand import expand
from .models import IdempotencyKey
from .routes import Route, route_for
from .store import LATEST, OWN_ACCOUNT, Act, Body, new_id, on_behalf_of, read_state, writing

ACCOUNT_ID = re.compile(r"acct_[A-Za-z0-9_]+")
VERSION = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}(\.[a-z0-9_]+)?")


@dataclass(frozen=True)
class Response:
    status: int
    body: Body
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def content(self) -> bytes:
        return json.dumps(self.body, indent=2, ensure_ascii=False).encode()


@dataclass(frozen=True)
class Request:
    method: str
    path: str
    sent: Body | str
    headers: dict[str, str]
    id: str

    @property
    def version(self) -> str:
        asked = self.headers.get("stripe-version", "")
        return asked if VERSION.fullmatch(asked) else LATEST

    @property
    def account(self) -> str:
        asked = self.headers.get("stripe-account", "")
        return "" if asked == OWN_ACCOUNT else asked

    @property
    def key(self) -> str | None:
        return self.headers.get("idempotency-key") if self.method == "POST" else None


@dataclass(frozen=True)
class Call:
    """A request that was understood: which endpoint it goes to, with what, and what will go wrong."""

    request: Request
    route: Route
    ids: dict[str, str]
    params: Body
    fingerprint: str
    outage: faults.Outage | None

    def run(self, act: Act) -> Body:
        wanted = {name: value for name, value in self.params.items() if name != "expand"}
        with on_behalf_of(self.request.account):
            return expand(self.route.handler(act, wanted, **self.ids), self.params.get("expand", []))


def handle(method: str, path: str, params: Body | str, headers: Mapping[str, str]) -> Response:
    """Answers one request. `params` as sent (form-encoded) or decoded; `path` begins with `/v1/`.

    Raises `Timeout` when the sandbox was told to lose the answer, and ImproperlyConfigured when it
    must not run at all: without DEBUG, or with a live key.
    """
    refuse_in_production()
    lower = {name.lower(): value for name, value in headers.items()}
    request = Request(method.upper(), path, params, lower, new_id("request"))
    try:
        return answer(request)
    except ApiError as refusal:
        return respond(request, refusal.status, refusal.body)


def answer(request: Request) -> Response:
    authenticate(request.headers.get("authorization", ""))
    refuse_odd_version(request)
    refuse_odd_account(request)
    call = understand(request)
    outage = call.outage
    if outage and outage.loses("before"):
        raise Timeout
    response = read(call) if request.method == "GET" else write(call)
    if outage and outage.loses("after"):
        raise Timeout
    return response


def authenticate(authorization: str) -> None:
    key = authorization.removeprefix("Bearer ").strip()
    if key.startswith(LIVE_KEYS):
        raise ImproperlyConfigured("The sandbox never runs with live keys. Use a test key (sk_test_…).")
    if not key:
        raise ApiError(401, "You did not provide an API key.")
    if not key.startswith(("sk_test_", "rk_test_")):
        raise ApiError(401, "Invalid API Key provided. The sandbox takes any sk_test_… or rk_test_….")


def refuse_odd_version(request: Request) -> None:
    asked = request.headers.get("stripe-version")
    if asked and asked != request.version:
        raise ApiError(400, f"{asked!r} is no version of the API: it has to look like {LATEST}.")


def refuse_odd_account(request: Request) -> None:
    if request.account and not ACCOUNT_ID.fullmatch(request.account):
        message = f"The provided key does not have access to account '{request.account}' (or it does not exist)."
        raise ApiError(403, message, code="account_invalid")


def understand(request: Request) -> Call:
    route, ids = route_for(request.method, request.path)
    sent = decode(request.sent) if isinstance(request.sent, str) else request.sent
    params = route.params.read(sent, request.version)
    fingerprint = idempotency.fingerprint(request.method, request.path, sent)
    catch_up()
    outage = faults.take_outage(request.method, request.path)
    return Call(request, route, ids, params, fingerprint, outage)


def read(call: Call) -> Response:
    if call.outage and call.outage.answers:
        raise call.outage.error
    act = Act(read_state(), version=call.request.version)
    return respond(call.request, 200, call.run(act))


def write(call: Call) -> Response:
    if call.outage and call.outage.refuses:
        raise call.outage.error
    request = call.request
    # Every SDK sends a key with a POST. Whoever does not can never ask for the same again.
    key = request.key or f"none-{uuid.uuid4()}"
    if request.account:
        # Each account has keys of its own.
        key = f"{request.account} {key}"
    try:
        claim = idempotency.claim(key, call.fingerprint, request.id, Act(read_state()).now)
    except idempotency.Replay as replay:
        return replayed(request, replay.row)
    with claim, writing(version=request.version, request_id=request.id, idempotency_key=request.key) as act:
        status, body = execute(act, call)
        claim.keep(status, body)
    delivery.deliver_new(act)
    return respond(request, status, body)


def execute(act: Act, call: Call) -> tuple[int, Body]:
    outage = call.outage
    if outage is None or not outage.answers:
        return attempt(act, call)
    if outage.effect == "after":
        attempt(act, call)
    return outage.error.status, outage.error.body


def attempt(act: Act, call: Call) -> tuple[int, Body]:
    try:
        with transaction.atomic():
            try:
                return 200, call.run(act)
            except ApiError as refusal:
                if not refusal.effect_stays:
                    raise
                return refusal.status, refusal.body
    except ApiError as refusal:
        # Whatever was written on the way is undone, and nobody hears of it. On SQLite the undone messages'
        # keys go to the next ones, which are not this act's to send.
        act.events.clear()
        return refusal.status, refusal.body


def respond(request: Request, status: int, body: Body) -> Response:
    headers = {
        "Content-Type": "application/json",
        "Request-Id": request.id,
        "Stripe-Version": request.version,
    }
    if request.key:
        headers["Idempotency-Key"] = request.key
        if status >= 500:
            # The answer is kept under the key: asking again gives the same.
            headers["Stripe-Should-Retry"] = "false"
    return Response(status, body, headers)


def replayed(request: Request, row: IdempotencyKey) -> Response:
    response = respond(request, row.status or 200, json.loads(row.answer))
    response.headers.update({"Idempotent-Replayed": "true", "Original-Request": row.request_id})
    return response
