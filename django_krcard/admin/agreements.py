"""Consents: the proof, to read and never to change."""

from __future__ import annotations

from io import BytesIO

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import FileResponse, Http404
from django.urls import path
from django.utils.translation import gettext_lazy as _

from django_krcard.admin.display import moment_of
from django_krcard.admin.mixins import KrcardAdmin, PageContextMixin, ReadOnlyMixin, user_search_fields
from django_krcard.models import Consent, ConsentAttachment


@admin.register(Consent)
class ConsentAdmin(PageContextMixin, ReadOnlyMixin, KrcardAdmin):
    page_context = "django_krcard.admin.mandate_page.consent_page_of"

    list_display = ["public_id", "customer", "terms", "language", "source", moment_of("given_at", _("given at"))]
    list_filter = [("terms", admin.RelatedFieldListFilter), "language", "source"]
    list_select_related = ["customer__user", "terms"]
    date_hierarchy = "given_at"
    search_help_text = _("Public id, reference or Stripe id of the customer, reference of the mandate, user")

    def get_urls(self):
        page = path("<path:object_id>/attachment/", self.admin_site.admin_view(self.attachment_view))
        page.name = "krcard_consent_attachment"
        return [page, *super().get_urls()]

    def attachment_view(self, request, object_id: str):
        """The scan or the recording, to save and not to show: nobody knows what is in it."""
        if not request.user.has_perm("krcard.view_consentattachment"):
            raise PermissionDenied
        consent = self.get_object(request, object_id)
        attachment = ConsentAttachment.objects.filter(consent=consent).first() if consent else None
        if attachment is None:
            raise Http404
        headers = {"X-Content-Type-Options": "nosniff", "Cache-Control": "no-store"}
        kind = "application/octet-stream"
        content = BytesIO(attachment.content)
        return FileResponse(content, as_attachment=True, filename=attachment.name, content_type=kind, headers=headers)

    def get_search_fields(self, request) -> list[str]:
        return [
            "public_id",
            "customer__reference",
            "customer__stripe_id",
            "mandates__reference",
            *user_search_fields("customer__user"),
        ]
