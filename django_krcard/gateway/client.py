"""The client of Stripe's SDK, how it is asked, and our error for each of Stripe's."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from functools import cache, partial
from typing import Any, TypeVar

from django.utils.module_loading import import_string

from django_krcard.conf import conf
from django_krcard.exceptions import (
    CardDeclined,
    GatewayError,
    KeyReused,
    RateLimited,
    StripeBusy,
    StripeRefusedKey,
    StripeRefusedRequest,
    StripeUnavailable,
)
from django_krcard.throttle import Throttle
from django_krcard.transactions import refuse_inside_transaction

logger = logging.getLogger(__name__)

CONNECT_TIMEOUT, READ_TIMEOUT = 3, 10  # seconds: a person is waiting


PAGE = 100  # objects of a list, Stripe's most


TURNED_AWAY = 5  # times in a row that a question that can wait is asked again


MAX_NETWORK_RETRIES = 2  # of the same request under the same key, after time-outs, 409 and 5xx


SANDBOX_HTTP_CLIENT = "django_krcard.sandbox.http.SandboxHTTPClient"

# By name, as Stripe's SDK is imported on first use: it brings the library that the SDK speaks HTTP with.
SESSION = "django_krcard.gateway.sessions.SessionOfThisThread"


Answer = TypeVar("Answer")


def client():
    return _client(conf.STRIPE_ACCOUNT)


def client_of_the_key():
    """For what belongs to the key's own account, also where the site acts for another one."""
    return _client("")


def _client(account: str):
    refuse_inside_transaction()
    return client_for(conf.STRIPE_SECRET_KEY, conf.STRIPE_API_VERSION, conf.STRIPE_API_BASE, conf.SANDBOX, account)


@cache
def client_for(secret_key: str, api_version: str, api_base: str | None, sandbox: bool, account: str = ""):
    import stripe

    # The only global of the SDK that is touched: telemetry has no switch on the client, and it would write an id
    # into the home directory of the site's user.
    stripe.enable_telemetry = False
    if sandbox:
        http_client = import_string(SANDBOX_HTTP_CLIENT)()
    else:
        session = import_string(SESSION)()
        http_client = stripe.RequestsClient(timeout=(CONNECT_TIMEOUT, READ_TIMEOUT), session=session)
    return stripe.StripeClient(
        secret_key,
        stripe_account=account or None,
        stripe_version=api_version,
        base_addresses={"api": api_base} if api_base else None,
        max_network_retries=MAX_NETWORK_RETRIES,
        http_client=http_client,
    )


def wait_for_turn(endpoint: str) -> None:
    """For what must be decided as late as can be: first the turn, then the decision, then ``ask(…, in_turn=True)``."""
    if not conf.SANDBOX:
        throttle_for(conf.REQUESTS_PER_SECOND).wait(endpoint)


def take_turn(endpoint: str) -> bool:
    return conf.SANDBOX or throttle_for(conf.REQUESTS_PER_SECOND).take(endpoint)


def forgo_turn(endpoint: str) -> None:
    if not conf.SANDBOX:
        throttle_for(conf.REQUESTS_PER_SECOND).give_back(endpoint)


def ask(
    endpoint: str,
    request: Callable[[Any], Any],
    read: Callable[[dict[str, Any]], Answer],
    *,
    of_the_key: bool = False,
    api: str = "v1",
    in_turn: bool = False,
    may_be_missing: bool = False,
) -> Answer:
    """Make one request and return its answer as ``read`` makes it ours; Stripe's errors become ours, too.

    ``endpoint`` is what Stripe counts: each has a limit of its own. ``of_the_key`` asks the key's own account, also
    where the site acts for another one. ``in_turn``: the turn was waited for already. ``may_be_missing``: that there is
    no such thing (404) is an answer like any other, and nobody is warned of it.
    """
    import stripe

    stripe_client = client_of_the_key() if of_the_key else client()
    throttle = throttle_for(conf.REQUESTS_PER_SECOND)
    if not (in_turn or conf.SANDBOX):
        throttle.wait(endpoint)
    try:
        answer = request(getattr(stripe_client, api))
    except stripe.StripeError as error:
        translated = _translated(error, may_be_missing=may_be_missing)
    else:
        throttle.let_in(endpoint)
        return _read(answer, read)
    if isinstance(translated, RateLimited):
        throttle.turned_away(endpoint)
    # Out here, so that Stripe's error does not travel along: its body may hold client secrets and addresses.
    raise translated


def _read(answer: Any, read: Callable[[dict[str, Any]], Answer]) -> Answer:
    try:
        return read(answer.to_dict())
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        # JSON, but not what was asked for: a proxy's, say. What Stripe did nobody knows.
        logger.error("Stripe's answer could not be read: %s", type(error).__name__)
    raise StripeUnavailable("Stripe's answer could not be read.")


def pages(
    endpoint: str,
    resource: Callable[[Any], Any],
    wanted: dict[str, Any],
    read: Callable[[dict[str, Any]], Answer],
    *,
    of_the_key: bool = False,
) -> Iterator[Answer]:
    """Every object of a list."""
    cursor: dict[str, Any] = {}
    while True:
        params = wanted | {"limit": PAGE} | cursor
        question = partial(
            ask,
            endpoint,
            lambda stripe, params=params: resource(stripe).list(params),
            lambda page: ([read(data) for data in page["data"]], page["data"][-1]["id"] if page["has_more"] else ""),
            of_the_key=of_the_key,
        )
        # Whoever reads page after page can wait, and would have to begin again.
        found, last = patiently(question) if cursor else question()
        yield from found
        if not last:
            return
        cursor = {"starting_after": last}


def patiently(question: Callable[..., Answer], *args: Any) -> Answer:
    """Ask what changes nothing, and ask again when Stripe turns it away (429). For work that nobody waits for.

    After each refusal the endpoint's pace is slower, so the pause comes by itself.
    """
    for _ in range(TURNED_AWAY):
        try:
            return question(*args)
        except RateLimited:
            logger.info("Stripe turned a question away (429); it is asked again")
    return question(*args)


def in_order(value: Any) -> Any:
    """The same bytes at every try under one key, whatever order a database kept the parameters in."""
    if isinstance(value, dict):
        return {name: in_order(value[name]) for name in sorted(value)}
    return value


def keyed(key: str) -> dict[str, Any]:
    return {"idempotency_key": key}


def once(key: str) -> dict[str, Any]:
    """Options of a request that moves money: the SDK must not repeat it by itself, because the gate would not know."""
    return {"idempotency_key": key, "max_network_retries": 0}


@cache
def throttle_for(per_second: float) -> Throttle:
    return Throttle(per_second)


def _translated(error, *, may_be_missing: bool) -> GatewayError:
    """Our error for Stripe's."""
    import stripe

    # Not error.code: for a 409 the SDK leaves it out.
    body = error.json_body if isinstance(error.json_body, dict) else {}
    data = body.get("error") if isinstance(body.get("error"), dict) else {}
    details = {
        "code": data.get("code") or "",
        "http_status": error.http_status,
        "request_id": error.request_id or "",
    }
    message = f"{type(error).__name__} {details['http_status'] or ''} {details['code']}".strip()
    level = logging.INFO if may_be_missing and error.http_status == 404 else logging.WARNING
    logger.log(level, "Stripe answered %s (request %s)", message, details["request_id"] or "none")
    if isinstance(error, stripe.CardError):
        intent = data.get("payment_intent") or {}
        return CardDeclined(
            message, decline_code=data.get("decline_code") or "", payment_intent=intent.get("id", ""), **details
        )
    if isinstance(error, stripe.IdempotencyError):
        return KeyReused(message, **details)
    if isinstance(error, (stripe.AuthenticationError, stripe.PermissionError)):
        return StripeRefusedKey(message, **details)
    if isinstance(error, stripe.RateLimitError) or error.http_status == 429:
        return RateLimited(message, **details)
    if error.http_status == 409:
        return StripeBusy(message, **details)
    if isinstance(error, stripe.InvalidRequestError):
        return StripeRefusedRequest(message, **details)
    # A lost connection, a 5xx, an unreadable answer, and whatever Stripe adds: executed or not, nobody knows.
    return StripeUnavailable(message, **details)
