"""What Stripe's objects look like (as of 2026-10-28.endive), with every field that is always there."""

from typing import Any

from .store import Act, Body, new_id, suffix

BILLING = ("address", "email", "name", "phone", "tax_id")

# Always in the object, and always null in the part of Stripe that is modelled here.
SESSION_NULLS = (
    "after_expiration allow_promotion_codes amount_subtotal amount_total billing_address_collection "
    "client_secret collected_information consent consent_collection currency_conversion "
    "customer_account customer_creation customer_details customer_email discounts invoice "
    "invoice_creation managed_payments origin_context payment_intent payment_link "
    "payment_method_configuration_details permissions recovered_from saved_payment_method_options "
    "shipping_address_collection shipping_cost submit_type subscription total_details wallet_options"
)
SETUP_INTENT_NULLS = (
    "application automatic_payment_methods cancellation_reason customer_account "
    "excluded_payment_method_types last_setup_error latest_attempt mandate next_action on_behalf_of "
    "payment_method payment_method_configuration_details single_use_mandate"
)
PAYMENT_INTENT_NULLS = (
    "application application_fee_amount automatic_payment_methods canceled_at cancellation_reason "
    "customer_account excluded_payment_method_types last_payment_error latest_charge managed_payments "
    "next_action on_behalf_of payment_method_configuration_details payment_record processing review "
    "shipping source transfer_data transfer_group"
)
CHARGE_NULLS = (
    "application application_fee application_fee_amount balance_transaction failure_balance_transaction "
    "failure_code failure_message on_behalf_of receipt_number receipt_url review shipping source "
    "source_transfer transfer_data transfer_group"
)

REFUND_NULLS = "balance_transaction customer_account receipt_number source_transfer_reversal transfer_reversal"
DISPUTE_TEXTS = (
    "access_activity_log billing_address cancellation_policy_disclosure cancellation_rebuttal "
    "customer_email_address customer_name customer_purchase_ip duplicate_charge_explanation "
    "duplicate_charge_id product_description refund_policy_disclosure refund_refusal_explanation "
    "service_date shipping_address shipping_carrier shipping_date shipping_tracking_number uncategorized_text"
)
DISPUTE_FILES = (
    "cancellation_policy customer_communication customer_signature duplicate_charge_documentation receipt "
    "refund_policy service_documentation shipping_documentation uncategorized_file"
)
# Korean cards: seven days, says Stripe's page about South Korea.
DISPUTE_ANSWER_SECONDS = 7 * 24 * 60 * 60


def base(act: Act, kind: str, nulls: str = "") -> Body:
    body: Body = {"id": new_id(kind), "object": kind, "created": act.now, "livemode": False}
    return body | dict.fromkeys(nulls.split())


def customer(act: Act, given: Body) -> Body:
    return base(act, "customer") | {
        "address": given.get("address"),
        "balance": 0,
        "currency": None,
        "default_source": None,
        "delinquent": False,
        "description": given.get("description"),
        "discount": None,
        "email": given.get("email"),
        "invoice_prefix": "SANDBOX1",
        "invoice_settings": {
            "custom_fields": None,
            "default_payment_method": None,
            "footer": None,
            "rendering_options": None,
        },
        "metadata": given.get("metadata", {}),
        "name": given.get("name"),
        "phone": given.get("phone"),
        "preferred_locales": given.get("preferred_locales", []),
        "shipping": None,
        "tax_exempt": "none",
        "test_clock": None,
    }


def session(act: Act, given: Body, types: list[str]) -> Body:
    texts = given.get("custom_text", {})
    paying = given["mode"] == "payment"
    return base(act, "checkout.session", SESSION_NULLS) | {
        "adaptive_pricing": None,
        "allowed_payment_method_types": given.get("allowed_payment_method_types"),
        "automatic_tax": {"enabled": False, "liability": None, "provider": None, "status": None},
        "cancel_url": given.get("cancel_url"),
        "client_reference_id": given.get("client_reference_id"),
        "currency": given.get("currency"),
        "custom_fields": [],
        "custom_text": {
            place: texts.get(place)
            for place in ("after_submit", "shipping_address", "submit", "terms_of_service_acceptance")
        },
        "customer": given["customer"],
        "expires_at": given["expires_at"],
        "integration_identifier": given.get("integration_identifier"),
        "locale": given.get("locale"),
        "metadata": given.get("metadata", {}),
        "mode": given["mode"],
        "payment_method_collection": "always",
        "payment_method_options": {},
        "payment_method_types": types,
        "payment_status": "unpaid" if paying else "no_payment_required",
        "setup_intent": None,
        "shipping_options": [],
        "status": "open",
        "success_url": given["success_url"],
        "ui_mode": "hosted_page",
        "url": None,
    }


def setup_intent(act: Act, asked: Body, types: list[str], given: Body) -> Body:
    """Asked for directly, or by a Session with its `setup_intent_data`."""
    body = base(act, "setup_intent", SETUP_INTENT_NULLS)
    return body | {
        "allowed_payment_method_types": asked.get("allowed_payment_method_types"),
        "client_secret": f"{body['id']}_secret_{suffix()}",
        "customer": asked.get("customer"),
        "description": given.get("description"),
        "metadata": given.get("metadata", {}),
        "payment_method_options": {},
        "payment_method_types": types,
        "status": "requires_payment_method",
        "usage": "off_session",
    }


def payment_method(act: Act, customer: Body, type: str, details: Body) -> Body:
    who = {name: customer.get(name) for name in ("email", "name", "phone")}
    return base(act, "payment_method") | {
        "allow_redisplay": "limited",
        "billing_details": dict.fromkeys(BILLING) | who,
        "customer": customer["id"],
        "customer_account": None,
        "metadata": {},
        "type": type,
        type: details,
    }


def visa(last4: str) -> Body:
    return {
        "brand": "visa",
        "checks": {
            "address_line1_check": None,
            "address_postal_code_check": None,
            "cvc_check": "pass",
        },
        "country": "KR",
        "display_brand": "visa",
        "exp_month": 12,
        "exp_year": 2034,
        "fingerprint": suffix()[:16],
        "funding": "credit",
        "generated_from": None,
        "last4": last4,
        "networks": {"available": ["visa"], "preferred": None},
        "regulated_status": "unregulated",
        "three_d_secure_usage": {"supported": True},
        "wallet": None,
    }


def mandate(act: Act, payment_method: Body, status: str, ip_address: str | None, user_agent: str | None) -> Body:
    type = payment_method["type"]
    online = {"ip_address": ip_address, "user_agent": user_agent}
    body = base(act, "mandate") | {
        "customer_acceptance": {"accepted_at": act.now, "online": online, "type": "online"},
        "multi_use": {},
        "payment_method": payment_method["id"],
        "payment_method_details": {"type": type, type: {}},
        "status": status,
        "type": "multi_use",
    }
    del body["created"]
    return body


def payment_intent(act: Act, given: Body, types: list[str]) -> Body:
    body = base(act, "payment_intent", PAYMENT_INTENT_NULLS)
    waiting = "requires_confirmation" if given.get("payment_method") else "requires_payment_method"
    return body | {
        "allowed_payment_method_types": given.get("allowed_payment_method_types"),
        "amount": given["amount"],
        "amount_capturable": 0,
        "amount_details": {"tip": {}},
        "amount_received": 0,
        "capture_method": "automatic",
        "client_secret": f"{body['id']}_secret_{suffix()}",
        "confirmation_method": "automatic",
        "currency": given["currency"],
        "customer": given.get("customer"),
        "description": given.get("description"),
        "metadata": given.get("metadata", {}),
        "payment_method": given.get("payment_method"),
        "payment_method_options": {},
        "payment_method_types": types,
        "receipt_email": given.get("receipt_email"),
        "setup_future_usage": given.get("setup_future_usage"),
        "statement_descriptor": given.get("statement_descriptor"),
        "statement_descriptor_suffix": given.get("statement_descriptor_suffix"),
        "status": waiting,
    }


def charge(act: Act, intent: Body, method: Body, status: str) -> Body:
    paid = status == "succeeded"
    copied = ("amount", "currency", "customer", "description", "metadata", "receipt_email")
    descriptors = ("statement_descriptor", "statement_descriptor_suffix")
    body = base(act, "charge", CHARGE_NULLS) | {name: intent[name] for name in copied + descriptors}
    return body | {
        "amount_captured": intent["amount"] if paid else 0,
        "amount_refunded": 0,
        "billing_details": method["billing_details"],
        "calculated_statement_descriptor": intent["statement_descriptor"],
        "captured": paid,
        "disputed": False,
        "fraud_details": {},
        "outcome": outcome(status),
        "paid": paid,
        "payment_intent": intent["id"],
        "payment_method": method["id"],
        "payment_method_details": {"type": method["type"], method["type"]: card_charged(method, intent["customer"])},
        "refunded": False,
        "status": status,
    }


def refund(act: Act, charge: Body, given: Body) -> Body:
    copied = ("currency", "customer", "payment_intent", "payment_method")
    body = base(act, "refund", REFUND_NULLS) | {name: charge[name] for name in copied}
    del body["livemode"]
    return body | {
        "amount": given["amount"],
        "charge": charge["id"],
        "metadata": given.get("metadata", {}),
        "reason": given.get("reason"),
        "status": "succeeded",
    }


def dispute(act: Act, charge: Body, reason: str) -> Body:
    return base(act, "dispute") | {
        "amount": charge["amount"] - charge["amount_refunded"],
        "balance_transactions": [],
        "charge": charge["id"],
        "currency": charge["currency"],
        "enhanced_eligibility_types": [],
        "evidence": dict.fromkeys(f"{DISPUTE_TEXTS} {DISPUTE_FILES}".split()) | {"enhanced_evidence": {}},
        "evidence_details": {
            "due_by": act.now + DISPUTE_ANSWER_SECONDS,
            "enhanced_eligibility": {},
            "has_evidence": False,
            "past_due": False,
            "submission_count": 0,
            "submission_method": "not_submitted",
        },
        "intended_submission_method": None,
        "is_charge_refundable": False,
        "metadata": {},
        "payment_intent": charge["payment_intent"],
        "reason": reason,
        "status": "needs_response",
    }


def webhook_endpoint(act: Act, given: Body) -> Body:
    return base(act, "webhook_endpoint") | {
        "api_version": given.get("api_version"),
        "application": None,
        "description": given.get("description"),
        "enabled_events": given["enabled_events"],
        "metadata": given.get("metadata", {}),
        "status": "enabled",
        "url": given["url"],
    }


def outcome(status: str) -> Body | None:
    if status == "pending":
        return None
    paid = status == "succeeded"
    return {
        "advice_code": None,
        "network_advice_code": None,
        "network_decline_code": None,
        "network_status": "approved_by_network" if paid else "declined_by_network",
        "reason": None if paid else "generic_decline",
        "seller_message": "Payment complete." if paid else "The issuer did not accept the payment.",
        "type": "authorized" if paid else "issuer_declined",
    }


def card_charged(method: Body, customer: str) -> Body:
    details: Any = method[method["type"]]
    if method["type"] != "card":
        known = dict(details) if method["type"] == "kr_card" else {}
        return known | {"buyer_id": f"sandbox_{customer}", "transaction_id": f"sandbox_{suffix()}"}
    kept = ("brand", "checks", "country", "exp_month", "exp_year", "funding", "last4", "regulated_status")
    unknown = (
        "amount_authorized authorization_code electronic_commerce_indicator installments mandate network "
        "network_transaction_id three_d_secure transaction_link_id wallet"
    )
    return dict.fromkeys(unknown.split()) | {name: details[name] for name in kept}
