"""The words of the product as tables."""

from django_krcard.models.agreements import (
    Consent,
    ConsentAttachment,
    ConsentErasure,
    ConsentOrigin,
    Mandate,
    Terms,
    TermsText,
    TimelineEntry,
)
from django_krcard.models.amendments import Amendment
from django_krcard.models.base import freeze_params, lock, lock_all, save_all
from django_krcard.models.cards import CardSetup, PaymentMethod
from django_krcard.models.charges import Charge, Refund
from django_krcard.models.customers import Customer, of_this_key
from django_krcard.models.events import Event
from django_krcard.models.notices import Notice
from django_krcard.models.seals import Seal, SealedConsent
from django_krcard.models.subscriptions import Subscription, SubscriptionChange
from django_krcard.models.watermarks import Watermark

__all__ = [
    "Amendment",
    "CardSetup",
    "Charge",
    "Consent",
    "ConsentAttachment",
    "ConsentErasure",
    "ConsentOrigin",
    "Customer",
    "Event",
    "Mandate",
    "Notice",
    "PaymentMethod",
    "Refund",
    "Seal",
    "SealedConsent",
    "Subscription",
    "SubscriptionChange",
    "Terms",
    "TermsText",
    "TimelineEntry",
    "Watermark",
    "freeze_params",
    "lock",
    "lock_all",
    "of_this_key",
    "save_all",
]
