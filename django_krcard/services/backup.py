"""A database that was restored from a backup must not charge again what Stripe has charged already.

Within a day the deterministic key prevents it. After that only looking does: Stripe's newest payments of our mandates
must all be known here before anything is sent.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from datetime import datetime, timedelta
from itertools import islice

from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import Q
from django.utils import timezone

from django_krcard import gateway
from django_krcard.conf import conf
from django_krcard.exceptions import DatabaseIsBehind
from django_krcard.models import Charge, Consent, Mandate, of_this_key
from django_krcard.services import gate, watermarks
from django_krcard.services.outcomes import apply
from django_krcard.services.timeline import record

logger = logging.getLogger(__name__)

#: Clocks differ, and a payment may be on its way while we look.
OVERLAP = timedelta(minutes=15)

#: A database says by itself when it was last compared with Stripe. What was forgotten since then is younger than that,
#: and much younger than a key under which Stripe would charge again.
GOOD_FOR = timedelta(hours=1)

#: The keys under which this process has looked.
_looked: set[tuple[str, str]] = set()


def refuse_if_behind(*, again: bool = False) -> None:
    """Raise ``DatabaseIsBehind`` if Stripe has a payment of our mandates that this database does not know.

    Looks once in each process, whenever the database was not compared with Stripe for an hour (it may have been
    restored under a running process), and now when asked to look ``again``. Not where nothing can be charged.
    """
    if conf.CHARGING_PAUSED or (not again and _key() in _looked and _compared_lately()):
        return
    began = timezone.now()
    orphan = next(orphans(), None)
    if orphan is not None:
        logger.critical("Stripe has payments that this database does not know, %s for one. Was it restored?", orphan.id)
        raise DatabaseIsBehind(
            f"Stripe has payments that this database does not know ({orphan.id} for one): a backup was restored. "
            "Nothing is charged until krcard_reconcile --fix has taken them in."
        )
    watermarks.move(watermarks.PAYMENTS, began)
    _looked.add(_key())


def _compared_lately() -> bool:
    at = watermarks.all_of_them().get(watermarks.PAYMENTS)
    # A clock that was turned back makes a negative age: then nobody knows.
    return at is not None and timedelta() <= timezone.now() - at < GOOD_FOR


def orphans(since: datetime | None = None) -> Iterator[gateway.PaymentIntent]:
    """Payments of our mandates at Stripe since we last looked, or since an earlier moment, that no row knows of."""
    read_until = watermarks.since(watermarks.PAYMENTS)
    intents = gateway.payment_intents_since(min(since or read_until, read_until) - OVERLAP)
    while page := list(islice(intents, gateway.PAGE)):
        # Nearly all are known, and one question for a page of them is enough.
        ids = [intent.id for intent in page]
        known = set(Charge.objects.filter(stripe_id__in=ids).values_list("stripe_id", flat=True))
        for intent in page:
            named = intent.id not in known and intent.metadata.get("krcard_reference")
            if named and _mandate_of(intent) and not _is_known(intent):
                yield intent


def adopt(intent: gateway.PaymentIntent) -> Charge | None:
    """Make, or wake, the row that a payment of ours once had, and let it follow. ``None`` if it is not one of ours."""
    reference, found = intent.metadata.get("krcard_reference"), _mandate_of(intent)
    if found is None or not reference:
        return None
    with transaction.atomic():
        mandate = gate.locked(found)
        charge = mandate.charges.filter(reference=reference).first() or Charge(
            mandate=mandate,
            reference=reference,
            amount=intent.amount,
            consent=_consent_of(mandate, intent),
            due_at=intent.created,
            idempotency_key=f"adopted-{intent.id}",
            requested_by="stripe",
        )
        if not charge.stripe_id:
            # Scheduled or refused when the backup was made, and sent since.
            charge.status, charge.refusal_code, charge.sends = Charge.Status.UNKNOWN, "", 1
            charge.due_at = charge.first_sent_at = charge.last_sent_at = charge.next_step_at = intent.created
            charge.save()
            record(mandate, "charge_adopted", actor="system", reference=reference, payment_intent=intent.id)
    # The customer was told when it happened.
    return apply(charge, intent, ours=True, tell=False)


def _consent_of(mandate: Mandate, intent: gateway.PaymentIntent) -> Consent:
    """The one it was judged by, as Stripe remembers it."""
    known = {str(consent.public_id): consent for consent in mandate.customer.consents.all()}
    return known.get(intent.metadata.get("krcard_consent", ""), mandate.consent)


def _key() -> tuple[str, str]:
    return conf.STRIPE_SECRET_KEY, conf.STRIPE_ACCOUNT


def taken_in(began: datetime) -> None:
    """Everything up to ``began`` is known here now."""
    watermarks.move(watermarks.PAYMENTS, began)


def _mandate_of(intent: gateway.PaymentIntent) -> Mandate | None:
    """Other sites use the same Stripe account: a payment is ours when its mandate is."""
    public_id = intent.metadata.get("krcard_mandate", "")
    try:
        rows = Mandate.objects.filter(public_id=public_id, **of_this_key("customer"))
        mandate = rows.select_related("customer").first()
    except ValidationError:
        # Other integrations write what they like into their metadata.
        return None
    return mandate if mandate and intent.customer in mandate.customer.stripe_ids else None


def _is_known(intent: gateway.PaymentIntent) -> bool:
    """A row that was never sent knows nothing of it, though it has the reference: a backup holds such rows, too."""
    reference = intent.metadata.get("krcard_reference", "")
    rows = Charge.objects.filter(mandate__public_id=intent.metadata["krcard_mandate"], reference=reference)
    waiting = Q(status__in=[Charge.Status.SENDING, Charge.Status.UNKNOWN]) | Q(setup__isnull=False)
    # A second payment of one charge is for krcard_reconcile to report, and no reason to stop all charging.
    return rows.filter(waiting | Q(stripe_id__isnull=False)).exists()
