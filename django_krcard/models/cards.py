"""The saved card and the attempts to save one."""

from datetime import timedelta

from django.db import models
from django.utils.translation import gettext_lazy as _

from django_krcard.models.base import Record


class PaymentMethod(Record):
    """A card saved at Stripe. ``type`` and ``brand`` are open: Stripe adds values without asking."""

    customer = models.ForeignKey(
        "krcard.Customer", verbose_name=_("customer"), on_delete=models.PROTECT, related_name="payment_methods"
    )
    stripe_id = models.CharField(_("Stripe payment method"), max_length=255, unique=True)
    type = models.CharField(_("type"), max_length=64)
    brand = models.CharField(_("issuer or network"), max_length=64, blank=True)
    last4 = models.CharField(_("last four digits"), max_length=4, null=True, blank=True)
    exp_month = models.PositiveSmallIntegerField(_("expiry month"), null=True, blank=True)
    exp_year = models.PositiveSmallIntegerField(_("expiry year"), null=True, blank=True)
    detached_at = models.DateTimeField(_("removed at"), null=True, blank=True)
    removal_tried_at = models.DateTimeField(_("last tried to remove"), null=True, blank=True)
    #: Stripe repeats an answer like 500 under its key for a day: each try to remove the card has a key of its own.
    removal_tries = models.PositiveIntegerField(default=0, editable=False)
    told_at = models.DateTimeField(
        _("as of"),
        null=True,
        blank=True,
        help_text=_("When Stripe was asked for what this row says. What was asked for earlier changes nothing."),
    )

    class Meta:
        verbose_name = _("card")
        verbose_name_plural = _("cards")
        indexes = [
            models.Index(
                fields=["removal_tried_at"],
                name="krcard_card_left_over",
                condition=models.Q(detached_at__isnull=True, removal_tried_at__isnull=False),
            )
        ]

    def __str__(self) -> str:
        return f"{self.brand or self.type} ****{self.last4 or ''}"


class CardSetup(Record):
    """One attempt to save a card under one consent."""

    class Flow(models.TextChoices):
        CHECKOUT = "checkout", _("Checkout")
        DIRECT = "direct", _("Direct API")

    class Mode(models.TextChoices):
        SETUP = "setup", _("save a card")
        PAYMENT = "payment", _("pay and save the card")

    class Status(models.TextChoices):
        OPEN = "open", _("open")
        COMPLETE = "complete", _("complete")
        EXPIRED = "expired", _("expired")
        FAILED = "failed", _("failed")
        CANCELLED = "cancelled", _("cancelled")

    #: How long a customer may take. Stripe allows 30 minutes to 24 hours.
    LIFETIME = timedelta(hours=12)
    #: Stripe refuses a session that ends sooner than this after it receives the request; with a margin for clocks.
    SHORTEST_SESSION = timedelta(minutes=35)

    mandate = models.ForeignKey(
        "krcard.Mandate", verbose_name=_("mandate"), on_delete=models.PROTECT, related_name="setups"
    )
    consent = models.ForeignKey(
        "krcard.Consent", verbose_name=_("consent"), on_delete=models.PROTECT, related_name="setups"
    )
    flow = models.CharField(_("flow"), max_length=16, choices=Flow, default=Flow.CHECKOUT)
    mode = models.CharField(_("purpose"), max_length=16, choices=Mode, default=Mode.SETUP)
    method_type = models.CharField(
        _("type of card"), max_length=64, blank=True, help_text=_("Empty: chosen on Stripe's page.")
    )
    status = models.CharField(_("status"), max_length=16, choices=Status, default=Status.OPEN)
    expires_at = models.DateTimeField(_("expires at"))
    params = models.JSONField(
        _("what was asked"), default=dict, help_text=_("Sent to Stripe, the same at every try under one key.")
    )
    attempt = models.PositiveSmallIntegerField(_("attempt"), default=1)
    checkout_session_id = models.CharField(_("Checkout session"), max_length=255, null=True, blank=True, unique=True)
    setup_intent_id = models.CharField(_("setup intent"), max_length=255, null=True, blank=True, db_index=True)
    redirect_url = models.TextField(_("address at Stripe"), blank=True, help_text=_("Emptied when the attempt ends."))
    failure_code = models.CharField(_("failure"), max_length=64, blank=True)
    checked_at = models.DateTimeField(_("last asked Stripe"), null=True, blank=True)

    class Meta:
        verbose_name = _("attempt to save a card")
        verbose_name_plural = _("attempts to save a card")
        ordering = ["-created_at"]

    def __str__(self) -> str:
        return f"{self.mandate} {self.status}"

    @property
    def is_open(self) -> bool:
        return self.status == self.Status.OPEN

    @property
    def idempotency_key(self) -> str:
        return f"krc1-setup-{self.public_id}-{self.attempt}"
