import uuid

from django.db import models
from django.urls import reverse
from django.utils import timezone

from django_krcard.models import Charge, Mandate


class Order(models.Model):
    """Something bought under an agreement.

    Its number is the reference of its charge: that is all that ties the two together, and it is there before
    the charge is sent.
    """

    number = models.UUIDField(primary_key=True, default=uuid.uuid4)
    mandate = models.ForeignKey(Mandate, on_delete=models.PROTECT, related_name="orders")
    item = models.CharField(max_length=100)
    price = models.PositiveIntegerField()
    ordered_at = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering = ["-ordered_at"]

    def __str__(self) -> str:
        return f"{self.item} {self.number}"

    def get_absolute_url(self) -> str:
        return reverse("shop:order", args=[self.number])

    @property
    def charge(self) -> Charge | None:
        return self.mandate.charges.filter(reference=str(self.number)).first()
