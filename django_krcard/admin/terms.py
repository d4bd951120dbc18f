"""Terms: written as drafts, then published, and from then on only read."""

from __future__ import annotations

from django import forms
from django.contrib import admin
from django.contrib.admin.widgets import AdminTextareaWidget
from django.db import transaction
from django.db.models import Count, OuterRef, QuerySet, Subquery
from django.db.models.functions import Coalesce
from django.utils.html import format_html_join
from django.utils.safestring import mark_safe
from django.utils.translation import gettext_lazy

from django_krcard.admin.actions import PageActionsMixin
from django_krcard.admin.display import NOTHING, moment_of, status_badge
from django_krcard.admin.mixins import KrcardAdmin
from django_krcard.admin.terms_items import ItemsField, line_of
from django_krcard.admin.terms_preview import PreviewMixin
from django_krcard.admin.terms_versions import VersionsMixin
from django_krcard.formatting import actor, each_period, how_much
from django_krcard.models import Consent, Mandate, Terms, TermsText
from django_krcard.rules import ENDED, Frequency

published = moment_of("published_at", gettext_lazy("published"))


def is_draft(terms: Terms | None) -> bool:
    return terms is None or terms.status == Terms.Status.DRAFT


class TermsTextForm(forms.ModelForm):
    items = ItemsField()

    class Meta:
        model = TermsText
        fields = ["language", "title", *TermsText.POINTS, "body", "items"]
        widgets = {name: AdminTextareaWidget(attrs={"rows": 5}) for name in TermsText.POINTS}

    def clean(self):
        # Browsers end a line with two signs. What customers are shown, and what is hashed, ends it with one.
        cleaned = super().clean()
        return {
            name: value.replace("\r\n", "\n") if isinstance(value, str) else value for name, value in cleaned.items()
        }


class TermsTextInline(admin.StackedInline):
    model = TermsText
    form = TermsTextForm
    extra = 0
    min_num = 1
    # Languages beside each other, each point in one row: see admin.css.
    classes = ["krcard-texts"]
    readonly_fields = ["boxes"]

    def get_fields(self, request, obj=None) -> list[str]:
        last = "items" if self.has_change_permission(request, obj) else "boxes"
        return ["language", "title", *TermsText.POINTS, "body", last]

    @admin.display(description=gettext_lazy("boxes to tick"))
    def boxes(self, text: TermsText) -> str:
        return format_html_join(mark_safe("<br>"), "{}", ((line_of(item),) for item in text.items))

    # ``obj`` is the terms.
    def has_add_permission(self, request, obj=None) -> bool:
        return is_draft(obj) and super().has_add_permission(request, obj)

    def has_change_permission(self, request, obj=None) -> bool:
        return is_draft(obj) and super().has_change_permission(request, obj)

    def has_delete_permission(self, request, obj=None) -> bool:
        return is_draft(obj) and super().has_delete_permission(request, obj)


@admin.register(Terms)
class TermsAdmin(VersionsMixin, PreviewMixin, PageActionsMixin, KrcardAdmin):
    page_actions = [
        "django_krcard.admin.terms_actions.PublishTerms",
        "django_krcard.admin.terms_actions.NewVersion",
        "django_krcard.admin.amendment_actions.AskAll",
    ]
    inlines = [TermsTextInline]

    list_display = ["__str__", status_badge, "rule", published, "consents", "live"]
    list_filter = ["status", "slug"]
    search_fields = ["slug", "texts__title"]
    search_help_text = gettext_lazy("Name in addresses, title")

    fieldsets = [
        (None, {"fields": ["slug", "version", status_badge, published, "publisher", "words", "consents", "live"]}),
        (
            gettext_lazy("What may be charged"),
            {
                "description": gettext_lazy(
                    "Every charge is held to this, whatever the texts say. They must say the same."
                ),
                "fields": [
                    "frequency",
                    ("period", "period_count"),
                    ("amount_kind", "amount"),
                    ("max_charges_per_period", "max_amount_per_period"),
                    "notice_days",
                    ("max_retries", "retry_after_days"),
                    "valid_for_days",
                ],
            },
        ),
    ]
    readonly_fields = [status_badge, published, "publisher", "words", "consents", "live"]

    def get_queryset(self, request) -> QuerySet[Terms]:
        given = Consent.objects.filter(terms=OuterRef("pk"))
        living = Mandate.objects.filter(consent__terms=OuterRef("pk")).exclude(status__in=ENDED)
        return (
            super()
            .get_queryset(request)
            .annotate(number_of_consents=_count(given, "terms"), number_of_mandates=_count(living, "consent__terms"))
        )

    @admin.display(description=gettext_lazy("payment"), ordering="amount")
    def rule(self, terms: Terms) -> str:
        recurring = terms.frequency == Frequency.RECURRING
        how_often = each_period(terms.rule) if recurring else terms.get_frequency_display()
        return f"{how_much(terms.rule)}, {how_often}"

    @admin.display(description=gettext_lazy("published by"))
    def publisher(self, terms: Terms) -> str:
        return actor(terms.published_by) or NOTHING

    @admin.display(description=gettext_lazy("words read by a person"))
    def words(self, terms: Terms) -> str:
        """What the package did not find in the words, and why it was published all the same."""
        lines = [terms.words_checked, *terms.words_doubted]
        return format_html_join(mark_safe("<br>"), "{}", ((line,) for line in lines if line)) or NOTHING

    @admin.display(description=gettext_lazy("consents"), ordering="number_of_consents")
    def consents(self, terms: Terms) -> int:
        return getattr(terms, "number_of_consents", 0)

    @admin.display(description=gettext_lazy("living mandates"), ordering="number_of_mandates")
    def live(self, terms: Terms) -> int:
        return getattr(terms, "number_of_mandates", 0)

    def has_change_permission(self, request, obj=None) -> bool:
        return is_draft(obj) and super().has_change_permission(request, obj)

    def has_delete_permission(self, request, obj=None) -> bool:
        return is_draft(obj) and super().has_delete_permission(request, obj)

    def get_object(self, request, object_id, from_field=None) -> Terms | None:
        terms = super().get_object(request, object_id, from_field)
        if terms is None or request.method != "POST" or not transaction.get_connection().in_atomic_block:
            return terms
        # Somebody may be publishing it at this moment. Whoever comes second sees that it is no draft any more.
        Terms.objects.filter(pk=terms.pk).locked()
        return super().get_object(request, object_id, from_field)


def _count(rows: QuerySet, by: str) -> Coalesce:
    """How many of ``rows``, counted on their own: two joins would multiply each other."""
    return Coalesce(Subquery(rows.order_by().values(by).annotate(number=Count("pk")).values("number")), 0)
