from django_krcard.views.agree import CheckoutSessionView, ConsentView, SetupIntentView
from django_krcard.views.amendments import AgreeToAmendmentView, AmendmentView, RefuseAmendmentView
from django_krcard.views.cards import CardsView, MandateCopyView, MandateView, RevokeView
from django_krcard.views.charges import ChargeReturnView, ChargeView, FinishChargeView
from django_krcard.views.results import CancelView, ReturnView, StatusView, SuccessView
from django_krcard.views.subscriptions import CancelSubscriptionView, KeepSubscriptionView
from django_krcard.views.webhook import webhook

__all__ = [
    "AgreeToAmendmentView",
    "AmendmentView",
    "CancelSubscriptionView",
    "CancelView",
    "CardsView",
    "ChargeReturnView",
    "ChargeView",
    "CheckoutSessionView",
    "ConsentView",
    "FinishChargeView",
    "KeepSubscriptionView",
    "MandateCopyView",
    "MandateView",
    "RefuseAmendmentView",
    "ReturnView",
    "RevokeView",
    "SetupIntentView",
    "StatusView",
    "SuccessView",
    "webhook",
]
