"""Things that go wrong once, and only once, whoever comes first."""

from dataclasses import dataclass
from typing import Any

from .errors import ApiError
from .models import Fault


def queue(kind: str, **data: Any) -> None:
    Fault.objects.create(kind=kind, data=data)


def take_payment_fault() -> Fault | None:
    """What becomes of the next confirmed PaymentIntent."""
    return take("decline", "action", "processing")


def take(*kinds: str) -> Fault | None:
    """The oldest of these. Called under the sandbox's lock."""
    fault = Fault.objects.filter(kind__in=kinds).order_by("pk").first()
    if fault is not None:
        Fault.objects.filter(pk=fault.pk).delete()
    return fault


REFUSALS = {401: None, 403: None, 409: "lock_timeout", 429: "rate_limit"}


@dataclass(frozen=True)
class Outage:
    effect: str
    status: int | str

    def loses(self, effect: str) -> bool:
        return self.status == "timeout" and self.effect == effect

    @property
    def answers(self) -> bool:
        return self.status != "timeout"

    @property
    def refuses(self) -> bool:
        """Turned away at the door: nothing is executed, and nothing kept under the key."""
        return self.status in REFUSALS

    @property
    def error(self) -> ApiError:
        status = int(self.status)
        type = "invalid_request_error" if status in REFUSALS else "api_error"
        return ApiError(status, "The sandbox was asked to fail.", type=type, code=REFUSALS.get(status))


def take_outage(method: str, path: str) -> Outage | None:
    for fault in Fault.objects.filter(kind="outage").order_by("pk"):
        data = fault.data
        if data["method"] not in (method, "*") or not path.startswith(data["path"]):
            continue
        # Two requests at once may both have read it: the one that deletes it has it.
        if Fault.objects.filter(pk=fault.pk).delete()[0]:
            return Outage(data["effect"], data["status"])
    return None
