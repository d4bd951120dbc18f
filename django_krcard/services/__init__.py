"""Everything the app does, one function an act. What is named here is a promise to the outside."""

from django_krcard.services.charges import can_charge, charge, next_payment_on
from django_krcard.services.checkout import complete as complete_setup
from django_krcard.services.checkout import start as start_checkout
from django_krcard.services.consents import Evidence
from django_krcard.services.consents import give as give_consent
from django_krcard.services.customers import ensure_at_stripe
from django_krcard.services.customers import get_or_create as get_or_create_customer
from django_krcard.services.mandates import active_for as active_mandate
from django_krcard.services.mandates import hold, resume, revoke
from django_krcard.services.terms import publish as publish_terms

__all__ = [
    "Evidence",
    "active_mandate",
    "can_charge",
    "charge",
    "complete_setup",
    "ensure_at_stripe",
    "get_or_create_customer",
    "give_consent",
    "hold",
    "next_payment_on",
    "publish_terms",
    "resume",
    "revoke",
    "start_checkout",
]
