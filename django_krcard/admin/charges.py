"""Charges: what was asked for, by whom, and what came of it."""

from __future__ import annotations

from django.contrib import admin
from django.utils.html import format_html
from django.utils.translation import gettext, gettext_lazy

from django_krcard.admin.actions import PageActionsMixin
from django_krcard.admin.display import NOTHING, badge, moment_of, status_badge, stripe_id
from django_krcard.admin.filters import ModeFilter
from django_krcard.admin.health import HealthLinkMixin
from django_krcard.admin.mixins import KrcardAdmin, ReadOnlyMixin, user_search_fields
from django_krcard.admin.refunds import refunds_of
from django_krcard.admin.wording import why
from django_krcard.formatting import actor, card_label, won
from django_krcard.models import Charge


@admin.register(Charge)
class ChargeAdmin(HealthLinkMixin, PageActionsMixin, ReadOnlyMixin, KrcardAdmin):
    page_actions = [
        "django_krcard.admin.charge_actions.SendAgain",
        "django_krcard.admin.charge_actions.CancelCharge",
        "django_krcard.admin.charge_actions.PayBack",
    ]

    list_display = [
        "reference",
        "mandate",
        "customer",
        "won",
        "result",
        moment_of("created_at", gettext_lazy("created")),
    ]
    list_filter = ["status", ModeFilter.through("mandate__customer")]
    list_select_related = ["mandate__customer__user"]
    ordering = ["-pk"]
    date_hierarchy = "created_at"
    search_help_text = gettext_lazy("Reference, public id, id at Stripe, reference of the mandate, user")

    fieldsets = [
        (None, {"fields": ["mandate", "consent", "card", "won", status_badge, "why", "dispute"]}),
        (gettext_lazy("Refunds"), {"fields": ["refunded", "refunds"]}),
        (
            gettext_lazy("Request"),
            {"fields": ["reference", "description", "by", "reason", "attempt", "idempotency_key", "public_id"]},
        ),
        (
            gettext_lazy("At Stripe"),
            {
                "fields": [
                    "payment_intent",
                    moment_of("created_at", gettext_lazy("created")),
                    moment_of("due_at", gettext_lazy("due at")),
                    moment_of("first_sent_at", gettext_lazy("first sent at")),
                    moment_of("last_sent_at", gettext_lazy("last sent at")),
                    "sends",
                    moment_of("next_step_at", gettext_lazy("next step at")),
                ]
            },
        ),
    ]
    readonly_fields = [field for _title, options in fieldsets for field in options["fields"]]

    def get_search_fields(self, request) -> list[str]:
        return [
            "reference",
            "public_id",
            "=stripe_id",
            "mandate__reference",
            *user_search_fields("mandate__customer__user"),
        ]

    @admin.display(description=gettext_lazy("customer"))
    def customer(self, charge: Charge) -> str:
        return str(charge.mandate.customer)

    @admin.display(description=gettext_lazy("card"))
    def card(self, charge: Charge) -> str:
        return card_label(charge.payment_method) or NOTHING

    @admin.display(description=gettext_lazy("amount"), ordering="amount")
    def won(self, charge: Charge) -> str:
        return won(charge.amount)

    @admin.display(description=gettext_lazy("result"), ordering="status")
    def result(self, charge: Charge) -> str:
        return format_html("{}<br>{}", status_badge(charge), why(charge)[1])

    @admin.display(description=gettext_lazy("refunded"))
    def refunded(self, charge: Charge) -> str:
        return won(charge.refunded_amount)

    @admin.display(description=gettext_lazy("refunds"))
    def refunds(self, charge: Charge) -> str:
        return refunds_of(charge)

    @admin.display(description=gettext_lazy("dispute"))
    def dispute(self, charge: Charge) -> str:
        if not charge.dispute_id:
            return NOTHING
        tone, words = ("bad", gettext("dispute open")) if charge.is_disputed else ("over", gettext("dispute over"))
        return format_html(
            '{} <code>{}</code> <code class="krcard-id">{}</code>',
            badge(tone, words),
            charge.dispute_status,
            charge.dispute_id,
        )

    @admin.display(description=gettext_lazy("why"))
    def why(self, charge: Charge) -> str:
        code, sentence = why(charge)
        return format_html("{} <code>{}</code>", sentence, code) if code else NOTHING

    @admin.display(description=gettext_lazy("requested by"))
    def by(self, charge: Charge) -> str:
        return actor(charge.requested_by)

    @admin.display(description=gettext_lazy("payment intent"))
    def payment_intent(self, charge: Charge) -> str:
        return stripe_id(charge.stripe_id, livemode=charge.mandate.customer.livemode)
