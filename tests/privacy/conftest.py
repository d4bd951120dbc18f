"""An agreement with a past (see tests/evidence), and what Stripe told of it."""

import json

import pytest

from django_krcard import services
from django_krcard.models import Event
from django_krcard.services import mandates, notices
from tests.evidence.conftest import lived, unpack

__all__ = ["lived", "unpack"]


@pytest.fixture
def paid(lived):
    """Minji was charged. Stripe told of it, and of somebody whose id only begins like hers."""
    heard(lived, "customer.updated", customer="cus_1")
    heard(lived, "refund.updated", payment_intent="pi_1")
    heard(lived, "customer.updated", customer="cus_12")
    return lived


def heard(mandate, kind, **names):
    number = Event.objects.count()
    body = json.dumps({"id": f"evt_{number}", "data": {"object": names}}).encode()
    return Event.objects.create(stripe_id=f"evt_{number}", type=kind, body=body, status=Event.Status.DONE)


@pytest.fixture
def ended(paid):
    """And left."""
    services.revoke(paid, by="customer", reason="withdrawn by the customer")
    for card in paid.customer.payment_methods.all():
        mandates.card_detached(card)
    notices.deliver_due()
    # Of nobody else, for whom no hold counts.
    Event.objects.filter(stripe_id="evt_2").delete()
    paid.refresh_from_db()
    return paid
