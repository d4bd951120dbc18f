"""The witness outside: what Stripe was told of a consent with each session, setup, payment and subscription,
beside our records.

Somebody who rewrites this database, and even has the keys, does not reach what Stripe keeps.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from itertools import islice
from uuid import UUID

from django_krcard import gateway
from django_krcard.models import Consent, Customer, Subscription
from django_krcard.services.verify import Finding

#: So far back it looks unless a day is given.
DAYS = 30

MESSAGES = {
    "witness_gone": "Stripe was told of consent {0}, and it is not here",
    "witness_differs": "Stripe was told of consent {0} with another hash",
}


def compare(since: datetime, *, looked: Callable[[], object] = lambda: None) -> Iterator[Finding]:
    """What Stripe knows differently of what was made there at or after ``since``, newest first.

    Payments of invoices name no consent: Stripe makes them by itself, and their subscription names it.

    A page of a hundred at a time, at the pace that Stripe allows. Raises ``GatewayError`` when Stripe does not answer.
    """
    kinds = [gateway.sessions_since, gateway.setup_intents_since, gateway.payments_named_since]
    if Subscription.objects.exists():
        # A site without subscriptions does not let its key read them.
        kinds.append(gateway.subscriptions_named_since)
    for made in kinds:
        told = made(since)
        while page := list(islice(told, gateway.PAGE)):
            for _witness in page:
                looked()
            yield from _differences([witness for witness in page if witness.consent])


def _differences(page: list[gateway.Witness]) -> Iterator[Finding]:
    here = _here(page)
    named = {witness.customer for witness in page}
    ours = set(Customer.objects.filter(stripe_id__in=named).values_list("stripe_id", flat=True))
    for former in Customer.objects.exclude(former_stripe_ids=[]).values_list("former_stripe_ids", flat=True):
        ours.update(named.intersection(former))
    for witness in page:
        record_hash = here.get(witness.consent)
        if record_hash is None:
            # Other sites may use the same Stripe account.
            if witness.customer in ours:
                yield _finding("witness_gone", witness)
        elif record_hash != witness.consent_hash:
            yield _finding("witness_differs", witness)


def _here(page: Iterable[gateway.Witness]) -> dict[str, str]:
    named = {public_id for witness in page if (public_id := _uuid(witness.consent))}
    rows = Consent.objects.filter(public_id__in=named).order_by().values_list("public_id", "record_hash")
    return {str(public_id): record_hash for public_id, record_hash in rows}


def _uuid(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None


def _finding(kind: str, witness: gateway.Witness) -> Finding:
    return Finding(kind, witness.id, MESSAGES[kind].format(witness.consent))
