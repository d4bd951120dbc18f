"""Many at once, each with a connection of its own, as worker processes have."""

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import stripe
from django.db import connection

from django_krcard.sandbox import control
from django_krcard.sandbox.errors import SandboxError

from .conftest import charge_params, client_for

CROWD = 12


def at_once(act, count=CROWD):
    barrier = Barrier(count)

    def one(number):
        try:
            barrier.wait()
            return act(number)
        finally:
            connection.close()

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(one, range(count)))


def test_one_key_has_one_effect(api):
    def create(number):
        try:
            return client_for().v1.customers.create({"name": "Minji"}, {"idempotency_key": "k1"}).id
        except stripe.APIError as conflict:
            return conflict.error.code

    made = set(at_once(create)) - {"idempotency_key_in_use"}

    assert len(made) == 1
    assert {each.id for each in api.customers.list()} == made


def test_many_keys_have_many_effects(api, saved, heard):
    def charge(number):
        return client_for().v1.payment_intents.create(charge_params(saved, 1000 + number)).status

    assert at_once(charge) == ["succeeded"] * CROWD
    assert len(api.payment_intents.list({"limit": 100}).data) == CROWD
    assert len({event["id"] for event in heard}) == len(heard) == 2 * CROWD


def test_a_session_is_completed_once(api, customer, session):
    def authorise(number):
        try:
            return control.authorise(session.id)["status"]
        except SandboxError:
            return None

    assert sorted(at_once(authorise), key=bool) == [None] * (CROWD - 1) + ["complete"]
    assert len(api.customers.payment_methods.list(customer.id).data) == 1


def test_one_payment_intent_is_paid_once(api, saved):
    """Her click, the shop's own try, and both of them many times."""
    made = api.payment_intents.create({"amount": 100, "currency": "krw", "customer": saved.customer})
    api.payment_intents.confirm(made.id, {"payment_method": saved.card, "return_url": "http://127.0.0.1:8000/"})

    def pay(number):
        try:
            if number % 2:
                return control.finish_payment(made.id)["status"]
            away = {"payment_method": saved.card, "off_session": True}
            return client_for().v1.payment_intents.confirm(made.id, away).status
        except (SandboxError, stripe.InvalidRequestError):
            return None

    assert sorted(at_once(pay), key=bool) == [None] * (CROWD - 1) + ["succeeded"]
    assert len(api.charges.list({"payment_intent": made.id}).data) == 1


def test_one_decline_hits_one_charge(saved):
    control.decline_next()

    def charge(number):
        try:
            return client_for().v1.payment_intents.create(charge_params(saved)).status
        except stripe.CardError:
            return "declined"

    assert at_once(charge).count("declined") == 1


def test_a_message_is_delivered_once(api, saved, heard):
    control.set_delivery("held")
    api.payment_intents.create(charge_params(saved))

    delivered = at_once(lambda number: control.deliver())

    assert sum(delivered) == len(heard) == 2
