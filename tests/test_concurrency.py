"""Many at once: the constraints and claims hold on SQLite (IMMEDIATE) and on PostgreSQL."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import connection
from django.test import Client
from django.urls import reverse

from django_krcard import services
from django_krcard.exceptions import ChargeRefused
from django_krcard.models import CardSetup, Charge, Consent, Customer, Mandate
from django_krcard.sandbox.models import Resource
from tests.factories import as_used_terms

pytestmark = pytest.mark.django_db(transaction=True)

AT_ONCE = 32


def all_at_once(act, count=AT_ONCE):
    """Run ``act(number)`` in ``count`` threads that start together; return what each gave or raised."""
    barrier = threading.Barrier(count)

    def run(number):
        barrier.wait()
        try:
            return act(number)
        except Exception as error:
            return error
        finally:
            connection.close()

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(run, range(count)))


def at_stripe(kind):
    return Resource.objects.filter(kind=kind).count()


@pytest.mark.parametrize("same_page", [True, False])
def test_32_double_clicks_are_one_customer_and_one_session(user, minji, membership, agree, same_page):
    def a_page():
        client = Client()
        client.force_login(user)
        return client, client.get(reverse("krcard:consent", args=["membership"]))

    browsers = [a_page()] * AT_ONCE if same_page else [a_page() for _ in range(AT_ONCE)]
    clients = [Client() for _ in range(AT_ONCE)]
    for client in clients:
        client.force_login(user)

    answers = all_at_once(lambda number: agree(clients[number], page=browsers[number][1]))

    assert [getattr(answer, "status_code", answer) for answer in answers] == [303] * AT_ONCE
    assert len({answer["Location"] for answer in answers}) == 1
    assert Customer.objects.count() == at_stripe("customer") == 1
    assert CardSetup.objects.count() == Consent.objects.count() == Mandate.objects.count() == 1
    assert at_stripe("checkout.session") == 1


def test_one_reference_many_callers_one_payment(mandate, ledger):
    results = all_at_once(lambda number: services.charge(mandate, 12_900, reference="2026-11"))
    assert {type(result) for result in results} == {Charge}, results
    assert {result.pk for result in results} == {Charge.objects.get().pk}
    assert [paid["status"] for paid in ledger()] == ["succeeded"]


def test_many_references_never_more_than_the_terms_allow(save_card, ledger):
    mandate = save_card(as_used_terms(period="month", max_charges_per_period=3))
    results = all_at_once(lambda number: services.charge(mandate, 1_000, reference=f"order-{number}"))
    refused = [result for result in results if isinstance(result, ChargeRefused)]
    assert len(refused) == AT_ONCE - 3, results
    assert {result.code for result in refused} == {"period_count_reached"}
    assert len(ledger()) == 3


def test_all_results_at_once_save_the_card_once(minji, user, agree):
    from django_krcard.sandbox import control

    agree()
    setup = CardSetup.objects.get()
    control.set_delivery("dropped")
    control.authorise(setup.checkout_session_id)

    results = all_at_once(lambda number: services.complete_setup(CardSetup.objects.get(pk=setup.pk)), 16)

    assert {getattr(result, "pk", result) for result in results} == {Mandate.objects.get().pk}
    assert Mandate.objects.get().timeline.filter(kind="card_saved").count() == 1


def test_withdrawal_racing_charges_leaves_nothing_half_done(save_card, ledger):
    mandate = save_card(as_used_terms(period="month"))

    def act(number):
        if number == AT_ONCE // 2:
            return services.revoke(mandate, by="customer", reason="enough")
        return services.charge(mandate, 1_000, reference=f"order-{number}")

    results = all_at_once(act)
    unexpected = [r for r in results if isinstance(r, Exception) and not isinstance(r, ChargeRefused)]
    assert not unexpected
    mandate.refresh_from_db()
    assert mandate.status == "revoked"
    mandate.payment_method.refresh_from_db()
    assert mandate.payment_method.detached_at
    paid = {row["id"] for row in ledger() if row["status"] == "succeeded"}
    assert paid == set(Charge.objects.filter(status="succeeded").values_list("stripe_id", flat=True))
    # What was not sent before the withdrawal never is; what was sent has its answer.
    assert set(Charge.objects.values_list("status", flat=True)) <= {"succeeded", "declined", "cancelled", "refused"}
