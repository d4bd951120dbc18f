"""What a restricted key must be allowed: the one list, for ``krcard_doctor``, the docs and their tests.

The resources are named as in Stripe's API. The dashboard's form for a restricted key may group them, or call them
otherwise; what a call lacks Stripe names in its refusal.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from django_krcard.exceptions import StripeRefusedKey, StripeRefusedRequest
from django_krcard.gateway.client import ask

READ, WRITE = "Read", "Write"

#: There is none of this name. Whoever may ask is told so.
NOBODY = "krcard_doctor"


class Permission(NamedTuple):
    """``addresses`` are the first parts of the API's addresses that it opens; ``probe`` reads and changes nothing."""

    resource: str
    level: str
    why: str
    addresses: tuple[str, ...]
    probe: Callable[[Any], Any]
    optional: bool = False


def _listing(resource: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda stripe: resource(stripe).list({"limit": 1})


PERMISSIONS = [
    Permission(
        "Customers",
        WRITE,
        "makes the Customer that a card is saved to, and keeps its address",
        ("customers",),
        _listing(lambda stripe: stripe.customers),
    ),
    Permission(
        "Checkout Sessions",
        WRITE,
        "opens, reads and closes the page on which a card is saved",
        ("checkout",),
        _listing(lambda stripe: stripe.checkout.sessions),
    ),
    Permission(
        "SetupIntents",
        WRITE,
        "reads what became of an attempt; makes one with the Direct API",
        ("setup_intents",),
        _listing(lambda stripe: stripe.setup_intents),
    ),
    Permission(
        "PaymentMethods",
        WRITE,
        "reads saved cards and removes those that are not used",
        ("payment_methods",),
        lambda stripe: stripe.payment_methods.retrieve(f"pm_{NOBODY}"),
    ),
    Permission(
        "Mandates",
        READ,
        "sees that a permission was withdrawn at the issuer's",
        ("mandates",),
        lambda stripe: stripe.mandates.retrieve(f"mandate_{NOBODY}"),
    ),
    Permission(
        "PaymentIntents",
        WRITE,
        "charges under the agreed terms, and finds out what became of it",
        ("payment_intents",),
        _listing(lambda stripe: stripe.payment_intents),
    ),
    Permission(
        "Charges and Refunds",
        WRITE,
        "pays back, and reads payments that were disputed or paid back",
        ("charges", "refunds"),
        _listing(lambda stripe: stripe.refunds),
    ),
    Permission(
        "Disputes",
        READ,
        "stops charging while a payment is disputed",
        ("disputes",),
        _listing(lambda stripe: stripe.disputes),
    ),
    Permission(
        "Subscriptions",
        WRITE,
        "only with subscriptions: makes, pauses and ends them",
        ("subscriptions",),
        _listing(lambda stripe: stripe.subscriptions),
        optional=True,
    ),
    Permission(
        "Invoices",
        WRITE,
        "only with subscriptions: reads what they are about to charge",
        ("invoices", "invoice_payments"),
        _listing(lambda stripe: stripe.invoices),
        optional=True,
    ),
    Permission(
        "Prices and Products",
        READ,
        "only with subscriptions: compares a price with the terms",
        ("prices", "products"),
        _listing(lambda stripe: stripe.prices),
        optional=True,
    ),
    Permission(
        "Events",
        READ,
        "reads messages that never came",
        ("events",),
        _listing(lambda stripe: stripe.events),
    ),
    Permission(
        "Webhook Endpoints",
        READ,
        "lets krcard_doctor look at the endpoint; Write only for krcard_create_webhook_endpoint",
        ("webhook_endpoints",),
        _listing(lambda stripe: stripe.webhook_endpoints),
        optional=True,
    ),
    Permission(
        "Payment Method Configurations",
        READ,
        "lets krcard_doctor see whether Korean cards are switched on",
        ("payment_method_configurations",),
        _listing(lambda stripe: stripe.payment_method_configurations),
        optional=True,
    ),
]


def may_read(permission: Permission) -> bool:
    """Ask for something of it. Stripe looks at the key first: "there is no such thing" is a yes.

    Raises ``GatewayError`` for any other reason why there was no answer.
    """
    try:
        ask(f"GET {permission.resource}", permission.probe, lambda data: None, may_be_missing=True)
    except StripeRefusedKey as error:
        if error.http_status == 401:
            raise
        return False
    except StripeRefusedRequest as error:
        if error.http_status != 404:
            raise
    return True
