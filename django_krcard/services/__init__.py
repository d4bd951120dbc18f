"""Everything the app does, one function an act. What is named here is a promise to the outside."""

from django_krcard.services.amendments import request as request_amendment
from django_krcard.services.charges import cancel_charge, charge, schedule_charge
from django_krcard.services.checkout import start as start_checkout
from django_krcard.services.consents import Evidence
from django_krcard.services.consents import give as give_consent
from django_krcard.services.customers import ensure_at_stripe
from django_krcard.services.customers import get_or_create as get_or_create_customer
from django_krcard.services.customers import link as link_customer
from django_krcard.services.customers import update as update_customer
from django_krcard.services.direct import start as start_direct_setup
from django_krcard.services.evidence_pack import EvidencePack, evidence
from django_krcard.services.first_payments import Payment
from django_krcard.services.gate import can_charge, next_payment_on
from django_krcard.services.mandates import active_for as active_mandate
from django_krcard.services.mandates import hold, resume, revoke
from django_krcard.services.present import finish_charge
from django_krcard.services.refunds import refund
from django_krcard.services.run import run_due
from django_krcard.services.setups import complete as complete_setup
from django_krcard.services.start import start_first_payment
from django_krcard.services.subscribing import subscribe
from django_krcard.services.subscriptions import resume_collection
from django_krcard.services.terms import publish as publish_terms
from django_krcard.services.unsubscribing import cancel_subscription, keep_subscription, pro_rata, refund_unused

__all__ = [
    "Evidence",
    "EvidencePack",
    "Payment",
    "active_mandate",
    "can_charge",
    "cancel_charge",
    "cancel_subscription",
    "charge",
    "complete_setup",
    "ensure_at_stripe",
    "evidence",
    "finish_charge",
    "get_or_create_customer",
    "give_consent",
    "hold",
    "keep_subscription",
    "link_customer",
    "next_payment_on",
    "pro_rata",
    "publish_terms",
    "refund",
    "refund_unused",
    "request_amendment",
    "resume",
    "resume_collection",
    "revoke",
    "run_due",
    "schedule_charge",
    "start_checkout",
    "start_direct_setup",
    "start_first_payment",
    "subscribe",
    "update_customer",
]
