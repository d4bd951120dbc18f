from typing import Any

from django.conf import settings
from django.db import models
from django.utils.translation import gettext_lazy as _

from django_krcard.conf import conf
from django_krcard.models.base import Record


def of_this_key(path: str = "") -> dict[str, Any]:
    """The filter for what belongs to customers in the key's mode and under the account that the site acts for.

    ``path`` leads to the customer: ``"mandate__customer"``. Of all others Stripe knows nothing under this key.
    """
    prefix = f"{path}__" if path else ""
    return {f"{prefix}livemode": conf.LIVEMODE, f"{prefix}account": conf.STRIPE_ACCOUNT}


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
    notice_address = models.CharField(
        _("address for notices"),
        max_length=320,
        blank=True,
        help_text=_("Where the customer agreed to be told. Empty: the user's e-mail address."),
    )
    params = models.JSONField(
        default=dict,
        editable=False,
        help_text=_("What Stripe is asked, the same at every try. Emptied once there is a customer."),
    )
    attempt = models.PositiveSmallIntegerField(_("attempt"), default=1, editable=False)
    updates = models.PositiveIntegerField(
        default=0, editable=False, help_text=_("How often Stripe was asked to change it: each has a key of its own.")
    )
    livemode = models.BooleanField(_("live mode"), default=False)
    legal_hold = models.TextField(
        _("legal hold"),
        blank=True,
        editable=False,
        help_text=_("Why nothing about this may be erased, however old it is. Empty: it may."),
    )
    erased_at = models.DateTimeField(_("erased at"), null=True, blank=True, editable=False)
    account = models.CharField(
        _("Stripe account"),
        max_length=255,
        blank=True,
        default="",
        help_text=_("The connected account that has the customer. Empty: the key's own."),
    )
    former_stripe_ids = models.JSONField(
        _("former Stripe customers"),
        default=list,
        editable=False,
        help_text=_("Deleted at Stripe, the oldest first."),
    )
    compared_at = models.DateTimeField(
        _("compared at"),
        null=True,
        blank=True,
        editable=False,
        help_text=_("When all was as at Stripe, by krcard_reconcile. Empty: never, or something was left."),
    )

    class Meta:
        verbose_name = _("customer")
        verbose_name_plural = _("customers")
        permissions = [
            ("export_person", _("Can take all data of a person")),
            ("erase_person", _("Can erase a person")),
            ("set_legal_hold", _("Can set and lift a legal hold")),
        ]
        constraints = [
            models.UniqueConstraint(fields=["reference", "livemode", "account"], name="krcard_customer_once_per_mode"),
        ]
        # Who was compared longest ago comes first, a hundred at a time.
        indexes = [models.Index(fields=["compared_at", "id"], name="krcard_customer_compared")]

    @property
    def address(self) -> str:
        """Where notices go; empty if nobody knows."""
        if self.notice_address or not self.user:
            return self.notice_address
        return getattr(self.user, self.user.get_email_field_name(), "") or ""

    @property
    def stripe_ids(self) -> list[str]:
        """All that Stripe has ever known this customer by. Old payments keep the id of a Customer that is deleted."""
        return [*self.former_stripe_ids, *filter(None, [self.stripe_id])]

    @property
    def is_of_this_key(self) -> bool:
        return (self.livemode, self.account) == (conf.LIVEMODE, conf.STRIPE_ACCOUNT)

    def __str__(self) -> str:
        return str(self.user or self.reference)
