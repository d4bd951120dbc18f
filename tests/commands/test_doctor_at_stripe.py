"""krcard_doctor asks Stripe: here a stand-in at another address, as a site would have it while it is set up."""

import re
import threading
from datetime import timedelta
from importlib.metadata import requires
from pathlib import Path

import pytest
from django.utils import timezone
from packaging.requirements import Requirement

from django_krcard import gateway
from django_krcard.conf import PINNED_API_VERSION
from django_krcard.exceptions import StripeUnavailable
from django_krcard.gateway.setup import Account, Configuration, NewestEvent, WebhookEndpoint
from django_krcard.models import Event
from django_krcard.sandbox import control
from django_krcard.sandbox.server import SandboxServer
from django_krcard.services import endpoints, setup_at_stripe
from django_krcard.webhooks.handlers import HANDLERS

pytestmark = pytest.mark.django_db(transaction=True)

ROOT = Path(__file__).parents[2]
URL = "https://shop.example/krcard/webhook/"


@pytest.fixture
def stand_in(settings, monkeypatch):
    """Stripe as an address: the sandbox behind a port, with a restricted key."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with SandboxServer("127.0.0.1", 0) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        settings.KRCARD_SANDBOX = False
        settings.KRCARD_STRIPE_API_BASE = server.address
        settings.STRIPE_SECRET_KEY = "rk_test_stand_in"
        settings.KRCARD_BASE_URL = "https://shop.example"
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def endpoint(stand_in):
    return endpoints.create(URL, HANDLERS)


@pytest.fixture
def told(play):
    """What the doctor says of Stripe: `{code: (level, sentence)}`, the worst of each code."""

    def ask():
        [answer] = play("krcard_doctor", "--json").objects
        seen = {}
        for each in (*answer["findings"], *answer["stripe"]["looked_at"]):
            seen.setdefault(each["code"], (each["level"], each["sentence"]))
        return seen

    return ask


def test_a_site_that_is_set_up_right_hears_so_line_by_line(play, endpoint):
    ended = play("krcard_doctor")

    assert (ended.code, ended.error) == (0, "")
    for line in (
        "OK key: It is a restricted test key.",
        "OK webhook_secret: A signing secret is set.",
        f"OK api_version: Stripe answers in version {PINNED_API_VERSION}.",
        "OK country: Account acct_sandbox_1 is in US, where Korean cards can be taken.",
        "OK capability: Korean cards are active (kr_card_payments).",
        "OK clock: This clock and Stripe's agree.",
        f"OK webhook_events: {endpoint.id} gets the {len(HANDLERS)} events that are handled.",
        f"OK webhook_version: {endpoint.id} speaks {PINNED_API_VERSION}.",
    ):
        assert line in ended.lines
    assert endpoint.secret not in ended.out
    assert "rk_test_stand_in" not in ended.out


def test_what_cannot_be_known_is_not_called_well(told, endpoint):
    seen = told()
    assert seen["permission_write"][0] == "note"
    assert "PaymentIntents" in seen["permission_write"][1]
    assert seen["last_event"][0] == "note"


def test_without_an_endpoint_it_names_the_command(play, stand_in):
    ended = play("krcard_doctor")
    assert ended.code == 1
    [line] = [line for line in ended.lines if line.startswith("ERROR")]
    assert line.endswith(f"Run krcard_create_webhook_endpoint {URL}.")


def test_an_endpoint_that_is_not_as_it_should_be(told, stand_in):
    params = {"url": URL, "enabled_events": ["mandate.updated", "charge.captured"], "api_version": "2024-06-20"}
    made = gateway.create_webhook_endpoint(params, key="k1")
    seen = told()
    assert seen["webhook_events"][0] == "error"
    assert "payment_intent.succeeded" in seen["webhook_events"][1]
    assert seen["webhook_extra"] == ("warning", f"{made.id} gets charge.captured, which nobody here handles.")
    assert seen["webhook_version"] == ("warning", f"{made.id} speaks 2024-06-20.")

    gateway.update_webhook_endpoint(made.id, {"enabled_events": ["*"], "disabled": True}, key="k2")
    assert told()["webhook_disabled"] == ("error", f"Endpoint {made.id} is disabled.")
    gateway.update_webhook_endpoint(made.id, {"disabled": False}, key="k3")
    seen = told()
    assert "webhook_events" not in seen
    assert seen["webhook_extra"][1].startswith(f"{made.id} gets *")

    gateway.create_webhook_endpoint(params, key="k4")
    gateway.create_webhook_endpoint(params | {"url": "https://other.example/krcard/webhook/"}, key="k5")
    assert told()["webhook_double"][1].startswith("2 endpoints")


def test_without_a_base_url_the_path_is_compared(told, endpoint, settings):
    settings.KRCARD_BASE_URL = None
    seen = told()
    assert seen["webhook_address"][0] == "note"
    assert seen["webhook_events"][0] == "ok"


def test_a_key_that_may_not_read_something_hears_what(told, endpoint, play):
    control.fail_next("GET", "/v1/mandates", status=403)
    control.fail_next("GET", "/v1/prices", status=403)
    lines = [line for line in play("krcard_doctor").lines if " permission:" in line]
    assert [line.split()[0] for line in lines] == ["NOTE", "ERROR"]
    assert lines[1].startswith("ERROR permission: The key may not read Mandates. Allow Read for it")


def test_a_key_that_may_not_look_at_the_rest_is_told_to_look_there(told, endpoint):
    for path in ("/v1/account", "/v1/webhook_endpoints", "/v1/events"):
        control.fail_next("GET", path, status=403)
    seen = told()
    assert {seen[code][0] for code in ("account", "webhook", "last_event")} == {"note"}


@pytest.mark.parametrize(
    ("status", "code", "words"),
    [(401, "key", "does not know"), (500, "stripe", "in vain"), ("timeout", "stripe", "in vain")],
)
def test_who_gets_no_answer_hears_why_and_is_asked_no_more(told, endpoint, no_waiting, status, code, words):
    for _ in range(3):
        control.fail_next("GET", "/v1/account", status=status)
    seen = told()
    assert seen[code][0] == "error"
    assert words in seen[code][1]
    assert "capability" not in seen


def test_a_version_that_stripe_does_not_have(told, endpoint, settings):
    settings.KRCARD_STRIPE_API_VERSION = "newest"
    assert told()["api_version"][0] == "error"


def test_korean_cards_that_are_not_switched_on(told, endpoint, settings):
    control.set_enabled_types(["card"])
    seen = told()
    assert seen["capability"][0] == "error"
    assert seen["payment_methods"] == ("note", "Korean cards are off in pmc_sandbox_1.")
    settings.KRCARD_PAYMENT_METHOD_TYPES = ["card"]
    assert "capability" not in told()


def test_the_kinds_of_keys(told, endpoint, settings, monkeypatch):
    monkeypatch.setattr("django_krcard.gateway.retrieve_account", lambda: raise_(StripeUnavailable("x")))
    seen = {}
    for key in ("sk_test_a", "rk_live_a", "sk_live_a", "pk_test_a"):
        settings.STRIPE_SECRET_KEY = key
        seen[key] = told()["key"][0]
    assert seen == {"sk_test_a": "ok", "rk_live_a": "ok", "sk_live_a": "warning", "pk_test_a": "error"}
    settings.STRIPE_SECRET_KEY, settings.DEBUG = "rk_live_a", True
    assert told()["key"] == ("error", "It is a restricted live key, and DEBUG is on.")


def raise_(error):
    raise error


ACCOUNT = Account("acct_1", "US", "active", True, None)


@pytest.mark.parametrize(
    ("account", "code", "level"),
    [
        (Account("acct_1", "KR", "active", True, None), "country", "error"),
        (Account("acct_1", "", "active", True, None), "country", "note"),
        (Account("acct_1", "US", "pending", True, None), "capability", "warning"),
        (Account("acct_1", "US", "", True, None), "capability", "note"),
        (Account("acct_1", "US", "active", False, None), "charges_enabled", "error"),
        (ACCOUNT, "clock", "note"),
    ],
)
def test_what_an_account_can_be(told, endpoint, monkeypatch, account, code, level):
    monkeypatch.setattr("django_krcard.gateway.retrieve_account", lambda: account)
    assert told()[code][0] == level


@pytest.mark.parametrize(("seconds", "level"), [(5, "ok"), (90, "warning"), (-400, "error")])
def test_clocks_that_are_apart(told, endpoint, monkeypatch, seconds, level):
    def asked():
        return Account("acct_1", "US", "active", True, timezone.now() - timedelta(seconds=seconds))

    monkeypatch.setattr("django_krcard.gateway.retrieve_account", asked)
    assert told()["clock"][0] == level


def test_whether_stripes_last_event_is_here(told, endpoint, monkeypatch):
    now = timezone.now()
    newest = NewestEvent("evt_9", "mandate.updated", now - timedelta(hours=1))
    monkeypatch.setattr("django_krcard.gateway.newest_event", lambda types: newest)
    assert told()["last_event"] == (
        "warning",
        "Stripe's last event never came: mandate.updated (evt_9), 1 hour ago.",
    )
    Event.objects.create(stripe_id="evt_9", type="mandate.updated", body=b"{}", created=now, received_at=now)
    assert told()["last_event"][0] == "ok"


def test_the_newest_event_is_found_among_all_types(stand_in, mandate_at_stripe):
    assert gateway.newest_event(HANDLERS).id == mandate_at_stripe


@pytest.fixture
def mandate_at_stripe(stand_in):
    customer = gateway.create_customer({}, key="c")
    gateway.client.client().v1.customers.delete(customer)
    [event] = gateway.client.client().v1.events.list({"types": ["customer.deleted"]}).data
    return event.id


def test_thin_events_are_looked_at_where_they_can_be_read(told, stand_in, monkeypatch):
    events = frozenset(f"v1.{event}" for event in HANDLERS)
    thin = WebhookEndpoint("ed_1", URL, True, events)
    monkeypatch.setattr("django_krcard.gateway.thin_destinations", lambda: [thin])
    seen = told()
    assert seen["webhook_events"] == ("ok", f"ed_1 gets the {len(HANDLERS)} events that are handled.")
    assert "webhook_missing" not in seen


def test_a_method_that_somebody_switched_off(told, endpoint, monkeypatch):
    off = [Configuration("pmc_1", True, True, False), Configuration("pmc_2", False, True, True)]
    monkeypatch.setattr("django_krcard.gateway.payment_method_configurations", lambda: iter(off))
    assert told()["payment_methods"] == ("note", "Korean cards are off in pmc_1.")


def test_the_sandbox_needs_no_endpoint(told):
    seen = told()
    assert (seen["key"][0], seen["webhook"][0], seen["capability"][0]) == ("ok", "ok", "ok")


def test_the_supported_sdks_are_those_of_the_metadata():
    [stripe] = [Requirement(line) for line in requires("django-krcard") if line.startswith("stripe")]
    low, high = ".".join(map(str, setup_at_stripe.SDK_FROM)), ".".join(map(str, setup_at_stripe.SDK_BELOW))
    assert str(stripe.specifier) == f"<{high},>={low}"
    assert len(setup_at_stripe.COUNTRIES.split()) == 28


# --- the one list of permissions --------------------------------------------------------------------


def test_every_call_of_the_gateway_is_on_the_list_of_permissions():
    """A new call needs a line: without it somebody's restricted key ends in a 403 after the next upgrade."""
    source = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "django_krcard" / "gateway").glob("*.py"))
    calls = set(re.findall(r'"(GET|POST) /v1/([a-z_]+)', source)) - {("GET", "account")}
    allowed = {(name, permission.level) for permission in gateway.PERMISSIONS for name in permission.addresses}
    reads = {("GET", name) for name, _level in allowed}
    writes = {("POST", name) for name, level in allowed if level == "Write"} | {("POST", "webhook_endpoints")}
    assert len(calls) > 15
    assert calls - reads - writes == set()


def test_the_docs_have_the_table_of_permissions():
    rows = re.findall(r"^\| ([A-Z][\w ]+) \| (Read|Write) \| (.+) \|$", (ROOT / "docs/go-live.md").read_text(), re.M)
    assert rows == [(each.resource, each.level, each.why) for each in gateway.PERMISSIONS]
