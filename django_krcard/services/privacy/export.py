"""Everything about one person, for the person who asks what is known about them."""

from __future__ import annotations

from typing import Any

from django_krcard.models import Customer
from django_krcard.services.evidence_pack import customers_copy
from django_krcard.services.evidence_pack.consented import consent_facts, utc


def export_customer(customer: Customer) -> dict[str, Any]:
    """One person's data, as JSON can have it. Each agreement is the customer's own copy of its evidence pack."""
    agreements = [customers_copy(mandate).facts for mandate in customer.mandates.order_by("pk")]
    under_a_mandate = {consent["public_id"] for facts in agreements for consent in facts["consents"]}
    others = customer.consents.select_related("customer", "terms", "origin").order_by("pk")
    return {
        "format": "krcard-person",
        "version": 1,
        "customer": {
            "public_id": str(customer.public_id),
            "reference": customer.reference,
            "user": customer.user and customer.user.get_username(),
            "notice_address": customer.notice_address,
            "address": customer.address,
            "stripe_id": customer.stripe_id,
            "former_stripe_ids": customer.former_stripe_ids,
            "account": customer.account,
            "livemode": customer.livemode,
            "created_at": utc(customer.created_at),
            "erased_at": utc(customer.erased_at),
        },
        "agreements": agreements,
        "other_consents": [
            consent_facts(consent, []) for consent in others if str(consent.public_id) not in under_a_mandate
        ],
        "cards": [
            {
                "stripe_id": card.stripe_id,
                "type": card.type,
                "brand": card.brand,
                "last4": card.last4,
                "exp_month": card.exp_month,
                "exp_year": card.exp_year,
                "created_at": utc(card.created_at),
                "detached_at": utc(card.detached_at),
            }
            for card in customer.payment_methods.order_by("pk")
        ],
    }
