"""Saved cards, and the attempts to save one."""

from __future__ import annotations

from django.contrib import admin
from django.utils.translation import gettext_lazy as _

from django_krcard.admin.display import NOTHING, link_to, moment_of, status_badge, stripe_id
from django_krcard.admin.filters import BrandFilter, ModeFilter
from django_krcard.admin.mixins import KrcardAdmin, ReadOnlyMixin, user_search_fields
from django_krcard.formatting import card_label
from django_krcard.models import CardSetup, PaymentMethod


@admin.register(PaymentMethod)
class PaymentMethodAdmin(ReadOnlyMixin, KrcardAdmin):
    list_display = [
        "label",
        "customer",
        "type",
        "brand",
        moment_of("created_at", _("saved")),
        moment_of("detached_at", _("removed")),
    ]
    list_filter = ["type", BrandFilter, ModeFilter.through("customer")]
    list_select_related = ["customer__user"]
    search_help_text = _("Last four digits, id at Stripe, user")

    fields = readonly_fields = [
        "label",
        "customer",
        "type",
        "brand",
        "expiry",
        "at_stripe",
        moment_of("created_at", _("saved")),
        moment_of("detached_at", _("removed")),
    ]

    def get_search_fields(self, request) -> list[str]:
        return ["=last4", "=stripe_id", *user_search_fields("customer__user")]

    @admin.display(description=_("card"), ordering="brand")
    def label(self, card: PaymentMethod) -> str:
        return card_label(card)

    @admin.display(description=_("expiry"))
    def expiry(self, card: PaymentMethod) -> str:
        return f"{card.exp_month:02}/{card.exp_year}" if card.exp_month and card.exp_year else NOTHING

    @admin.display(description=_("Stripe payment method"))
    def at_stripe(self, card: PaymentMethod) -> str:
        return stripe_id(card.stripe_id, livemode=card.customer.livemode)


@admin.register(CardSetup)
class CardSetupAdmin(ReadOnlyMixin, KrcardAdmin):
    list_display = [
        "public_id",
        "mandate",
        "customer",
        status_badge,
        "failure_code",
        moment_of("created_at", _("created")),
    ]
    list_filter = ["status", "flow", ModeFilter.through("mandate__customer")]
    list_select_related = ["mandate__customer__user"]
    ordering = ["-pk"]
    date_hierarchy = "created_at"
    search_help_text = _("Public id, id at Stripe, reference of the mandate, user")

    # Not the address at Stripe: whoever has it can finish the attempt in the customer's place.
    fields = readonly_fields = [
        "mandate",
        "consent",
        status_badge,
        "flow",
        "mode",
        "failure_code",
        "session",
        "intent",
        "public_id",
        moment_of("created_at", _("created")),
        moment_of("expires_at", _("expires at")),
        moment_of("checked_at", _("last asked Stripe")),
    ]

    def get_search_fields(self, request) -> list[str]:
        ids = ["public_id", "=checkout_session_id", "=setup_intent_id", "mandate__reference"]
        return ids + user_search_fields("mandate__customer__user")

    @admin.display(description=_("customer"))
    def customer(self, setup: CardSetup) -> str:
        return link_to(setup.mandate.customer)

    @admin.display(description=_("Checkout session"))
    def session(self, setup: CardSetup) -> str:
        return stripe_id(setup.checkout_session_id, livemode=setup.mandate.customer.livemode)

    @admin.display(description=_("setup intent"))
    def intent(self, setup: CardSetup) -> str:
        return stripe_id(setup.setup_intent_id, livemode=setup.mandate.customer.livemode)
