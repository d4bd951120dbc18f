"""The page that says how the site is doing, and the lists that lead to it."""

from __future__ import annotations

from django.core.exceptions import PermissionDenied
from django.template.response import TemplateResponse
from django.urls import path, reverse
from django.utils.module_loading import import_string
from django.utils.translation import gettext as _
from django.views.decorators.http import require_safe

from django_krcard.models import Event

PAGE = "krcard_event_health"


class HealthLinkMixin:
    """Adds to a list a button that leads to the page, for whoever may see events."""

    def changelist_view(self, request, extra_context=None):
        tools = {"krcard_list_tools": self._list_tools(request)}
        return super().changelist_view(request, tools | (extra_context or {}))

    def _list_tools(self, request) -> list[tuple[str, str]]:
        site = self.admin_site
        if not site.is_registered(Event) or not site.get_model_admin(Event).has_view_permission(request):
            return []
        return [(reverse(f"admin:{PAGE}", current_app=site.name), _("Health"))]


class HealthPageMixin(HealthLinkMixin):
    """Adds the page itself, to the admin of events."""

    health_template = "admin/krcard/event/health.html"

    def get_urls(self):
        page = require_safe(self.admin_site.admin_view(self.health_view))
        return [path("health/", page, name=PAGE), *super().get_urls()]

    def health_view(self, request):
        if not self.has_view_permission(request):
            raise PermissionDenied
        # Loaded with the first look, for the same reason as page actions.
        page_of = import_string("django_krcard.admin.health_page.page_of")
        context = {
            **self.admin_site.each_context(request),
            "title": _("Health"),
            "opts": self.opts,
            "media": self.media,
            **page_of(request, self.admin_site),
        }
        return TemplateResponse(request, self.health_template, context)
