"""The pages that Stripe and the card processor would show. Forms only; they work without JavaScript."""

from typing import Any

from django.conf import settings
from django.contrib.auth.decorators import login_not_required
from django.db import transaction
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.http.response import HttpResponseBase
from django.shortcuts import redirect, render
from django.utils.decorators import method_decorator
from django.utils.translation.trans_real import parse_accept_lang_header
from django.views import View
from django.views.decorators.cache import never_cache

from . import control
from .checks import may_run
from .due import catch_up
from .errors import SandboxError
from .issuers import ISSUERS
from .store import Body, find
from .wording import WORDING

# The hosted page knows these; other types are listed by the API and not shown here.
CARDS = ("kr_card", "card")
VISA_LAST4 = "4242"


class SeeOther(HttpResponseRedirect):
    status_code = 303


# Messages to the site are sent after the change is committed: so never in one transaction with it.
@method_decorator([never_cache, login_not_required, transaction.non_atomic_requests], "dispatch")
class HostedView(View):
    """One page of one Session, in the customer's language."""

    session: Body

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        session_id = kwargs["session_id"]
        if not may_run():
            raise Http404
        catch_up()
        session = find("checkout.session", session_id)
        if session is None:
            raise Http404
        self.session = session
        if request.method == "POST" and session["status"] != "open":
            return self.over(request)
        return super().dispatch(request, *args, **kwargs)

    def over(self, request: HttpRequest) -> HttpResponse:
        """Pressed twice, or pressed too late."""
        if self.session["status"] == "complete":
            return self.back_to_the_site()
        return self.to_first_page()

    def back_to_the_site(self) -> HttpResponse:
        template = self.session["success_url"]
        return SeeOther(template.replace("{CHECKOUT_SESSION_ID}", self.session["id"]))

    def to_first_page(self) -> HttpResponse:
        response = redirect("krcard_sandbox:checkout", self.session["id"])
        response.status_code = 303
        return response

    @property
    def types(self) -> list[str]:
        return [type for type in CARDS if type in self.session["payment_method_types"]]

    def chosen_type(self, values: Any) -> str:
        type = values.get("type", "")
        if type not in self.types:
            raise Http404
        return str(type)

    def page(self, template: str, *, status: int = 200, **context: Any) -> HttpResponse:
        language = language_for(self.request, self.session["locale"])
        words = WORDING[language]
        merchant = getattr(settings, "KRCARD_MERCHANT_NAME", "") or words["shop"]
        context |= {
            "session": self.session,
            "language": language,
            "t": words,
            "merchant": merchant,
            "agreement": words["agree"].format(merchant=merchant),
        }
        return render(self.request, f"krcard_sandbox/{template}.html", context, status=status)


class CheckoutView(HostedView):
    """Stripe's page: which kind of card?"""

    def get(self, request: HttpRequest, session_id: str) -> HttpResponse:
        if self.session["status"] != "open":
            return self.page("over")
        intent = find("setup_intent", self.session["setup_intent"]) or {}
        failed = intent.get("last_setup_error") is not None
        return self.page("checkout", types=self.types, failed=failed, panel=may_press(request))


class IssuerView(HostedView):
    """The processor's page: which issuer, and does it say yes?"""

    def get(self, request: HttpRequest, session_id: str) -> HttpResponse:
        if self.session["status"] != "open":
            return self.page("over")
        return self.form(self.chosen_type(request.GET))

    def form(self, type: str, *, status: int = 200, error: bool = False) -> HttpResponse:
        return self.page("issuer", status=status, type=type, issuers=ISSUERS, last4=VISA_LAST4, error=error)


class AuthoriseView(IssuerView):
    http_method_names = ["post"]

    def post(self, request: HttpRequest, session_id: str) -> HttpResponse:
        type = self.chosen_type(request.POST)
        brand = request.POST.get("brand", "")
        if type == "kr_card" and brand not in ISSUERS:
            return self.form(type, status=422, error=True)
        try:
            self.session = control.authorise(
                session_id,
                brand,
                VISA_LAST4 if type == "card" else None,
                type=type,
                ip_address=request.META.get("REMOTE_ADDR"),
                user_agent=request.headers.get("User-Agent"),
            )
        except SandboxError:
            return self.late()
        return self.back_to_the_site()

    def late(self) -> HttpResponse:
        """The other click of a double click was first."""
        self.session = find("checkout.session", self.session["id"]) or self.session
        return self.over(self.request)


class FailView(AuthoriseView):
    def post(self, request: HttpRequest, session_id: str) -> HttpResponse:
        try:
            control.fail(session_id, type=self.chosen_type(request.POST))
        except SandboxError:
            return self.late()
        return self.to_first_page()


class ExpireView(AuthoriseView):
    def post(self, request: HttpRequest, session_id: str) -> HttpResponse:
        try:
            control.expire(session_id)
        except SandboxError:
            return self.late()
        return self.to_first_page()


def may_press(request: HttpRequest) -> bool:
    """Anybody on a developer's machine; on a public demo only its staff."""
    user: Any = getattr(request, "user", None)
    return may_run() and (settings.DEBUG is True or bool(user and user.is_active and user.is_staff))


def language_for(request: HttpRequest, locale: str | None) -> str:
    if locale and locale != "auto":
        return "ko" if locale == "ko" else "en"
    accepted = parse_accept_lang_header(request.headers.get("Accept-Language", ""))
    known = (code.partition("-")[0] for code, _ in accepted)
    return next((code for code in known if code in WORDING), "en")
