"""The webhook: nothing forged gets in, nothing comes twice."""

import json
import time

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from django_krcard.models import CardSetup, Event, Mandate
from django_krcard.sandbox import control
from django_krcard.testing import WEBHOOK_SECRET, sign
from django_krcard.webhooks.handlers import HANDLERS

pytestmark = pytest.mark.django_db(transaction=True)

EVENT = {
    "id": "evt_test_1",
    "object": "event",
    "type": "customer.created",
    "livemode": False,
    "api_version": "2026-10-28.endive",
    "data": {"object": {"id": "cus_1", "object": "customer"}},
}


@pytest.fixture
def post(krcard_events):
    """Post a body as Stripe would; ``header`` replaces the right signature."""

    def send(body, header=None):
        return krcard_events.post_raw(body if isinstance(body, bytes) else json.dumps(body), header=header)

    return send


def test_a_signed_message_is_kept_as_it_came(post):
    body = json.dumps(EVENT, indent=1).encode()
    assert post(body).status_code == 200
    event = Event.objects.get()
    assert bytes(event.body) == body
    assert (event.stripe_id, event.type, event.status) == ("evt_test_1", "customer.created", "ignored")


BODY = json.dumps(EVENT).encode()
GOOD = sign(BODY)


@pytest.mark.parametrize(
    "header",
    [
        "",
        "nonsense",
        "t=,v1=",
        "t=1,v1=",
        f"t={int(time.time())}",
        f"t={int(time.time())},v1=00",
        f"t={int(time.time())},v1=é",
        f"t={int(time.time())},v0=" + GOOD.split("v1=")[1],
        GOOD + "," + "v1=00," * 3000,
        "t=99999999999999999999999999,v1=00",
        sign(BODY, secret="whsec_other"),
        sign(BODY, secret=""),
        sign(BODY, secret="   "),
        sign(BODY, at=int(time.time()) - 10_000),
        sign(BODY, at=int(time.time()) + 100_000),
        sign(b"another body"),
        "\u0000",
    ],
    ids=[
        "missing",
        "nonsense",
        "empty-parts",
        "empty-signature",
        "no-signature",
        "wrong",
        "non-ascii",
        "other-scheme",
        "huge",
        "huge-timestamp",
        "other-secret",
        "empty-secret",
        "blank-secret",
        "old",
        "future",
        "other-body",
        "nul",
    ],
)
def test_what_is_not_proved_is_a_400_without_a_query(post, header, caplog):
    with CaptureQueriesContext(connection) as queries:
        assert post(BODY, header).status_code == 400
    assert len(queries) == 0
    assert not Event.objects.exists()
    assert "cus_1" not in caplog.text


@pytest.mark.parametrize("secret", ["", "  ", None, [], [""], ["", "  "]])
def test_without_a_secret_everybody_is_refused(post, settings, secret):
    settings.STRIPE_WEBHOOK_SECRET = secret
    assert post(BODY, sign(BODY, secret="")).status_code == 400
    assert post(BODY, sign(BODY, secret="  ")).status_code == 400
    assert not Event.objects.exists()


def test_two_secrets_count_while_one_is_being_rolled(post, settings):
    settings.STRIPE_WEBHOOK_SECRET = ["", "whsec_new", WEBHOOK_SECRET]
    assert post(BODY, sign(BODY, secret="whsec_new")).status_code == 200
    assert post(BODY, sign(BODY)).status_code == 200
    settings.STRIPE_WEBHOOK_SECRET = ["whsec_new"]
    assert post(BODY, sign(BODY)).status_code == 400


def test_only_post(client):
    assert client.get(reverse("krcard:webhook")).status_code == 405


def test_a_body_too_large_is_not_read(post):
    assert post(b"x" * (512 * 1024 + 1)).status_code == 413


def test_the_same_message_again_is_one_row_and_one_act(post, agree):
    control.set_delivery("held")
    agree()
    setup = CardSetup.objects.get()
    control.authorise(setup.checkout_session_id)
    message = EVENT | {
        "type": "checkout.session.completed",
        "data": {"object": {"id": setup.checkout_session_id, "client_reference_id": str(setup.public_id)}},
    }
    assert [post(message).status_code for _ in range(3)] == [200, 200, 200]
    assert Event.objects.get().attempts == 1
    assert Mandate.objects.get().timeline.filter(kind="card_saved").count() == 1


@pytest.mark.parametrize(
    "body",
    [
        b"[]",
        b"null",
        b"1",
        b"not json",
        b"\xff\xfe",
        b"[" * 5000 + b"]" * 5000,
        b'{"object": "event"}',
        json.dumps(EVENT | {"id": 1}).encode(),
        json.dumps(EVENT | {"id": "evt\u0000"}).encode(),
        json.dumps(EVENT | {"id": "\ud800"}).encode(),
        json.dumps(EVENT | {"id": "e" * 256}).encode(),
        json.dumps(EVENT | {"livemode": "false"}).encode(),
        json.dumps(EVENT | {"data": []}).encode(),
        json.dumps(EVENT | {"type": "mandate.updated", "data": {"object": {}}}).encode(),
    ],
)
def test_what_is_signed_but_unusable_is_kept_apart(post, body):
    if body == b"\xff\xfe":
        # Stripe's own check cannot read it, so it is not proved.
        assert post(body).status_code == 400
        return
    assert post(body).status_code == 200
    assert Event.objects.get().status == "quarantined"


@pytest.mark.parametrize("change", [{"livemode": True}, {"account": "acct_other"}])
def test_another_mode_or_account_is_kept_and_not_applied(post, change, agree):
    agree()
    setup = CardSetup.objects.get()
    control.set_delivery("dropped")
    control.authorise(setup.checkout_session_id)
    message = EVENT | {"type": "checkout.session.completed", "data": {"object": {"id": setup.checkout_session_id}}}
    assert post(message | change).status_code == 200
    assert Event.objects.get(stripe_id="evt_test_1").status == "foreign"
    assert Mandate.objects.get().status == "pending"


def test_a_failure_is_a_500_and_the_next_knock_does_it(post, monkeypatch):
    monkeypatch.setitem(HANDLERS, "customer.created", lambda customer: 1 / 0)
    assert post(EVENT).status_code == 500
    event = Event.objects.get()
    assert (event.status, event.attempts) == ("failed", 1)
    assert "ZeroDivisionError" in event.last_error
    assert event.next_attempt_at

    monkeypatch.setitem(HANDLERS, "customer.created", lambda customer: None)
    assert post(EVENT).status_code == 200
    event.refresh_from_db()
    assert (event.status, event.last_error) == ("done", "")


def test_events_of_others_are_ignored(post):
    strangers = [
        EVENT | {"id": "evt_2", "type": "checkout.session.completed"},
        EVENT
        | {"id": "evt_3", "type": "payment_intent.succeeded", "data": {"object": {"id": "pi_other", "metadata": {}}}},
        EVENT | {"id": "evt_4", "type": "payment_method.detached", "data": {"object": {"id": "pm_other"}}},
        EVENT | {"id": "evt_5", "type": "mandate.updated", "data": {"object": {"id": "mandate_other"}}},
        EVENT | {"id": "evt_6", "type": "setup_intent.succeeded", "data": {"object": {"id": "seti_other"}}},
    ]
    assert {post(message).status_code for message in strangers} == {200}


def test_a_charge_we_do_not_have_yet_waits(post, mandate):
    metadata = {"krcard_mandate": str(mandate.public_id), "krcard_reference": "not-yet"}
    message = EVENT | {
        "type": "payment_intent.succeeded",
        "data": {"object": {"id": "pi_1", "metadata": metadata, "created": int(time.time())}},
    }
    assert post(message).status_code == 500
    assert Event.objects.get(stripe_id="evt_test_1").status == "received"


def test_revoked_at_the_issuer_ends_the_mandate(mandate):
    control.deactivate_mandate(mandate.payment_method.stripe_id)
    mandate.refresh_from_db()
    assert (mandate.status, mandate.ended_by) == ("inactive", "stripe")


def test_a_card_removed_in_the_dashboard_cannot_be_charged(mandate):
    control.detach(mandate.payment_method.stripe_id)
    mandate.payment_method.refresh_from_db()
    assert mandate.payment_method.detached_at


def test_a_withdrawal_outranks_what_stripe_says(mandate):
    control.set_delivery("held")
    from django_krcard import services

    services.revoke(mandate, by="customer", reason="enough")
    control.deliver()
    mandate.refresh_from_db()
    assert (mandate.status, mandate.ended_by) == ("revoked", "customer")


def test_with_atomic_requests_a_failed_message_is_still_kept(post, monkeypatch):
    monkeypatch.setitem(connection.settings_dict, "ATOMIC_REQUESTS", True)
    monkeypatch.setitem(HANDLERS, "customer.created", lambda customer: 1 / 0)
    assert post(EVENT).status_code == 500
    assert Event.objects.get().status == "failed"


def test_a_site_where_everything_needs_a_login_still_hears_stripe(post, settings):
    settings.MIDDLEWARE = [*settings.MIDDLEWARE, "django.contrib.auth.middleware.LoginRequiredMiddleware"]
    assert post(EVENT).status_code == 200
