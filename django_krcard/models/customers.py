from django.conf import settings
from django.db import models
from django.utils.translation import gettext_lazy as _

from django_krcard.models.base import Record


class Customer(Record):
    """The link between who pays on this site and a Customer at Stripe, one for test and one for live mode."""

    user = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        verbose_name=_("user"),
        on_delete=models.SET_NULL,
        null=True,
        blank=True,
        related_name="krcard_customers",
        help_text=_("Records of payments outlive the account: when the user is deleted, this is emptied."),
    )
    reference = models.CharField(_("reference"), max_length=191, help_text=_("The site's own name for who pays."))
    stripe_id = models.CharField(_("Stripe customer"), max_length=255, null=True, blank=True, unique=True)
    params = models.JSONField(
        default=dict,
        editable=False,
        help_text=_("What Stripe is asked, the same at every try. Emptied once there is a customer."),
    )
    attempt = models.PositiveSmallIntegerField(_("attempt"), default=1, editable=False)
    livemode = models.BooleanField(_("live mode"), default=False)

    class Meta:
        verbose_name = _("customer")
        verbose_name_plural = _("customers")
        constraints = [
            models.UniqueConstraint(fields=["reference", "livemode"], name="krcard_customer_once_per_mode"),
        ]

    def __str__(self) -> str:
        return str(self.user or self.reference)
