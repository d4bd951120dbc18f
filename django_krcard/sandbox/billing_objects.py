"""What Stripe's objects of recurring payments look like. See `objects`."""

from .objects import base
from .store import Act, Body, find, new_id

SUBSCRIPTION_NULLS = (
    "application application_fee_percent billing_cycle_anchor_config billing_thresholds canceled_at "
    "customer_account days_until_due default_source ended_at latest_invoice managed_payments "
    "next_pending_invoice_item_invoice on_behalf_of pause_collection pending_invoice_item_interval "
    "pending_setup_intent pending_update schedule test_clock transfer_data trial_end trial_start"
)
INVOICE_NULLS = (
    "account_name account_tax_ids application custom_fields customer_account customer_address customer_phone "
    "customer_shipping default_source description due_date effective_at ending_balance footer from_invoice "
    "hosted_invoice_url invoice_pdf last_finalization_error latest_revision next_payment_attempt number "
    "on_behalf_of receipt_number rendering shipping_cost shipping_details statement_descriptor test_clock "
    "webhooks_delivered_at"
)
NO_TAX = {"disabled_reason": None, "enabled": False, "liability": None}


def product(act: Act, given: Body) -> Body:
    return base(act, "product", "default_price package_dimensions shippable tax_code tax_details url") | {
        "active": given.get("active", True),
        "description": given.get("description"),
        "images": [],
        "marketing_features": [],
        "metadata": given.get("metadata", {}),
        "name": given["name"],
        "type": "service",
        "updated": act.now,
    }


def price(act: Act, given: Body) -> Body:
    nulls = "custom_unit_amount tiers_mode transform_quantity"
    recurring = given.get("recurring")
    if recurring:
        usual = {"interval_count": 1, "meter": None, "trial_period_days": None, "usage_type": "licensed"}
        recurring = usual | recurring
    return base(act, "price", nulls) | {
        "active": given.get("active", True),
        "billing_scheme": "per_unit",
        "currency": given["currency"],
        "lookup_key": given.get("lookup_key"),
        "metadata": given.get("metadata", {}),
        "nickname": given.get("nickname"),
        "product": given["product"],
        "recurring": recurring,
        "tax_behavior": "unspecified",
        "type": "recurring" if recurring else "one_time",
        "unit_amount": given["unit_amount"],
        "unit_amount_decimal": str(given["unit_amount"]),
    }


def plan(price: Body) -> Body:
    """The price once more, under its name of old."""
    same = ("id", "active", "billing_scheme", "created", "currency", "livemode", "metadata", "nickname", "product")
    recurring = ("interval", "interval_count", "meter", "trial_period_days", "usage_type")
    body = {name: price[name] for name in same} | {name: price["recurring"][name] for name in recurring}
    amount = {"amount": price["unit_amount"], "amount_decimal": price["unit_amount_decimal"]}
    return body | amount | {"object": "plan", "tiers_mode": None, "transform_usage": None}


def subscription(act: Act, given: Body, currency: str) -> Body:
    body = base(act, "subscription", SUBSCRIPTION_NULLS)
    settings = given.get("payment_settings", {})
    return body | {
        "automatic_tax": NO_TAX,
        "billing_cycle_anchor": act.now,
        "billing_mode": {"flexible": None, "type": "classic"},
        "billing_schedules": [],
        "cancel_at": given.get("cancel_at"),
        "cancel_at_period_end": False,
        "cancellation_details": {"comment": None, "feedback": None, "feedback_option": None, "reason": None},
        "collection_method": "charge_automatically",
        "currency": currency,
        "customer": given["customer"],
        "default_payment_method": given.get("default_payment_method"),
        "default_tax_rates": [],
        "description": given.get("description"),
        "discounts": [],
        "invoice_settings": {
            "account_tax_ids": None,
            "custom_fields": None,
            "description": None,
            "footer": None,
            "issuer": {"type": "self"},
        },
        "items": {
            "object": "list",
            "data": [],
            "has_more": False,
            "url": f"/v1/subscription_items?subscription={body['id']}",
        },
        "metadata": given.get("metadata", {}),
        "payment_settings": {
            "payment_method_options": None,
            "payment_method_types": settings.get("payment_method_types"),
            "save_default_payment_method": settings.get("save_default_payment_method", "off"),
        },
        "start_date": act.now,
        "status": "incomplete",
        "trial_settings": {"end_behavior": {"billing_cycle_anchor": None, "missing_payment_method": "create_invoice"}},
    }


def item(act: Act, subscription: Body, price: Body, quantity: int, start: int, end: int) -> Body:
    body = base(act, "subscription_item", "billing_thresholds current_trial")
    del body["livemode"]
    return body | {
        "current_period_end": end,
        "current_period_start": start,
        "discounts": [],
        "metadata": {},
        "plan": plan(price),
        "price": price,
        "quantity": quantity,
        "subscription": subscription["id"],
        "tax_rates": [],
    }


def invoice(act: Act, subscription: Body, reason: str, start: int, end: int) -> Body:
    """A draft for one period of a subscription."""
    body = base(act, "invoice", INVOICE_NULLS)
    customer = find("customer", subscription["customer"]) or {}
    lines = [line(body, subscription, each, start, end) for each in subscription["items"]["data"]]
    total = sum(each["amount"] for each in lines)
    return body | {
        "account_country": "US",
        "amount_due": total,
        "amount_overpaid": 0,
        "amount_paid": 0,
        "amount_remaining": total,
        "amount_shipping": 0,
        "attempt_count": 0,
        "attempted": False,
        "auto_advance": True,
        "automatic_tax": NO_TAX | {"provider": None, "status": None},
        "automatically_finalizes_at": None,
        "billing_reason": reason,
        "collection_method": "charge_automatically",
        "currency": subscription["currency"],
        "customer": subscription["customer"],
        "customer_email": customer.get("email"),
        "customer_name": customer.get("name"),
        "customer_tax_exempt": "none",
        "customer_tax_ids": [],
        "default_payment_method": None,
        "default_tax_rates": [],
        "discounts": [],
        "issuer": {"type": "self"},
        "lines": {"object": "list", "data": lines, "has_more": False, "url": f"/v1/invoices/{body['id']}/lines"},
        "metadata": {},
        "parent": {
            "quote_details": None,
            "subscription_details": {"metadata": subscription["metadata"], "subscription": subscription["id"]},
            "type": "subscription_details",
        },
        "payment_settings": {
            "default_mandate": None,
            "payment_method_options": None,
            "payment_method_types": subscription["payment_settings"]["payment_method_types"],
        },
        # The period that is over: its end is where the period that is paid for begins.
        "period_end": start,
        "period_start": start,
        "post_payment_credit_notes_amount": 0,
        "pre_payment_credit_notes_amount": 0,
        "starting_balance": 0,
        "status": "draft",
        "status_transitions": dict.fromkeys(("finalized_at", "marked_uncollectible_at", "paid_at", "voided_at")),
        "subtotal": total,
        "subtotal_excluding_tax": total,
        "total": total,
        "total_discount_amounts": [],
        "total_excluding_tax": total,
        "total_pretax_credit_amounts": [],
        "total_taxes": [],
    }


def line(invoice: Body, subscription: Body, item: Body, start: int, end: int) -> Body:
    price, quantity = item["price"], item["quantity"]
    amount = price["unit_amount"] * quantity
    details = {"invoice_item": None, "proration": False, "proration_details": {"credited_items": None}}
    belongs = {"subscription": subscription["id"], "subscription_item": item["id"]}
    return {
        "id": new_id("line_item"),
        "object": "line_item",
        "amount": amount,
        "currency": price["currency"],
        "description": (find("product", price["product"]) or {}).get("name"),
        "discount_amounts": [],
        "discountable": True,
        "discounts": [],
        "invoice": invoice["id"],
        "livemode": False,
        "metadata": subscription["metadata"],
        "parent": {
            "invoice_item_details": None,
            "subscription_item_details": details | belongs,
            "type": "subscription_item_details",
        },
        "period": {"end": end, "start": start},
        "pretax_credit_amounts": [],
        "pricing": {
            "price_details": {"price": price["id"], "product": price["product"]},
            "type": "price_details",
            "unit_amount_decimal": price["unit_amount_decimal"],
        },
        "quantity": quantity,
        "quantity_decimal": str(quantity),
        "subscription": subscription["id"],
        "subtotal": amount,
        "taxes": [],
    }


def invoice_payment(act: Act, invoice: Body, intent: Body) -> Body:
    return base(act, "invoice_payment") | {
        "amount_paid": None,
        "amount_requested": invoice["amount_due"],
        "currency": invoice["currency"],
        "invoice": invoice["id"],
        "is_default": True,
        "payment": {"payment_intent": intent["id"], "type": "payment_intent"},
        "status": "open",
        "status_transitions": {"canceled_at": None, "paid_at": None},
    }
