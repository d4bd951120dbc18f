"""Subscriptions at Stripe that run on a mandate."""

from __future__ import annotations

from django.contrib import admin
from django.db.models import QuerySet
from django.utils.html import format_html_join
from django.utils.safestring import mark_safe
from django.utils.translation import gettext_lazy as _
from django.utils.translation import pgettext_lazy

from django_krcard.admin.actions import PageActionsMixin
from django_krcard.admin.display import NOTHING, badge, link_to, moment_of, stripe_id
from django_krcard.admin.filters import ModeFilter
from django_krcard.admin.mixins import KrcardAdmin, ReadOnlyMixin, user_search_fields
from django_krcard.formatting import actor, won
from django_krcard.models import Subscription

#: Stripe's words, with what they mean to staff. An unknown one is shown as it is, and as something to look at.
STATES = {
    "starting": ("wait", _("being started")),
    "not_started": ("over", _("not started")),
    "active": ("good", pgettext_lazy("krcard", "active")),
    "trialing": ("good", _("free trial")),
    "incomplete": ("wait", _("first payment not made yet")),
    "past_due": ("warn", _("payment overdue")),
    "paused": ("warn", _("paused")),
    "unpaid": ("bad", _("unpaid")),
    "incomplete_expired": ("over", _("never began")),
    "canceled": ("over", _("cancelled")),
}


CHANGES = {
    "ready": ("wait", _("to be done")),
    "owed": ("wait", _("to be paid back")),
    "done": ("good", pgettext_lazy("change", "done")),
    "not_paid_back": ("bad", _("could not be paid back")),
    "overtaken": ("over", _("not needed any more")),
}


def words_of(status: str) -> tuple[str, str]:
    return STATES.get(status, ("warn", status))


class StateFilter(admin.SimpleListFilter):
    title = _("status")
    parameter_name = "status"

    def lookups(self, request, model_admin):
        statuses = Subscription.objects.order_by("status").values_list("status", flat=True).distinct()
        return [(status, words_of(status)[1]) for status in statuses]

    def queryset(self, request, queryset) -> QuerySet[Subscription]:
        return queryset.filter(status=self.value()) if self.value() else queryset


@admin.register(Subscription)
class SubscriptionAdmin(PageActionsMixin, ReadOnlyMixin, KrcardAdmin):
    page_actions = [
        "django_krcard.admin.subscription_actions.CancelAtPeriodEnd",
        "django_krcard.admin.subscription_actions.Keep",
        "django_krcard.admin.subscription_actions.CancelNow",
        "django_krcard.admin.subscription_actions.Resume",
        "django_krcard.admin.subscription_actions.AskStripe",
    ]

    list_display = [
        "name",
        "state",
        "won",
        "of_mandate",
        "customer",
        moment_of("current_period_end", _("period ends")),
        moment_of("created_at", _("created")),
    ]
    list_filter = [StateFilter, ModeFilter.through("mandate__customer")]
    list_select_related = ["mandate__customer__user"]
    ordering = ["-pk"]
    date_hierarchy = "created_at"
    search_help_text = _("Public id, id at Stripe, reference of the mandate, user")

    fields = readonly_fields = [
        "of_mandate",
        "customer",
        "state",
        "won",
        moment_of("current_period_start", _("period began")),
        moment_of("current_period_end", _("period ends")),
        "pause",
        moment_of("above_agreed_at", _("asks for more than agreed since")),
        "changes",
        "payments",
        moment_of("cancel_at", _("will end at")),
        moment_of("canceled_at", _("cancelled at")),
        moment_of("ended_at", _("ended at")),
        "at_stripe",
        "price",
        "reference",
        "by",
        "reason",
        "failure_code",
        "decline_code",
        "public_id",
        moment_of("created_at", _("first seen")),
        moment_of("told_at", _("as of")),
    ]

    def get_search_fields(self, request) -> list[str]:
        return [
            "=stripe_id",
            "reference",
            "public_id",
            "mandate__reference",
            *user_search_fields("mandate__customer__user"),
        ]

    @admin.display(description=_("status"), ordering="status")
    def state(self, subscription: Subscription) -> str:
        return badge(*words_of(subscription.status))

    @admin.display(description=_("subscription"), ordering="stripe_id")
    def name(self, subscription: Subscription) -> str:
        return subscription.stripe_id or subscription.reference

    @admin.display(description=_("requested by"))
    def by(self, subscription: Subscription) -> str:
        return actor(subscription.requested_by)

    @admin.display(description=_("collection"))
    def pause(self, subscription: Subscription) -> str:
        return badge("warn", _("paused")) if subscription.paused else badge("good", _("collected"))

    @admin.display(description=_("asked of Stripe"))
    def changes(self, subscription: Subscription) -> str:
        rows = [
            (
                change.get_kind_display(),
                badge(*CHANGES[change.status]),
                actor(change.requested_by),
                change.reason,
                change.failure_code,
            )
            for change in subscription.changes.all()
        ]
        return format_html_join(mark_safe("<br>"), "{} {} {} <q>{}</q> <code>{}</code>", rows) or NOTHING

    @admin.display(description=_("payments"))
    def payments(self, subscription: Subscription) -> str:
        rows = [(link_to(charge), won(charge.amount)) for charge in subscription.charges.order_by("-pk")[:12]]
        return format_html_join(mark_safe("<br>"), "{} {}", rows) or NOTHING

    @admin.display(description=_("amount"), ordering="amount")
    def won(self, subscription: Subscription) -> str:
        return NOTHING if subscription.amount is None else won(subscription.amount)

    @admin.display(description=_("mandate"), ordering="mandate")
    def of_mandate(self, subscription: Subscription) -> str:
        return link_to(subscription.mandate)

    @admin.display(description=_("customer"))
    def customer(self, subscription: Subscription) -> str:
        return str(subscription.mandate.customer)

    @admin.display(description=_("Stripe subscription"))
    def at_stripe(self, subscription: Subscription) -> str:
        return stripe_id(subscription.stripe_id, livemode=subscription.mandate.customer.livemode)
