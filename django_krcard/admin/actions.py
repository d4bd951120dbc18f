"""Acts of staff on one row: a page that says what will happen, and a POST that does it."""

from __future__ import annotations

import re
import uuid
from dataclasses import dataclass
from typing import Any

from django import forms
from django.contrib import messages
from django.contrib.admin.widgets import AdminTextareaWidget
from django.core.exceptions import PermissionDenied, ValidationError
from django.db.models import Model
from django.http import Http404, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import path, reverse
from django.utils.functional import cached_property
from django.utils.module_loading import import_string
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from django_krcard.exceptions import GatewayError, KrcardError
from django_krcard.transactions import never_atomic

PAGE_ID = re.compile("[0-9a-f]{32}")


class ReasonForm(forms.Form):
    required_css_class = "required"

    reason = forms.CharField(
        label=gettext_lazy("Reason"),
        max_length=500,
        widget=AdminTextareaWidget(attrs={"rows": 3}),
        help_text=gettext_lazy("Kept in the timeline together with your name."),
    )


@dataclass(frozen=True)
class Outcome:
    """What came of an act, in a sentence. ``row`` is what to show next, if not the row acted on; ``response`` is for
    an act that answers with something of its own: a file."""

    text: str
    level: int = messages.SUCCESS
    row: Model | None = None
    response: HttpResponse | None = None


class PageAction:
    """One act. Subclasses say what it is called, who may, when it makes sense, what it will do, and do it."""

    name: str  # in the address
    label: Any
    permission: str
    form_class: type[forms.Form] = ReasonForm
    is_destructive = False
    #: Shown between what will happen and the form.
    detail_template = ""
    #: Gives each page an id in its address, so that going back finds the same page, and sending it again the same act.
    has_page_id = False

    def is_possible(self, row: Model) -> bool:
        return True

    def why_not(self, row: Model) -> str:
        """Why what would make sense is not allowed, in a sentence. Empty: it is."""
        return ""

    def effects(self, row: Model) -> list[str]:
        """What will happen, a sentence each, for the page that asks."""
        return []

    def initial(self, row: Model) -> dict[str, Any]:
        return {}

    def form_for(self, row: Model, request: Any, initial: dict[str, Any]) -> forms.Form:
        return self.form_class(request.POST if request.method == "POST" else None, initial=initial)

    def context(self, row: Model) -> dict[str, Any]:
        return {}

    def perform(self, row: Model, *, by: str, **data: Any) -> Outcome:
        raise NotImplementedError


class PageActionsMixin:
    """Adds to a ModelAdmin a button and a page for each of ``page_actions``.

    They are named by dotted paths and loaded when the first page is asked for: what acts needs the services, and a
    site's start should not pay for those.
    """

    page_actions: list[str] = []
    page_action_template = "admin/krcard/action.html"

    @cached_property
    def loaded_page_actions(self) -> list[PageAction]:
        return [import_string(action)() for action in self.page_actions]

    def get_urls(self):
        pages = [
            path(f"<path:object_id>/{action.name}/", self._page_of(action), name=self._url_name(action.name))
            for action in self.loaded_page_actions
        ]
        return pages + super().get_urls()

    def _page_of(self, action: PageAction):
        def page(request, object_id):
            return self.page_action_view(request, object_id, action)

        # Stripe is asked outside of transactions only, also where the site has ATOMIC_REQUESTS.
        return never_atomic(self.admin_site.admin_view(page))

    def page_action_view(self, request, object_id: str, action: PageAction):
        if not request.user.has_perm(action.permission):
            raise PermissionDenied
        row = self.get_object(request, object_id)
        if row is None:
            raise Http404
        if not self.has_view_permission(request, row):
            raise PermissionDenied
        if not action.is_possible(row):
            self.message_user(request, _("This cannot be done now. Look at the present state below."), messages.WARNING)
            return redirect(self._url("change", row))
        if why_not := action.why_not(row):
            self.message_user(request, why_not, messages.ERROR)
            return redirect(self._url("change", row))
        page_id = request.GET.get("page", "")
        if request.method != "POST" and action.has_page_id and not PAGE_ID.fullmatch(page_id):
            return redirect(f"{request.path}?page={uuid.uuid4().hex}")
        initial = action.initial(row) | ({"reference": f"admin-{page_id}"} if action.has_page_id else {})
        form = action.form_for(row, request, initial)
        if request.method == "POST" and form.is_valid():
            outcome = self.act(request, action, row, **form.cleaned_data)
            if outcome.response is not None:
                return outcome.response
            self.message_user(request, outcome.text, outcome.level)
            return redirect(self._url("change", outcome.row or row))
        context = {
            **self.admin_site.each_context(request),
            "title": action.label,
            "subtitle": str(row),
            "opts": self.opts,
            "original": row,
            "action": action,
            "effects": action.effects(row),
            "form": form,
            "media": self.media,
            **action.context(row),
        }
        return TemplateResponse(request, self.page_action_template, context)

    def act(self, request, action: PageAction, row: Model, **data: Any) -> Outcome:
        """Do it, and leave an entry in the log of Django's admin whatever came of it."""
        outcome = _outcome(action, row, by=f"staff:{request.user.get_username()}", data=data)
        reason = f" ({data['reason']})" if "reason" in data else ""
        self.log_change(request, row, f"{action.label}: {outcome.text}{reason}")
        return outcome

    def render_change_form(self, request, context, add=False, change=False, form_url="", obj=None):
        context["krcard_tools"] = self.get_tools(request, obj) if obj else []
        return super().render_change_form(request, context, add=add, change=change, form_url=form_url, obj=obj)

    def get_tools(self, request, row: Model) -> list[tuple[str, Any]]:
        """The buttons of ``row``'s page, as (address, label)."""
        return [
            (self._url(action.name, row), action.label)
            for action in self.loaded_page_actions
            if request.user.has_perm(action.permission) and action.is_possible(row)
        ]

    def _url_name(self, page: str) -> str:
        return f"{self.opts.app_label}_{self.opts.model_name}_{page}"

    def _url(self, page: str, row: Model) -> str:
        return reverse(f"admin:{self._url_name(page)}", args=[row.pk], current_app=self.admin_site.name)


def _outcome(action: PageAction, row: Model, *, by: str, data: dict[str, Any]) -> Outcome:
    """What came of it. Nothing that Stripe or the rules say is an error page to the person who asked."""
    try:
        return action.perform(row, by=by, **data)
    except GatewayError as error:
        text = _("Stripe did not do this (%(error)s). Compare with Stripe before you try again.")
        return Outcome(text % {"error": error}, messages.ERROR)
    except ValidationError as error:
        return Outcome(" ".join(error.messages), messages.ERROR)
    except KrcardError as error:
        return Outcome(str(error), messages.ERROR)
