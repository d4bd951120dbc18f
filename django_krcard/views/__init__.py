from django_krcard.views.agree import CheckoutSessionView, ConsentView
from django_krcard.views.cards import CardsView, MandateView, RevokeView
from django_krcard.views.results import CancelView, StatusView, SuccessView
from django_krcard.views.webhook import webhook

__all__ = [
    "CancelView",
    "CardsView",
    "CheckoutSessionView",
    "ConsentView",
    "MandateView",
    "RevokeView",
    "StatusView",
    "SuccessView",
    "webhook",
]
