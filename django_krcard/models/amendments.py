"""A change of the terms that one customer is asked to agree to."""

from __future__ import annotations

from datetime import date

from django.db import models
from django.utils.translation import gettext_lazy as _
from django.utils.translation import pgettext_lazy

from django_krcard.models.base import Record


class Amendment(Record):
    """One question to one customer: may these terms rule from that day on? Silence never answers it."""

    class Kind(models.TextChoices):
        PRICE_RISE = "price_rise", _("price rise")
        FREE_TO_PAID = "free_to_paid", _("free to paid")
        OTHER = "other", _("other change")

    class Status(models.TextChoices):
        PLANNED = "planned", pgettext_lazy("krcard amendment", "planned")
        ASKED = "asked", _("asked")
        AGREED = "agreed", _("agreed")
        REFUSED = "refused", _("not agreed")
        UNANSWERED = "unanswered", _("unanswered")
        CANCELLED = "cancelled", _("cancelled")
        SUPERSEDED = "superseded", _("superseded")

    #: Nobody has answered, and the day has not come.
    OPEN = frozenset({Status.PLANNED, Status.ASKED})
    #: Asked for, and not agreed to: what only these terms cover is not charged.
    NOT_AGREED = OPEN | {Status.REFUSED, Status.UNANSWERED}
    #: The kinds for which the law asks for a separate consent and notice beforehand.
    BY_LAW = frozenset({Kind.PRICE_RISE, Kind.FREE_TO_PAID})

    mandate = models.ForeignKey(
        "krcard.Mandate", verbose_name=_("mandate"), on_delete=models.PROTECT, related_name="amendments"
    )
    terms = models.ForeignKey(
        "krcard.Terms", verbose_name=_("new terms"), on_delete=models.PROTECT, related_name="amendments"
    )
    before = models.ForeignKey(
        "krcard.Consent", verbose_name=_("consent before"), on_delete=models.PROTECT, related_name="+"
    )
    kind = models.CharField(_("kind"), max_length=16, choices=Kind)
    amount_before = models.PositiveIntegerField(
        _("won before"), null=True, blank=True, help_text=_("Of one payment. Empty: free.")
    )
    amount_after = models.PositiveIntegerField(_("won after"), null=True, blank=True)
    effective_on = models.DateField(_("in force from"))
    opens_at = models.DateTimeField(_("can be answered from"))
    status = models.CharField(_("status"), max_length=16, choices=Status, default=Status.PLANNED)
    asked_at = models.DateTimeField(_("asked at"), null=True, blank=True)
    answered_at = models.DateTimeField(_("answered at"), null=True, blank=True)
    consent = models.ForeignKey(
        "krcard.Consent",
        verbose_name=_("consent"),
        on_delete=models.PROTECT,
        null=True,
        blank=True,
        related_name="amendments",
    )
    by = models.CharField(_("requested by"), max_length=300)
    reason = models.TextField(_("reason"), blank=True)
    next_step_at = models.DateTimeField(
        _("next step at"), null=True, blank=True, help_text=_("Empty: nothing more happens by itself.")
    )

    class Meta:
        verbose_name = _("change of terms")
        verbose_name_plural = _("changes of terms")
        ordering = ["-pk"]
        permissions = [("request_amendment", _("Can ask customers to agree to a change"))]
        constraints = [
            models.UniqueConstraint(
                fields=["mandate"],
                condition=models.Q(status__in=["planned", "asked"]),
                name="krcard_amendment_one_open",
            )
        ]
        indexes = [
            models.Index(
                fields=["next_step_at", "id"],
                name="krcard_amendment_due",
                condition=models.Q(next_step_at__isnull=False),
            ),
            models.Index(fields=["status"], name="krcard_amendment_status"),
        ]

    def __str__(self) -> str:
        return f"{self.mandate}: {self.terms}"

    @property
    def is_open(self) -> bool:
        return self.status in self.OPEN

    @property
    def is_coming(self) -> bool:
        """Agreed to, and not in force yet."""
        return self.consent_id is not None and self.mandate.next_consent_id == self.consent_id

    def is_in_time(self, today: date, days: int) -> bool:
        """Whether the law's notice of ``days`` can still be given ``today``."""
        return self.kind not in self.BY_LAW or (self.effective_on - today).days >= days
