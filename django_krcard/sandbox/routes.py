"""Which request goes where, and which parameters it may carry."""

import re
from collections.abc import Callable
from dataclasses import dataclass

from .errors import ApiError
from .params import Params
from .resources import cards, checkout, customers, events, payments
from .store import Body


@dataclass(frozen=True)
class Route:
    method: str
    address: str
    handler: Callable[..., Body]
    params: Params

    def match(self, path: str) -> re.Match[str] | None:
        return re.fullmatch(self.address.replace("{id}", "(?P<id>[^/]+)"), path)


ROUTES = [
    Route("POST", "/v1/customers", customers.create, customers.CREATE),
    Route("GET", "/v1/customers", customers.list_, customers.LIST),
    Route("GET", "/v1/customers/{id}", customers.retrieve, customers.RETRIEVE),
    Route("POST", "/v1/customers/{id}", customers.update, customers.UPDATE),
    Route("GET", "/v1/customers/{id}/payment_methods", customers.list_methods, customers.LIST_METHODS),
    Route("POST", "/v1/checkout/sessions", checkout.create, checkout.CREATE),
    Route("GET", "/v1/checkout/sessions", checkout.list_, checkout.LIST),
    Route("GET", "/v1/checkout/sessions/{id}", checkout.retrieve, checkout.RETRIEVE),
    Route("POST", "/v1/checkout/sessions/{id}/expire", checkout.expire, checkout.EXPIRE),
    Route("GET", "/v1/setup_intents/{id}", cards.retrieve_setup_intent, cards.NOTHING),
    Route("GET", "/v1/payment_methods/{id}", cards.retrieve_method, cards.NOTHING),
    Route("POST", "/v1/payment_methods/{id}/detach", cards.detach, cards.NOTHING),
    Route("GET", "/v1/mandates/{id}", cards.retrieve_mandate, cards.NOTHING),
    Route("POST", "/v1/payment_intents", payments.create, payments.CREATE),
    Route("GET", "/v1/payment_intents", payments.list_, payments.LIST),
    Route("GET", "/v1/payment_intents/{id}", payments.retrieve, payments.RETRIEVE),
    Route("POST", "/v1/payment_intents/{id}/cancel", payments.cancel, payments.CANCEL),
    Route("GET", "/v1/events", events.list_, events.LIST),
    Route("GET", "/v1/events/{id}", events.retrieve, events.RETRIEVE),
]


def route_for(method: str, path: str) -> tuple[Route, dict[str, str]]:
    for route in ROUTES:
        match = route.match(path)
        if route.method == method and match:
            return route, match.groupdict()
    raise ApiError(404, f"Unrecognized request URL ({method}: {path}).")
