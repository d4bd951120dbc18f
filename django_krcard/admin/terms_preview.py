"""Terms in the site's own pages, in every language, as wide as a phone."""

from __future__ import annotations

from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest
from django.template.response import TemplateResponse
from django.urls import path, reverse
from django.utils import translation
from django.utils.translation import get_language_info
from django.utils.translation import gettext as _
from django.views.decorators.clickjacking import xframe_options_sameorigin

from django_krcard.conf import conf
from django_krcard.forms import ConsentForm
from django_krcard.models import Terms


class PreviewMixin:
    """Adds the pages to the ModelAdmin of terms."""

    def get_urls(self):
        pages = [
            path("<path:object_id>/preview/", self.admin_site.admin_view(self.previews), name="krcard_terms_previews"),
            path(
                "<path:object_id>/preview/<str:language>/",
                self.admin_site.admin_view(xframe_options_sameorigin(self.preview)),
                name="krcard_terms_preview",
            ),
        ]
        return pages + super().get_urls()

    def get_tools(self, request, row: Terms) -> list:
        address = reverse("admin:krcard_terms_previews", args=[row.pk], current_app=self.admin_site.name)
        return [(address, _("Preview")), *super().get_tools(request, row)]

    def previews(self, request, object_id: str):
        """All languages side by side, each in a frame of 360 pixels."""
        terms = self.viewable(request, object_id)
        name, site = "admin:krcard_terms_preview", self.admin_site.name
        frames = [
            (name_of(language), reverse(name, args=[terms.pk, language], current_app=site))
            for language in terms.texts.order_by("pk").values_list("language", flat=True)
        ]
        context = self.page_context(request, terms, _("Preview"))
        return TemplateResponse(request, "admin/krcard/terms/previews.html", context | {"frames": frames})

    def preview(self, request, object_id: str, language: str):
        """The very page that customers get, in the text's language; nothing on it can be sent."""
        terms = self.viewable(request, object_id)
        text = terms.texts.select_related("terms").filter(language=language).first()
        if text is None:
            raise Http404
        context = {
            "krcard_base_template": conf.BASE_TEMPLATE,
            "krcard_sandbox": conf.SANDBOX,
            "merchant_name": conf.MERCHANT_NAME,
            "terms": terms,
            "text": text,
            # Without an offer that was signed: even if it were sent, nobody would have agreed to anything.
            "form": ConsentForm(text=text),
        }
        with translation.override(language):
            response = TemplateResponse(request, "krcard/consent.html", context).render()
        response.headers["Content-Security-Policy"] = "sandbox allow-same-origin"
        return response

    def viewable(self, request: HttpRequest, object_id: str) -> Terms:
        terms = self.get_object(request, object_id)
        if not self.has_view_permission(request, terms):
            raise PermissionDenied
        if terms is None:
            raise Http404
        return terms

    def page_context(self, request: HttpRequest, terms: Terms, title: str) -> dict:
        return {
            **self.admin_site.each_context(request),
            "title": title,
            "subtitle": str(terms),
            "opts": self.opts,
            "original": terms,
            "media": self.media,
        }


def name_of(language: str) -> str:
    """``한국어 (ko)``."""
    try:
        return f"{get_language_info(language)['name_local']} ({language})"
    except KeyError:
        return language
