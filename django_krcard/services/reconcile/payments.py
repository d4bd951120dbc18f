"""Charges and their payments, compared where both have them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime
from functools import partial

from django.db.models import Q

from django_krcard import gateway
from django_krcard.models import CardSetup, Charge
from django_krcard.services import disputes, refunded, setups
from django_krcard.services.acts import Act
from django_krcard.services.outcomes import apply
from django_krcard.services.reconcile import rows
from django_krcard.services.reconcile.finding import Finding, or_unanswered
from django_krcard.services.reconcile.outside import outside

Status = Charge.Status

#: Only Stripe knows what becomes of these.
ON_ITS_WAY = frozenset({Status.SENDING, Status.UNKNOWN, Status.PROCESSING, Status.ACTION_REQUIRED})
#: Nobody knows whether these were ever executed.
UNKNOWN = frozenset({Status.SENDING, Status.UNKNOWN})
#: These want no money, so none may come of a payment of theirs.
NOT_WAITING = frozenset({Status.CANCELLED, Status.REFUSED})
#: As long as Stripe has a payment in one of these states, money may come of it.
OPEN_AT_STRIPE = frozenset({"requires_action", "requires_capture", "requires_confirmation", "requires_payment_method"})

#: What a charge may be while its payment is in a state of Stripe's.
AGREES = {
    "succeeded": {Status.SUCCEEDED},
    "processing": {Status.PROCESSING},
    "requires_action": {Status.ACTION_REQUIRED},
    # Declined, or about to be confirmed once more.
    "requires_payment_method": {Status.DECLINED, Status.ACTION_REQUIRED, Status.READY, *UNKNOWN},
    "canceled": {Status.CANCELLED},
}


def compared(
    since: datetime, before: datetime, fix: bool, looked: Callable[[], object]
) -> Iterator[Act[list[Finding]]]:
    """An act for every charge that seems to differ from its payment, and for the payments that are no charge."""
    seen: set[int] = set()
    for intents in rows.chunks(gateway.payment_intents_since(since)):
        ours = _charges_of(intents)
        for intent in intents:
            looked()
            if charge := ours.get(intent.id):
                seen.add(charge.pk)
                if not _seems_equal(charge, intent):
                    yield _compare(charge.pk, intent.id, fix)
        # Without a row it is another site's, or an orphan, or somebody went around us.
        yield _told(list(outside([intent for intent in intents if intent.id not in ours])))
    # A payment that was confirmed once more is older than the last attempt, and may be older than the list.
    asked = Q(first_sent_at__gte=since, first_sent_at__lt=before) | Q(status__in=ON_ITS_WAY)
    others = rows.charges().filter(asked).exclude(stripe_id=None)
    yield from (_compare(pk, "", fix) for pk in rows.keys(others) if pk not in seen)


def _charges_of(intents: list[gateway.PaymentIntent]) -> dict[str, Charge]:
    """Their charges, by the payment's id; where the answer was lost, by what we told Stripe of it."""
    known = rows.charges().filter(stripe_id__in=[intent.id for intent in intents])
    found = {charge.stripe_id: charge for charge in known}
    # A row that was never sent is an orphan's.
    asked = Q(status__in=UNKNOWN) | Q(stripe_id__isnull=False) | Q(setup__isnull=False)
    for intent in intents:
        reference = intent.metadata.get("krcard_reference")
        if intent.id not in found and reference:
            named = rows.charges().filter(asked, reference=reference)
            for charge in named:
                names = charge.mandate.customer.stripe_ids, str(charge.mandate.public_id)
                if intent.customer in names[0] and names[1] == intent.metadata.get("krcard_mandate"):
                    found[intent.id] = charge
    return found


def _told(found: list[Finding]) -> Act[list[Finding]]:
    """Nothing has to be asked any more."""
    yield from ()
    return found


def _seems_equal(charge: Charge, intent: gateway.PaymentIntent) -> bool:
    """By the list. Whether a payment was disputed it tells, how the dispute stands it does not."""
    told = intent.refunded is not None or intent.status != "succeeded"
    return told and not (intent.disputed or charge.dispute_id) and not any(_differences(charge, intent, []))


def _compare(pk: int, intent_id: str, fix: bool) -> Act[list[Finding]]:
    charge = rows.charges().get(pk=pk)
    names = charge.mandate.reference, charge.reference, intent_id or charge.stripe_id
    return (yield from or_unanswered(_follow(charge, names, fix), *names, str(charge.status)))


def _follow(charge: Charge, names: tuple[str, str, str], fix: bool) -> Act[list[Finding]]:
    """Look at one charge and its payment again, this time both as they are now, and let the charge follow."""
    intent_id = names[-1]
    intent = yield partial(gateway.patiently, gateway.retrieve_payment_intent, intent_id)
    disputed = []
    if intent.disputed or charge.dispute_id:
        disputed = yield partial(gateway.patiently, _disputes_of, intent_id)
    charge.refresh_from_db()
    if rows.is_being_sent(charge):
        # Its sender will write down what comes.
        return []
    found = list(_differences(charge, intent, disputed))
    kinds = {kind for kind, _here, _there in found}
    if fix and found and ("second" in kinds or charge.status in NOT_WAITING):
        intent = yield from _call_off(intent)
    elif found and (fix or charge.status in ON_ITS_WAY):
        # What saves a card follows with its attempt: while that is open, a try that failed is no outcome.
        charge = (yield from _with_its_card(charge)) if _is_on_its_way_with_a_card(charge) else apply(charge, intent)
    if fix and "refunded" in kinds and charge.stripe_id:
        yield from refunded.sync(charge)
    if fix and "dispute" in kinds:
        for dispute in reversed(disputed):
            disputes.apply(charge, dispute)
    charge.refresh_from_db()
    left = {kind for kind, _here, _there in _differences(charge, intent, disputed)}
    return [Finding(kind, *names, here, there, kind not in left) for kind, here, there in found]


def _is_on_its_way_with_a_card(charge: Charge) -> bool:
    return bool(charge.setup_id) and charge.status in ON_ITS_WAY


def _with_its_card(charge: Charge) -> Act[Charge]:
    yield from setups.completing(CardSetup.objects.get(pk=charge.setup_id))
    charge.refresh_from_db()
    return charge


def _differences(
    charge: Charge, intent: gateway.PaymentIntent, disputed: list[gateway.Dispute]
) -> Iterator[tuple[str, str, str]]:
    """What differs, as (kind, here, there)."""
    if charge.stripe_id not in (None, intent.id):
        if intent.status != "canceled":
            yield "second", charge.stripe_id, intent.status
        return
    if (charge.amount, "krw") != (intent.amount, intent.currency):
        yield "amount", f"{charge.amount:,} krw", f"{intent.amount:,} {intent.currency}"
    if intent.customer not in charge.mandate.customer.stripe_ids:
        yield "customer", charge.mandate.customer.stripe_id or "", intent.customer
    if charge.stripe_id is None or charge.status not in AGREES.get(intent.status, ()):
        yield "status", str(charge.status), intent.status
    if intent.refunded not in (None, charge.refunded_amount):
        yield "refunded", f"{charge.refunded_amount:,} won", f"{intent.refunded:,} won"
    yield from _difference_of_disputes(charge, disputed)


def _difference_of_disputes(charge: Charge, disputed: list[gateway.Dispute]) -> Iterator[tuple[str, str, str]]:
    """A charge shows one of its disputes, an open one if there is one."""
    told = [f"{dispute.id} {dispute.status}" for dispute in disputed]
    still_open = [dispute for dispute in disputed if dispute.status not in Charge.DISPUTE_OVER]
    here = f"{charge.dispute_id} {charge.dispute_status}" if charge.dispute_id else ""
    if charge.is_disputed != bool(still_open) or (here and here not in told) or (told and not here):
        yield "dispute", here, ", ".join(told)


def _call_off(intent: gateway.PaymentIntent) -> Act[gateway.PaymentIntent]:
    """Nobody waits for this payment: it shall never be made."""
    if intent.status not in OPEN_AT_STRIPE:
        return intent
    return (yield partial(gateway.cancel_payment_intent, intent.id, key=f"krc1-cancel-{intent.id}"))


def _disputes_of(intent_id: str) -> list[gateway.Dispute]:
    return list(gateway.disputes_of(intent_id))
