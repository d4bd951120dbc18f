"""The pages that Stripe and the card processor would show. Forms only; they work without JavaScript."""

from typing import Any

from django.conf import settings
from django.contrib.auth.decorators import login_not_required
from django.db import transaction
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.http.response import HttpResponseBase
from django.shortcuts import render
from django.urls import reverse
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
CHOICES = ("kr_card", "card", "naver_pay", "kakao_pay")
VISA_LAST4 = "4242"


class SeeOther(HttpResponseRedirect):
    status_code = 303


# Messages to the site are sent after the change is committed: so never in one transaction with it.
@method_decorator([never_cache, login_not_required, transaction.non_atomic_requests], "dispatch")
class HostedView(View):
    """One page about one object, in the customer's language. `load` finds the object."""

    locale: str | None = None

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        if not may_run():
            raise Http404
        catch_up()
        self.load(*args, **kwargs)
        if request.method == "POST" and not self.is_open:
            return self.over()
        return super().dispatch(request, *args, **kwargs)

    def load(self, *args: Any, **kwargs: Any) -> None:
        raise NotImplementedError

    @property
    def is_open(self) -> bool:
        """Is there still something for the customer to decide?"""
        raise NotImplementedError

    def over(self) -> HttpResponse:
        """Pressed twice, or pressed too late."""
        raise NotImplementedError

    @property
    def words(self) -> Body:
        return WORDING[language_for(self.request, self.locale)]

    def page(self, template: str, *, status: int = 200, **context: Any) -> HttpResponse:
        language = language_for(self.request, self.locale)
        words = self.words
        merchant = getattr(settings, "KRCARD_MERCHANT_NAME", "") or words["shop"]
        context |= {
            "language": language,
            "t": words,
            "merchant": merchant,
            "agreement": words["agree"].format(merchant=merchant),
        }
        return render(self.request, f"krcard_sandbox/{template}.html", context, status=status)


class ProcessorView(HostedView):
    """The page of the processor, who has never seen what the customer is to choose there."""

    def processor_page(self, name: str, attempt: str, type: str, *, status: int = 200, **context: Any) -> HttpResponse:
        return self.page(
            "setup",
            status=status,
            type=type,
            heading=self.words["issuer_title"] if type == "kr_card" else self.words[type],
            issuers=ISSUERS,
            authorise=reverse(f"krcard_sandbox:{name}-authorise", args=[attempt]),
            fail=reverse(f"krcard_sandbox:{name}-fail", args=[attempt]),
            **context,
        )


class SessionView(HostedView):
    """One page of one Checkout Session."""

    session: Body

    def load(self, session_id: str) -> None:
        session = find("checkout.session", session_id)
        if session is None:
            raise Http404
        self.session, self.locale = session, session["locale"]

    @property
    def is_open(self) -> bool:
        return bool(self.session["status"] == "open")

    def over(self) -> HttpResponse:
        if self.session["status"] == "complete":
            return self.back_to_the_site()
        return self.to_first_page()

    def late(self) -> HttpResponse:
        """The other click of a double click was first."""
        self.load(self.session["id"])
        return self.over()

    def back_to_the_site(self) -> HttpResponse:
        template = self.session["success_url"]
        return SeeOther(template.replace("{CHECKOUT_SESSION_ID}", self.session["id"]))

    def to_first_page(self) -> HttpResponse:
        return SeeOther(reverse("krcard_sandbox:checkout", args=[self.session["id"]]))

    @property
    def types(self) -> list[str]:
        return [type for type in CHOICES if type in self.session["payment_method_types"]]

    def chosen_type(self, values: Any) -> str:
        type = values.get("type", "")
        if type not in self.types:
            raise Http404
        return str(type)

    def page(self, template: str, **context: Any) -> HttpResponse:
        return super().page(template, session=self.session, **context)


class CheckoutView(SessionView):
    """Stripe's page: which kind of card?"""

    def get(self, request: HttpRequest, session_id: str) -> HttpResponse:
        if not self.is_open:
            return self.page("over")
        amount = self.session["amount_total"]
        return self.page(
            "checkout",
            types=[(type, self.words[type], self.words.get(f"{type}_more", "")) for type in self.types],
            amount=amount and f"{amount:,}",
            failed=self.has_failed(),
            panel=may_press(request),
        )

    def has_failed(self) -> bool:
        setup = find("setup_intent", self.session["setup_intent"]) or {}
        payment = find("payment_intent", self.session["payment_intent"]) or {}
        return bool(setup.get("last_setup_error") or payment.get("last_payment_error"))


class IssuerView(SessionView):
    """The processor's page: which issuer, and does it say yes?"""

    def get(self, request: HttpRequest, session_id: str) -> HttpResponse:
        if not self.is_open:
            return self.page("over")
        return self.form(self.chosen_type(request.GET))

    def form(self, type: str, *, status: int = 200, error: bool = False) -> HttpResponse:
        title = {"kr_card": self.words["issuer_title"], "card": self.words["visa_title"]}.get(type, self.words[type])
        lead = {"kr_card": self.words["issuer_lead"], "card": self.words["visa_lead"]}
        return self.page(
            "issuer",
            status=status,
            type=type,
            title=title,
            lead=lead.get(type, self.words["wallet_lead"]),
            issuers=ISSUERS,
            last4=VISA_LAST4,
            error=error,
        )


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
