"""Customers at Stripe."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from django_krcard.gateway.answers import Customer, its_id, read_customer
from django_krcard.gateway.client import ask, in_order, keyed, pages


def create_customer(params: dict[str, Any], *, key: str) -> str:
    """Make a Customer and return its id. https://docs.stripe.com/api/customers/create"""
    return ask("POST /v1/customers", lambda stripe: stripe.customers.create(in_order(params), keyed(key)), its_id)


def update_customer(customer_id: str, params: dict[str, Any], *, key: str) -> None:
    """https://docs.stripe.com/api/customers/update"""
    ask(
        "POST /v1/customers/{id}",
        lambda stripe: stripe.customers.update(customer_id, in_order(params), keyed(key)),
        its_id,
    )


def retrieve_customer(customer_id: str) -> Customer:
    """Stripe keeps answering for a Customer that was deleted. https://docs.stripe.com/api/customers/retrieve"""
    return ask("GET /v1/customers", lambda stripe: stripe.customers.retrieve(customer_id), read_customer)


def customer_is_deleted(customer_id: str) -> bool:
    return retrieve_customer(customer_id).deleted


def customers_since(moment: datetime) -> Iterator[Customer]:
    """All Customers of the account made at or after ``moment``, newest first: a site shares the account with others.

    https://docs.stripe.com/api/customers/list
    """
    wanted = {"created": {"gte": int(moment.timestamp())}}
    yield from pages("GET /v1/customers (list)", lambda stripe: stripe.customers, wanted, read_customer)
