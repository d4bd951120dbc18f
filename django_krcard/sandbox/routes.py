"""Which request goes where, and which parameters it may carry."""

import re
from collections.abc import Callable
from dataclasses import dataclass

from .errors import ApiError
from .params import Params
from .resources import (
    account,
    billing,
    cards,
    catalog,
    charges,
    checkout,
    customers,
    disputes,
    endpoints,
    events,
    invoices,
    payments,
    refunds,
    setup_intents,
    subscriptions,
)
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
    Route("GET", "/v1/account", account.retrieve, account.RETRIEVE),
    Route("GET", "/v1/payment_method_configurations", account.list_configurations, account.LIST_CONFIGURATIONS),
    Route("POST", "/v1/customers", customers.create, customers.CREATE),
    Route("GET", "/v1/customers", customers.list_, customers.LIST),
    Route("GET", "/v1/customers/{id}", customers.retrieve, customers.RETRIEVE),
    Route("POST", "/v1/customers/{id}", customers.update, customers.UPDATE),
    Route("DELETE", "/v1/customers/{id}", customers.delete, customers.DELETE),
    Route("GET", "/v1/customers/{id}/payment_methods", customers.list_methods, customers.LIST_METHODS),
    Route("POST", "/v1/checkout/sessions", checkout.create, checkout.CREATE),
    Route("GET", "/v1/checkout/sessions", checkout.list_, checkout.LIST),
    Route("GET", "/v1/checkout/sessions/{id}", checkout.retrieve, checkout.RETRIEVE),
    Route("POST", "/v1/checkout/sessions/{id}/expire", checkout.expire, checkout.EXPIRE),
    Route("POST", "/v1/setup_intents", setup_intents.create, setup_intents.CREATE),
    Route("GET", "/v1/setup_intents", setup_intents.list_, setup_intents.LIST),
    Route("GET", "/v1/setup_intents/{id}", setup_intents.retrieve, cards.NOTHING),
    Route("POST", "/v1/setup_intents/{id}/confirm", setup_intents.confirm, setup_intents.CONFIRM),
    Route("POST", "/v1/setup_intents/{id}/cancel", setup_intents.cancel, setup_intents.CANCEL),
    Route("GET", "/v1/payment_methods/{id}", cards.retrieve_method, cards.NOTHING),
    Route("POST", "/v1/payment_methods/{id}/detach", cards.detach, cards.NOTHING),
    Route("GET", "/v1/mandates/{id}", cards.retrieve_mandate, cards.NOTHING),
    Route("POST", "/v1/payment_intents", payments.create, payments.CREATE),
    Route("GET", "/v1/payment_intents", payments.list_, payments.LIST),
    Route("GET", "/v1/payment_intents/{id}", payments.retrieve, payments.RETRIEVE),
    Route("POST", "/v1/payment_intents/{id}/confirm", billing.confirm, payments.CONFIRM),
    Route("POST", "/v1/payment_intents/{id}/cancel", payments.cancel, payments.CANCEL),
    Route("GET", "/v1/charges", charges.list_, charges.LIST),
    Route("GET", "/v1/charges/{id}", charges.retrieve, charges.RETRIEVE),
    Route("POST", "/v1/refunds", refunds.create, refunds.CREATE),
    Route("GET", "/v1/refunds", refunds.list_, refunds.LIST),
    Route("GET", "/v1/refunds/{id}", refunds.retrieve, refunds.RETRIEVE),
    Route("POST", "/v1/refunds/{id}", refunds.update, refunds.UPDATE),
    Route("GET", "/v1/disputes", disputes.list_, disputes.LIST),
    Route("GET", "/v1/disputes/{id}", disputes.retrieve, disputes.RETRIEVE),
    Route("POST", "/v1/disputes/{id}", disputes.update, disputes.UPDATE),
    Route("POST", "/v1/disputes/{id}/close", disputes.close, disputes.CLOSE),
    Route("POST", "/v1/products", catalog.create_product, catalog.CREATE_PRODUCT),
    Route("GET", "/v1/products", catalog.list_products, catalog.LIST_PRODUCTS),
    Route("GET", "/v1/products/{id}", catalog.retrieve_product, catalog.NOTHING),
    Route("POST", "/v1/products/{id}", catalog.update_product, catalog.UPDATE_PRODUCT),
    Route("POST", "/v1/prices", catalog.create_price, catalog.CREATE_PRICE),
    Route("GET", "/v1/prices", catalog.list_prices, catalog.LIST_PRICES),
    Route("GET", "/v1/prices/{id}", catalog.retrieve_price, catalog.NOTHING),
    Route("POST", "/v1/prices/{id}", catalog.update_price, catalog.UPDATE_PRICE),
    Route("POST", "/v1/subscriptions", subscriptions.create, subscriptions.CREATE),
    Route("GET", "/v1/subscriptions", subscriptions.list_, subscriptions.LIST),
    Route("GET", "/v1/subscriptions/{id}", subscriptions.retrieve, subscriptions.RETRIEVE),
    Route("POST", "/v1/subscriptions/{id}", subscriptions.update, subscriptions.UPDATE),
    Route("DELETE", "/v1/subscriptions/{id}", subscriptions.cancel, subscriptions.CANCEL),
    Route("GET", "/v1/invoices", invoices.list_, invoices.LIST),
    Route("GET", "/v1/invoices/{id}", invoices.retrieve, invoices.RETRIEVE),
    Route("POST", "/v1/invoices/{id}", invoices.update, invoices.UPDATE),
    Route("POST", "/v1/invoices/{id}/finalize", invoices.finalize, invoices.FINALIZE),
    Route("POST", "/v1/invoices/{id}/pay", billing.pay, invoices.PAY),
    Route("POST", "/v1/invoices/{id}/void", invoices.void, invoices.VOID),
    Route("GET", "/v1/invoice_payments", invoices.list_payments, invoices.LIST_PAYMENTS),
    Route("GET", "/v1/invoice_payments/{id}", invoices.retrieve_payment, invoices.RETRIEVE),
    Route("POST", "/v1/webhook_endpoints", endpoints.create, endpoints.CREATE),
    Route("GET", "/v1/webhook_endpoints", endpoints.list_, endpoints.LIST),
    Route("GET", "/v1/webhook_endpoints/{id}", endpoints.retrieve, endpoints.RETRIEVE),
    Route("POST", "/v1/webhook_endpoints/{id}", endpoints.update, endpoints.UPDATE),
    Route("DELETE", "/v1/webhook_endpoints/{id}", endpoints.delete, endpoints.DELETE),
    Route("GET", "/v1/events", events.list_, events.LIST),
    Route("GET", "/v1/events/{id}", events.retrieve, events.RETRIEVE),
    # The one address of API v2: a thin event, for those who fetch it.
    Route("GET", "/v2/core/events/{id}", events.retrieve_thin, events.RETRIEVE),
]


def route_for(method: str, path: str) -> tuple[Route, dict[str, str]]:
    for route in ROUTES:
        match = route.match(path)
        if route.method == method and match:
            return route, match.groupdict()
    raise ApiError(404, f"Unrecognized request URL ({method}: {path}).")
