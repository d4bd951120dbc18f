"""The rows that the messages of the story are about, written straight into the database."""

from datetime import timedelta

import rows
import story
from django.db import connection, transaction
from django.utils import timezone

from django_krcard.models import CardSetup, Charge, Consent, Customer, Mandate


@transaction.atomic
def attempts(numbers):
    """Each customer is at Stripe, about to save a card."""
    text = rows.membership()
    customers = Customer.objects.bulk_create(
        Customer(reference=str(n), stripe_id=story.name("customer", n), notice_address="minji@example.com")
        for n in numbers
    )
    agreed = Consent.objects.bulk_create([rows.consent_of(customer, text) for customer in customers])
    mandates = Mandate.objects.bulk_create(
        Mandate(
            public_id=story.thing("charge", n)["metadata"]["krcard_mandate"],
            reference=f"B{n}",
            customer=consent.customer,
            consent=consent,
        )
        for n, consent in zip(numbers, agreed, strict=True)
    )
    CardSetup.objects.bulk_create(
        CardSetup(
            public_id=story.thing("checkout.session", n)["client_reference_id"],
            mandate=mandate,
            consent=mandate.consent,
            expires_at=timezone.now() + CardSetup.LIFETIME,
            checkout_session_id=story.name("checkout.session", n),
            redirect_url="https://checkout.stripe.com/c/pay/cs_test_story",
        )
        for n, mandate in zip(numbers, mandates, strict=True)
    )
    analyze()


@transaction.atomic
def payments_on_their_way(numbers):
    """Each customer was charged once, and Stripe said "processing"."""
    mandates = Mandate.objects.filter(reference__in=[f"B{n}" for n in numbers]).select_related("consent")
    of_reference = {mandate.reference: mandate for mandate in mandates}
    now = timezone.now()
    charges = []
    for n in numbers:
        charge = rows.charge_of(of_reference[f"B{n}"])
        charge.status, charge.stripe_id = Charge.Status.PROCESSING, story.name("payment_intent", n)
        charge.first_sent_at = charge.last_sent_at = now
        charge.sends, charge.next_step_at = 1, now + timedelta(hours=1)
        charges.append(charge)
    Charge.objects.bulk_create(charges)
    analyze()


def analyze():
    """Without statistics PostgreSQL does not know yet that there are many rows."""
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")
