"""Stripe's objects as ours: frozen, and no more of them than somebody reads."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any


@dataclass(frozen=True, slots=True)
class Customer:
    """``livemode`` is not told of one that was deleted."""

    id: str
    deleted: bool = False
    livemode: bool | None = None
    metadata: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Card:
    """A PaymentMethod. ``brand`` is the issuer of a ``kr_card``, the network of a ``card``."""

    id: str
    type: str
    customer: str
    brand: str = ""
    last4: str | None = None
    exp_month: int | None = None
    exp_year: int | None = None


@dataclass(frozen=True, slots=True)
class CheckoutSession:
    id: str
    status: str
    customer: str
    client_reference_id: str
    livemode: bool
    payment_method_types: tuple[str, ...]
    url: str = field(default="", repr=False)
    setup_intent: str = ""
    setup_status: str = ""
    card: Card | None = None
    mandate: str = ""
    mandate_status: str = ""
    failure_code: str = ""
    #: In ``payment`` mode, once the customer has tried to pay.
    payment: PaymentIntent | None = None

    @property
    def offers_korean_cards(self) -> bool:
        return "kr_card" in self.payment_method_types


@dataclass(frozen=True, slots=True)
class SetupIntent:
    id: str
    status: str
    customer: str
    livemode: bool
    metadata: dict[str, str] = field(default_factory=dict)
    card: Card | None = None
    mandate: str = ""
    mandate_status: str = ""
    failure_code: str = ""
    #: Where the customer authorises it.
    redirect_url: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class PaymentIntent:
    id: str
    status: str
    amount: int
    currency: str
    customer: str
    created: datetime | None = None
    charge: str = ""
    failure_code: str = ""
    decline_code: str = ""
    metadata: dict[str, str] = field(default_factory=dict)
    payment_method: str = ""
    livemode: bool | None = None
    #: What it was paid with, where that was asked for.
    card: Card | None = None
    #: Where the customer finishes a payment that requires action.
    redirect_url: str = field(default="", repr=False)
    #: Whole won paid back so far, and whether the customer disputes it. Not known from the answer to a charge.
    refunded: int | None = None
    disputed: bool | None = None


@dataclass(frozen=True, slots=True)
class Refund:
    id: str
    status: str
    amount: int
    payment_intent: str
    failure_code: str = ""
    metadata: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Dispute:
    id: str
    status: str
    amount: int
    payment_intent: str
    reason: str = ""
    respond_by: datetime | None = None


@dataclass(frozen=True, slots=True)
class Price:
    id: str
    active: bool
    currency: str
    #: In the smallest unit of the currency; ``None`` if there is no one amount.
    unit_amount: int | None
    #: ``None``: it is paid once.
    interval: str | None = None
    interval_count: int = 1
    #: The amount is the quantity times ``unit_amount``: no tiers, no packages, nothing metered.
    is_plain: bool = True


@dataclass(frozen=True, slots=True)
class Subscription:
    id: str
    status: str
    customer: str
    livemode: bool
    #: Whole won per period; ``None`` if they vary with what was used, or are not won.
    amount: int | None = None
    #: When the next invoice comes, should there be one.
    current_period_end: datetime | None = None
    cancel_at: datetime | None = None
    canceled_at: datetime | None = None
    ended_at: datetime | None = None
    metadata: dict[str, str] = field(default_factory=dict)
    #: When the period began that is paid for now.
    current_period_start: datetime | None = None
    price: str = ""
    #: How often it is charged; empty: not all of it in one rhythm.
    interval: str = ""
    interval_count: int = 1
    #: The card of this very subscription; empty: the customer's default.
    payment_method: str = ""
    cancel_at_period_end: bool = False
    #: What becomes of its invoices while their collection is paused; empty: they are collected.
    paused: str = ""


@dataclass(frozen=True, slots=True)
class Invoice:
    """An invoice of a subscription, with the payment that it is paid by."""

    id: str
    status: str
    #: What the card is charged, in the smallest unit of the currency.
    amount: int
    currency: str
    number: str = ""
    billing_reason: str = ""
    #: Tries to charge the card so far.
    attempts: int = 0
    finalized_at: datetime | None = None
    paid_at: datetime | None = None
    voided_at: datetime | None = None
    uncollectible_at: datetime | None = None
    #: ``None``: the invoice is of no subscription.
    subscription: Subscription | None = None
    payment_intent: PaymentIntent | None = None
    created: datetime | None = None
    #: Whether Stripe goes on with it by itself: finalizes the draft, charges the card.
    auto_advance: bool = False


def id_of(value: Any) -> str:
    """The id of a field that Stripe gives as an id, as the expanded object, or not at all."""
    if isinstance(value, dict):
        return value["id"]
    return value or ""


def its_id(data: dict[str, Any]) -> str:
    return data["id"]


def read_customer(data: dict[str, Any]) -> Customer:
    return Customer(
        id=data["id"],
        deleted=data.get("deleted") is True,
        livemode=data.get("livemode"),
        metadata=dict(data.get("metadata") or {}),
    )


def read_session(data: dict[str, Any]) -> CheckoutSession:
    intent = data.get("setup_intent")
    # Not expanded, as after a create: the intent has nothing to tell yet.
    expanded = intent if isinstance(intent, dict) else {}
    card = expanded.get("payment_method")
    mandate = expanded.get("mandate")
    payment = data.get("payment_intent")
    return CheckoutSession(
        id=data["id"],
        status=data.get("status") or "",
        customer=id_of(data.get("customer")),
        client_reference_id=data.get("client_reference_id") or "",
        livemode=data["livemode"],
        payment_method_types=tuple(data.get("payment_method_types") or ()),
        url=data.get("url") or "",
        setup_intent=id_of(intent),
        setup_status=expanded.get("status") or "",
        card=read_card(card) if isinstance(card, dict) else None,
        mandate=id_of(mandate),
        mandate_status=mandate["status"] if isinstance(mandate, dict) else "",
        failure_code=(expanded.get("last_setup_error") or {}).get("code") or "",
        payment=read_intent(payment) if isinstance(payment, dict) else None,
    )


def read_setup_intent(data: dict[str, Any]) -> SetupIntent:
    card, mandate = data.get("payment_method"), data.get("mandate")
    return SetupIntent(
        id=data["id"],
        status=data["status"],
        customer=id_of(data.get("customer")),
        livemode=data["livemode"],
        metadata=data.get("metadata") or {},
        card=read_card(card) if isinstance(card, dict) else None,
        mandate=id_of(mandate),
        mandate_status=mandate["status"] if isinstance(mandate, dict) else "",
        failure_code=(data.get("last_setup_error") or {}).get("code") or "",
        redirect_url=_redirect_url(data),
    )


def _redirect_url(intent: dict[str, Any]) -> str:
    action = intent.get("next_action") or {}
    return (action.get("redirect_to_url") or {}).get("url") or ""


def read_card(data: dict[str, Any]) -> Card:
    details = data.get(data["type"]) or {}
    return Card(
        id=data["id"],
        type=data["type"],
        customer=id_of(data.get("customer")),
        brand=details.get("brand") or "",
        last4=details.get("last4"),
        exp_month=details.get("exp_month"),
        exp_year=details.get("exp_year"),
    )


def read_intent(data: dict[str, Any]) -> PaymentIntent:
    failure = data.get("last_payment_error") or {}
    charge, card = data.get("latest_charge"), data.get("payment_method")
    return PaymentIntent(
        id=data["id"],
        status=data["status"],
        amount=data["amount"],
        currency=data["currency"],
        customer=id_of(data.get("customer")),
        created=_moment(data.get("created")),
        charge=id_of(charge),
        failure_code=failure.get("code") or "",
        decline_code=failure.get("decline_code") or "",
        metadata=data.get("metadata") or {},
        payment_method=id_of(card),
        livemode=data.get("livemode"),
        card=read_card(card) if isinstance(card, dict) else None,
        redirect_url=_redirect_url(data),
        refunded=charge.get("amount_refunded") if isinstance(charge, dict) else None,
        disputed=charge.get("disputed") if isinstance(charge, dict) else None,
    )


def read_refund(data: dict[str, Any]) -> Refund:
    return Refund(
        id=data["id"],
        status=data.get("status") or "",
        amount=data["amount"],
        payment_intent=id_of(data.get("payment_intent")),
        failure_code=data.get("failure_reason") or "",
        metadata=data.get("metadata") or {},
    )


def read_dispute(data: dict[str, Any]) -> Dispute:
    return Dispute(
        id=data["id"],
        status=data["status"],
        amount=data["amount"],
        payment_intent=id_of(data.get("payment_intent")),
        reason=data.get("reason") or "",
        respond_by=_moment((data.get("evidence_details") or {}).get("due_by")),
    )


def read_price(data: dict[str, Any]) -> Price:
    recurring = data.get("recurring") or {}
    is_plain = (
        data["billing_scheme"] == "per_unit"
        and recurring.get("usage_type", "licensed") == "licensed"
        and not data.get("transform_quantity")
    )
    return Price(
        id=data["id"],
        active=data["active"],
        currency=data["currency"],
        unit_amount=data.get("unit_amount"),
        interval=recurring.get("interval"),
        interval_count=recurring.get("interval_count") or 1,
        is_plain=is_plain,
    )


def read_subscription(data: dict[str, Any]) -> Subscription:
    # Each item has a period of its own; at the end of the first one the customer is charged again.
    items = data["items"]["data"]
    rhythm, *others = {_rhythm(item["price"]) for item in items} or {("", 1)}
    ends = [item["current_period_end"] for item in items]
    starts = [item["current_period_start"] for item in items if "current_period_start" in item]
    return Subscription(
        id=data["id"],
        status=data["status"],
        customer=id_of(data["customer"]),
        livemode=data["livemode"],
        amount=_won_per_period(data),
        current_period_end=_moment(min(ends, default=None)),
        cancel_at=_moment(data.get("cancel_at")),
        canceled_at=_moment(data.get("canceled_at")),
        ended_at=_moment(data.get("ended_at")),
        metadata=data.get("metadata") or {},
        current_period_start=_moment(max(starts, default=None)),
        price=items[0]["price"].get("id") or "" if items else "",
        interval="" if others else rhythm[0],
        interval_count=rhythm[1],
        payment_method=id_of(data.get("default_payment_method")),
        cancel_at_period_end=bool(data.get("cancel_at_period_end")),
        paused=(data.get("pause_collection") or {}).get("behavior") or "",
    )


def _rhythm(price: dict[str, Any]) -> tuple[str, int]:
    recurring = price.get("recurring") or {}
    return recurring.get("interval") or "", recurring.get("interval_count") or 1


def _won_per_period(subscription: dict[str, Any]) -> int | None:
    if subscription["currency"] != "krw":
        return None
    total = 0
    for item in subscription["items"]["data"]:
        price = item["price"]
        # Tiers, packages and what is metered: how much it will be, only the invoice says.
        if price.get("unit_amount") is None or item.get("quantity") is None or price.get("transform_quantity"):
            return None
        total += price["unit_amount"] * item["quantity"]
    return total


def read_invoice(data: dict[str, Any]) -> Invoice:
    details = (data.get("parent") or {}).get("subscription_details") or {}
    subscription = details.get("subscription")
    moments = data.get("status_transitions") or {}
    return Invoice(
        id=data["id"],
        status=data.get("status") or "",
        amount=data["amount_due"],
        currency=data["currency"],
        number=data.get("number") or "",
        billing_reason=data.get("billing_reason") or "",
        attempts=data.get("attempt_count") or 0,
        finalized_at=_moment(moments.get("finalized_at")),
        paid_at=_moment(moments.get("paid_at")),
        voided_at=_moment(moments.get("voided_at")),
        uncollectible_at=_moment(moments.get("marked_uncollectible_at")),
        subscription=read_subscription(subscription) if isinstance(subscription, dict) else None,
        payment_intent=_payment_of(data),
        created=_moment(data.get("created")),
        auto_advance=bool(data.get("auto_advance")),
    )


def _payment_of(invoice: dict[str, Any]) -> PaymentIntent | None:
    """The payment that Stripe makes for an invoice by itself. Others there may be, too: by hand, or in part."""
    for link in (invoice.get("payments") or {}).get("data", []):
        intent = link["payment"].get("payment_intent")
        if link["is_default"] and isinstance(intent, dict):
            return read_intent(intent)
    return None


def _moment(seconds: int | None) -> datetime | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)
