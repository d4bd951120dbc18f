"""Refunds: what went back, by whom and why."""

from __future__ import annotations

from django.contrib import admin
from django.utils.html import format_html, format_html_join
from django.utils.translation import gettext_lazy as _

from django_krcard.admin.actions import PageActionsMixin
from django_krcard.admin.display import NOTHING, link_to, moment, moment_of, status_badge, stripe_id
from django_krcard.admin.filters import ModeFilter
from django_krcard.admin.mixins import KrcardAdmin, ReadOnlyMixin, user_search_fields
from django_krcard.admin.wording import sentence_for
from django_krcard.formatting import actor, won
from django_krcard.models import Charge, Refund


@admin.register(Refund)
class RefundAdmin(PageActionsMixin, ReadOnlyMixin, KrcardAdmin):
    page_actions = ["django_krcard.admin.charge_actions.AskAboutRefund"]

    list_display = ["reference", "of", "customer", "won", status_badge, moment_of("created_at", _("created"))]
    list_filter = ["status", ModeFilter.through("charge__mandate__customer")]
    list_select_related = ["charge__mandate__customer__user"]
    ordering = ["-pk"]
    date_hierarchy = "created_at"
    search_help_text = _("Reference, public id, id at Stripe, reference of the charge or the mandate, user")

    fieldsets = [
        (None, {"fields": ["of", "won", status_badge, "why"]}),
        (_("Request"), {"fields": ["reference", "by", "reason", "idempotency_key", "public_id"]}),
        (
            _("At Stripe"),
            {
                "fields": [
                    "at_stripe",
                    moment_of("created_at", _("created")),
                    moment_of("first_sent_at", _("first sent at")),
                    moment_of("last_sent_at", _("last sent at")),
                    "sends",
                    moment_of("next_step_at", _("next step at")),
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
            "charge__reference",
            "=charge__stripe_id",
            "charge__mandate__reference",
            *user_search_fields("charge__mandate__customer__user"),
        ]

    @admin.display(description=_("charge"), ordering="charge")
    def of(self, refund: Refund) -> str:
        return link_to(refund.charge)

    @admin.display(description=_("customer"))
    def customer(self, refund: Refund) -> str:
        return str(refund.charge.mandate.customer)

    @admin.display(description=_("amount"), ordering="amount")
    def won(self, refund: Refund) -> str:
        return won(refund.amount)

    @admin.display(description=_("why"))
    def why(self, refund: Refund) -> str:
        code = refund.failure_code
        return format_html("{} <code>{}</code>", sentence_for(code), code) if code else NOTHING

    @admin.display(description=_("requested by"))
    def by(self, refund: Refund) -> str:
        return actor(refund.requested_by)

    @admin.display(description=_("Stripe refund"))
    def at_stripe(self, refund: Refund) -> str:
        return stripe_id(refund.stripe_id, livemode=refund.charge.mandate.customer.livemode)


def refunds_of(charge: Charge) -> str:
    """What went back of a charge, newest first, a line each."""
    rows = (
        (won(refund.amount), status_badge(refund), moment(refund.created_at), link_to(refund, refund.reference))
        for refund in charge.refunds.all()
    )
    return format_html_join("\n", "<div>{} {} {} {}</div>", rows) or NOTHING
