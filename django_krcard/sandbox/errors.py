"""How the sandbox says no: as Stripe does, or by not answering at all."""

from typing import Any


class ApiError(Exception):
    """An answer of Stripe's that is not 200."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        type: str = "invalid_request_error",
        code: str | None = None,
        param: str | None = None,
        **details: Any,
    ) -> None:
        super().__init__(message)
        error = {"type": type, "code": code, "message": message, "param": param, **details}
        if code:
            error["doc_url"] = f"https://stripe.com/docs/error-codes/{code.replace('_', '-')}"
        self.status = status
        self.error = {name: value for name, value in error.items() if value is not None}

    @property
    def effect_stays(self) -> bool:
        """A declined PaymentIntent exists all the same; any other refusal leaves nothing behind."""
        return bool(self.error["type"] == "card_error")

    @property
    def body(self) -> dict[str, Any]:
        return {"error": self.error}


class Timeout(Exception):
    """The network took the answer away (see `control.fail_next`)."""


class SandboxError(Exception):
    """Something was asked of `control` that cannot happen in the present state."""


def no_such(what: str, stripe_id: str, *, param: str = "id", status: int = 404) -> ApiError:
    return ApiError(status, f"No such {what}: '{stripe_id}'", code="resource_missing", param=param)
