"""Where staff review agreements, and act on them with a reason. Nothing here can change or remove a record."""

from django_krcard.admin.agreements import ConsentAdmin
from django_krcard.admin.amendments import AmendmentAdmin
from django_krcard.admin.cards import CardSetupAdmin, PaymentMethodAdmin
from django_krcard.admin.charges import ChargeAdmin
from django_krcard.admin.customers import CustomerAdmin
from django_krcard.admin.events import EventAdmin
from django_krcard.admin.mandates import MandateAdmin
from django_krcard.admin.notices import NoticeAdmin
from django_krcard.admin.refunds import RefundAdmin
from django_krcard.admin.subscriptions import SubscriptionAdmin
from django_krcard.admin.terms import TermsAdmin

__all__ = [
    "AmendmentAdmin",
    "CardSetupAdmin",
    "ChargeAdmin",
    "ConsentAdmin",
    "CustomerAdmin",
    "EventAdmin",
    "MandateAdmin",
    "NoticeAdmin",
    "PaymentMethodAdmin",
    "RefundAdmin",
    "SubscriptionAdmin",
    "TermsAdmin",
]
