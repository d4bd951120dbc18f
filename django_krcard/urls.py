from django.urls import path

from django_krcard import views

app_name = "krcard"

urlpatterns = [
    path("", views.CardsView.as_view(), name="cards"),
    path("agree/<slug:slug>/", views.ConsentView.as_view(), name="consent"),
    path("create-checkout-session", views.CheckoutSessionView.as_view(), name="create-checkout-session"),
    # Not <uuid:…>: a malformed id gets the same answer as an unknown one.
    path("success/<str:public_id>/", views.SuccessView.as_view(), name="success"),
    path("cancel/<str:public_id>/", views.CancelView.as_view(), name="cancel"),
    path("status/<str:public_id>/", views.StatusView.as_view(), name="status"),
    path("mandates/<str:public_id>/", views.MandateView.as_view(), name="mandate"),
    path("mandates/<str:public_id>/revoke/", views.RevokeView.as_view(), name="revoke"),
    path("webhook/", views.webhook, name="webhook"),
]
