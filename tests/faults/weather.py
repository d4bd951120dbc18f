"""Everything that may come back from Stripe, or from what lies between, in place of the answer."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from urllib.parse import urlsplit

import stripe
from django.utils import timezone

from django_krcard.sandbox import control
from django_krcard.sandbox.http import SandboxHTTPClient

Answer = tuple[str, int, dict[str, str]]


@dataclass(frozen=True)
class Fault:
    """What goes wrong with one request. ``executed``: Stripe carries it out all the same."""

    name: str
    #: What comes back in place of Stripe's answer, if there was one.
    answer: Callable[[Answer | None], Answer]
    executed: bool = False
    #: Stripe says no, and the act has its answer.
    is_refusal: bool = False

    def __str__(self) -> str:
        return f"{self.name}, {'executed' if self.executed else 'not executed'}"

    def strike(self, ask: Callable[[], Answer], path: str) -> Answer:
        return self.answer(ask() if self.executed else None)


class Kept(Fault):
    """Stripe's own 5xx: kept under the key, and told again to whoever asks again."""

    def strike(self, ask, path):
        control.fail_next("POST", path, effect="after" if self.executed else "before", status=int(self.name[:3]))
        return ask()


class Late(Fault):
    """The sender has given up, and the request is still on its way: it arrives when nobody thinks of it any more."""

    def strike(self, ask, path):
        Storm.on_their_way.append(ask)
        return self.answer(None)


class Storm(SandboxHTTPClient):
    """The way to Stripe while a fault is on: for one request, or for a while."""

    fault: Fault | None = None
    path = ""
    requests = 0
    until: datetime | None = None

    #: How many requests it hit.
    hits = 0
    on_their_way: list[Callable[[], Answer]] = []

    @classmethod
    def begin(cls, fault: Fault, path: str, *, requests: int = 0, lasting: timedelta | None = None) -> None:
        cls.fault, cls.path, cls.requests, cls.hits = fault, path, requests, 0
        cls.until = timezone.now() + lasting if lasting else None

    @classmethod
    def is_over(cls) -> bool:
        return not cls.requests and (cls.until is None or timezone.now() >= cls.until)

    @classmethod
    def end(cls) -> None:
        cls.requests, cls.until = 0, None

    @classmethod
    def arrive(cls) -> None:
        """What was on its way is carried out now."""
        while cls.on_their_way:
            cls.on_their_way.pop(0)()

    def request(self, method, url, headers, post_data=None, **kwargs):
        path = urlsplit(url).path

        def ask():
            return super(Storm, self).request(method, url, headers, post_data, **kwargs)

        if method != "post" or not re.fullmatch(self.path, path) or self.is_over():
            return ask()
        Storm.requests, Storm.hits = max(Storm.requests - 1, 0), Storm.hits + 1
        return self.fault.strike(ask, path)


def lost(message, *, should_retry):
    """No answer: Stripe's library says so with an exception."""

    def answer(given):
        raise stripe.APIConnectionError(message, should_retry=should_retry)

    return answer


def answered(status, body):
    """Something else than Stripe's answer. ``body`` may be made of the answer that was on its way."""
    return lambda given: (body(given) if callable(body) else body, status, {"Request-Id": "req_weather"})


def told(status, type="invalid_request_error", **error):
    return answered(status, json.dumps({"error": {"type": type, "message": "The weather is bad.", **error}}))


def half(given):
    return given[0][: len(given[0]) // 2] if given else '{"id": "pi_'


HTML = "<html><body><h1>502 Bad Gateway</h1></body></html>"


def both(name, answer=None, kind=Fault):
    return [kind(name, answer), kind(name, answer, executed=True)]


NOBODY_KNOWS = [
    *both("time-out", lost("Request timed out", should_retry=True)),
    *both("reset", lost("Connection reset by peer", should_retry=False)),
    *both("half of the JSON", answered(200, half)),
    *both("a proxy's page with 200", answered(200, HTML)),
    *both("a proxy's page with 502", answered(502, HTML)),
    *both("a proxy's page with 403", answered(403, HTML)),
    *both("nothing, with 200", answered(200, "")),
    *both("JSON that is no object", answered(200, "[]")),
    *both("JSON of something else", answered(200, '{"status": "ok"}')),
    *both("409", told(409, code="lock_timeout")),
    *both("409, the key is at work elsewhere", told(409, "idempotency_error", code="idempotency_key_in_use")),
    *both("a status of tomorrow", told(418)),
]
KEPT = [fault for status in (500, 502, 503, 504) for fault in both(f"{status}, kept under the key", kind=Kept)]
KEY_USED_OTHERWISE = both("400, the key was used otherwise", told(400, "idempotency_error"))
NOT_NOW = [Fault("429", told(429, code="rate_limit"))]
KEY_REFUSED = [Fault("401", told(401)), Fault("403", told(403))]
REFUSED = [
    Fault("400", told(400, code="parameter_invalid_integer", param="amount"), is_refusal=True),
    Fault("400 without a code", told(400), is_refusal=True),
    Fault("400, mandate", told(400, code="payment_intent_mandate_invalid"), is_refusal=True),
    Fault("400, card", told(400, code="payment_method_unexpected_state"), is_refusal=True),
    Fault("400, state", told(400, code="payment_intent_unexpected_state"), is_refusal=True),
    Fault("404", told(404, code="resource_missing"), is_refusal=True),
]
FAULTS = [*NOBODY_KNOWS, *KEPT, *KEY_USED_OTHERWISE, *NOT_NOW, *KEY_REFUSED, *REFUSED]
LATE = Late("time-out", lost("Request timed out", should_retry=True))
#: For longer than any caller waits.
LASTING = [f for f in FAULTS if f.name in ("time-out", "409", "500, kept under the key", "429", "401", "403")]
