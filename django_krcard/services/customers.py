"""Who pays: our row, and the Customer at Stripe that belongs to it."""

from __future__ import annotations

from typing import Any

from django_krcard import gateway
from django_krcard.conf import conf
from django_krcard.exceptions import KrcardError, StripeRefusedRequest, StripeUnavailable
from django_krcard.models import Customer, freeze_params


def get_or_create(user=None, *, reference: str | None = None) -> Customer:
    """Return the one Customer of ``user`` (or of ``reference``: an organisation, say) in the mode of the key.

    Does not talk to Stripe. ``reference`` is the user's primary key unless given. Raises ``KrcardError`` when others
    took every name that the user could have: nobody is given somebody else's cards.
    """
    if user is None and reference is None:
        raise ValueError("Give a user, a reference, or both.")
    if reference is not None:
        return _of(reference, user)
    customer = _of(str(user.pk), user)
    if customer.user_id != user.pk:
        # The number belongs to somebody else: an organisation, or the owner of a deleted account.
        customer = _of(f"user-{user.pk}", user)
    if customer.user_id != user.pk:
        raise KrcardError(f"References {user.pk} and user-{user.pk} are both taken by others. Give a reference.")
    return customer


def _of(reference: str, user) -> Customer:
    customer, _created = Customer.objects.get_or_create(
        reference=reference, livemode=conf.LIVEMODE, defaults={"user": user}
    )
    return customer


def ensure_at_stripe(customer: Customer) -> str:
    """Return the id of the Customer at Stripe, made now if there is none yet.

    The key is made of our row, so that requests at the same moment are answered with the same Customer.
    """
    if customer.stripe_id:
        return customer.stripe_id
    rows = Customer.objects.filter(pk=customer.pk, stripe_id=None)
    params = freeze_params(customer, _params(customer))
    try:
        stripe_id = gateway.create_customer(params, key=f"krc1-customer-{customer.public_id}-{customer.attempt}")
    except StripeRefusedRequest:
        # An address that Stripe does not take, say. It keeps nothing of such a request, and the next may be another.
        rows.update(params={})
        raise
    except StripeUnavailable as error:
        if error.http_status:
            # An answer, and Stripe repeats it under this key for a day. A Customer made all the same stays unused.
            rows.filter(attempt=customer.attempt).update(attempt=customer.attempt + 1)
        raise
    rows.update(stripe_id=stripe_id, params={})
    customer.refresh_from_db(fields=["stripe_id"])
    return customer.stripe_id


def _params(customer: Customer) -> dict[str, Any]:
    params = {"metadata": {"krcard_customer": str(customer.public_id), "krcard_reference": customer.reference}}
    if user := customer.user:
        # Spares the customer from typing the address on a phone; Checkout shows it filled in.
        name = user.get_full_name() if hasattr(user, "get_full_name") else ""
        known = {"name": name, "email": getattr(user, user.get_email_field_name(), "")}
        params |= {name: value for name, value in known.items() if value}
    return params
