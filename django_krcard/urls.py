from django.urls import path

from django_krcard import views

app_name = "krcard"

urlpatterns = [
    path("", views.CardsView.as_view(), name="cards"),
    path("agree/<slug:slug>/", views.ConsentView.as_view(), name="consent"),
    path("agree/<slug:slug>/direct/", views.ConsentView.as_view(flow="direct"), name="consent-direct"),
    path("create-checkout-session", views.CheckoutSessionView.as_view(), name="create-checkout-session"),
    path("create-setup-intent", views.SetupIntentView.as_view(), name="create-setup-intent"),
    # Not <uuid:…>: a malformed id gets the same answer as an unknown one.
    path("success/<str:public_id>/", views.SuccessView.as_view(), name="success"),
    path("cancel/<str:public_id>/", views.CancelView.as_view(), name="cancel"),
    path("return/<str:public_id>/", views.ReturnView.as_view(), name="return"),
    path("status/<str:public_id>/", views.StatusView.as_view(), name="status"),
    path("mandates/<str:public_id>/", views.MandateView.as_view(), name="mandate"),
    path("mandates/<str:public_id>/copy/", views.MandateCopyView.as_view(), name="mandate-copy"),
    path("mandates/<str:public_id>/revoke/", views.RevokeView.as_view(), name="revoke"),
    path("changes/<str:public_id>/", views.AmendmentView.as_view(), name="amendment"),
    path("changes/<str:public_id>/agree/", views.AgreeToAmendmentView.as_view(), name="agree-to-amendment"),
    path("changes/<str:public_id>/refuse/", views.RefuseAmendmentView.as_view(), name="refuse-amendment"),
    path("charges/<str:public_id>/", views.ChargeView.as_view(), name="charge"),
    path("charges/<str:public_id>/finish/", views.FinishChargeView.as_view(), name="finish-charge"),
    path("charges/<str:public_id>/return/", views.ChargeReturnView.as_view(), name="charge-return"),
    path(
        "subscriptions/<str:public_id>/cancel/",
        views.CancelSubscriptionView.as_view(),
        name="cancel-subscription",
    ),
    path("subscriptions/<str:public_id>/keep/", views.KeepSubscriptionView.as_view(), name="keep-subscription"),
    path("webhook/", views.webhook, name="webhook"),
]
