from django.contrib.auth.models import Group
from django.dispatch import receiver
from django.http import HttpResponse
from django.urls import include, path

from django_krcard import services
from django_krcard.exceptions import ChargeRefused
from django_krcard.signals import mandate_activated


@receiver(mandate_activated)
def welcome(sender, *, mandate, **kwargs):
    mandate.customer.user.groups.add(Group.objects.get_or_create(name="readers")[0])


def pay(request, month):
    """Pay for the paper of this month with the saved card."""
    mandate = services.active_mandate(request.user, "paper")
    try:
        charge = services.charge(mandate, 9_900, reference=month)
    except ChargeRefused as refused:
        return HttpResponse(refused.message, status=409)
    return HttpResponse(charge.status, status=200 if charge.status == "succeeded" else 402)


urlpatterns = [
    path("pay/<str:month>/", pay),
    path("krcard/", include("django_krcard.urls")),
    path("stripe-sandbox/", include("django_krcard.sandbox.urls")),
]
