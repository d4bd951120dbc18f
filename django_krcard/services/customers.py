"""Who pays: our row, and the Customer at Stripe that belongs to it."""

from __future__ import annotations

import logging
from typing import Any

from django.db import IntegrityError, transaction
from django.db.models import F

from django_krcard import gateway
from django_krcard.exceptions import CustomerNotLinked, KrcardError, StripeRefusedRequest, StripeUnavailable
from django_krcard.models import Customer, freeze_params, lock, of_this_key
from django_krcard.rules import ENDED

logger = logging.getLogger(__name__)


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
    customer, _created = Customer.objects.get_or_create(reference=reference, **of_this_key(), defaults={"user": user})
    return customer


def link(who, stripe_id: str) -> Customer:
    """Let ``who``, a user or a reference, be the Customer that Stripe has already, from before this package, say.

    Asks Stripe for it. Raises ``CustomerNotLinked`` when there is no such Customer in the key's mode or it was deleted,
    when it is somebody else's, or when ``who`` has another one. Its cards are not chargeable: nobody has agreed to
    that yet. Linked to the same one before, nothing changes.
    """
    try:
        seen = gateway.retrieve_customer(stripe_id)
    except StripeRefusedRequest as error:
        if error.code != "resource_missing":
            raise
        raise CustomerNotLinked(f"Stripe has no customer {stripe_id} for this key. Is it of the other mode?") from error
    customer = get_or_create(reference=who) if isinstance(who, str) else get_or_create(who)
    if seen.deleted:
        raise CustomerNotLinked(f"Stripe has deleted customer {stripe_id}.")
    if seen.livemode != customer.livemode:
        raise CustomerNotLinked(f"Customer {stripe_id} is of the other mode (test or live).")
    try:
        with transaction.atomic():
            customer = lock(customer)
            if customer.stripe_id not in (None, seen.id):
                raise CustomerNotLinked(f"{customer.reference} is customer {customer.stripe_id} at Stripe already.")
            customer.stripe_id, customer.params = seen.id, {}
            customer.save(update_fields=["stripe_id", "params"])
    except IntegrityError as error:
        raise CustomerNotLinked(f"Customer {stripe_id} is somebody else's already.") from error
    return customer


def update(customer: Customer, *, email: str | None = None, name: str | None = None) -> None:
    """Tell Stripe the customer's address and name, for its own receipts; what is not given is read from the user.

    Stripe follows us and never the other way: what somebody types into the dashboard changes nothing here.
    """
    if not customer.stripe_id:
        # Whoever saves a card will be told to Stripe as they are then.
        return
    params = _known(customer) | {key: value for key, value in {"email": email, "name": name}.items() if value}
    if not params:
        return
    # Counted and committed before the call: the same address again, after another one, is another request.
    Customer.objects.filter(pk=customer.pk).update(updates=F("updates") + 1)
    customer.refresh_from_db(fields=["updates"])
    key = f"krc1-customer-{customer.public_id}-update-{customer.updates}"
    gateway.update_customer(customer.stripe_id, params, key=key)


def is_gone(customer: Customer) -> bool:
    """Ask whether Stripe does not have the customer's Customer any more.

    One that was deleted is answered for all the same. One that was never there belonged to test data that was thrown
    away; or the key is that of another account, and then nothing may end here because of it.
    """
    if customer.stripe_id is None:
        return False
    try:
        return gateway.retrieve_customer(customer.stripe_id).deleted
    except StripeRefusedRequest as error:
        if error.code != "resource_missing":
            raise
    in_use = customer.mandates.exclude(status__in=ENDED).exclude(payment_method=None).exists()
    if customer.livemode and in_use:
        logger.critical("Stripe never had customer %s: is the key that of another account?", customer.stripe_id)
        return False
    return True


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
    # Spares the customer from typing the address on a phone; Checkout shows it filled in.
    return params | _known(customer)


def _known(customer: Customer) -> dict[str, str]:
    user = customer.user
    if user is None:
        return {}
    name = user.get_full_name() if hasattr(user, "get_full_name") else ""
    known = {"name": name, "email": getattr(user, user.get_email_field_name(), "")}
    return {name: value for name, value in known.items() if value}
