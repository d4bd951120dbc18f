"""Mandates: the heart of the admin."""

from __future__ import annotations

from django.contrib import admin
from django.db.models import OuterRef, QuerySet, Subquery
from django.utils.html import format_html
from django.utils.translation import gettext_lazy as _

from django_krcard.admin.actions import PageActionsMixin
from django_krcard.admin.archive import PERMISSION as VIEW_ARCHIVED
from django_krcard.admin.archive import ArchiveFilter, without_archived
from django_krcard.admin.display import NOTHING, badge_of, moment, moment_of, status_badge
from django_krcard.admin.filters import BrandFilter, ModeFilter
from django_krcard.admin.mixins import KrcardAdmin, PageContextMixin, ReadOnlyMixin, user_search_fields
from django_krcard.formatting import card_label
from django_krcard.models import Charge, Mandate


@admin.register(Mandate)
class MandateAdmin(PageActionsMixin, PageContextMixin, ReadOnlyMixin, KrcardAdmin):
    page_actions = [
        "django_krcard.admin.mandate_actions.ChargeMandate",
        "django_krcard.admin.mandate_actions.ScheduleCharge",
        "django_krcard.admin.mandate_actions.HoldMandate",
        "django_krcard.admin.mandate_actions.ResumeMandate",
        "django_krcard.admin.amendment_actions.RequestAmendment",
        "django_krcard.admin.amendment_actions.CancelAmendment",
        "django_krcard.admin.mandate_actions.CompareWithStripe",
        "django_krcard.admin.evidence_action.TakeEvidence",
        "django_krcard.admin.privacy_actions.SetHold",
        "django_krcard.admin.privacy_actions.LiftHold",
        "django_krcard.admin.mandate_actions.EndMandate",
    ]
    page_context = "django_krcard.admin.mandate_page.page_of"

    list_display = [
        "reference",
        status_badge,
        "card",
        "customer",
        "terms",
        "last_charge",
        moment_of("created_at", _("created")),
    ]
    list_filter = [
        "status",
        ("consent__terms", admin.RelatedFieldListFilter),
        ModeFilter.through("customer"),
        BrandFilter.through("payment_method"),
        ArchiveFilter,
    ]
    list_select_related = ["customer__user", "consent__terms", "payment_method"]
    ordering = ["-pk"]
    date_hierarchy = "created_at"
    search_help_text = _("Reference, public id, id at Stripe, last four digits of the card, user")

    def get_search_fields(self, request) -> list[str]:
        return [
            "reference",
            "public_id",
            "stripe_id",
            "customer__stripe_id",
            "customer__reference",
            "payment_method__stripe_id",
            "payment_method__last4",
            *user_search_fields("customer__user"),
        ]

    def get_queryset(self, request) -> QuerySet[Mandate]:
        newest = Charge.objects.filter(mandate=OuterRef("pk")).order_by("-pk")
        mandates = super().get_queryset(request)
        if not request.user.has_perm(VIEW_ARCHIVED):
            mandates = without_archived(mandates)
        return mandates.annotate(
            last_charge_status=Subquery(newest.values("status")[:1]),
            last_charge_at=Subquery(newest.values("created_at")[:1]),
        )

    @admin.display(description=_("card"), ordering="payment_method__brand")
    def card(self, mandate: Mandate) -> str:
        return card_label(mandate.payment_method) or NOTHING

    @admin.display(description=_("terms"), ordering="consent__terms")
    def terms(self, mandate: Mandate) -> str:
        return str(mandate.consent.terms)

    @admin.display(description=_("last charge"), ordering="last_charge_at")
    def last_charge(self, mandate: Mandate) -> str:
        status = mandate.last_charge_status
        if status is None:
            return NOTHING
        badge = badge_of(status, Charge.Status(status).label)
        return format_html("{} {}", badge, moment(mandate.last_charge_at))
