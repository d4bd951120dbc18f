"""Things whose end only Stripe knows: charges and refunds that were sent, attempts to save a card, pending mandates.

Stripe says that some of its messages are never made, so they are asked about.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

from django.db.models import Q
from django.utils import timezone

from django_krcard.exceptions import SetupNotAllowed
from django_krcard.models import CardSetup, Charge, Mandate, Refund, of_this_key
from django_krcard.services import refunded, refunds, setups, steps
from django_krcard.services.acts import Act
from django_krcard.services.reconcile import permissions, rows
from django_krcard.services.reconcile.finding import Finding, or_unanswered
from django_krcard.services.reconcile.payments import ON_ITS_WAY, UNKNOWN

REFUNDS_ON_THEIR_WAY = frozenset(
    {Refund.Status.READY, Refund.Status.SENDING, Refund.Status.UNKNOWN, Refund.Status.PENDING}
)

#: The customer's own way back, or a message, has asked for an attempt so shortly before.
ASKED_ALREADY = timedelta(minutes=5)


def settled(*, may_step: bool) -> Iterator[Act[list[Finding]]]:
    """An act for each of them. ``may_step``: what was not sent, or not to its end, may be sent."""
    open_charges = rows.charges().filter(status__in=ON_ITS_WAY)
    yield from (_settle(pk, may_step=may_step) for pk in rows.keys(open_charges))
    yield from (_settle_refund(pk) for pk in rows.keys(rows.refunds().filter(status__in=REFUNDS_ON_THEIR_WAY)))
    yield from (_complete(pk) for pk in rows.keys(_open_setups()))
    pending = permissions.at_stripe().filter(status=Mandate.Status.PENDING)
    yield from (_activate(pk) for pk in rows.keys(pending))


def _settle(pk: int, *, may_step: bool) -> Act[list[Finding]]:
    """Take the step that is due, and tell if that leaves an outcome unknown."""
    charge = rows.charges().get(pk=pk)
    before = charge.status
    if rows.is_being_sent(charge):
        return []
    if may_step:
        charge = yield from steps.step(pk)
    if before not in UNKNOWN:
        return []
    known = charge.status not in UNKNOWN
    there = str(charge.status) if known else ""
    return [_unknown(charge, charge.stripe_id or "", str(before), there, fixed=known)]


def _settle_refund(pk: int) -> Act[list[Finding]]:
    refund = rows.refunds().get(pk=pk)
    if rows.is_being_sent(refund):
        return []
    charge, here = refund.charge, f"refund {refund.status}"
    names = charge.mandate.reference, charge.reference, charge.stripe_id
    return (yield from or_unanswered(_follow_refund(refund), *names, here))


def _follow_refund(refund: Refund) -> Act[list[Finding]]:
    charge, before = refund.charge, refund.status
    yield from refunded.sync(charge)
    refund = yield from refunds.step(refund.pk)
    if before not in UNKNOWN:
        return []
    known = refund.status not in UNKNOWN
    there = f"refund {refund.status}" if known else ""
    return [_unknown(charge, charge.stripe_id, f"refund {before}", there, fixed=known)]


def _unknown(charge: Charge, stripe_id: str, here: str, there: str, *, fixed: bool) -> Finding:
    return Finding("unknown", charge.mandate.reference, charge.reference, stripe_id, here, there, fixed)


def _open_setups():
    """Also those that should have ended long ago: that they did, a message would have said."""
    rested = Q(checked_at=None) | Q(checked_at__lt=timezone.now() - ASKED_ALREADY)
    return CardSetup.objects.filter(
        rested,
        setups.ASKABLE,
        status=CardSetup.Status.OPEN,
        **of_this_key("consent__customer"),
    )


def _complete(pk: int) -> Act[list[Finding]]:
    setup = CardSetup.objects.select_related("mandate__customer", "consent__customer").get(pk=pk)
    if not setup.is_open:
        return []
    names = setup.mandate.reference, setup.consent.customer.stripe_id, setups.stripe_id_of(setup)
    return (yield from or_unanswered(_follow_setup(setup, names), *names, "open"))


def _follow_setup(setup: CardSetup, names: tuple[str, str, str]) -> Act[list[Finding]]:
    try:
        yield from setups.completing(setup)
    except SetupNotAllowed:
        return [Finding("setup", *names, "open", "somebody else's")]
    setup.refresh_from_db()
    return [] if setup.is_open else [Finding("setup", *names, "open", str(setup.status), fixed=True)]


def _activate(pk: int) -> Act[list[Finding]]:
    mandate = permissions.at_stripe().get(pk=pk)
    return (yield from permissions.compare(mandate, fix=True))
