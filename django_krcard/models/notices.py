"""What was told to a customer."""

from django.db import models
from django.utils.translation import gettext_lazy as _

from django_krcard.models.base import Record


class Notice(Record):
    """One message to a customer: what it said, where it went, and when."""

    class Kind(models.TextChoices):
        AGREEMENT_CONFIRMED = "agreement_confirmed", _("agreement confirmed")
        CHARGE_UPCOMING = "charge_upcoming", _("payment announced")
        CHARGE_SUCCEEDED = "charge_succeeded", _("payment made")
        CHARGE_FAILED = "charge_failed", _("payment failed")
        ACTION_REQUIRED = "action_required", _("customer asked to act")
        CHARGE_REFUNDED = "charge_refunded", _("money paid back")
        MANDATE_ENDED = "mandate_ended", _("agreement ended")
        AMENDMENT_ASKED = "amendment_asked", _("asked to agree to a change")
        AMENDMENT_AGREED = "amendment_agreed", _("change agreed")
        AMENDMENT_PAUSED = "amendment_paused", _("payments paused")

    mandate = models.ForeignKey(
        "krcard.Mandate", verbose_name=_("mandate"), on_delete=models.PROTECT, related_name="notices"
    )
    charge = models.ForeignKey(
        "krcard.Charge",
        verbose_name=_("charge"),
        on_delete=models.PROTECT,
        null=True,
        blank=True,
        related_name="notices",
    )
    kind = models.CharField(_("what"), max_length=32, choices=Kind)
    #: What the message is about, so that the same thing is told once, by however many workers.
    about = models.CharField(max_length=191, unique=True, editable=False)
    address = models.CharField(_("address"), max_length=320, blank=True)
    language = models.CharField(_("language"), max_length=12)
    subject = models.CharField(_("subject"), max_length=500)
    text = models.TextField(_("text"))
    sent_at = models.DateTimeField(_("sent at"), null=True, blank=True)
    attempts = models.PositiveSmallIntegerField(_("attempts"), default=0)
    next_attempt_at = models.DateTimeField(_("next attempt at"), null=True, blank=True, db_index=True)
    queued_at = models.DateTimeField(
        _("queued at"), null=True, blank=True, help_text=_("When a task was last made for the next attempt.")
    )
    last_error = models.CharField(_("last error"), max_length=500, blank=True)

    class Meta:
        verbose_name = _("notice")
        verbose_name_plural = _("notices")
        ordering = ["-pk"]
        permissions = [("send_notice", _("Can send a notice again"))]
        indexes = [
            models.Index(fields=["created_at"], name="krcard_notice_unsent", condition=models.Q(sent_at__isnull=True))
        ]

    def __str__(self) -> str:
        return f"{self.mandate}: {self.kind}"
