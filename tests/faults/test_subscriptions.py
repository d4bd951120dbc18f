"""Every answer of Stripe's, and every way of losing one, to each POST for a subscription: one is made, or none."""

from contextlib import suppress

import pytest
from stripe import StripeClient

from django_krcard import services
from django_krcard.exceptions import StripeRefusedKey
from django_krcard.models import Charge, Subscription
from django_krcard.sandbox.http import SandboxHTTPClient
from django_krcard.testing.sandbox import SECRET_KEY, books
from tests.faults import crash
from tests.faults.crash import recover
from tests.faults.scenarios import a_mandate, after, the_mandate
from tests.faults.weather import FAULTS, Storm

pytestmark = [pytest.mark.faults, pytest.mark.django_db(transaction=True)]


@pytest.fixture
def world():
    with crash.world(Storm) as made:
        yield made
    Storm.end()


def price(world):
    shop = StripeClient(SECRET_KEY, http_client=SandboxHTTPClient()).v1
    recurring, product = {"interval": "month"}, {"name": "membership"}
    shop.prices.create({"currency": "krw", "unit_amount": 12_900, "recurring": recurring, "product_data": product})


def subscribe(world):
    [there] = books("price")
    return services.subscribe(the_mandate(), price=there["id"], reference="membership")


def leave(world):
    row = Subscription.objects.get()
    services.cancel_subscription(row, at_period_end=True, by="customer", reason="enough")


def nothing_double():
    """Stripe's books and ours are the same: so many subscriptions, so many payments."""
    there = {each["id"] for each in books("subscription")}
    paid = {each["id"] for each in books("payment_intent") if each["status"] == "succeeded"}
    assert len(there) == len(paid) <= 1
    assert set(Subscription.objects.exclude(stripe_id=None).values_list("stripe_id", flat=True)) == there
    assert set(Charge.objects.values_list("stripe_id", flat=True)) == paid


def weathered(world, path, act, fault):
    Storm.begin(fault, path, requests=1)
    with suppress(StripeRefusedKey):
        act(world)
    Storm.requests = 0
    recover(world, StripeRefusedKey)
    assert Storm.hits, f"{fault}: the request was never made"
    Storm.end()
    act(world)
    recover(world)


def test_subscribe_is_one_whatever_comes_back(world):
    after(a_mandate(), price)(world)
    start = world.picture()
    for fault in FAULTS:
        world.put_back(start)
        weathered(world, "/v1/subscriptions", subscribe, fault)
        nothing_double()
        row = Subscription.objects.get()
        assert row.status in ("active", "not_started"), f"{fault}: {row.status} {row.failure_code}"
        assert (row.status == "active") == bool(books("subscription")), str(fault)
        if fault.executed:
            assert row.status == "active", str(fault)


def test_leaving_is_carried_out_whatever_comes_back(world):
    after(a_mandate(), price, subscribe)(world)
    start = world.picture()
    for fault in FAULTS:
        world.put_back(start)
        weathered(world, "/v1/subscriptions/[^/]+", leave, fault)
        [there] = books("subscription")
        assert there["cancel_at_period_end"] or there["status"] == "canceled", str(fault)
        assert Subscription.objects.get().changes.get().status in ("done", "overtaken"), str(fault)
