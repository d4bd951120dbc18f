"""The way out of a subscription, as its customer and as staff find it; and what a comparison with Stripe finds."""

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import translation

from django_krcard import services
from django_krcard.models import Subscription
from django_krcard.sandbox import control
from django_krcard.services.reconcile import reconcile
from django_krcard.testing.sandbox import books
from tests.admin.conftest import boss, browser  # noqa: F401
from tests.admin.pages import page
from tests.factories import UserFactory
from tests.test_subscribing import at_stripe, raise_price, run_due, subscription  # noqa: F401
from tests.test_subscriptions import kinds_of, price, stripe, subscribe  # noqa: F401

# ruff: noqa: F811
pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("krcard_clock", "no_waiting")]


def shown(client, mandate):
    with translation.override("ko"):
        return client.get(reverse("krcard:mandate", args=[mandate.public_id]), headers={"accept-language": "ko"}).text


def test_a_customer_sees_it_leaves_and_stays(minji, mandate, subscription):
    with translation.override("ko"):
        overview = minji.get(reverse("krcard:cards"), headers={"accept-language": "ko"}).text
    assert "다음 구독 결제" in overview
    assert "구독 해지" in overview
    address = reverse("krcard:cancel-subscription", args=[subscription.public_id])
    assert "이용 기간이 끝나면 해지" in shown(minji, mandate)
    assert minji.get(address).status_code == 405

    answer = minji.post(address, {"when": "period_end"}, follow=True)
    assert "에 종료됩니다" in answer.text
    assert "해지 취소" in shown(minji, mandate)
    minji.post(reverse("krcard:keep-subscription", args=[subscription.public_id]))
    assert "해지 취소" not in shown(minji, mandate)
    assert (at_stripe(), books("subscription")[0]["cancel_at_period_end"]) == (["active"], False)


def test_a_customer_ends_it_now_and_gets_the_rest_back(minji, mandate, subscription, krcard_clock):
    krcard_clock.advance(days=10)
    unused = services.pro_rata(subscription)
    assert f"{unused:,}원 환불받기" in shown(minji, mandate)
    for _time in range(2):
        minji.post(reverse("krcard:cancel-subscription", args=[subscription.public_id]), {"when": "now"})
    assert (at_stripe(), [each["amount"] for each in books("refund")]) == (["canceled"], [unused])
    mandate.refresh_from_db()
    assert mandate.status == "active"
    assert "구독 해지" not in shown(minji, mandate)
    # Too late to stay.
    minji.post(reverse("krcard:keep-subscription", args=[subscription.public_id]))
    assert at_stripe() == ["canceled"]


def test_to_withdraw_ends_it_too_and_gives_the_rest_back(minji, mandate, subscription):
    unused = services.pro_rata(subscription)
    minji.post(reverse("krcard:revoke", args=[mandate.public_id]))
    assert (at_stripe(), [each["amount"] for each in books("refund")]) == (["canceled"], [unused])
    assert kinds_of(mandate, "subscription_cancel_requested") == ["subscription_cancel_requested"]


def test_nobody_elses(subscription):
    stranger = Client()
    address = reverse("krcard:cancel-subscription", args=[subscription.public_id])
    assert stranger.post(address).status_code == 302
    stranger.force_login(UserFactory())
    for public_id in (subscription.public_id, "nonsense"):
        for name in ("cancel-subscription", "keep-subscription"):
            assert stranger.post(reverse(f"krcard:{name}", args=[public_id])).status_code == 404
    assert at_stripe() == ["active"]


def test_without_an_answer_the_customer_is_told_so_and_it_is_done_later(minji, subscription, krcard_clock):
    for _time in range(3):
        control.fail_next("DELETE", "/v1/subscriptions")
    address = reverse("krcard:cancel-subscription", args=[subscription.public_id])
    assert "접수해 처리하고 있습니다" in minji.post(address, {"when": "now"}, follow=True).text
    krcard_clock.advance(minutes=5)
    run_due()
    assert (at_stripe(), len(books("refund"))) == (["canceled"], 1)


# --- staff -------------------------------------------------------------------------------------------


def act(client, row, name, **data):
    return client.post(
        reverse(f"admin:krcard_subscription_{name}", args=[row.pk]), {"reason": "asked by phone", **data}, follow=True
    ).text


def test_staff_cancel_take_back_and_end(boss, mandate, subscription):
    assert "krcard_run_due" not in boss.get(page(subscription)).text
    assert "The subscription ends on" in act(boss, subscription, "leave")
    assert "The subscription runs." in act(boss, subscription, "keep")
    assert "The subscription is over" in act(boss, subscription, "cancel", refund_unused="on")
    assert len(books("refund")) == 1
    entry = mandate.timeline.filter(kind="subscription_cancel_requested").get()
    assert (entry.actor, entry.data["reason"]) == ("staff:boss", "asked by phone")
    assert "cancel at once" in boss.get(page(subscription)).text


def test_staff_resume_only_what_was_agreed(boss, mandate, subscription, stripe, price):
    raise_price(stripe, 15_900, price)
    assert "Not resumed" in act(boss, subscription, "resume")
    raise_price(stripe, 12_900, price)
    assert "The subscription runs." in act(boss, subscription, "resume")
    assert books("subscription")[0]["pause_collection"] is None
    assert "The subscription runs." in act(boss, subscription, "ask")


def test_staff_without_the_permission_may_look_only(client, subscription):
    clerk = UserFactory(is_staff=True)
    client.force_login(clerk)
    assert client.post(reverse("admin:krcard_subscription_cancel", args=[subscription.pk])).status_code == 403
    assert at_stripe() == ["active"]


# --- compared with Stripe ----------------------------------------------------------------------------


def findings(*kinds, **how):
    return [each for each in reconcile(everybody=True, **how) if each.kind in kinds]


def test_all_is_well(subscription):
    assert findings("subscription", "invoice", "outside_mandate") == []


def test_one_that_no_row_knows_is_taken_in_with_its_payment(mandate, subscribe):
    control.set_delivery("dropped")
    stripe_id = subscribe(mandate)
    [found] = findings("subscription")
    assert (found.stripe_id, found.here, found.fixed) == (stripe_id, "", False)
    assert not Subscription.objects.exists()
    assert findings("subscription", fix=True)[0].fixed
    assert (Subscription.objects.get().stripe_id, mandate.charges.get().status) == (stripe_id, "succeeded")
    assert findings("subscription", "invoice") == []


def test_one_that_names_no_mandate_is_told_and_left_alone(mandate, subscribe, stripe):
    stripe_id = subscribe(mandate, metadata={})
    [found] = findings("subscription", fix=True)
    assert (found.stripe_id, found.mandate, found.fixed) == (stripe_id, "", False)
    stripe.subscriptions.update(stripe_id, {"metadata": {"krcard_outside_mandate": "another shop"}})
    assert findings("subscription") == []


def test_drift_is_found_and_put_right(mandate, subscription, stripe, krcard_clock):
    control.set_delivery("dropped")
    other = control.authorise(
        stripe.checkout.sessions.create(
            {
                "mode": "setup",
                "currency": "krw",
                "customer": mandate.customer.stripe_id,
                "success_url": "http://testserver/",
            }
        ).id
    )
    card = next(each["id"] for each in books("payment_method") if each["id"] != mandate.payment_method.stripe_id)
    assert other
    stripe.subscriptions.update(
        subscription.stripe_id, {"default_payment_method": card, "pause_collection": {"behavior": "void"}}
    )
    krcard_clock.advance(days=31)
    told = {(each.kind, each.there) for each in findings("subscription", "invoice")}
    assert ("subscription", card) in told
    assert any("paused (void)" in there for _kind, there in told)
    assert any(kind == "invoice" for kind, _there in told)
    assert all(each.fixed for each in findings("subscription", "invoice", fix=True))
    assert books("subscription")[0]["default_payment_method"] == mandate.payment_method.stripe_id
    assert findings("subscription", "invoice") == []


def test_one_that_stripe_does_not_have_is_missing(subscription):
    Subscription.objects.update(stripe_id="sub_nobody")
    kinds = {each.kind: each.stripe_id for each in reconcile(everybody=True)}
    assert kinds["missing"] == "sub_nobody"
