"""What can be played on the sandbox, and what has to be said for it: one table for the command and the panel."""

import random
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from . import control
from .errors import ApiError, SandboxError
from .issuers import ISSUERS
from .models import State
from .resources.disputes import REASONS
from .store import find

CARD_TYPES = ("kr_card", "card", "naver_pay", "kakao_pay")
DECLINES = tuple(dict.fromkeys([*control.DECLINES, *(code for code, _ in control.DECLINES.values())]))
EFFECTS = ("before", "after")
UNITS = "seconds, minutes, hours, days or weeks"


@dataclass(frozen=True)
class Field:
    """One thing to say, as text. Without a default it has to be said. Positional: said without its name."""

    name: str
    help: str
    default: str | None = None
    choices: tuple[str, ...] = ()
    read: Callable[[str], Any] = str
    example: str = ""
    is_positional: bool = False

    @property
    def is_required(self) -> bool:
        return self.default is None

    @property
    def is_flag(self) -> bool:
        return self.read is bool

    def value(self, said: str) -> Any:
        text = said.strip()
        if not text and self.default is None:
            raise SandboxError(f"{self.name} is missing. {self.help}")
        text = text or self.default or ""
        if text and self.choices and text not in self.choices:
            raise SandboxError(f"{self.name} is one of {', '.join(self.choices)}, and not {text!r}.")
        return self.read(text)


@dataclass(frozen=True)
class Scenario:
    """`act` gets the values of its fields in order, and says in a sentence what came of it."""

    help: str
    act: Callable[..., str]
    fields: tuple[Field, ...] = ()

    def play(self, said: dict[str, str]) -> str:
        try:
            return self.act(*(field.value(said.get(field.name, "")) for field in self.fields))
        except (ApiError, ValueError) as error:
            raise SandboxError(str(error)) from error


# --- how texts are read -----------------------------------------------------------------------------


def last_digits(text: str) -> str | None:
    if text and not re.fullmatch("[0-9]{4}", text):
        raise ValueError(f"last4 is four digits, and not {text!r}.")
    return text or None


def number(text: str) -> int:
    if not re.fullmatch("[0-9]{1,6}", text):
        raise ValueError(f"{text!r} is not a whole number from 0 to 999999.")
    return int(text)


def count(text: str) -> int:
    if not 1 <= number(text) <= 1000:
        raise ValueError(f"A count is from 1 to 1000, and not {text}.")
    return int(text)


def duration(text: str) -> timedelta:
    """ "3 days", "1 hour 30 minutes" """
    part = r"([0-9]{1,4})\s*(second|minute|hour|day|week)s?\s*"
    if not re.fullmatch(f"({part})+", text.lower()):
        raise ValueError(f"Not a length of time: {text!r}. Say how many {UNITS}, for example 3 days.")
    return sum((timedelta(**{f"{unit}s": int(many)}) for many, unit in re.findall(part, text.lower())), timedelta())


def http_status(text: str) -> int | str:
    return text if text == "timeout" else number(text)


def names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


# --- what is done, and what is said about it --------------------------------------------------------


def authorise(session: str, brand: str, last4: str | None, type: str) -> str:
    done = control.authorise(session, brand, last4, type=type)
    intent = find("setup_intent", done["setup_intent"]) or {}
    return f"{session} is {done['status']}: {intent.get('payment_method')}, {intent.get('mandate')}."


def fail(session: str, type: str) -> str:
    control.fail(session, type=type)
    return f"The issuer refused. {session} is still open."


def expire(session: str) -> str:
    return f"{session} is {control.expire(session)['status']}."


def decline_next(name: str) -> str:
    control.decline_next(name)
    return f"The next charge is declined: {name}."


def require_action_next() -> str:
    control.require_action_next()
    return "The next charge needs the customer: authentication_required."


def processing_next() -> str:
    control.processing_next()
    return "The next charge stays processing until it is settled."


def settle(payment_intent: str, outcome: str) -> str:
    return f"{payment_intent} is {control.settle(payment_intent, outcome == 'succeeded')['status']}."


def finish_setup(setup_intent: str, outcome: str, brand: str) -> str:
    return f"{setup_intent} is {control.finish_setup(setup_intent, outcome == 'succeeded', brand=brand)['status']}."


def no_redirect_next() -> str:
    control.no_redirect_next()
    return "What is confirmed next by the Direct API succeeds at once."


def finish_payment(payment_intent: str, outcome: str) -> str:
    return f"{payment_intent} is {control.finish_payment(payment_intent, outcome == 'succeeded')['status']}."


def detach(payment_method: str) -> str:
    control.detach(payment_method)
    return f"{payment_method} belongs to nobody any more."


def revoke(payment_method: str) -> str:
    mandate = control.deactivate_mandate(payment_method)
    return f"{mandate['id']} is {mandate['status']}."


def mandate_pending_next() -> str:
    control.mandate_pending_next()
    return "The next saved card's mandate stays pending until it is activated."


def activate_mandate(payment_method: str) -> str:
    control.activate_mandate(payment_method)
    return f"The mandate of {payment_method} is active."


def dispute(payment_intent: str, reason: str) -> str:
    opened = control.dispute(payment_intent, reason)
    return f"{opened['id']} is {opened['status']}: {reason}."


def close_dispute(dispute: str, outcome: str) -> str:
    control.close_dispute(dispute, outcome == "won")
    return f"{dispute} is {outcome}."


def fail_refund(refund: str) -> str:
    return f"{refund} is {control.fail_refund(refund)['status']}."


def rate_limit_next(times: int) -> str:
    control.rate_limit_next(times)
    return f"The next {times} request(s) are answered with 429."


def outage(method: str, path: str, effect: str, status: int | str) -> str:
    control.fail_next(method, path, effect=effect, status=status)
    return f"The next {method} {path} meets {status}, {effect} its effect."


def delivery(mode: str) -> str:
    control.set_delivery(mode)
    return f"Delivery of events: {mode}."


def deliver(shuffled: bool, copies: int, seed: int) -> str:
    seed = seed or random.randrange(1, 1_000_000)
    taken = control.deliver(shuffled=shuffled, copies=copies, seed=seed)
    return f"The site took {taken} message(s)." + (f" Seed {seed}." if shuffled else "")


def redeliver(event: str) -> str:
    return f"{event} was sent again, and {'taken' if control.redeliver(event) else 'not taken'}."


def retry_failed() -> str:
    return f"The site took {control.retry_failed()} message(s) that it had not taken before."


def event_format(format: str) -> str:
    control.set_event_format(format)
    return f"Events are sent as: {format}."


def enabled_types(types: list[str]) -> str:
    control.set_enabled_types(types)
    return f"Switched on for the account: {', '.join(types) or 'nothing'}."


def pages_at(address: str) -> str:
    control.set_pages_at(address)
    return f"The hosted pages of new sessions are at {address or 'the site of their success_url'}."


def advance(by: timedelta) -> str:
    control.advance(by)
    return f"The sandbox's clock says {control.now().isoformat(sep=' ', timespec='seconds')}."


def reset() -> str:
    control.reset()
    return "The sandbox is empty."


# --- the table --------------------------------------------------------------------------------------

SESSION = Field("session", "A Checkout Session's id: cs_test_sandbox_…")
CARD_TYPE = Field("type", "Which kind of card.", "kr_card", CARD_TYPES)
PAYMENT_INTENT = Field("payment_intent", "A PaymentIntent's id: pi_sandbox_…")
PAYMENT_METHOD = Field("payment_method", "A PaymentMethod's id: pm_sandbox_…")

SCENARIOS = {
    "authorise": Scenario(
        "The customer of a session saves a card, as on the hosted page.",
        authorise,
        (
            SESSION,
            Field("brand", "The issuer of a Korean card.", "shinhan", tuple(ISSUERS)),
            Field("last4", "The last four digits; else they are drawn by lot.", "", read=last_digits),
            CARD_TYPE,
        ),
    ),
    "fail": Scenario(
        "The issuer does not authorise the card; the session stays open for another try.", fail, (SESSION, CARD_TYPE)
    ),
    "expire": Scenario("A session runs out of time.", expire, (SESSION,)),
    "decline-next": Scenario(
        "The next charge is declined with this code.",
        decline_next,
        (Field("code", f"One of {', '.join(DECLINES)}.", choices=DECLINES),),
    ),
    "require-action-next": Scenario("The next charge needs the customer, who is not there.", require_action_next),
    "processing-next": Scenario("The next charge is neither paid nor declined until it is settled.", processing_next),
    "settle": Scenario(
        "The issuer's late answer to a charge that is processing.",
        settle,
        (PAYMENT_INTENT, Field("outcome", "What the issuer says.", "succeeded", ("succeeded", "failed"))),
    ),
    "finish-setup": Scenario(
        "The customer, sent to the processor by the Direct API, saves a card there, or fails to.",
        finish_setup,
        (
            Field("setup_intent", "A SetupIntent's id: seti_sandbox_…"),
            Field("outcome", "What comes of it.", "succeeded", ("succeeded", "failed")),
            Field("brand", "The issuer of a Korean card.", "shinhan", tuple(ISSUERS)),
        ),
    ),
    "no-redirect-next": Scenario(
        "What is confirmed next by the Direct API succeeds without a redirect.", no_redirect_next
    ),
    "finish-payment": Scenario(
        "The customer, sent to the issuer for a payment, authorises it there, or fails to.",
        finish_payment,
        (PAYMENT_INTENT, Field("outcome", "What comes of it.", "succeeded", ("succeeded", "failed"))),
    ),
    "detach": Scenario("Somebody detaches a card in Stripe's dashboard.", detach, (PAYMENT_METHOD,)),
    "revoke": Scenario("The customer withdraws the permission at the issuer.", revoke, (PAYMENT_METHOD,)),
    "mandate-pending-next": Scenario(
        "The mandate of the next card that is saved is not active at once.", mandate_pending_next
    ),
    "activate-mandate": Scenario("The issuer confirms a pending mandate.", activate_mandate, (PAYMENT_METHOD,)),
    "dispute": Scenario(
        "The customer disputes a charge.",
        dispute,
        (PAYMENT_INTENT, Field("reason", "Stripe's word for the reason.", "fraudulent", REASONS)),
    ),
    "close-dispute": Scenario(
        "The issuer decides a dispute.",
        close_dispute,
        (
            Field("dispute", "A dispute's id: du_sandbox_…"),
            Field("outcome", "Who gets the money: won is the shop.", "lost", ("won", "lost")),
        ),
    ),
    "fail-refund": Scenario(
        "The money of a refund comes back: the customer's account is gone.",
        fail_refund,
        (Field("refund", "A refund's id: re_sandbox_…"),),
    ),
    "rate-limit-next": Scenario(
        "The next requests are turned away with 429.",
        rate_limit_next,
        (Field("times", "How many requests.", read=count, example="1"),),
    ),
    "outage": Scenario(
        "The next request to an address fails or loses its answer.",
        outage,
        (
            Field("method", "POST or GET.", choices=("POST", "GET")),
            Field("path", "How its path begins: /v1/payment_intents", example="/v1/payment_intents"),
            Field("effect", "Whether it fails before it has an effect, or after.", "before", EFFECTS),
            Field("status", "The HTTP status of the answer, or timeout: none comes.", "500", read=http_status),
        ),
    ),
    "delivery": Scenario(
        "When webhook messages are sent: now, held until asked for, or dropped.",
        delivery,
        (Field("mode", "now, held or dropped.", choices=tuple(State.Delivery.values)),),
    ),
    "deliver": Scenario(
        "Sends the messages that wait.",
        deliver,
        (
            Field("shuffled", "In any order.", "", read=bool),
            Field("copies", "How often each is sent.", "1", read=count),
            Field("seed", "The same disorder as another time; else it is drawn by lot, and told.", "0", read=number),
        ),
    ),
    "redeliver": Scenario("Sends one message again.", redeliver, (Field("event", "An event's id: evt_sandbox_…"),)),
    "retry-failed": Scenario("Sends again what the site did not take.", retry_failed),
    "event-format": Scenario(
        "What messages look like: whole objects (snapshot), hints (thin), or both.",
        event_format,
        (Field("format", "snapshot, thin or both.", choices=tuple(State.Format.values)),),
    ),
    "enabled-types": Scenario(
        "The payment method types that are switched on for the account; Stripe drops the others silently.",
        enabled_types,
        (Field("types", "Separated by commas.", read=names, example="card,kr_card"),),
    ),
    "pages-at": Scenario(
        "Where hosted pages are: at this site's own address, when the shop is another site.",
        pages_at,
        (Field("address", "As http://127.0.0.1:8000; none: at the site of success_url.", "", is_positional=True),),
    ),
    "advance": Scenario(
        "Turns the sandbox's clock forward; what is due on the way happens.",
        advance,
        (Field("by", f"How many {UNITS}: 3 days", read=duration, example="3 days"),),
    ),
    "reset": Scenario("Forgets everything, settings included.", reset),
}
