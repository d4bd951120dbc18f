"""A person asks to be forgotten: what can go goes, what the law keeps is cut loose from who it was."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from django.db import transaction
from django.db.models import Q, QuerySet
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from django_krcard.conf import conf
from django_krcard.exceptions import ErasureRefused
from django_krcard.models import (
    Charge,
    Consent,
    Customer,
    Event,
    Mandate,
    Notice,
    Refund,
    Subscription,
    SubscriptionChange,
    lock,
)
from django_krcard.rules import ENDED
from django_krcard.services import mandates
from django_krcard.services.consents import erase_origin
from django_krcard.services.gate import IN_DISPUTE
from django_krcard.services.privacy import retention
from django_krcard.services.privacy.holds import held
from django_krcard.services.privacy.mentions import naming
from django_krcard.services.timeline import record
from django_krcard.transactions import refuse_inside_transaction

Status = Charge.Status

#: Money may be moving at this moment.
ON_THEIR_WAY = [Status.SENDING, Status.UNKNOWN, Status.PROCESSING, Status.ACTION_REQUIRED]
REFUNDS_ON_THEIR_WAY = Refund.COUNTED - {Refund.Status.SUCCEEDED}


@dataclass(frozen=True)
class Erasure:
    """What an erasure does, or did; and what forbids it."""

    forbidden: list[str] = field(default_factory=list)
    mandates: int = 0
    cards: int = 0
    notices: int = 0
    messages: int = 0
    origins: int = 0
    #: Proof of agreement that the law keeps for now. ``krcard_prune`` takes it away when its time is over.
    origins_kept: int = 0
    #: Not removed at Stripe yet, because it did not answer. ``krcard_run_due`` goes on trying.
    cards_left: int = 0


def plan_erasure(customer: Customer, *, force_personal: bool = False) -> Erasure:
    """What ``erase_customer`` would do now. Changes nothing."""
    origins = _origins_to_erase(customer, force_personal)
    kept = customer.consents.filter(erasure=None).count() - origins.count()
    return Erasure(
        forbidden=list(_forbidden(customer)),
        mandates=_living(customer).count(),
        cards=customer.payment_methods.filter(detached_at=None).count(),
        notices=_told(customer).count(),
        messages=_messages(customer).count(),
        origins=origins.count(),
        origins_kept=kept,
    )


def erase_customer(customer: Customer, *, by: str, reason: str, force_personal: bool = False) -> Erasure:
    """Withdraw every mandate, remove the cards at Stripe, and take away who the customer was. Repeating it is harmless.

    Records of consents, charges and refunds stay, for as long as the law wants them, and say nothing of the person
    any more; hashes and chains still hold. From where a consent came is part of the proof and stays until its
    retention is over (``krcard_prune``), unless ``force_personal``. Raises ``ErasureRefused``.
    """
    refuse_inside_transaction()
    plan = plan_erasure(customer, force_personal=force_personal)
    if plan.forbidden:
        raise ErasureRefused(plan.forbidden)
    for mandate in _living(customer):
        mandates.revoke(mandate, by=by, reason=reason)
    # Once more, for those that an earlier try could not remove.
    mandates.remove_unused_cards(customer)
    did = _pseudonymise(customer, by=by, reason=reason, force_personal=force_personal)
    messages = _messages(customer).update(body=b"")
    customer.refresh_from_db()
    left = customer.payment_methods.filter(detached_at=None).count()
    return Erasure(
        mandates=plan.mandates,
        cards=plan.cards - left,
        messages=messages,
        origins=did["origins"],
        origins_kept=plan.origins_kept,
        notices=did["notices"],
        cards_left=left,
    )


def _pseudonymise(customer: Customer, *, by: str, reason: str, force_personal: bool) -> dict[str, int]:
    with transaction.atomic():
        row = lock(customer)
        # Something may have come up while Stripe was asked.
        if forbidden := list(_forbidden(row)):
            raise ErasureRefused(forbidden)
        notices = _told(row)
        # What waits to be sent has nowhere to go any more.
        count = notices.update(address="", subject=retention.ERASED, text=retention.ERASED, next_attempt_at=None)
        origins = 0
        for consent in _origins_to_erase(row, force_personal).select_related("customer"):
            erase_origin(consent, by=by, reason=reason)
            origins += 1
        renamed = retention.clear_customers(Customer.objects.filter(pk=row.pk))
        if count or origins or renamed:
            for mandate in row.mandates.order_by("pk"):
                record(mandate, "customer_erased", actor=by, reason=reason, origins=origins, notices=count)
    return {"notices": count, "origins": origins}


def _forbidden(customer: Customer) -> Iterator[str]:
    if Customer.objects.filter(held(""), pk=customer.pk).exists() or customer.mandates.filter(held("")).exists():
        yield _("A legal hold is set. Lift it first.")
    if customer.livemode != conf.LIVEMODE and customer.payment_methods.filter(detached_at=None).exists():
        yield _("The key of this site is for the other mode (test or live): the cards could not be removed with it.")
    charges = Charge.objects.filter(mandate__customer=customer)
    # What is ready and was sent before is sent again, also when the agreement has ended meanwhile.
    sent_before = Q(status=Status.READY, first_sent_at__isnull=False)
    if number := charges.filter(Q(status__in=ON_THEIR_WAY) | sent_before).count():
        text = ngettext("%(number)d payment has no outcome yet.", "%(number)d payments have no outcome yet.", number)
        yield text % {"number": number}
    owed = SubscriptionChange.objects.filter(
        subscription__mandate__customer=customer, status=SubscriptionChange.Status.OWED
    )
    if charges.filter(refunds__status__in=REFUNDS_ON_THEIR_WAY).exists() or owed.exists():
        yield _("Money is on its way back to the customer.")
    if charges.filter(IN_DISPUTE).exists():
        yield _("The customer disputes a payment.")
    subscriptions = Subscription.objects.filter(mandate__customer=customer)
    if subscriptions.exclude(status__in=Subscription.OVER).exists():
        yield _("A subscription at Stripe goes on. Cancel it there first.")


def _living(customer: Customer) -> QuerySet[Mandate]:
    return customer.mandates.exclude(status__in=ENDED).order_by("pk")


def _told(customer: Customer) -> QuerySet[Notice]:
    return Notice.objects.filter(mandate__customer=customer).exclude(text=retention.ERASED)


def _messages(customer: Customer) -> QuerySet[Event]:
    """Stripe's messages that name the customer, and that nobody will work off any more."""
    return Event.objects.exclude(status__in=Event.OPEN).exclude(body=b"").filter(naming(customer))


def _origins_to_erase(customer: Customer, force_personal: bool) -> QuerySet[Consent]:
    if force_personal:
        return customer.consents.filter(erasure=None)
    return retention.due("consent_origin").filter(customer=customer)
