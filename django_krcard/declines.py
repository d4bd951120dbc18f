"""Why a payment failed, sorted by what may follow. Data and nothing else.

Stripe gives two words: the ``code`` of the error and, more precisely, the ``decline_code`` of the issuer or the
processor. Both are open lists: Korean cards got finer ones with API version 2025-09-30.clover, and more will come.
https://docs.stripe.com/declines/codes https://docs.stripe.com/error-codes
"""

from __future__ import annotations

from enum import StrEnum


class Family(StrEnum):
    #: There may be money tomorrow. May be tried again by itself, where the terms say so.
    RETRY_LATER = "retry_later"
    #: Somebody has to do something first: use another card, call the issuer, confirm. Nothing happens by itself.
    ASK_CUSTOMER = "ask_customer"
    #: Never this card again: lost, stolen, closed, revoked, held for fraud.
    STOP = "stop"


#: The customer told the issuer to stop these payments. The mandate is put on hold until somebody has talked to them.
REVOKED = frozenset(
    {
        "refer_to_customer",
        "revocation_of_all_authorizations",
        "revocation_of_authorization",
        "stop_payment_order",
    }
)

CODES: dict[Family, frozenset[str]] = {
    Family.RETRY_LATER: frozenset(
        {
            # Too little money, or a limit of the day or the month.
            "card_velocity_exceeded",
            "insufficient_funds",
            "payment_limit_exceeded",
            "withdrawal_count_limit_exceeded",
            # Something was out of order between Stripe and the issuer.
            "approve_with_id",
            "issuer_not_available",
            "payment_method_not_available",
            "payment_method_provider_timeout",
            "processing_error",
            "reenter_transaction",
            "try_again_later",
        }
    ),
    Family.ASK_CUSTOMER: frozenset(
        {
            # No, and no reason given. Trying again blindly counts against the site with the card networks.
            "card_declined",
            "card_decline_rate_limit_exceeded",
            "call_issuer",
            "do_not_honor",
            "generic_decline",
            "no_action_taken",
            "partner_generic_decline",
            "partner_payment_not_found",
            "payment_intent_payment_attempt_failed",
            "payment_method_provider_decline",
            # The customer must be there, or was and did not confirm.
            "authentication_failure",
            "authentication_not_handled",
            "authentication_required",
            "payment_intent_authentication_failure",
            "payment_intent_payment_attempt_expired",
            "payment_method_customer_decline",
            # The card needs to be renewed.
            "expired_card",
            "expired_payment_information",
            "expired_payment_method",
            "incorrect_cvc",
            "incorrect_number",
            "invalid_cvc",
            "invalid_customer_account",
            "invalid_expiry_month",
            "invalid_expiry_year",
            "invalid_number",
            "invalid_payment_information",
            "new_account_information_available",
            # This card does not do this kind of payment, and will not tomorrow.
            "card_not_supported",
            "charge_exceeds_transaction_limit",
            "currency_not_supported",
            "invalid_amount",
            "not_permitted",
            "payment_method_currency_mismatch",
            "payment_method_restricted",
            "recurring_not_supported_by_bank",
            "service_not_allowed",
            "transaction_not_allowed",
            # A person must look first: the money may have moved already.
            "duplicate_transaction",
            "payment_disputed",
            # The site must do something, and the customer cannot help. Trying again by itself would not, either.
            "capability_not_active",
            "invalid_business_account",
            "invalid_request",
            "payment_intent_unexpected_state",
            "payment_method_unactivated",
            "testmode_decline",
        }
    ),
    Family.STOP: frozenset(
        {
            # The card is gone or blocked.
            "account_closed",
            "do_not_try_again",
            "invalid_account",
            "lost_card",
            "lost_or_stolen_card",
            "pickup_card",
            "restricted_card",
            "stolen_card",
            # Fraud, or held for it.
            "compliance_violation",
            "fraudulent",
            "highest_risk_level",
            "merchant_blacklist",
            "partner_high_risk_customer",
            "security_violation",
            # Stripe or the processor has no permission any more, or no card.
            "invalid_authorization",
            "invalid_billing_agreement",
            "payment_intent_mandate_invalid",
            "payment_method_unexpected_state",
            "resource_missing",
        }
    )
    | REVOKED,
}

_FAMILIES = {code: family for family, codes in CODES.items() for code in codes}

#: After these our rows may be behind what is so at Stripe: card removed, mandate ended. A request that Stripe refuses
#: without a code is one of them: that is how it answers for a card that was detached.
_IN_DOUBT = frozenset(
    {
        "",
        "invalid_authorization",
        "invalid_billing_agreement",
        "invalid_request",
        "payment_intent_mandate_invalid",
        "payment_method_unexpected_state",
        "resource_missing",
    }
)


def family_of(failure_code: str, decline_code: str) -> Family:
    """What may follow a failure. ``decline_code`` is the more precise of the two, and empty when there is none.

    A code that is not known here is no reason to try again by itself.
    """
    if decline_code in _FAMILIES:
        return _FAMILIES[decline_code]
    family = _FAMILIES.get(failure_code, Family.ASK_CUSTOMER)
    # "Timed out" and a reason that nobody here has heard of: the reason may be anything.
    return Family.ASK_CUSTOMER if decline_code and family is Family.RETRY_LATER else family


def is_card_in_doubt(code: str) -> bool:
    """Whether card and mandate are to be compared with Stripe after an error with this code."""
    return code in _IN_DOUBT
