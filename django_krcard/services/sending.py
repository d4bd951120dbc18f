"""The calls that move money, and what each answer of Stripe's means.

+------------------------------+-----------+--------------------------------------------------------------+
| answer                       | executed? | what follows                                                 |
+==============================+===========+==============================================================+
| 200                          | yes       | the charge follows its PaymentIntent                         |
| 402 card declined            | yes       | declined, or the customer must act; sorted by ``declines``   |
| 400, 404                     | no        | declined; card and mandate are compared with Stripe. Of a    |
|                              |           | payment tried once more: what Stripe says of it now          |
| 400, key used otherwise      | nobody    | a bug or a restored backup: never sent again, looked up      |
|                              | knows     |                                                              |
| 401, 403                     | no        | ready as before, and raised: nothing else is sent either     |
| 409                          | nobody    | unknown; same key again                                      |
|                              | knows     |                                                              |
| 429                          | no        | ready as before; the throttle slows down                     |
| 5xx, time-out, reset, no JSON| nobody    | unknown; same key again after the terms were asked, then     |
|                              | knows     | looked up in Stripe's list                                   |
+------------------------------+-----------+--------------------------------------------------------------+

"Not executed" holds for the first request under a key. After one whose outcome nobody knows it says nothing.
"""

from __future__ import annotations

import logging
from functools import partial

from django_krcard import declines, gateway
from django_krcard.exceptions import (
    CardDeclined,
    GatewayError,
    KeyReused,
    StripeRefusedKey,
    StripeRefusedRequest,
)
from django_krcard.models import Charge
from django_krcard.services.acts import Act, Together
from django_krcard.services.mandates import compare
from django_krcard.services.outcomes import News, apply, read, settle, settle_all

logger = logging.getLogger(__name__)

Status = Charge.Status


def send(charge: Charge, *, in_turn: bool = False) -> Act[Charge]:
    """Send a charge that was taken, and write down the answer. Raises ``StripeRefusedKey``.

    ``in_turn``: after ``gateway.wait_to_charge``.
    """
    if charge.stripe_id:
        # The turn of another endpoint.
        ask = partial(gateway.confirm_payment_intent, charge.stripe_id, charge.params, key=charge.idempotency_key)
    else:
        waited = {"in_turn": True} if in_turn else {}
        ask = partial(gateway.create_payment_intent, charge.params, key=charge.idempotency_key, **waited)
    try:
        intent = yield ask
    except CardDeclined as error:
        needs_customer = error.code == "authentication_required"
        status = Status.ACTION_REQUIRED if needs_customer else Status.DECLINED
        news = News(charge, status, True, error.payment_intent, error.code, error.decline_code)
    except GatewayError as error:
        return (yield from _not_answered(charge, error))
    else:
        news = read(charge, intent, ours=True)
    return (yield Together(settle_all, news)) if news else charge


def _not_answered(charge: Charge, error: GatewayError) -> Act[Charge]:
    # Also after a time-out and then a 429: the first request may have been executed.
    executed = error.executed if charge.sends == 1 else None
    if executed is False and charge.stripe_id and isinstance(error, StripeRefusedRequest):
        # The payment is there already. Made, or called off, before this database knows of it (a restored backup)?
        try:
            intent = yield partial(gateway.retrieve_payment_intent, charge.stripe_id)
        except GatewayError as again:
            logger.warning("Charge %s: Stripe was asked in vain (%s)", charge.public_id, again)
            executed = None
        else:
            if intent.status != "requires_payment_method":
                return apply(charge, intent, ours=True)
    if executed is None:
        if isinstance(error, KeyReused):
            logger.critical("Charge %s: Stripe knows its key with other parameters", charge.public_id)
            Charge.objects.filter(pk=charge.pk).update(sends=SPENT)
        charge = settle(charge, Status.UNKNOWN, ours=True, code=error.code)
    elif isinstance(error, StripeRefusedRequest):
        charge = settle(charge, Status.DECLINED, ours=True, code=error.code or "invalid_request", executed=False)
    else:
        charge = settle(charge, Status.READY, ours=True, code=error.code, executed=False)
    if isinstance(error, StripeRefusedKey):
        logger.critical("Stripe refuses this site's key (%s): nothing is charged", error.http_status)
        raise error
    if isinstance(error, StripeRefusedRequest) and declines.is_card_in_doubt(error.code):
        try:
            yield from compare(charge.mandate)
        except GatewayError as again:
            # The charge has its answer. The gate finds out with the next one.
            logger.warning("Mandate %s could not be compared with Stripe: %s", charge.mandate, again)
    return charge


#: More than any charge is ever sent: this one is only looked up from now on.
SPENT = 1000


def cancel_at_stripe(charge: Charge) -> Act[Charge]:
    """Make sure that a payment can never be made any more. If it was made meanwhile, that is what is written down."""
    try:
        intent = yield partial(gateway.cancel_payment_intent, charge.stripe_id, key=f"krc1-cancel-{charge.public_id}")
    except StripeRefusedRequest:
        intent = yield partial(gateway.retrieve_payment_intent, charge.stripe_id)
    return apply(charge, intent)
