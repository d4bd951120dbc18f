"""The scenarios as buttons, for whoever tries a site by hand."""

from typing import Any
from urllib.parse import urlencode

from django.conf import settings
from django.contrib.auth.decorators import login_not_required
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.http.response import HttpResponseBase
from django.shortcuts import render, resolve_url
from django.urls import reverse
from django.utils.decorators import method_decorator
from django.utils.timezone import localtime
from django.utils.translation import get_language
from django.views import View
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import csrf_protect

from . import control
from .checks import may_run
from .errors import SandboxError
from .overview import overview
from .scenarios import SCENARIOS
from .store import Body, mandate_of
from .views import SeeOther, may_press
from .wording import PANEL

# The forms of the panel, in groups. What needs an object is a button beside the object instead.
GROUPS = {
    "charges": ("decline-next", "require-action-next", "processing-next"),
    "cards": ("mandate-pending-next", "no-redirect-next", "enabled-types"),
    "events": ("delivery", "deliver", "retry-failed", "event-format"),
    "network": ("rate-limit-next", "outage", "pages-at"),
    "time": ("advance", "reset"),
}

SETTLE = [("settle", {"outcome": "succeeded"}), ("settle", {"outcome": "failed"})]
FINISH_SETUP = [("finish-setup", {"outcome": "succeeded"}), ("finish-setup", {"outcome": "failed"})]
FINISH = [("finish-payment", {"outcome": "succeeded"}), ("finish-payment", {"outcome": "failed"})]
DECIDE = [("close-dispute", {"outcome": "won"}), ("close-dispute", {"outcome": "lost"})]

# What can be done with an object in this state: a scenario, and what is said beside the object's id.
ACTS: dict[tuple[str, str], list[tuple[str, dict[str, str]]]] = {
    ("checkout.session", "open"): [("authorise", {}), ("fail", {}), ("expire", {})],
    ("payment_intent", "processing"): SETTLE,
    ("payment_intent", "requires_action"): FINISH,
    ("setup_intent", "requires_action"): FINISH_SETUP,
    ("payment_intent", "succeeded"): [("dispute", {})],
    ("dispute", "needs_response"): DECIDE,
    ("dispute", "under_review"): DECIDE,
    ("refund", "succeeded"): [("fail-refund", {})],
    ("payment_method", "active"): [("revoke", {}), ("detach", {})],
    ("payment_method", "pending"): [("activate-mandate", {}), ("detach", {})],
    ("payment_method", "inactive"): [("detach", {})],
}
WITH_ACTS = {kind for kind, _ in ACTS}


@method_decorator([never_cache, login_not_required, csrf_protect, transaction.non_atomic_requests], "dispatch")
class PanelView(View):
    """What is in the box, and what can be done to it."""

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        if not may_run():
            raise Http404
        if may_press(request):
            return super().dispatch(request, *args, **kwargs)
        user: Any = getattr(request, "user", None)
        if user is None or user.is_authenticated:
            raise PermissionDenied("The sandbox's panel is for staff, unless DEBUG is on.")
        return HttpResponseRedirect(f"{resolve_url(settings.LOGIN_URL)}?{urlencode({'next': request.path})}")

    def get(self, request: HttpRequest) -> HttpResponse:
        return self.page(done=request.GET.get("done"))

    def page(self, *, status: int = 200, done: str | None = None, error: str = "") -> HttpResponse:
        language = "ko" if (get_language() or "").startswith("ko") else "en"
        words = PANEL[language]
        box = overview()
        open_now = box["open_sessions"]
        objects = [body for body in box["newest"] if body["object"] in WITH_ACTS and body not in open_now]
        current = {
            "mode": box["delivery"],
            "format": box["event_format"],
            "types": ",".join(box["enabled_types"]),
            "address": box["pages_at"],
        }
        context = {
            "language": language,
            "t": words,
            "merchant": getattr(settings, "KRCARD_MERCHANT_NAME", "") or words["shop"],
            "box": box,
            "delivery": words["choices"][box["delivery"]],
            "now": localtime(control.now()),
            "sessions": [shown(body, words) for body in open_now],
            "newest": [shown(body, words) for body in objects],
            "sent": [event for event in box["newest_events"] if event["state"] != "waiting"],
            "groups": [(words[f"group_{name}"], forms(acts, words, current)) for name, acts in GROUPS.items()],
            "done": words["scenarios"].get(done),
            "error": error,
        }
        return render(self.request, "krcard_sandbox/panel.html", context, status=status)


class PlayView(PanelView):
    """One button was pressed."""

    http_method_names = ["post"]

    def post(self, request: HttpRequest, scenario: str) -> HttpResponse:
        if scenario not in SCENARIOS:
            raise Http404
        try:
            SCENARIOS[scenario].play(request.POST.dict())
        except SandboxError as error:
            return self.page(status=422, error=str(error))
        return SeeOther(reverse("krcard_sandbox:panel", query={"done": scenario}))


def forms(names: tuple[str, ...], words: Body, current: dict[str, str]) -> list[Body]:
    return [{"name": name, "label": words["scenarios"][name], "fields": fields(name, words, current)} for name in names]


def fields(scenario: str, words: Body, current: dict[str, str]) -> list[Body]:
    return [
        {
            "name": field.name,
            "label": words["fields"][field.name],
            "choices": [(choice, words["choices"].get(choice, choice)) for choice in field.choices],
            "is_flag": field.is_flag,
            "is_required": field.is_required,
            "value": current.get(field.name) or field.default or field.example,
        }
        for field in SCENARIOS[scenario].fields
    ]


def shown(body: Body, words: Body) -> Body:
    """An object with its buttons."""
    return {
        **body,
        "won": f"₩{body['amount']:,}" if "amount" in body else "",
        "kind": words["kinds"][body["object"]],
        "acts": [
            {
                "name": name,
                "label": words["scenarios"][name],
                "more": words["choices"].get(said.get("outcome"), ""),
                "said": {SCENARIOS[name].fields[0].name: body["id"], **said},
            }
            for name, said in ACTS.get((body["object"], standing(body)), [])
        ],
    }


def standing(body: Body) -> str:
    """Its status; of a saved card: that of its mandate, as long as it belongs to somebody."""
    if body["object"] != "payment_method":
        return str(body.get("status", ""))
    mandate = mandate_of(body["id"])
    return mandate["status"] if mandate and "customer" in body else "detached"
