import base64
import http.client
import json
import signal
import socket
import threading
from urllib.parse import urlencode, urlsplit

import pytest
import stripe
from django.core.management import CommandError, call_command

from django_krcard.sandbox import control
from django_krcard.sandbox.models import Resource
from django_krcard.sandbox.server import MAX_BODY, SandboxServer

from .conftest import ENDIVE, charge_params, session_params
from .serving import served
from .test_concurrency import at_once

KEY = "Bearer sk_test_krcard"


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@pytest.fixture
def server():
    with SandboxServer("127.0.0.1", 0) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def address(server):
    return server.address


def client_at(address, **options):
    return stripe.StripeClient("sk_test_krcard", base_addresses={"api": address}, stripe_version=ENDIVE, **options).v1


@pytest.fixture
def http_api(address):
    return client_at(address)


@pytest.fixture
def ask(address):
    """One request as it goes over the wire: the status, the headers, the answer."""

    def send(method="POST", path="/v1/customers", body="", **headers):
        connection = http.client.HTTPConnection(urlsplit(address).netloc, timeout=20)
        try:
            usual = {"Authorization": KEY, "Content-Type": "application/x-www-form-urlencoded"}
            connection.request(method, path, body or None, usual | headers)
            response = connection.getresponse()
            return response.status, response.headers, json.loads(response.read())
        finally:
            connection.close()

    return send


def test_stripe_python_saves_and_charges_a_card_over_http(http_api, heard):
    customer = http_api.customers.create({"name": "김민지"})
    session = http_api.checkout.sessions.create(session_params(customer))
    control.authorise(session.id, brand="hyundai")
    done = http_api.checkout.sessions.retrieve(session.id, {"expand": ["setup_intent.payment_method"]})
    card = done.setup_intent.payment_method
    intent = http_api.payment_intents.create(
        {
            "amount": 12_900,
            "currency": "krw",
            "customer": customer.id,
            "payment_method": card.id,
            "allowed_payment_method_types": ["kr_card"],
            "off_session": True,
            "confirm": True,
            "metadata": {"상품": "한강 멤버십"},
        }
    )

    assert card.kr_card.brand == "hyundai"
    assert intent.status == "succeeded"
    assert http_api.payment_intents.retrieve(intent.id).metadata["상품"] == "한강 멤버십"
    assert heard[-1]["type"] == "payment_intent.succeeded"


def test_both_doors_lead_to_the_same_box(http_api, api):
    assert api.customers.retrieve(http_api.customers.create({"name": "민지"}).id).name == "민지"


def test_the_same_key_gives_the_same_answer(ask):
    first = ask(body="name=Minji", **{"Idempotency-Key": "k1"})
    again = ask(body="name=Minji", **{"Idempotency-Key": "k1"})
    other = ask(body="name=Jisu", **{"Idempotency-Key": "k1"})

    assert first[2] == again[2]
    assert "Idempotent-Replayed" not in first[1]
    assert again[1]["Idempotent-Replayed"] == "true"
    assert (other[0], other[2]["error"]["type"]) == (400, "idempotency_error")


def test_a_decline_is_an_error_of_the_card(http_api, saved):
    control.decline_next("insufficient_funds")

    with pytest.raises(stripe.CardError) as declined:
        http_api.payment_intents.create(charge_params(saved))
    assert declined.value.error.decline_code == "insufficient_funds"


def test_a_lost_answer_is_a_broken_connection_and_the_retry_finds_the_effect(address, no_waiting):
    control.fail_next("POST", "customers", effect="after", status="timeout")
    patient = client_at(address, max_network_retries=1)

    customer = patient.customers.create({"name": "민지"})

    assert [each.id for each in patient.customers.list()] == [customer.id]


def test_an_answer_that_stays_lost_is_told_by_the_sdk(http_api):
    control.fail_next("GET", "customers", effect="before", status="timeout")

    with pytest.raises(stripe.APIConnectionError):
        http_api.customers.list()


def test_curl_sends_the_key_as_a_user_name(ask):
    basic = base64.b64encode(b"sk_test_curl:").decode()

    assert ask("GET", Authorization=f"Basic {basic}")[0] == 200
    assert ask("GET", Authorization="Basic nonsense!")[0] == 401


def test_delete_reads_its_parameters_from_the_address(ask):
    assert ask("DELETE", "/v1/nothing?a=1")[0] == 404


@pytest.mark.parametrize(
    ("request_", "status", "says"),
    [
        ({"Authorization": ""}, 401, "did not provide an API key"),
        ({"Authorization": "Bearer sk_live_1"}, 400, "never runs with live keys"),
        ({"path": "/v1/nothing"}, 404, "Unrecognized request URL"),
        ({"path": "/"}, 404, "Unrecognized request URL"),
        ({"method": "PATCH"}, 501, "PATCH"),
        ({"body": '{"name": "a"}', "Content-Type": "application/json"}, 400, "x-www-form-urlencoded"),
        ({"body": b"name=\xff"}, 400, "not UTF-8"),
        ({"body": "name=%00"}, 400, "name"),
        ({"body": "nonsense=1"}, 400, "nonsense"),
        ({"Content-Length": "many"}, 411, "Content-Length"),
        ({"Content-Length": "-1"}, 411, "Content-Length"),
        ({"Content-Length": str(MAX_BODY + 1)}, 413, "longer than"),
        ({"Transfer-Encoding": "chunked"}, 411, "Content-Length"),
    ],
)
def test_bad_requests_are_refused_as_stripe_refuses(ask, request_, status, says):
    answered, headers, answer = ask(**request_)

    assert answered == status
    assert headers["Content-Type"] == "application/json"
    assert says in answer["error"]["message"]
    assert not Resource.objects.exists()


def test_a_big_body_is_read_to_its_end(ask):
    status, _, answer = ask(body=urlencode({"description": "가" * 500_000}))

    assert (status, answer["error"]["code"]) == (400, "parameter_invalid_string")


def test_what_is_not_http_does_no_harm(server, ask):
    for rubbish in (b"\x16\x03\x01 tls?\r\n\r\n", b"GET\r\n\r\n", b""):
        with socket.create_connection(server.server_address) as raw:
            raw.sendall(rubbish)
    assert ask("GET")[0] == 200


def test_what_breaks_inside_is_an_answer_too(ask, monkeypatch):
    def broken(*args):
        raise RuntimeError("a bug")

    monkeypatch.setattr("django_krcard.sandbox.server.handle", broken)
    status, _, answer = ask("GET")

    assert (status, answer["error"]["type"]) == (500, "api_error")


def test_many_ask_at_once(address, api):
    made = at_once(lambda number: client_at(address).customers.create({"name": f"{number}"}).id)

    assert len(set(made)) == len(made) == len(api.customers.list({"limit": 100}).data)


def test_only_this_machine_unless_told():
    with SandboxServer("localhost", 0) as near, SandboxServer("0.0.0.0", 0) as far:
        assert near.is_loopback
        assert not far.is_loopback


def test_a_taken_port_is_said_plainly(server):
    with pytest.raises(CommandError, match=r"Cannot listen on 127\.0\.0\.1"):
        call_command("krcard_sandbox", "serve", "--port", str(server.server_address[1]))


@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGTERM])
def test_the_command_serves_until_it_is_stopped(tmp_path, sign):
    with served(tmp_path) as process:
        customer = client_at(process.address).customers.create({"name": "민지"})
        process.send_signal(sign)
        process.wait(timeout=20)
        said = process.log.read_text()

    assert customer.name == "민지"
    assert process.returncode == 0
    assert "base_addresses" in said
    assert "krcard_sandbox pages-at http://127.0.0.1:8000" in said
    assert said.endswith("Stopped.\n")
    assert "Traceback" not in said
