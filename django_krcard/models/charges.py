"""Money asked for under a mandate."""

from __future__ import annotations

from django.db import models
from django.utils.translation import gettext_lazy as _
from django.utils.translation import pgettext_lazy

from django_krcard.exceptions import ActionRequired, ChargeRefused, Declined, OutcomeUnknown
from django_krcard.models.base import Record
from django_krcard.rules import MAX_AMOUNT, MIN_AMOUNT, Verdict


class Charge(Record):
    """One logical off-session charge, which is one PaymentIntent at Stripe."""

    class Status(models.TextChoices):
        SCHEDULED = "scheduled", _("scheduled")
        READY = "ready", _("ready")
        SENDING = "sending", _("sending")
        UNKNOWN = "unknown", _("outcome unknown")
        PROCESSING = "processing", _("processing")
        SUCCEEDED = "succeeded", _("succeeded")
        DECLINED = "declined", _("declined")
        ACTION_REQUIRED = "action_required", _("customer must act")
        REFUSED = "refused", _("refused by the terms")
        CANCELLED = "cancelled", _("cancelled")

    #: Moved money or still may: these count against the limits of the terms.
    COUNTED = frozenset(
        {
            Status.READY,
            Status.SENDING,
            Status.UNKNOWN,
            Status.PROCESSING,
            Status.SUCCEEDED,
            Status.ACTION_REQUIRED,
        }
    )
    #: Nothing that Stripe says later changes these.
    FINAL = frozenset({Status.SUCCEEDED, Status.CANCELLED, Status.REFUSED})

    mandate = models.ForeignKey(
        "krcard.Mandate", verbose_name=_("mandate"), on_delete=models.PROTECT, related_name="charges"
    )
    consent = models.ForeignKey(
        "krcard.Consent",
        verbose_name=_("judged by"),
        on_delete=models.PROTECT,
        related_name="charges",
        help_text=_("The consent that was in force when the charge was judged."),
    )
    payment_method = models.ForeignKey(
        "krcard.PaymentMethod",
        verbose_name=_("card"),
        on_delete=models.PROTECT,
        null=True,
        blank=True,
        related_name="charges",
    )
    setup = models.OneToOneField(
        "krcard.CardSetup",
        verbose_name=_("attempt to save a card"),
        on_delete=models.PROTECT,
        null=True,
        blank=True,
        related_name="charge",
        help_text=_("The customer makes this payment while the card is saved."),
    )
    reference = models.CharField(_("reference"), max_length=191, help_text=_("The site's own, once per mandate."))
    description = models.CharField(_("description"), max_length=500, blank=True)
    amount = models.PositiveIntegerField(_("amount (won)"))
    status = models.CharField(_("status"), max_length=16, choices=Status)
    due_at = models.DateTimeField(_("due at"))
    attempt = models.PositiveSmallIntegerField(_("attempt"), default=1)
    idempotency_key = models.CharField(_("idempotency key"), max_length=255, unique=True)
    params = models.JSONField(
        _("what was asked"), default=dict, help_text=_("Sent to Stripe, the same at every try under one key.")
    )
    stripe_id = models.CharField(_("Stripe payment intent"), max_length=255, null=True, blank=True, unique=True)
    #: Asked for by Stripe itself, for a period of a subscription: it is never sent, retried or called off here.
    subscription = models.ForeignKey(
        "krcard.Subscription",
        verbose_name=_("subscription"),
        on_delete=models.PROTECT,
        null=True,
        blank=True,
        related_name="charges",
    )
    invoice_id = models.CharField(_("Stripe invoice"), max_length=255, null=True, blank=True, unique=True)
    refusal_code = models.CharField(_("refused because"), max_length=64, blank=True)
    failure_code = models.CharField(_("failure"), max_length=64, blank=True)
    decline_code = models.CharField(_("decline"), max_length=64, blank=True)
    refunded_amount = models.PositiveIntegerField(_("refunded (won)"), default=0)
    requested_by = models.CharField(_("requested by"), max_length=300)
    reason = models.TextField(_("reason"), blank=True)
    first_sent_at = models.DateTimeField(_("first sent at"), null=True, blank=True)
    last_sent_at = models.DateTimeField(_("last sent at"), null=True, blank=True)
    sends = models.PositiveSmallIntegerField(
        _("times asked"), default=0, help_text=_("Of Stripe, with this attempt's key.")
    )
    next_step_at = models.DateTimeField(
        _("next step at"),
        null=True,
        blank=True,
        help_text=_("Until then it is somebody's or nothing is to be done. Empty: nothing more happens by itself."),
    )
    queued_at = models.DateTimeField(
        _("queued at"), null=True, blank=True, help_text=_("When a task was last made for the next step.")
    )
    empty_looks = models.PositiveSmallIntegerField(
        _("times looked for in vain"), default=0, help_text=_("In Stripe's list, after the key had run out.")
    )
    dispute_id = models.CharField(_("Stripe dispute"), max_length=255, blank=True, db_index=True)
    dispute_status = models.CharField(_("dispute"), max_length=64, blank=True)

    class Meta:
        verbose_name = _("charge")
        verbose_name_plural = _("charges")
        ordering = ["-created_at"]
        constraints = [
            models.UniqueConstraint(fields=["mandate", "reference"], name="krcard_charge_reference_once"),
            models.CheckConstraint(
                condition=models.Q(amount__gte=MIN_AMOUNT, amount__lte=MAX_AMOUNT), name="krcard_charge_whole_won"
            ),
        ]
        permissions = [("refund_charge", _("Can pay back a charge")), ("cancel_charge", _("Can cancel a charge"))]
        indexes = [
            models.Index(fields=["mandate", "due_at"], name="krcard_charge_by_period"),
            models.Index(fields=["status"], name="krcard_charge_status"),
            models.Index(
                fields=["next_step_at"], name="krcard_charge_next_step", condition=models.Q(next_step_at__isnull=False)
            ),
        ]

    def __str__(self) -> str:
        return f"{self.mandate} {self.reference}"

    #: Stripe's words for a dispute that is over. Any other, also one we do not know, is open.
    DISPUTE_OVER = frozenset({"won", "lost", "warning_closed", "prevented"})

    @property
    def is_disputed(self) -> bool:
        return bool(self.dispute_id) and self.dispute_status not in self.DISPUTE_OVER

    @property
    def was_taken_back(self) -> bool:
        """A dispute gave the money back to the customer: at once when it is opened, for good when it is lost.

        A mere inquiry (Stripe's ``warning_…``) moves nothing, and paying back is what settles it.
        """
        inquiry = self.dispute_status.startswith("warning_")
        return self.dispute_status == "lost" or (self.is_disputed and not inquiry)

    @property
    def verdict(self) -> Verdict:
        """What the gate said when this charge was asked for."""
        return Verdict(self.refusal_code)

    def raise_for_status(self) -> None:
        """Raise if the charge did not succeed: for callers who prefer exceptions to states."""
        if self.status == self.Status.SUCCEEDED:
            return
        if self.status == self.Status.REFUSED:
            raise ChargeRefused(self.refusal_code, self.verdict.message, self)
        if self.status in (self.Status.DECLINED, self.Status.CANCELLED):
            raise Declined(self)
        if self.status == self.Status.ACTION_REQUIRED:
            raise ActionRequired(self)
        raise OutcomeUnknown(self)


class Refund(Record):
    """Money of a charge that goes back. One Refund at Stripe."""

    class Status(models.TextChoices):
        READY = "ready", _("ready")
        SENDING = "sending", _("sending")
        UNKNOWN = "unknown", _("outcome unknown")
        PENDING = "pending", _("pending")
        SUCCEEDED = "succeeded", pgettext_lazy("refund", "succeeded")
        FAILED = "failed", pgettext_lazy("refund", "failed")
        CANCELLED = "cancelled", _("cancelled")

    #: Went back or still may: this much of the charge is not left any more.
    COUNTED = frozenset({Status.READY, Status.SENDING, Status.UNKNOWN, Status.PENDING, Status.SUCCEEDED})

    charge = models.ForeignKey(Charge, verbose_name=_("charge"), on_delete=models.PROTECT, related_name="refunds")
    reference = models.CharField(_("reference"), max_length=191, help_text=_("The site's own, once per charge."))
    amount = models.PositiveIntegerField(_("amount (won)"))
    status = models.CharField(_("status"), max_length=16, choices=Status, default=Status.READY)
    reason = models.TextField(_("reason"), blank=True)
    requested_by = models.CharField(_("requested by"), max_length=300)
    idempotency_key = models.CharField(_("idempotency key"), max_length=255, unique=True)
    params = models.JSONField(
        _("what was asked"), default=dict, help_text=_("Sent to Stripe, the same at every try under one key.")
    )
    stripe_id = models.CharField(_("Stripe refund"), max_length=255, null=True, blank=True, unique=True)
    failure_code = models.CharField(_("failure"), max_length=64, blank=True)
    first_sent_at = models.DateTimeField(_("first sent at"), null=True, blank=True)
    last_sent_at = models.DateTimeField(_("last sent at"), null=True, blank=True)
    sends = models.PositiveSmallIntegerField(_("times asked"), default=0)
    next_step_at = models.DateTimeField(_("next step at"), null=True, blank=True, db_index=True)
    queued_at = models.DateTimeField(
        _("queued at"), null=True, blank=True, help_text=_("When a task was last made for the next step.")
    )
    empty_looks = models.PositiveSmallIntegerField(_("times looked for in vain"), default=0)

    class Meta:
        verbose_name = _("refund")
        verbose_name_plural = _("refunds")
        ordering = ["-created_at"]
        constraints = [
            models.UniqueConstraint(fields=["charge", "reference"], name="krcard_refund_reference_once"),
            models.CheckConstraint(condition=models.Q(amount__gte=1), name="krcard_refund_whole_won"),
        ]
        indexes = [models.Index(fields=["status"], name="krcard_refund_status")]

    def __str__(self) -> str:
        return f"{self.charge} {self.reference}"
