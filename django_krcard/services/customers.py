"""Who pays: our row, and the Customer at Stripe that belongs to it."""

from __future__ import annotations

from typing import Any

from django_krcard import gateway
from django_krcard.conf import conf
from django_krcard.models import Customer, freeze_params


def get_or_create(user=None, *, reference: str | None = None) -> Customer:
    """Return the one Customer of ``user`` (or of ``reference``: an organisation, say) in the mode of the key.

    Does not talk to Stripe. ``reference`` is the user's primary key unless given.
    """
    if user is None and reference is None:
        raise ValueError("Give a user, a reference, or both.")
    customer, _created = Customer.objects.get_or_create(
        reference=str(user.pk) if reference is None else reference,
        livemode=conf.LIVEMODE,
        defaults={"user": user},
    )
    return customer


def ensure_at_stripe(customer: Customer) -> str:
    """Return the id of the Customer at Stripe, made now if there is none yet.

    The key is made of our row, so that requests at the same moment are answered with the same Customer.
    """
    if not customer.stripe_id:
        params = freeze_params(customer, _params(customer))
        stripe_id = gateway.create_customer(params, key=f"krc1-customer-{customer.public_id}")
        Customer.objects.filter(pk=customer.pk, stripe_id=None).update(stripe_id=stripe_id, params={})
        customer.refresh_from_db(fields=["stripe_id"])
    return customer.stripe_id


def _params(customer: Customer) -> dict[str, Any]:
    params = {"metadata": {"krcard_customer": str(customer.public_id), "krcard_reference": customer.reference}}
    if user := customer.user:
        # Spares the customer from typing the address on a phone; Checkout shows it filled in.
        known = {"name": user.get_full_name(), "email": getattr(user, user.get_email_field_name(), "")}
        params |= {name: value for name, value in known.items() if value}
    return params
