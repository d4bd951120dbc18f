"""Codes in words: why a payment failed."""

from __future__ import annotations

from django.utils.translation import gettext_lazy as _

from django_krcard.models import Charge
from django_krcard.rules import MESSAGES

#: What Stripe's codes mean, and two of our own. The code itself is always shown beside it. For staff only: Stripe asks
#: not to tell customers that a card was reported lost or stolen, or that a payment is held for fraud.
DECLINES = {
    "account_closed": _("The customer's account is closed."),
    "approve_with_id": _("The issuer could not approve the payment just now."),
    "authentication_failure": _("The customer did not confirm the payment."),
    "authentication_not_handled": _("The issuer wants the customer to confirm the payment."),
    "authentication_required": _("The issuer wants the customer to confirm the payment."),
    "call_issuer": _("The issuer declined the payment and wants the customer to call."),
    "capability_not_active": _("This kind of card is not switched on for the site's Stripe account."),
    "card_decline_rate_limit_exceeded": _("The card was declined too often in a short time."),
    "card_declined": _("The issuer declined the payment."),
    "card_not_supported": _("The card cannot be used for this kind of payment."),
    "card_velocity_exceeded": _("The limit of the card is reached."),
    "charge_exceeds_transaction_limit": _("The payment is above the limit of the card."),
    "compliance_violation": _("The payment is against the rules of the processor."),
    "currency_not_supported": _("The card cannot be charged in won."),
    "do_not_honor": _("The issuer declined the payment and gave no reason."),
    "do_not_try_again": _("The issuer declined the payment for good."),
    "duplicate_transaction": _("The issuer has just seen the same payment."),
    "expired_card": _("The card has expired."),
    "expired_payment_information": _("The card has expired."),
    "expired_payment_method": _("The card has expired."),
    "fraudulent": _("The payment is held for fraud."),
    "generic_decline": _("The issuer declined the payment and gave no reason."),
    "highest_risk_level": _("The payment is held for fraud."),
    "incorrect_cvc": _("The issuer does not accept the details of the card."),
    "incorrect_number": _("The issuer does not accept the details of the card."),
    "insufficient_funds": _("The account has too little money, or the limit of the card is reached."),
    "invalid_account": _("The card or its account is no longer valid."),
    "invalid_amount": _("The issuer does not allow this amount."),
    "invalid_authorization": _("Stripe's permission to charge this card is no longer valid."),
    "invalid_billing_agreement": _("Stripe's permission to charge this card is no longer valid."),
    "invalid_business_account": _("The site's account at the processor is closed."),
    "invalid_customer_account": _("The customer's account at the issuer cannot be charged."),
    "invalid_cvc": _("The issuer does not accept the details of the card."),
    "invalid_expiry_month": _("The issuer does not accept the details of the card."),
    "invalid_expiry_year": _("The issuer does not accept the details of the card."),
    "invalid_number": _("The issuer does not accept the details of the card."),
    "invalid_payment_information": _("The issuer does not accept the details of the card."),
    "invalid_request": _("Stripe could not carry out the request."),
    "issuer_not_available": _("The issuer could not be reached."),
    "lost_card": _("The card was reported lost."),
    "lost_or_stolen_card": _("The card was reported lost or stolen."),
    "merchant_blacklist": _("The card is on the site's own block list at Stripe."),
    "new_account_information_available": _("The customer has a new card or account."),
    "no_action_taken": _("The issuer declined the payment and gave no reason."),
    "not_created": _("Stripe never heard of the payment."),
    "not_permitted": _("The card cannot be used for this kind of payment."),
    "partner_generic_decline": _("The issuer declined the payment."),
    "partner_high_risk_customer": _("The payment is held for fraud."),
    "partner_payment_not_found": _("The processor does not know the payment."),
    "payment_disputed": _("The customer disputes a payment."),
    "payment_intent_authentication_failure": _("The customer did not confirm the payment."),
    "payment_intent_mandate_invalid": _("Stripe's permission to charge this card is no longer valid."),
    "payment_intent_payment_attempt_expired": _("The time to make the payment ran out."),
    "payment_intent_payment_attempt_failed": _("The issuer declined the payment."),
    "payment_intent_unexpected_state": _("The payment is in another state at Stripe."),
    "payment_limit_exceeded": _("The limit of the card is reached."),
    "payment_method_currency_mismatch": _("The card cannot be charged in won."),
    "payment_method_customer_decline": _("The customer declined the payment."),
    "payment_method_not_available": _("The processor of these cards is out of order at the moment."),
    "payment_method_provider_decline": _("The issuer declined the payment."),
    "payment_method_provider_timeout": _("The issuer did not answer in time."),
    "payment_method_restricted": _("The card cannot be used for this kind of payment."),
    "payment_method_unactivated": _("This kind of card is not switched on for the site's Stripe account."),
    "payment_method_unexpected_state": _("The card is not saved at Stripe any more."),
    "period_over": _("The period of the payment is over."),
    "pickup_card": _("The issuer has blocked the card."),
    "processing_error": _("Something went wrong while the payment was processed."),
    "recurring_not_supported_by_bank": _("The issuer does not allow automatic payments."),
    "reenter_transaction": _("The issuer could not approve the payment just now."),
    "refer_to_customer": _("The customer told the issuer to stop this payment."),
    "resource_missing": _("Card, customer or payment do not exist at Stripe."),
    "restricted_card": _("The issuer has blocked the card."),
    "revocation_of_all_authorizations": _("The customer told the issuer to stop all automatic payments."),
    "revocation_of_authorization": _("The customer told the issuer to stop these payments."),
    "security_violation": _("The issuer declined the payment for reasons of security."),
    "service_not_allowed": _("The card cannot be used for this kind of payment."),
    "stolen_card": _("The card was reported stolen."),
    "stop_payment_order": _("The customer told the issuer to stop this payment."),
    "testmode_decline": _("A card for tests was charged in live mode."),
    "transaction_not_allowed": _("The card cannot be used for this kind of payment."),
    "try_again_later": _("The issuer could not approve the payment just now."),
    "withdrawal_count_limit_exceeded": _("The limit of the card is reached."),
}


def why(charge: Charge) -> tuple[str, str]:
    """Why a charge did not succeed, as (code, sentence). Both empty if there is nothing to say."""
    codes = charge.refusal_code, charge.decline_code, charge.failure_code
    return next(filter(None, codes), ""), sentence_for(*codes)


def sentence_for(*codes: str | None) -> str:
    """The sentence for the first of ``codes`` that has one."""
    sentences = MESSAGES | DECLINES
    return next((str(sentences[code]) for code in codes if code and code in sentences), "")
