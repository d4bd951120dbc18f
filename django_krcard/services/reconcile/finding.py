"""What a comparison with Stripe gives."""

from __future__ import annotations

from typing import NamedTuple

from django_krcard.exceptions import GatewayError, StripeRefusedKey, StripeRefusedRequest
from django_krcard.services.acts import Act


class Finding(NamedTuple):
    """One thing that is not the same here and there, or that nobody knows. ``stripe_id`` is what it is about there.

    Of a charge (``reference`` is the charge's): ``orphan`` (a payment without a row), ``second`` (another payment of
    the same charge), ``unknown`` (no outcome yet), or what differs: ``status``, ``amount``, ``customer``, ``refunded``,
    ``dispute``.

    Of a customer (``reference`` is Stripe's id of the customer): ``outside_mandate`` (a payment that is no charge of a
    mandate), ``card_without_consent`` (a saved card that no agreement covers), ``card_gone`` (we believe that it is
    saved, and it is not), ``card_unused`` (its agreement has ended, and it is still saved), ``customer_deleted``,
    ``double_customer`` (Stripe has another one for the same customer, and nobody uses it), or what differs: ``card``,
    ``mandate``, ``setup``, ``subscription``; ``invoice`` (of a subscription, not known here).

    Of either: ``missing`` (a row whose object Stripe does not have), ``unanswered`` (Stripe could not be asked).
    ``event`` is a message that never came.
    """

    kind: str
    mandate: str
    reference: str
    stripe_id: str
    here: str
    there: str
    fixed: bool = False


def is_missing(error: GatewayError) -> bool:
    """Stripe does not have what was asked for. That, too, is an answer."""
    return isinstance(error, StripeRefusedRequest) and error.code == "resource_missing"


def unanswered(error: GatewayError, mandate: str, reference: str, stripe_id: str, here: str) -> Finding:
    """What Stripe's error says of a row, and no more than that."""
    if is_missing(error):
        return Finding("missing", mandate, reference, stripe_id, here, "")
    return Finding("unanswered", mandate, reference, stripe_id, here, str(error))


def or_unanswered(
    act: Act[list[Finding]], mandate: str, reference: str, stripe_id: str, here: str
) -> Act[list[Finding]]:
    """What ``act`` finds, or that Stripe could not be asked: one thing that cannot be looked at stops no other."""
    try:
        return (yield from act)
    except StripeRefusedKey:
        raise
    except GatewayError as error:
        return [unanswered(error, mandate, reference, stripe_id, here)]
