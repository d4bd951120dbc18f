"""Notices: what customers were told, where it went, and whether it got there."""

from __future__ import annotations

from django.contrib import admin
from django.db.models import QuerySet
from django.utils.html import format_html
from django.utils.translation import gettext_lazy

from django_krcard.admin.actions import PageActionsMixin
from django_krcard.admin.display import NOTHING, badge, link_to, moment_of
from django_krcard.admin.filters import ModeFilter
from django_krcard.admin.mixins import KrcardAdmin, ReadOnlyMixin, user_search_fields
from django_krcard.models import Notice

#: State → (tone, words, which rows).
STATES = {
    "yes": ("good", gettext_lazy("sent"), {"sent_at__isnull": False}),
    "waits": ("wait", gettext_lazy("waits"), {"sent_at": None, "next_attempt_at__isnull": False}),
    "no": ("bad", gettext_lazy("not sent"), {"sent_at": None, "next_attempt_at": None}),
}


def state_of(notice: Notice) -> str:
    if notice.sent_at:
        return "yes"
    return "waits" if notice.next_attempt_at else "no"


class StateFilter(admin.SimpleListFilter):
    title = gettext_lazy("state")
    parameter_name = "sent"

    def lookups(self, request, model_admin):
        return [(state, words) for state, (_tone, words, _rows) in STATES.items()]

    def queryset(self, request, queryset) -> QuerySet[Notice]:
        _tone, _words, rows = STATES.get(self.value(), (None, None, {}))
        return queryset.filter(**rows)


@admin.register(Notice)
class NoticeAdmin(PageActionsMixin, ReadOnlyMixin, KrcardAdmin):
    page_actions = ["django_krcard.admin.notice_actions.SendAgain"]

    list_display = [
        "subject",
        "kind",
        "of_mandate",
        "customer",
        "state",
        moment_of("created_at", gettext_lazy("created")),
    ]
    list_filter = [StateFilter, "kind", ModeFilter.through("mandate__customer")]
    list_select_related = ["mandate__customer__user"]
    date_hierarchy = "created_at"
    search_help_text = gettext_lazy("Address, public id, reference of the mandate or the charge")

    fieldsets = [
        (None, {"fields": ["kind", "of_mandate", "customer", "of_charge", "state", "last_error"]}),
        (gettext_lazy("What it said"), {"fields": ["address", "language", "subject", "words"]}),
        (
            gettext_lazy("Delivery"),
            {
                "fields": [
                    moment_of("created_at", gettext_lazy("created")),
                    moment_of("sent_at", gettext_lazy("sent at")),
                    "attempts",
                    moment_of("next_attempt_at", gettext_lazy("next attempt at")),
                    "public_id",
                ]
            },
        ),
    ]
    readonly_fields = [field for _title, options in fieldsets for field in options["fields"]]

    def get_search_fields(self, request) -> list[str]:
        return [
            "=address",
            "mandate__reference",
            "charge__reference",
            "public_id",
            *user_search_fields("mandate__customer__user"),
        ]

    @admin.display(description=gettext_lazy("mandate"), ordering="mandate")
    def of_mandate(self, notice: Notice) -> str:
        return link_to(notice.mandate)

    @admin.display(description=gettext_lazy("customer"))
    def customer(self, notice: Notice) -> str:
        return str(notice.mandate.customer)

    @admin.display(description=gettext_lazy("charge"), ordering="charge")
    def of_charge(self, notice: Notice) -> str:
        return link_to(notice.charge, notice.charge.reference) if notice.charge else NOTHING

    @admin.display(description=gettext_lazy("state"), ordering="sent_at")
    def state(self, notice: Notice) -> str:
        tone, words, _rows = STATES[state_of(notice)]
        return badge(tone, words)

    @admin.display(description=gettext_lazy("text"))
    def words(self, notice: Notice) -> str:
        return format_html('<div class="krcard-told" lang="{}">{}</div>', notice.language, notice.text)
