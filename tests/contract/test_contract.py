"""What we send fits what Stripe takes, what we read is in what Stripe answers, and the sandbox answers as Stripe does.

In the API versions before and after the renaming of ``payment_method_types``.
"""

import inspect

import pytest

from django_krcard import gateway

from .documents import FOLDER, decode, document
from .listening import Exchange, Read, listening
from .stories import CALLS, QUIET, STORIES, begin

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("krcard_clock", "no_waiting")]

VERSIONS = {"endive": "2026-10-28.endive", "dahlia": "2026-08-26.dahlia"}

needs_documents = pytest.mark.skipif(
    not all((FOLDER / f"{series}.json").exists() for series in VERSIONS),
    reason=f"Stripe's API documents are not in {FOLDER} (KRCARD_TEST_STRIPE_OPENAPI)",
)


#: Of a card of whatever type the same is read; the months are for those that expire, and a wallet has no issuer.
ALIKE = (
    "kr_card.exp_month",
    "kr_card.exp_year",
    *(f"naver_pay.{name}" for name in ("brand", "exp_month", "exp_year", "last4")),
)


def complaints_about(exchange, stripe):
    if exchange.address.startswith("/v2/"):
        # The documents tell of API v1 only.
        return []
    address, operation = stripe.operation(exchange.method, exchange.address)
    if operation is None:
        return [f"{exchange.method} {exchange.address}: there is no such request"]
    name = f"{exchange.method} {address}"
    found = [f"sent {name}: {wrong}" for wrong in stripe.wrong_with(operation, exchange.method, exchange.sent)]
    if exchange.status != 200:
        return found
    answer = stripe.answer_to(operation)
    missing = [".".join(path) for path in sorted(exchange.read) if not stripe.has(answer, path)]
    found += [f"read {name}: {path}" for path in missing if not path.endswith(ALIKE)]
    # Whatever version is asked for, the sandbox answers as in its own: see its list of what it leaves out.
    newest = document("endive")
    answer = newest.answer_to(newest.operation(exchange.method, exchange.address)[1])
    return found + [f"answered {name}: {wrong}" for wrong in newest.misfits(exchange.answer, answer, "it")]


def public_functions():
    return {name for name in gateway.__all__ if inspect.isfunction(getattr(gateway, name))}


@needs_documents
@pytest.mark.parametrize("series", VERSIONS)
def test_every_request_and_every_answer_fits(series, user, settings, krcard_clock):
    settings.KRCARD_STRIPE_API_VERSION = VERSIONS[series]
    heard, found = [], {}
    with listening() as exchanges:
        world = begin(user, krcard_clock)
        for act in [*STORIES, *CALLS.values()]:
            act(world)
            heard += exchanges
            # The same request, and the same wrong, again and again: each is told of once.
            for exchange in exchanges:
                found |= dict.fromkeys(complaints_about(exchange, document(series)))
            exchanges.clear()
    assert not found, "\n" + "\n".join(found)
    # Of a question that Stripe only ever refuses, nothing was read.
    answered = [exchange for exchange in heard if exchange.asked_by and exchange.status == 200]
    missing = public_functions() - QUIET - frozenset().union(*(exchange.asked_by for exchange in answered))
    assert missing == set(), "each needs a story that comes to it, or a line in CALLS: tests/contract/stories.py"
    watched = [exchange for exchange in answered if "may_read" not in exchange.asked_by]
    assert all(exchange.read for exchange in watched), "who asks and reads nothing was not watched"


def test_what_is_listed_is_there():
    assert public_functions() >= QUIET | set(CALLS)


# --- whether we would notice ----------------------------------------------------------------------


CHARGE = "amount=100&currency=krw&confirm=true&metadata[a]=b&allowed_payment_method_types[0]=kr_card"


@needs_documents
@pytest.mark.parametrize(
    ("sent", "complaint"),
    [
        (CHARGE, ""),
        (CHARGE.replace("allowed_", ""), "is not Stripe's"),
        (CHARGE.replace("amount=100", "amount=100.5"), "not a integer"),
        (CHARGE.replace("amount=100", "a_mount=100"), "[a_mount] is not Stripe's"),
        (CHARGE.replace("amount=100&", ""), "[amount] is missing"),
        (CHARGE.replace("confirm=true", "confirm=yes"), "not a boolean"),
        (CHARGE.replace("kr_card", "korea_card"), "not one of the enum"),
        (CHARGE.replace("[0]", "[1]"), "not written as a list"),
        (CHARGE.replace("metadata[a]", "metadata[a][b]"), "has parts"),
        (CHARGE + "&expand[0]=latest_charge.balance_transaction", ""),
        (CHARGE + "&expand[0]=last_charge", "there is no last_charge"),
    ],
)
def test_a_wrong_request_is_noticed(sent, complaint):
    exchange = Exchange("POST", "/v1/payment_intents", sent, frozenset(), status=402)
    found = complaints_about(exchange, document("endive"))
    assert complaint in " ".join(found)
    assert bool(found) == bool(complaint)


@needs_documents
def test_what_is_read_and_not_there_is_noticed():
    exchange = Exchange("GET", "/v1/customers/cus_1/payment_methods", "", frozenset(), status=402)
    read = exchange.read
    page = Read({"data": [{"kr_card": {"brand": "bc"}, "metadata": {}}]}, read)
    page["data"][0]["kr_card"].get("issuer")
    page["data"][0]["metadata"].get("krcard_mandate")
    exchange.status, exchange.answer = 200, {"data": [], "has_more": False, "object": "list", "url": exchange.address}
    [found] = complaints_about(exchange, document("endive"))
    assert found.endswith("data.[].kr_card.issuer")


@needs_documents
def test_a_request_that_stripe_does_not_have_is_noticed():
    exchange = Exchange("POST", "/v1/payment_intents/pi_1/charge", "", frozenset())
    assert complaints_about(exchange, document("endive")) == [f"POST {exchange.address}: there is no such request"]


def test_names_in_a_form_are_decoded():
    assert decode("a%5Bb%5D=1&a[c][0]=2&d=") == {"a": {"b": "1", "c": {"0": "2"}}, "d": ""}
    assert decode("") == {}
