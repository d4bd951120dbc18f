"""Subscriptions in the admin: to find and to read. What staff may do is in test_leaving."""

from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from django_krcard import gateway, services
from django_krcard.models import Subscription
from django_krcard.services import subscriptions
from tests.admin.pages import page

pytestmark = pytest.mark.django_db(transaction=True)

LISTED = "admin:krcard_subscription_changelist"


@pytest.fixture
def subscribed(mandate):
    def begin(stripe_id="sub_1", **changes):
        usual = {
            "status": "active",
            "customer": mandate.customer.stripe_id,
            "livemode": False,
            "amount": 12_900,
            "current_period_end": timezone.now() + timedelta(days=30),
            "metadata": {"krcard_mandate": str(mandate.public_id)},
        }
        return subscriptions.apply(mandate, gateway.Subscription(stripe_id, **usual | changes), timezone.now())

    return begin


def found(client, **query):
    return {row.stripe_id for row in client.get(reverse(LISTED), query).context["cl"].queryset}


def test_a_subscription_is_read_on_its_page(boss, mandate, subscribed):
    shown = boss.get(page(subscribed())).text
    for words in ("₩12,900", "active", "sub_1", mandate.reference, "minji"):
        assert words in shown


def test_what_varies_has_no_amount_and_an_unknown_status_is_shown_as_something_to_look_at(boss, subscribed):
    row = subscribed(amount=None, status="snoozed")
    shown = boss.get(page(row)).text
    assert 'krcard-warn"><span aria-hidden="true">!</span>&nbsp;snoozed' in shown
    assert "₩" not in shown


def test_each_status_of_stripes_has_its_words(boss, subscribed):
    for number, status in enumerate(sorted(Subscription.STATUSES)):
        subscribed(f"sub_{number}", status=status)
    shown = boss.get(reverse(LISTED)).text
    for words in ("free trial", "payment overdue", "first payment not made yet", "never began", "unpaid", "paused"):
        assert f"&nbsp;{words}</span>" in shown


def test_found_by_what_a_caller_can_tell(boss, mandate, subscribed):
    row = subscribed()
    subscribed("sub_2", status="past_due")
    assert found(boss, q="sub_1") == found(boss, q=str(row.public_id)) == {"sub_1"}
    assert found(boss, q=mandate.reference) == found(boss, q="minji") == {"sub_1", "sub_2"}
    assert found(boss, q="nobody") == found(boss, mode="live") == set()
    assert found(boss, status="past_due") == {"sub_2"}
    assert found(boss, mode="test") == found(boss, status="") == {"sub_1", "sub_2"}


def test_nothing_is_made_changed_or_removed_by_hand(boss, subscribed):
    row = subscribed()
    assert boss.post(page(row), {"status": "canceled"}).status_code == 403
    assert boss.post(page(row, "delete"), {"post": "yes"}).status_code == 403
    assert boss.get(reverse("admin:krcard_subscription_add")).status_code == 403
    assert Subscription.objects.get().status == "active"


def test_looking_needs_its_permission(staff, subscribed):
    row = subscribed()
    assert staff("view_mandate").get(page(row)).status_code == 403


def test_a_longer_list_asks_no_more_questions(boss, subscribed):
    def questions():
        with CaptureQueriesContext(connection) as queries:
            assert boss.get(reverse(LISTED)).status_code == 200
        return len(queries)

    subscribed()
    before = questions()
    for number in range(2, 6):
        subscribed(f"sub_{number}")
    assert questions() == before


def test_the_page_of_the_mandate_tells_of_it_in_words(boss, mandate, subscribed):
    subscribed()
    subscribed(amount=9_900)
    services.revoke(mandate, by="customer", reason="enough")
    shown = boss.get(page(mandate)).text
    for words in (
        "Subscription at Stripe started",
        "Price of the subscription changed",
        "Subscription goes on although the agreement has ended: it could not be cancelled",
    ):
        assert words in shown


def test_the_dashboard_is_one_click_away(boss, subscribed, settings):
    settings.KRCARD_SANDBOX = False
    assert "https://dashboard.stripe.com/test/subscriptions/sub_1" in boss.get(page(subscribed())).text
