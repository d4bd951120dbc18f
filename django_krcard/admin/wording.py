"""Codes in words: what happened to a mandate, and why a payment failed."""

from __future__ import annotations

from django.utils.translation import gettext_lazy as _

from django_krcard.models import Charge
from django_krcard.rules import MESSAGES

#: Kind of timeline entry → (tone, words). An unknown kind is shown as it is.
TIMELINE = {
    "consent_given": ("good", _("Agreed to the terms")),
    "session_created": ("wait", _("Sent to Stripe to save a card")),
    "korean_cards_missing": ("bad", _("Stripe did not offer Korean cards")),
    "setup_failed": ("bad", _("Saving the card failed")),
    "setup_expired": ("over", _("Time to save the card ran out")),
    "card_saved": ("good", _("Card saved")),
    "card_removed": ("over", _("Card removed")),
    "detach_failed": ("bad", _("Card could not be removed at Stripe")),
    "mandate_activated": ("good", _("Agreement active")),
    "mandate_held": ("warn", _("Put on hold")),
    "mandate_resumed": ("good", _("Resumed")),
    "mandate_ended": ("over", _("Agreement ended")),
    "charge_requested": ("wait", _("Charge requested")),
    "charge_refused": ("bad", _("Charge refused by the terms")),
    "charge_ready": ("wait", _("Charge not executed yet")),
    "charge_processing": ("wait", _("Charge is being processed")),
    "charge_succeeded": ("good", _("Charged")),
    "charge_declined": ("bad", _("Charge declined")),
    "charge_action_required": ("warn", _("Issuer wants the customer to be present")),
    "charge_unknown": ("warn", _("Outcome of the charge unknown")),
    "charge_cancelled": ("over", _("Charge cancelled")),
}

#: What Stripe's most frequent codes mean. The code itself is always shown beside it.
DECLINES = {
    "authentication_required": _("The issuer wants the customer to confirm the payment."),
    "card_declined": _("The issuer declined the payment."),
    "charge_exceeds_transaction_limit": _("The payment is above the limit of the card."),
    "do_not_honor": _("The issuer declined the payment and gave no reason."),
    "expired_card": _("The card has expired."),
    "expired_payment_method": _("The card has expired."),
    "generic_decline": _("The issuer declined the payment and gave no reason."),
    "insufficient_funds": _("The account has too little money, or the limit of the card is reached."),
    "lost_card": _("The card was reported lost."),
    "payment_intent_mandate_invalid": _("Stripe's permission to charge this card is no longer valid."),
    "payment_method_customer_decline": _("The customer declined the payment."),
    "payment_method_provider_decline": _("The issuer declined the payment."),
    "payment_method_provider_timeout": _("The issuer did not answer in time."),
    "stolen_card": _("The card was reported stolen."),
}


def why(charge: Charge) -> tuple[str, str]:
    """Why a charge did not succeed, as (code, sentence). Both empty if there is nothing to say."""
    codes = charge.refusal_code, charge.decline_code, charge.failure_code
    return next(filter(None, codes), ""), sentence_for(*codes)


def sentence_for(*codes: str | None) -> str:
    """The sentence for the first of ``codes`` that has one."""
    sentences = MESSAGES | DECLINES
    return next((str(sentences[code]) for code in codes if code and code in sentences), "")
