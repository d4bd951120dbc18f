"""What Stripe charges by itself, period by period."""

from __future__ import annotations

from django.db import models
from django.utils.translation import gettext_lazy as _
from django.utils.translation import pgettext_lazy

from django_krcard.models.base import Record


class Subscription(Record):
    """A subscription at Stripe that runs on a mandate. Once it is there Stripe decides about it; this row follows."""

    #: Ours, as long as Stripe has not said that it is there; and when it is certain that it never will be.
    STARTING, NOT_STARTED = "starting", "not_started"
    OURS = frozenset({STARTING, NOT_STARTED})
    #: Stripe's words. Any other is one we do not know: it is kept as it is told, and is in none of these.
    STATUSES = frozenset(
        {"active", "canceled", "incomplete", "incomplete_expired", "past_due", "paused", "trialing", "unpaid"}
    )
    #: All is paid, and the customer may have what it is for.
    FINE = frozenset({"active", "trialing"})
    #: Nothing is ever charged again. Stripe never takes these back.
    OVER = frozenset({"canceled", "incomplete_expired", NOT_STARTED})

    mandate = models.ForeignKey(
        "krcard.Mandate", verbose_name=_("mandate"), on_delete=models.PROTECT, related_name="subscriptions"
    )
    stripe_id = models.CharField(_("Stripe subscription"), max_length=255, null=True, blank=True, unique=True)
    reference = models.CharField(
        _("reference"), max_length=191, help_text=_("Once per mandate. What was made elsewhere has Stripe's id here.")
    )
    price = models.CharField(_("Stripe price"), max_length=255, blank=True)
    # Open, as all of Stripe's words: a new one must not be lost in a list of old ones.
    status = models.CharField(_("status"), max_length=64, db_index=True)
    interval = models.CharField(_("period"), max_length=16, blank=True)
    interval_count = models.PositiveSmallIntegerField(_("number of periods"), default=1)
    amount = models.PositiveBigIntegerField(
        _("amount (won)"), null=True, blank=True, help_text=_("Per period. Empty: it varies, or it is not in won.")
    )
    current_period_start = models.DateTimeField(_("period began"), null=True, blank=True)
    current_period_end = models.DateTimeField(_("period ends"), null=True, blank=True)
    cancel_at_period_end = models.BooleanField(_("ends with its period"), default=False)
    cancel_at = models.DateTimeField(_("will end at"), null=True, blank=True)
    canceled_at = models.DateTimeField(_("cancelled at"), null=True, blank=True)
    ended_at = models.DateTimeField(_("ended at"), null=True, blank=True)
    paused = models.CharField(
        _("collection paused"), max_length=64, blank=True, help_text=_("What Stripe does with invoices meanwhile.")
    )
    payment_method = models.CharField(_("card at Stripe"), max_length=255, blank=True)
    above_agreed_at = models.DateTimeField(
        _("asks for more than agreed since"),
        null=True,
        blank=True,
        db_index=True,
        help_text=_("Empty: what it asks for was agreed."),
    )
    requested_by = models.CharField(_("requested by"), max_length=300, default="stripe")
    reason = models.TextField(_("reason"), blank=True)
    idempotency_key = models.CharField(_("idempotency key"), max_length=255, null=True, blank=True, unique=True)
    params = models.JSONField(
        _("what was asked"), default=dict, help_text=_("Sent to Stripe, the same at every try under one key.")
    )
    failure_code = models.CharField(_("failure"), max_length=64, blank=True)
    decline_code = models.CharField(_("decline"), max_length=64, blank=True)
    first_sent_at = models.DateTimeField(_("first sent at"), null=True, blank=True)
    last_sent_at = models.DateTimeField(_("last sent at"), null=True, blank=True)
    sends = models.PositiveSmallIntegerField(_("times asked"), default=0)
    empty_looks = models.PositiveSmallIntegerField(_("times looked for in vain"), default=0)
    next_step_at = models.DateTimeField(_("next step at"), null=True, blank=True, db_index=True)
    queued_at = models.DateTimeField(
        _("queued at"), null=True, blank=True, help_text=_("When a task was last made for the next step.")
    )
    told_at = models.DateTimeField(
        _("as of"),
        null=True,
        blank=True,
        help_text=_("When Stripe was asked for what this row says. What was asked for earlier changes nothing."),
    )

    class Meta:
        verbose_name = _("subscription")
        verbose_name_plural = _("subscriptions")
        ordering = ["-created_at"]
        constraints = [
            models.UniqueConstraint(fields=["mandate", "reference"], name="krcard_subscription_reference_once")
        ]
        permissions = [("change_at_stripe", _("Can start, cancel and resume subscriptions"))]

    def __str__(self) -> str:
        return f"{self.mandate} {self.reference}"

    @property
    def is_fine(self) -> bool:
        return self.status in self.FINE

    @property
    def is_over(self) -> bool:
        return self.status in self.OVER


class SubscriptionChange(Record):
    """One thing that we want of Stripe for a subscription: asked for here, carried out there, tried until it is done.

    Each of them sets a state, so doing one twice does no harm; but a person or the law wants it done.
    """

    class Kind(models.TextChoices):
        CANCEL = "cancel", _("cancel at once")
        LEAVE = "leave", _("cancel at the end of the period")
        STAY = "stay", _("take the cancellation back")
        PAUSE = "pause", _("pause collection")
        RESUME = "resume", _("resume collection")
        CARD = "card", _("use the card of the agreement")
        UNTIL = "until", _("end with the agreement")
        HOLD_INVOICE = "hold_invoice", _("stop an invoice")
        FREE_INVOICE = "free_invoice", _("let an invoice go on")

    class Status(models.TextChoices):
        READY = "ready", _("to be done")
        #: At Stripe it is done, and the customer was promised money.
        OWED = "owed", _("to be paid back")
        DONE = "done", pgettext_lazy("change", "done")
        NOT_PAID_BACK = "not_paid_back", _("could not be paid back")
        #: Something that was asked for later, or the end of the subscription, made it pointless.
        OVERTAKEN = "overtaken", _("not needed any more")

    subscription = models.ForeignKey(
        Subscription, verbose_name=_("subscription"), on_delete=models.PROTECT, related_name="changes"
    )
    kind = models.CharField(_("what"), max_length=16, choices=Kind)
    target = models.CharField(_("of what at Stripe"), max_length=255, blank=True, help_text=_("The card or invoice."))
    status = models.CharField(_("status"), max_length=16, choices=Status, default=Status.READY)
    requested_by = models.CharField(_("requested by"), max_length=300)
    reason = models.TextField(_("reason"), blank=True)
    #: Since when somebody has wanted out: what Stripe charges after that, because it did not answer in time, goes back.
    wanted_at = models.DateTimeField(null=True, blank=True, editable=False)
    charge = models.ForeignKey(
        "krcard.Charge",
        verbose_name=_("charge"),
        on_delete=models.PROTECT,
        null=True,
        blank=True,
        related_name="+",
        help_text=_("Whose unused days are paid back."),
    )
    pay_back = models.PositiveIntegerField(
        _("to be paid back (won)"), default=0, help_text=_("For unused days, once it is done.")
    )
    failure_code = models.CharField(_("failure"), max_length=64, blank=True)
    #: Part of the key: a new number is a new key. Stripe repeats an answer like 500 under the old one.
    attempt = models.PositiveSmallIntegerField(_("attempt"), default=1)
    done_at = models.DateTimeField(_("done at"), null=True, blank=True)
    paid_back_at = models.DateTimeField(_("paid back at"), null=True, blank=True)
    next_step_at = models.DateTimeField(_("next step at"), null=True, blank=True, db_index=True)
    queued_at = models.DateTimeField(
        _("queued at"), null=True, blank=True, help_text=_("When a task was last made for the next step.")
    )

    class Meta:
        verbose_name = _("change of a subscription")
        verbose_name_plural = _("changes of subscriptions")
        ordering = ["-pk"]
        indexes = [models.Index(fields=["status", "created_at"], name="krcard_change_open")]

    def __str__(self) -> str:
        return f"{self.subscription} {self.kind}"

    @property
    def key(self) -> str:
        return f"krc1-change-{self.public_id}-{self.attempt}"
