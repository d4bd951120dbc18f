"""All versions of the same terms: who agreed to which, and what changed from one to another."""

from __future__ import annotations

from difflib import SequenceMatcher
from typing import Any, NamedTuple

from django import forms
from django.template.response import TemplateResponse
from django.urls import path, reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from django_krcard.admin.display import NOTHING, link_to, moment, status_badge
from django_krcard.admin.terms_preview import name_of
from django_krcard.formatting import actor, won
from django_krcard.models import Terms
from django_krcard.rules import Rule
from django_krcard.services.terms import rendered
from django_krcard.services.terms_files import BREAK

IN_WON = ("amount", "max_amount_per_period")


class RuleChange(NamedTuple):
    label: str
    before: str
    after: str


class Line(NamedTuple):
    """A line of a text: kept, removed or added. ``pieces`` are (words, whether these are what changed)."""

    kind: str
    pieces: list[tuple[str, bool]]


class TextChange(NamedTuple):
    language: str
    name: str
    lines: list[Line]

    @property
    def is_changed(self) -> bool:
        return any(line.kind != "kept" for line in self.lines)


def changes(before: Terms, after: Terms) -> dict[str, Any]:
    """What a page shows of the difference: the rule field by field, the texts line by line."""
    return {
        "before": before,
        "after": after,
        "rules": rule_changes(before, after),
        "texts": text_changes(before, after),
    }


def rule_changes(before: Terms, after: Terms) -> list[RuleChange]:
    return [
        RuleChange(str(Terms._meta.get_field(name).verbose_name), _told(before, name), _told(after, name))
        for name in Rule._fields
        if getattr(before, name) != getattr(after, name)
    ]


def text_changes(before: Terms, after: Terms) -> list[TextChange]:
    old, new = _lines_of(before), _lines_of(after)
    return [
        TextChange(language, name_of(language), list(line_changes(old.get(language, []), new.get(language, []))))
        for language in dict.fromkeys([*old, *new])
    ]


def line_changes(before: list[str], after: list[str]):
    for kind, first, last, start, end in SequenceMatcher(None, before, after, autojunk=False).get_opcodes():
        old, new = before[first:last], after[start:end]
        if kind == "equal":
            yield from (Line("kept", [(words, False)]) for words in old)
        elif kind == "replace" and len(old) == len(new):
            pairs = [_words_changed(*pair) for pair in zip(old, new, strict=True)]
            yield from (Line("removed", removed) for removed, _added in pairs)
            yield from (Line("added", added) for _removed, added in pairs)
        else:
            yield from (Line("removed", [(words, False)]) for words in old)
            yield from (Line("added", [(words, False)]) for words in new)


class CompareForm(forms.Form):
    before = forms.ModelChoiceField(Terms.objects.none(), label=gettext_lazy("from version"), empty_label=None)
    after = forms.ModelChoiceField(Terms.objects.none(), label=gettext_lazy("to version"), empty_label=None)

    def __init__(self, data=None, *, versions, **kwargs):
        super().__init__(data, **kwargs)
        for field in self.fields.values():
            field.queryset = versions


class VersionsMixin:
    """Adds the page to the ModelAdmin of terms."""

    def get_urls(self):
        page = path(
            "<path:object_id>/versions/", self.admin_site.admin_view(self.versions), name="krcard_terms_versions"
        )
        return [page, *super().get_urls()]

    def get_tools(self, request, row: Terms) -> list:
        address = reverse("admin:krcard_terms_versions", args=[row.pk], current_app=self.admin_site.name)
        return [(address, _("Versions and changes")), *super().get_tools(request, row)]

    def versions(self, request, object_id: str):
        terms = self.viewable(request, object_id)
        versions = self.get_queryset(request).filter(slug=terms.slug).order_by("-version")
        older = versions.filter(version__lt=terms.version).first()
        chosen = {"before": (older or terms).pk, "after": terms.pk} | request.GET.dict()
        form = CompareForm(chosen, versions=versions)
        compared = form.is_valid() and form.cleaned_data["before"] != form.cleaned_data["after"]
        rows = [_row(version) for version in versions]
        context = self.page_context(request, terms, _("Versions and changes")) | {
            "headings": [label for label, _cell in rows[0]],
            "rows": rows,
            "form": form,
            "changes": changes(form.cleaned_data["before"], form.cleaned_data["after"]) if compared else None,
        }
        return TemplateResponse(request, "admin/krcard/terms/versions.html", context)


def _row(terms: Terms) -> list[tuple[str, Any]]:
    return [
        (_("terms"), link_to(terms)),
        (_("status"), status_badge(terms)),
        (_("published at"), moment(terms.published_at)),
        (_("published by"), actor(terms.published_by) or NOTHING),
        (_("consents"), terms.number_of_consents),
        (_("living mandates"), terms.number_of_mandates),
    ]


def _lines_of(terms: Terms) -> dict[str, list[str]]:
    """Language → the text as customers read it, a sentence a line."""
    return {
        text.language: [line for part in rendered(text).splitlines() if part for line in BREAK.split(part)]
        for text in terms.texts.select_related("terms").order_by("pk")
    }


def _told(terms: Terms, name: str) -> str:
    value = getattr(terms, name)
    if value is None:
        return NOTHING
    return won(value) if name in IN_WON else str(getattr(terms, f"get_{name}_display", lambda: value)())


def _words_changed(before: str, after: str) -> tuple[list[tuple[str, bool]], list[tuple[str, bool]]]:
    """Both lines in pieces, those marked that are only in one."""
    old, new = before.split(" "), after.split(" ")
    removed, added = [], []
    for kind, first, last, start, end in SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        if words := " ".join(old[first:last]):
            removed.append((words, kind != "equal"))
        if words := " ".join(new[start:end]):
            added.append((words, kind != "equal"))
    return removed, added
