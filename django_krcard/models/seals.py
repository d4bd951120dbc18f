"""Seals over the consents: what is kept of them elsewhere shows when the newest ones were cut off here."""

from __future__ import annotations

from django.db import models
from django.utils.translation import gettext_lazy as _
from django.utils.translation import pgettext_lazy

from django_krcard.models.base import AppendOnlyModel


class Seal(AppendOnlyModel):
    """One hash over all consents that came since the seal before, and over that seal. Needs no key to be checked."""

    number = models.PositiveIntegerField(pgettext_lazy("krcard", "number"), unique=True)
    made_at = models.DateTimeField(_("made at"))
    count = models.PositiveIntegerField(_("number of consents"))
    tree = models.CharField(_("root of the tree of hashes"), max_length=64)
    previous_root = models.CharField(_("seal before"), max_length=64, blank=True)
    root = models.CharField(_("seal"), max_length=64, unique=True)

    class Meta(AppendOnlyModel.Meta):
        verbose_name = _("seal")
        verbose_name_plural = _("seals")
        ordering = ["-number"]

    def __str__(self) -> str:
        return str(self.number)


class SealedConsent(AppendOnlyModel):
    """Which consents a seal is over, one by one: a range of ids would lose what a slow transaction commits later.

    With the hash as it was, and without a foreign key: it must outlive the consent, to say that it is missing.
    """

    seal = models.ForeignKey(Seal, verbose_name=_("seal"), on_delete=models.PROTECT, related_name="consents")
    position = models.PositiveIntegerField(pgettext_lazy("krcard", "position"))
    public_id = models.UUIDField(_("public id"), unique=True)
    record_hash = models.CharField(_("hash of the record"), max_length=64)

    class Meta(AppendOnlyModel.Meta):
        verbose_name = _("sealed consent")
        verbose_name_plural = _("sealed consents")
        constraints = [
            models.UniqueConstraint(fields=["seal", "position"], name="krcard_sealed_consent_position_once"),
        ]

    def __str__(self) -> str:
        return f"{self.seal_id}/{self.position}"
