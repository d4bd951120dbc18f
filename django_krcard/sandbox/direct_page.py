"""The processor's page of the Direct API: the customer authorises something new that is to be saved."""

from collections.abc import Callable
from contextlib import suppress
from urllib.parse import parse_qsl, urlencode, urlsplit

from django.core.signing import BadSignature
from django.http import Http404, HttpRequest, HttpResponse

from . import control
from .errors import SandboxError
from .issuers import ISSUERS
from .resources.setup_intents import read_attempt
from .store import Body, find
from .views import ProcessorView, SeeOther

# What `redirect_status` says; anything else has failed.
REDIRECT_STATUS = {"succeeded": "succeeded", "processing": "processing", "requires_action": "pending"}


class IntentView(ProcessorView):
    """The page of a SetupIntent or PaymentIntent, whose address knows the way back to the shop."""

    kind: str
    read_attempt: Callable[[str], tuple[str, str]]
    intent: Body
    return_url: str

    def load(self, attempt: str) -> None:
        try:
            intent_id, self.return_url = self.read_attempt(attempt)
        except BadSignature as forged:
            raise Http404 from forged
        intent = find(self.kind, intent_id)
        if intent is None:
            raise Http404
        self.intent = intent

    @property
    def is_open(self) -> bool:
        return bool(self.intent["status"] == "requires_action")

    @property
    def method(self) -> Body:
        return find("payment_method", self.intent["payment_method"]) or {}

    def over(self) -> HttpResponse:
        return SeeOther(self.address_back())

    def address_back(self) -> str:
        """The shop's address, with what Stripe adds to it. It proves nothing: the shop has to ask."""
        told = {
            self.kind: self.intent["id"],
            f"{self.kind}_client_secret": self.intent["client_secret"],
            "redirect_status": REDIRECT_STATUS.get(self.intent["status"], "failed"),
        }
        address = urlsplit(self.return_url)
        query = urlencode([*parse_qsl(address.query, keep_blank_values=True), *told.items()])
        return address._replace(query=query).geturl()


class SetupPageView(IntentView):
    """Which issuer, and does it say yes?"""

    kind = "setup_intent"
    read_attempt = staticmethod(read_attempt)

    @property
    def type(self) -> str:
        return str(self.method.get("type", ""))

    def get(self, request: HttpRequest, attempt: str) -> HttpResponse:
        if not self.is_open:
            return self.page("setup_over", saved=self.intent["status"] == "succeeded", back=self.address_back())
        return self.form(attempt)

    def form(self, attempt: str, *, status: int = 200, error: bool = False) -> HttpResponse:
        return self.processor_page("setup", attempt, self.type, status=status, error=error, back=self.address_back())


class SetupAnswerView(SetupPageView):
    """The customer pressed a button."""

    http_method_names = ["post"]
    succeeded = False

    def post(self, request: HttpRequest, attempt: str) -> HttpResponse:
        brand = request.POST.get("brand", "")
        if self.succeeded and self.type == "kr_card" and brand not in ISSUERS:
            return self.form(attempt, status=422, error=True)
        # Refused: the other click of a double click was first, or the shop cancelled it.
        with suppress(SandboxError):
            control.finish_setup(self.intent["id"], self.succeeded, **({"brand": brand} if brand else {}))
        self.load(attempt)
        return self.over()
