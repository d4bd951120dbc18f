from datetime import UTC, datetime, timedelta

import pytest
import stripe

from django_krcard.sandbox import control
from django_krcard.sandbox.api import handle
from django_krcard.sandbox.errors import SandboxError

from .conftest import charge_params, client_for

KEY = {"Authorization": "Bearer sk_test_x"}


def test_a_customer_is_made_found_and_changed(api):
    made = api.customers.create({"name": "김민지", "metadata": {"a": "1", "b": "2"}})

    api.customers.update(made.id, {"name": "", "email": "m@example.com", "metadata": {"a": "", "c": "3"}})

    found = api.customers.retrieve(made.id)
    assert (found.name, found.email) == (None, "m@example.com")
    assert found.metadata.to_dict() == {"b": "2", "c": "3"}
    assert [each.id for each in api.customers.list({"email": "m@example.com"})] == [made.id]


@pytest.mark.parametrize(
    ("path", "param"),
    [
        ("customers/cus_x", "id"),
        ("customers/cus_x/payment_methods", "id"),
        ("checkout/sessions/cs_x", "session"),
        ("setup_intents/seti_x", "intent"),
        ("payment_methods/pm_x", "payment_method"),
        ("mandates/mandate_x", "mandate"),
        ("payment_intents/pi_x", "intent"),
        ("charges/ch_x", "id"),
        ("refunds/re_x", "refund"),
        ("disputes/du_x", "dispute"),
        ("products/prod_x", "id"),
        ("prices/price_x", "price"),
        ("subscriptions/sub_x", "id"),
        ("invoices/in_x", "invoice"),
        ("invoice_payments/inpay_x", "invoice_payment"),
        ("webhook_endpoints/we_x", "id"),
        ("events/evt_x", "id"),
    ],
)
def test_an_unknown_id_is_missing(path, param):
    response = handle("GET", f"/v1/{path}", {}, KEY)

    assert response.status == 404
    error = response.body["error"]
    assert (error["type"], error["code"], error["param"]) == ("invalid_request_error", "resource_missing", param)


@pytest.mark.parametrize(("method", "path"), [("GET", "/v1/nothing"), ("DELETE", "/v1/refunds/re_x"), ("GET", "/")])
def test_an_address_that_is_not_modelled_is_not_there(method, path):
    response = handle(method, path, {}, KEY)

    assert response.status == 404
    assert response.body["error"]["message"] == f"Unrecognized request URL ({method}: {path})."


@pytest.mark.parametrize("key", ["", "Bearer ", "Bearer nonsense"])
def test_without_a_test_key_it_is_a_401(key):
    response = handle("GET", "/v1/customers", {}, {"Authorization": key})

    assert response.status == 401


@pytest.mark.parametrize(
    "encoded",
    [
        "name=a&name[b]=c",
        "[x]=1",
        "metadata=1",
        "metadata[a][b]=1",
        "name[a]=1",
        "a[b=1",
        "name=a%00b",
        "na%00me=a",
        "metadata[a%00b]=1",
        "a" + "[b]" * 20 + "=1",
    ],
)
def test_malformed_parameters_are_refused(encoded):
    response = handle("POST", "/v1/customers", encoded, KEY)

    assert response.status == 400
    assert response.body["error"]["type"] == "invalid_request_error"


def test_lists_turn_pages(api, saved):
    made = [api.payment_intents.create(charge_params(saved, 100 + n)).id for n in range(5)]

    first = api.payment_intents.list({"customer": saved.customer, "limit": 2})
    assert [intent.id for intent in first.data] == [made[4], made[3]]
    assert first.has_more is True
    everything = [intent.id for intent in first.auto_paging_iter()]
    assert everything == made[::-1]
    last = api.payment_intents.list({"starting_after": made[1]})
    assert ([intent.id for intent in last.data], last.has_more) == ([made[0]], False)


def test_lists_turn_pages_backwards(api, saved):
    made = [api.payment_intents.create(charge_params(saved, 100 + n)).id for n in range(5)]

    page = api.payment_intents.list({"limit": 2, "ending_before": made[0]})
    assert ([intent.id for intent in page.data], page.has_more) == ([made[2], made[1]], True)
    page = api.payment_intents.list({"limit": 2, "ending_before": made[2]})
    assert ([intent.id for intent in page.data], page.has_more) == ([made[4], made[3]], False)


def test_lists_know_when(api, saved):
    early = api.payment_intents.create(charge_params(saved))
    control.advance(timedelta(hours=1))
    late = api.payment_intents.create(charge_params(saved))

    assert [each.id for each in api.payment_intents.list({"created": {"gt": early.created}})] == [late.id]
    assert [each.id for each in api.payment_intents.list({"created": early.created})] == [early.id]
    assert api.payment_intents.list({"customer": "cus_other"}).data == []


def test_what_somebody_paid_since_then_turns_pages(api, saved):
    """How a lost answer is looked up."""
    api.payment_intents.create(charge_params(saved))
    control.advance(timedelta(hours=1))
    since = int(control.now().timestamp())
    other = api.customers.create({"name": "박서준"})
    made = [api.payment_intents.create(charge_params(saved)).id for _ in range(3)]
    api.payment_intents.create({"amount": 100, "currency": "krw", "customer": other.id})

    first = api.payment_intents.list({"customer": saved.customer, "created": {"gte": since}, "limit": 2})

    assert ([each.id for each in first.data], first.has_more) == ([made[2], made[1]], True)
    assert [each.id for each in first.auto_paging_iter()] == made[::-1]


@pytest.mark.parametrize(
    "params", [{"limit": 0}, {"limit": 101}, {"starting_after": "pi_x"}, {"ending_before": "pi_x"}, {"colour": "red"}]
)
def test_a_wrong_list_is_refused(api, params):
    with pytest.raises(stripe.InvalidRequestError) as refused:
        api.payment_intents.list(params)

    assert refused.value.http_status == 400


def test_lists_expand(api, session):
    [found] = api.checkout.sessions.list({"status": "open", "expand": ["data.setup_intent"]})

    assert found.setup_intent.status == "requires_payment_method"


@pytest.mark.parametrize("path", ["url", "setup_intent.url", "customer." * 5 + "customer"])
def test_what_cannot_be_expanded_is_refused_and_nothing_is_done(api, customer, path):
    with pytest.raises(stripe.InvalidRequestError, match="expand"):
        api.customers.create({"name": "twice", "expand": [path]})

    assert len(api.customers.list().data) == 1


def test_the_client_says_what_it_cannot_do(stripe_client):
    http = client_for()._requestor._client

    with pytest.raises(NotImplementedError, match="stream"):
        http.request_stream("get", "https://api.stripe.com/v1/files", {})
    http.close()


@pytest.mark.parametrize(
    ("path", "says"), [(".".join(["customer"] * 5), "more than 4 levels"), ("a.b.c.d", "cannot be")]
)
def test_expanding_has_a_depth(api, customer, path, says):
    with pytest.raises(stripe.InvalidRequestError, match=says) as refused:
        api.customers.retrieve(customer.id, {"expand": [path]})

    assert refused.value.param == "expand"


def test_in_a_list_expanding_goes_one_name_further(api, session):
    four, five = "data.setup_intent.payment_method.customer.x", "data.setup_intent.payment_method.customer.x.y"

    assert api.checkout.sessions.list({"expand": [four]}).data
    with pytest.raises(stripe.InvalidRequestError, match="more than 4 levels"):
        api.checkout.sessions.list({"expand": [five]})


@pytest.mark.parametrize("version", ["2026-10-28", "2026-10-28.endive", "2025-03-31.preview", ""])
def test_versions_look_like_this(version):
    assert handle("GET", "/v1/customers", {}, {**KEY, "Stripe-Version": version}).status == 200


@pytest.mark.parametrize("version", ["latest", "2026-1-2", "2026-10-28.", "2026-10-28.endive\n", "2026-10-28;a=v1"])
def test_a_version_that_looks_otherwise_is_refused(version):
    response = handle("GET", "/v1/customers", {}, {**KEY, "Stripe-Version": version})

    assert response.status == 400
    error = response.body["error"]
    assert (error["type"], error.get("code")) == ("invalid_request_error", None)
    assert "2026-10-28.endive" in error["message"]
    assert response.headers["Stripe-Version"] == "2026-10-28.endive"


def test_the_account_cannot_be_mistaken_for_a_real_one():
    assert "_sandbox_" in handle("GET", "/v1/account", {}, KEY).body["id"]


def test_the_clock_ends_with_the_year_9000(customer):
    before = control.now()
    with pytest.raises(SandboxError, match="year 9000"):
        control.advance(timedelta(days=365 * 7_000))
    assert control.now() - before < timedelta(minutes=1)

    control.advance(datetime(9000, 12, 31, tzinfo=UTC) - before)
    assert control.now().year == 9000
    with pytest.raises(SandboxError, match="year 9000"):
        control.advance(timedelta(days=2))
