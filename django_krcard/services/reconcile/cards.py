"""The cards that Stripe has saved for a customer, and those that we believe it has."""

from __future__ import annotations

from datetime import datetime
from functools import partial

from django.utils import timezone

from django_krcard import gateway
from django_krcard.exceptions import GatewayError, SetupNotAllowed, StripeRefusedKey
from django_krcard.models import CardSetup, Customer, PaymentMethod
from django_krcard.rules import ENDED
from django_krcard.services import mandates, setups
from django_krcard.services.acts import Act
from django_krcard.services.cards import follow
from django_krcard.services.reconcile.finding import Finding, is_missing

#: Of a customer's attempts to save a card, so many are asked about for a card that we do not know.
ATTEMPTS = 10


def compare(customer: Customer, *, fix: bool) -> Act[list[Finding]]:
    """One list, and a question more for what is not as we believe. Raises ``GatewayError``."""
    asked_at = timezone.now()
    # Read before: what was saved while Stripe was asked is not in its answer.
    ours = list(customer.payment_methods.filter(detached_at=None))
    there = {card.id: card for card in (yield partial(gateway.patiently, _all_of, customer.stripe_id))}
    if there.keys() - _known(customer).keys():
        yield from _ask_attempts(customer)
    known, found = _known(customer), []
    for card in ours:
        if card.stripe_id not in there:
            found += yield from _gone(card, fix)
    for told in there.values():
        row = known.get(told.id)
        if row is None or (row.detached_at and row.detached_at < asked_at):
            found.append(
                _finding("card_without_consent", customer, row, told.id, "removed" if row else "", _label(told))
            )
        elif not row.detached_at:
            found += yield from _saved(row, told, asked_at, fix)
    return found


def _all_of(customer_id: str) -> list[gateway.Card]:
    return list(gateway.payment_methods_of(customer_id))


def _known(customer: Customer) -> dict[str, PaymentMethod]:
    return {card.stripe_id: card for card in customer.payment_methods.select_related("customer")}


def _ask_attempts(customer: Customer) -> Act[None]:
    """A card that we do not know may be that of an attempt whose message was lost, also of one that we have closed."""
    attempts = CardSetup.objects.filter(setups.ASKABLE, consent__customer=customer)
    attempts = attempts.exclude(status=CardSetup.Status.COMPLETE).select_related("mandate", "consent__customer")
    for setup in attempts.order_by("-pk")[:ATTEMPTS]:
        try:
            yield from setups.completing(setup)
        except SetupNotAllowed:
            # Written to the log where it was found. Then the card is not this attempt's.
            continue
        except GatewayError as error:
            if not is_missing(error):
                raise


def _gone(card: PaymentMethod, fix: bool) -> Act[list[Finding]]:
    """Stripe's list does not have it. As that stops all charges, the card itself is asked for, too."""
    if (yield partial(gateway.patiently, _is_saved, card.stripe_id)):
        return []
    card.refresh_from_db()
    if card.detached_at:
        return []
    if fix:
        mandates.card_detached(card)
    return [_finding("card_gone", card.customer, card, card.stripe_id, str(card), "", fixed=fix)]


def _is_saved(stripe_id: str) -> bool:
    try:
        return bool(gateway.retrieve_payment_method(stripe_id).customer)
    except GatewayError as error:
        if is_missing(error):
            return False
        raise


def _saved(row: PaymentMethod, told: gateway.Card, asked_at: datetime, fix: bool) -> Act[list[Finding]]:
    """Saved here and there."""
    if not row.mandates.exclude(status__in=ENDED).exists():
        return (yield from _unused(row, told, fix))
    here = _label(row)
    if here == _label(told):
        return []
    if fix:
        follow(row, told, asked_at)
        row.refresh_from_db()
    return [_finding("card", row.customer, row, told.id, here, _label(told), fixed=_label(row) == _label(told))]


def _unused(row: PaymentMethod, told: gateway.Card, fix: bool) -> Act[list[Finding]]:
    """Its agreement has ended, or has another card now. It should have been removed then; krcard_run_due goes on
    trying."""
    finding = _finding("card_unused", row.customer, row, told.id, "agreement ended", _label(told))
    if not fix:
        return [finding]
    try:
        yield partial(gateway.detach_payment_method, row.stripe_id, key=f"krc1-detach-{row.public_id}")
    except StripeRefusedKey:
        raise
    except GatewayError:
        return [finding]
    mandates.card_detached(row)
    return [finding._replace(fixed=True)]


def _finding(
    kind: str, customer: Customer, row: PaymentMethod | None, stripe_id: str, here: str, there: str, fixed: bool = False
) -> Finding:
    mandate = row.mandates.order_by("pk").last() if row else None
    return Finding(kind, mandate.reference if mandate else "", customer.stripe_id, stripe_id, here, there, fixed)


def _label(card: PaymentMethod | gateway.Card) -> str:
    """All of a card that is the same here and there."""
    expiry = f" {card.exp_month:02}/{card.exp_year}" if card.exp_month and card.exp_year else ""
    return f"{card.type} {card.brand} ****{card.last4 or ''}{expiry}"
