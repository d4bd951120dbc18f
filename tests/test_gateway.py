"""The one door to Stripe: what goes out, what comes back, and what each failure is called."""

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from django.db import transaction

from django_krcard import gateway
from django_krcard.exceptions import (
    CardDeclined,
    InsideTransaction,
    KeyReused,
    RateLimited,
    StripeBusy,
    StripeRefusedKey,
    StripeRefusedRequest,
    StripeUnavailable,
)
from django_krcard.gateway.sessions import SessionOfThisThread, proxies_for

SECRET = "sk_test_do_not_tell"


class Stripe(BaseHTTPRequestHandler):
    """Stands where Stripe stands: answers what the test put there, and remembers what it was asked."""

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        self.server.asked.append((self.path, dict(self.headers), body))
        status, answer = self.server.answer
        if status is None:
            self.connection.close()
            return
        content = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *args):
        pass


@pytest.fixture
def stripe_server(settings, no_waiting):
    server = ThreadingHTTPServer(("127.0.0.1", 0), Stripe)
    server.asked = []
    threading.Thread(target=server.serve_forever, daemon=True).start()
    settings.KRCARD_SANDBOX = False
    settings.STRIPE_SECRET_KEY = SECRET
    settings.KRCARD_STRIPE_API_BASE = f"http://127.0.0.1:{server.server_address[1]}"
    gateway.client.client_for.cache_clear()
    yield server
    server.shutdown()
    server.server_close()
    gateway.client.client_for.cache_clear()


def error(**details):
    return {"error": {"message": "Something about customer secret_address", **details}}


FAILURES = [
    (
        402,
        error(type="card_error", code="card_declined", decline_code="lost_card", payment_intent={"id": "pi_1"}),
        CardDeclined,
    ),
    (400, error(type="invalid_request_error", code="payment_method_unexpected_state"), StripeRefusedRequest),
    (404, error(type="invalid_request_error", code="resource_missing"), StripeRefusedRequest),
    (400, error(type="idempotency_error"), KeyReused),
    (401, error(type="invalid_request_error"), StripeRefusedKey),
    (403, error(type="invalid_request_error"), StripeRefusedKey),
    (409, error(type="invalid_request_error", code="idempotency_key_in_use"), StripeBusy),
    (429, error(type="invalid_request_error", code="rate_limit"), RateLimited),
    (200, {"object": "payment_intent"}, StripeUnavailable),
    (200, b"<html>a proxy was here</html>", StripeUnavailable),
    (500, error(type="api_error"), StripeUnavailable),
    (503, b"<html>down</html>", StripeUnavailable),
    (200, b"<html>a proxy</html>", StripeUnavailable),
    (200, b'{"id": "pi_', StripeUnavailable),
    (None, None, StripeUnavailable),
]


@pytest.mark.parametrize(("status", "answer", "raised"), FAILURES)
def test_every_failure_has_one_name_and_tells_no_secret(stripe_server, caplog, status, answer, raised):
    stripe_server.answer = (status, answer)
    with pytest.raises(raised) as caught:
        gateway.create_payment_intent({"amount": 100}, key="krc1-x")
    assert type(caught.value) is raised
    told = f"{caught.value!r} {caught.value.__dict__} {caplog.text}"
    assert "secret_address" not in told
    assert SECRET not in told
    assert caught.value.__cause__ is None


def test_a_decline_says_which_payment_and_why(stripe_server):
    stripe_server.answer = FAILURES[0][:2]
    with pytest.raises(CardDeclined) as caught:
        gateway.create_payment_intent({"amount": 100}, key="krc1-x")
    assert (caught.value.code, caught.value.decline_code, caught.value.payment_intent) == (
        "card_declined",
        "lost_card",
        "pi_1",
    )


def test_tries_again_are_under_the_one_key_given(stripe_server):
    stripe_server.answer = (503, error(type="api_error"))
    with pytest.raises(StripeUnavailable):
        gateway.create_customer({}, key="krc1-x")
    assert [headers["Idempotency-Key"] for _, headers, _ in stripe_server.asked] == ["krc1-x"] * 3


@pytest.mark.parametrize(
    "move_money",
    [
        lambda: gateway.create_payment_intent({"amount": 100}, key="k"),
        lambda: gateway.confirm_payment_intent("pi_1", {}, key="k"),
        lambda: gateway.create_refund({"payment_intent": "pi_1"}, key="k"),
    ],
)
def test_what_moves_money_is_asked_once_because_the_terms_are_asked_before_each_try(stripe_server, move_money):
    stripe_server.answer = (503, error(type="api_error"))
    with pytest.raises(StripeUnavailable):
        move_money()
    assert len(stripe_server.asked) == 1


def test_the_order_in_which_a_database_keeps_them_does_not_change_what_is_sent(stripe_server):
    stripe_server.answer = (503, error(type="api_error"))
    one, other = {"amount": 100, "metadata": {"b": "2", "a": "1"}}, {"metadata": {"a": "1", "b": "2"}, "amount": 100}
    for params in (one, other):
        with pytest.raises(StripeUnavailable):
            gateway.create_payment_intent(params, key="k")
    (first, second) = (body for _, _, body in stripe_server.asked)
    assert first == second


def test_after_429_nobody_asks_for_a_while(stripe_server, monkeypatch, settings):
    settings.KRCARD_REQUESTS_PER_SECOND = 1000.5  # a throttle of its own
    slept = []
    monkeypatch.setattr("time.sleep", slept.append)
    stripe_server.answer = (429, error(type="invalid_request_error", code="rate_limit"))
    for _ in range(3):
        with pytest.raises(RateLimited):
            gateway.create_payment_intent({"amount": 100}, key="k")
    assert [pause > 0.7 for pause in slept] == [True, True]
    assert slept[1] > slept[0]


def test_what_goes_out(stripe_server, settings):
    settings.KRCARD_STRIPE_API_VERSION = "2026-10-28.endive"
    stripe_server.answer = (200, {"id": "cus_1", "object": "customer"})
    assert gateway.create_customer({"metadata": {"krcard_customer": "x"}}, key="k") == "cus_1"

    ((path, headers, body),) = stripe_server.asked
    assert path == "/v1/customers"
    assert body == "metadata[krcard_customer]=x"
    assert headers["Stripe-Version"] == "2026-10-28.endive"
    assert headers["Authorization"] == f"Bearer {SECRET}"
    assert "X-Stripe-Client-Telemetry" not in headers
    assert "telemetry_id" not in headers["X-Stripe-Client-User-Agent"]


def test_the_sdks_globals_stay_the_sites_own(stripe_server):
    import stripe

    stripe_server.answer = (200, {"id": "cus_1", "object": "customer"})
    gateway.create_customer({}, key="k")
    assert stripe.api_key is None
    assert stripe.default_http_client is None


def test_a_password_in_somebodys_netrc_is_not_sent_in_place_of_the_key(stripe_server, tmp_path, monkeypatch):
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login root password hunter2")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    stripe_server.answer = 200, {"id": "cus_1", "object": "customer"}
    gateway.create_customer({}, key="k")
    [(_path, headers, _body)] = stripe_server.asked
    assert headers["Authorization"] == f"Bearer {SECRET}"


def test_the_environments_proxy_is_used_and_its_exceptions_too(stripe_server, monkeypatch):
    proxies_for.cache_clear()
    stripe_server.answer = 200, {"id": "cus_1", "object": "customer"}
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    gateway.create_customer({}, key="k")
    assert len(stripe_server.asked) == 1
    # It is read once for each host.
    monkeypatch.delenv("NO_PROXY")
    gateway.create_customer({}, key="k")
    assert len(stripe_server.asked) == 2
    proxies_for.cache_clear()
    with pytest.raises(StripeUnavailable):
        gateway.create_customer({}, key="k")
    assert len(stripe_server.asked) == 2
    proxies_for.cache_clear()


def test_each_thread_has_a_session_of_its_own_and_keeps_it():
    shared = SessionOfThisThread()
    with ThreadPoolExecutor(1) as pool:
        there = [pool.submit(lambda: shared.session).result() for _ in range(2)]
    assert there[0] is there[1] is not shared.session


def test_nobody_waits_long_for_stripe(stripe_server, monkeypatch):
    waits = {}
    monkeypatch.setattr("stripe.RequestsClient", lambda **kwargs: waits.update(kwargs))
    gateway.client.client_for.cache_clear()
    gateway.client.client()
    assert waits["timeout"] == (3, 10)


@pytest.mark.django_db(transaction=True)
def test_never_with_a_transaction_open(stripe_server):
    with transaction.atomic(), pytest.raises(InsideTransaction):
        gateway.create_customer({}, key="k")
    assert stripe_server.asked == []


@pytest.mark.django_db
def test_the_transaction_around_a_test_does_not_count(stripe_server):
    stripe_server.answer = (200, {"id": "cus_1", "object": "customer"})
    assert gateway.create_customer({}, key="k") == "cus_1"


def test_the_address_of_a_session_is_in_no_repr():
    session = gateway.CheckoutSession(
        id="cs_1",
        status="open",
        customer="",
        client_reference_id="",
        livemode=False,
        payment_method_types=(),
        url="https://x/secret",
    )
    assert "secret" not in repr(session)
