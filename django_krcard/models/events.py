from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _


class Event(models.Model):
    """One webhook message from Stripe, kept as it came and applied once."""

    class Status(models.TextChoices):
        RECEIVED = "received", _("received")
        DONE = "done", _("done")
        IGNORED = "ignored", _("ignored")
        FAILED = "failed", _("failed")
        DEAD = "dead", _("given up")
        QUARANTINED = "quarantined", _("unusable")
        FOREIGN = "foreign", _("of another account or mode")

    #: What may still be worked on.
    OPEN = (Status.RECEIVED, Status.FAILED)
    #: What never will be, also not when somebody asks for it.
    NEVER = (Status.QUARANTINED, Status.FOREIGN)

    stripe_id = models.CharField(_("Stripe event"), max_length=255, unique=True)
    type = models.CharField(_("type"), max_length=255, blank=True)
    livemode = models.BooleanField(_("live mode"), default=False)
    account = models.CharField(_("account"), max_length=255, blank=True)
    api_version = models.CharField(_("API version"), max_length=64, blank=True)
    body = models.BinaryField(_("body"))
    created = models.DateTimeField(_("made at Stripe"), default=timezone.now)
    received_at = models.DateTimeField(_("received at"), default=timezone.now)
    status = models.CharField(_("status"), max_length=16, choices=Status, default=Status.RECEIVED)
    attempts = models.PositiveSmallIntegerField(_("attempts"), default=0)
    next_attempt_at = models.DateTimeField(_("next attempt at"), null=True, blank=True)
    lease_until = models.DateTimeField(_("claimed until"), null=True, blank=True)
    queued_at = models.DateTimeField(
        _("queued at"), null=True, blank=True, help_text=_("When a task was last made for the next step.")
    )
    last_error = models.TextField(_("last error"), blank=True)

    class Meta:
        verbose_name = _("webhook event")
        verbose_name_plural = _("webhook events")
        ordering = ["-pk"]
        permissions = [("replay_event", _("Can process a webhook event again"))]
        indexes = [
            models.Index(fields=["status", "next_attempt_at"], name="krcard_event_due"),
            models.Index(fields=["received_at"], name="krcard_event_received"),
        ]

    def __str__(self) -> str:
        return f"{self.type} {self.stripe_id}"
