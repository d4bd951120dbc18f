"""The words of the product as tables."""

from django_krcard.models.agreements import Consent, Mandate, Terms, TermsText, TimelineEntry
from django_krcard.models.base import freeze_params, lock
from django_krcard.models.cards import CardSetup, PaymentMethod
from django_krcard.models.charges import Charge
from django_krcard.models.customers import Customer
from django_krcard.models.events import Event

__all__ = [
    "CardSetup",
    "Charge",
    "Consent",
    "Customer",
    "Event",
    "Mandate",
    "PaymentMethod",
    "Terms",
    "TermsText",
    "TimelineEntry",
    "freeze_params",
    "lock",
]
