"""Consents: the proof, to read and never to change."""

from __future__ import annotations

from django.contrib import admin
from django.utils.translation import gettext_lazy as _

from django_krcard.admin.display import moment_of
from django_krcard.admin.mixins import KrcardAdmin, PageContextMixin, ReadOnlyMixin, user_search_fields
from django_krcard.models import Consent


@admin.register(Consent)
class ConsentAdmin(PageContextMixin, ReadOnlyMixin, KrcardAdmin):
    page_context = "django_krcard.admin.mandate_page.consent_page_of"

    list_display = ["public_id", "customer", "terms", "language", "source", moment_of("given_at", _("given at"))]
    list_filter = [("terms", admin.RelatedFieldListFilter), "language", "source"]
    list_select_related = ["customer__user", "terms"]
    date_hierarchy = "given_at"
    search_help_text = _("Public id, reference or Stripe id of the customer, reference of the mandate, user")

    def get_search_fields(self, request) -> list[str]:
        return [
            "public_id",
            "customer__reference",
            "customer__stripe_id",
            "mandates__reference",
            *user_search_fields("customer__user"),
        ]
