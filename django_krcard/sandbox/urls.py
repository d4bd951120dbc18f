from django.apps import apps
from django.core.exceptions import ImproperlyConfigured
from django.urls import path

# First of all: without the app its models would be taken for those of the package around it.
if not apps.is_installed("django_krcard.sandbox"):
    raise ImproperlyConfigured(
        "django_krcard.sandbox.urls is included, and 'django_krcard.sandbox' is not in INSTALLED_APPS. "
        'In production take the line with include("django_krcard.sandbox.urls") out of your urls.py.'
    )

from . import direct_page, panel, payment_page, views

app_name = "krcard_sandbox"

urlpatterns = [
    path("checkout/<str:session_id>/", views.CheckoutView.as_view(), name="checkout"),
    path("checkout/<str:session_id>/issuer/", views.IssuerView.as_view(), name="issuer"),
    path("checkout/<str:session_id>/authorise/", views.AuthoriseView.as_view(), name="authorise"),
    path("checkout/<str:session_id>/fail/", views.FailView.as_view(), name="fail"),
    path("checkout/<str:session_id>/expire/", views.ExpireView.as_view(), name="expire"),
    path("pay/<str:attempt>/", payment_page.PaymentView.as_view(), name="payment"),
    path("pay/<str:attempt>/authorise/", payment_page.AnswerView.as_view(succeeded=True), name="payment-authorise"),
    path("pay/<str:attempt>/fail/", payment_page.AnswerView.as_view(succeeded=False), name="payment-fail"),
    path("setup/<str:attempt>/", direct_page.SetupPageView.as_view(), name="setup"),
    path("setup/<str:attempt>/authorise/", direct_page.SetupAnswerView.as_view(succeeded=True), name="setup-authorise"),
    path("setup/<str:attempt>/fail/", direct_page.SetupAnswerView.as_view(succeeded=False), name="setup-fail"),
    path("panel/", panel.PanelView.as_view(), name="panel"),
    path("panel/<str:scenario>/", panel.PlayView.as_view(), name="play"),
]
