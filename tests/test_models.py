"""Rows and migrations."""

import pytest
from django.core.management import call_command
from django.db import IntegrityError

from django_krcard.models import Charge, Customer, lock
from tests.factories import CustomerFactory, UserFactory

pytestmark = pytest.mark.django_db


def test_the_migrations_say_what_the_models_say():
    call_command("makemigrations", "--check", "--dry-run", verbosity=0)


def test_records_outlive_the_account():
    customer = CustomerFactory()
    customer.user.delete()
    customer.refresh_from_db()
    assert customer.user is None
    assert str(customer) == customer.reference


def test_a_user_pays_as_one_customer_in_each_mode(settings):
    from django_krcard import services

    user = UserFactory()
    test = services.get_or_create_customer(user)
    assert services.get_or_create_customer(user) == test
    settings.KRCARD_SANDBOX = False
    settings.STRIPE_SECRET_KEY = "sk_live_x"
    assert services.get_or_create_customer(user) != test
    assert services.get_or_create_customer(reference="org-1").user is None
    assert Customer.objects.count() == 3


@pytest.mark.parametrize("amount", [0, 99, 100_000_000])
def test_the_database_knows_what_won_are(amount, membership):
    from django.utils import timezone

    from django_krcard.services.mandates import for_consent
    from tests.factories import consent_of

    mandate = for_consent(consent_of(CustomerFactory(), membership))
    with pytest.raises(IntegrityError):
        Charge.objects.create(
            mandate=mandate,
            consent=mandate.consent,
            amount=amount,
            reference="x",
            status="ready",
            due_at=timezone.now(),
        )


@pytest.mark.django_db(transaction=True)
def test_a_lock_needs_a_transaction():
    from django.core.exceptions import ImproperlyConfigured

    with pytest.raises(ImproperlyConfigured):
        lock(CustomerFactory())
