"""What customers were asked to agree to, and what they answered. Acts are on the pages of mandate and terms."""

from __future__ import annotations

from django.contrib import admin
from django.utils.translation import gettext_lazy as _

from django_krcard.admin.display import NOTHING, link_to, moment_of, status_badge
from django_krcard.admin.filters import ModeFilter
from django_krcard.admin.mixins import KrcardAdmin, ReadOnlyMixin, user_search_fields
from django_krcard.formatting import actor, won
from django_krcard.models import Amendment


@admin.register(Amendment)
class AmendmentAdmin(ReadOnlyMixin, KrcardAdmin):
    list_display = [
        "__str__",
        status_badge,
        "kind",
        "prices",
        "effective_on",
        moment_of("answered_at", _("answered at")),
    ]
    list_filter = ["status", "kind", ("terms", admin.RelatedFieldListFilter), ModeFilter.through("mandate__customer")]
    list_select_related = ["mandate__customer__user", "terms"]
    ordering = ["-pk"]
    date_hierarchy = "effective_on"
    search_help_text = _("Public id, reference of the mandate, user")

    fields = readonly_fields = [
        "of_mandate",
        "of_terms",
        "kind",
        status_badge,
        "prices",
        "effective_on",
        moment_of("opens_at", _("can be answered from")),
        moment_of("asked_at", _("asked at")),
        moment_of("answered_at", _("answered at")),
        "of_consent",
        "consent_before",
        "requester",
        "reason",
        moment_of("next_step_at", _("next step at")),
        "public_id",
        moment_of("created_at", _("created")),
    ]

    def get_search_fields(self, request) -> list[str]:
        return ["public_id", "mandate__reference", *user_search_fields("mandate__customer__user")]

    @admin.display(description=_("amount"), ordering="amount_after")
    def prices(self, amendment: Amendment) -> str:
        return prices_of(amendment)

    @admin.display(description=_("mandate"))
    def of_mandate(self, amendment: Amendment) -> str:
        return link_to(amendment.mandate)

    @admin.display(description=_("new terms"))
    def of_terms(self, amendment: Amendment) -> str:
        return link_to(amendment.terms)

    @admin.display(description=_("consent"))
    def of_consent(self, amendment: Amendment) -> str:
        return link_to(amendment.consent) if amendment.consent else NOTHING

    @admin.display(description=_("consent before"))
    def consent_before(self, amendment: Amendment) -> str:
        return link_to(amendment.before)

    @admin.display(description=_("requested by"))
    def requester(self, amendment: Amendment) -> str:
        return actor(amendment.by)


def prices_of(amendment: Amendment) -> str:
    """``9,900원 → 12,900원``."""
    before = _("Free") if amendment.kind == Amendment.Kind.FREE_TO_PAID else won(amendment.amount_before)
    return f"{before} → {won(amendment.amount_after)}"
