"""The issuer's page on which a customer finishes a payment that was begun without them."""

from contextlib import suppress
from typing import Any

from django.http import HttpRequest, HttpResponse

from . import control
from .direct_page import IntentView
from .errors import SandboxError
from .issuers import ISSUERS
from .resources.attempts import read_attempt
from .resources.first_time import is_new


class PaymentView(IntentView):
    """Is it you, and do you want to pay this?"""

    kind = "payment_intent"
    read_attempt = staticmethod(read_attempt)

    def get(self, request: HttpRequest, attempt: str) -> HttpResponse:
        if not self.is_open:
            return self.page("payment_over", paid=self.intent["status"] == "succeeded", back=self.address_back())
        return self.form(attempt)

    def form(self, attempt: str, *, status: int = 200, error: bool = False) -> HttpResponse:
        amount, back, method = f"{self.intent['amount']:,}", self.address_back(), self.method
        if is_new(method):
            return self.processor_page(
                "payment", attempt, method["type"], status=status, error=error, amount=amount, back=back
            )
        return self.page("payment", attempt=attempt, amount=amount, card=self.card_shown(), back=back)

    def card_shown(self) -> dict[str, Any]:
        details = self.method[self.method["type"]]
        if "brand" not in details:
            return {"korean": "", "english": self.words[self.method["type"]], "last4": ""}
        korean, english = ISSUERS.get(details["brand"], ("", details["brand"].title()))
        return {"korean": korean, "english": english, "last4": details["last4"]}


class AnswerView(PaymentView):
    """The customer pressed a button."""

    http_method_names = ["post"]
    succeeded = False

    def post(self, request: HttpRequest, attempt: str) -> HttpResponse:
        brand = request.POST.get("brand", "")
        method = self.method
        choosing = method.get("type") == "kr_card" and is_new(method)
        if self.succeeded and choosing and brand not in ISSUERS:
            return self.form(attempt, status=422, error=True)
        # Refused: the other click of a double click was first, or the shop cancelled the payment.
        with suppress(SandboxError):
            control.finish_payment(self.intent["id"], self.succeeded, **({"brand": brand} if brand else {}))
        self.load(attempt)
        return self.over()
