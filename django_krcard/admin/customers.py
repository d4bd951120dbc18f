"""Who pays."""

from __future__ import annotations

from django.contrib import admin
from django.db.models import Count, QuerySet
from django.utils.html import format_html_join
from django.utils.safestring import mark_safe
from django.utils.translation import gettext_lazy as _

from django_krcard.admin.actions import PageActionsMixin
from django_krcard.admin.display import NOTHING, link_to, mode_badges, moment_of, status_badge, stripe_id
from django_krcard.admin.filters import ModeFilter
from django_krcard.admin.mixins import KrcardAdmin, ReadOnlyMixin, user_search_fields
from django_krcard.formatting import card_label
from django_krcard.models import Customer


@admin.register(Customer)
class CustomerAdmin(PageActionsMixin, ReadOnlyMixin, KrcardAdmin):
    page_actions = [
        "django_krcard.admin.customer_actions.RecordConsent",
        "django_krcard.admin.privacy_actions.ExportPerson",
        "django_krcard.admin.privacy_actions.SetHold",
        "django_krcard.admin.privacy_actions.LiftHold",
        "django_krcard.admin.privacy_actions.ErasePerson",
    ]

    list_display = ["__str__", "reference", "mode", "mandate_count", moment_of("created_at", _("created"))]
    list_filter = [ModeFilter]
    list_select_related = ["user"]
    search_help_text = _("Reference, public id, id at Stripe, user")

    fields = readonly_fields = [
        "user",
        "reference",
        "mode",
        "at_stripe",
        "public_id",
        "mandates",
        "consents",
        moment_of("created_at", _("created")),
        "legal_hold",
        moment_of("erased_at", _("erased")),
    ]

    def get_search_fields(self, request) -> list[str]:
        return ["reference", "public_id", "=stripe_id", *user_search_fields("user")]

    def get_queryset(self, request) -> QuerySet[Customer]:
        return super().get_queryset(request).annotate(number_of_mandates=Count("mandates"))

    @admin.display(description=_("mode"), ordering="livemode")
    def mode(self, customer: Customer) -> str:
        return format_html_join(" ", "{}", ((badge,) for badge in mode_badges(customer))) or _("live")

    @admin.display(description=_("mandates"), ordering="number_of_mandates")
    def mandate_count(self, customer: Customer) -> int:
        return customer.number_of_mandates

    @admin.display(description=_("mandates"))
    def mandates(self, customer: Customer) -> str:
        rows = customer.mandates.select_related("payment_method")
        lines = ((link_to(row), status_badge(row), card_label(row.payment_method)) for row in rows)
        return format_html_join(mark_safe("<br>"), "{} {} {}", lines) or NOTHING

    @admin.display(description=_("consents"))
    def consents(self, customer: Customer) -> str:
        rows = customer.consents.select_related("terms")
        lines = ((link_to(row), row.get_source_display()) for row in rows)
        return format_html_join(mark_safe("<br>"), "{} ({})", lines) or NOTHING

    @admin.display(description=_("Stripe customer"))
    def at_stripe(self, customer: Customer) -> str:
        return stripe_id(customer.stripe_id, livemode=customer.livemode)
