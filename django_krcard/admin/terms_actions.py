"""From a draft to terms in force, and from those to the next draft."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import messages
from django.contrib.admin.widgets import AdminTextareaWidget
from django.core.exceptions import ValidationError
from django.db.models import Count
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from django_krcard import services
from django_krcard.admin.actions import Outcome, PageAction
from django_krcard.admin.amendment_actions import who_must
from django_krcard.admin.terms_preview import name_of
from django_krcard.admin.terms_versions import changes
from django_krcard.models import Mandate, Terms
from django_krcard.rules import ENDED
from django_krcard.services.closing import open_under_older
from django_krcard.services.fit import is_read
from django_krcard.services.terms import new_draft, sha256, what_is_doubted, what_is_missing
from django_krcard.services.terms_files import as_toml, version_of


class PublishForm(forms.Form):
    required_css_class = "required"

    seen = forms.CharField(widget=forms.HiddenInput)
    words_fit = forms.BooleanField(label=gettext_lazy("I have read the words, and they say what the rule says"))
    reason = forms.CharField(
        label=gettext_lazy("How they say it"),
        max_length=500,
        widget=AdminTextareaWidget(attrs={"rows": 3}),
        help_text=gettext_lazy("Kept with the terms, together with your name and what was not found."),
    )

    def __init__(self, data=None, *, initial: dict[str, Any], **kwargs):
        super().__init__(data, initial=initial, **kwargs)
        if not initial["doubts"]:
            del self.fields["words_fit"], self.fields["reason"]


class PublishTerms(PageAction):
    name = "publish"
    label = gettext_lazy("Publish")
    permission = "krcard.publish_terms"
    form_class = PublishForm
    detail_template = "admin/krcard/terms/publish.html"

    def is_possible(self, terms: Terms) -> bool:
        return terms.status == Terms.Status.DRAFT

    def initial(self, terms: Terms) -> dict[str, Any]:
        # What a file of these terms gave as the reason is there to be taken over, or not.
        return {"seen": _seen(terms), "doubts": _doubts(terms), "reason": terms.words_checked}

    def context(self, terms: Terms) -> dict[str, Any]:
        before = _in_force(terms)
        return {
            "missing": what_is_missing(terms),
            "doubts": _doubts(terms),
            "changes": changes(before, terms) if before else None,
        }

    def effects(self, terms: Terms) -> list[str]:
        found = [_("From now on new customers agree to this version, and nobody can change it any more.")]
        if before := _in_force(terms):
            text = _("%(before)s is retired. Whoever agreed to it stays under it.")
            found += [text % {"before": before}, who_must(terms)]
        for version, number in _living(terms).items():
            text = ngettext(
                "%(number)d living agreement stays under v%(version)d, with its own rule.",
                "%(number)d living agreements stay under v%(version)d, with its own rule.",
                number,
            )
            found.append(text % {"number": number, "version": version})
        if number := open_under_older(terms).count():
            text = ngettext(
                "%(number)d customer is saving a card under an older version. That attempt is closed.",
                "%(number)d customers are saving a card under an older version. Their attempts are closed.",
                number,
            )
            found.append(text % {"number": number})
        languages = list(terms.texts.order_by("pk").values_list("language", flat=True))
        found.append(_("Languages: %(languages)s.") % {"languages": ", ".join(languages) or _("none")})
        for language in languages:
            if not is_read(language):
                text = _("%(language)s: only numerals were compared with the rule. Read these words yourself.")
                found.append(text % {"language": name_of(language)})
        return found

    def perform(self, terms: Terms, *, by: str, seen: str, words_fit: bool = False, reason: str = "") -> Outcome:
        if seen != _seen(terms):
            return Outcome(_("Not published. The draft was changed after you opened this page."), messages.ERROR)
        try:
            services.publish_terms(terms, by=by, words_checked=reason if words_fit else "")
        except ValidationError as error:
            problems = " ".join(error.messages)
            return Outcome(_("Not published. %(problems)s") % {"problems": problems}, messages.ERROR)
        return Outcome(_("%(terms)s is in force.") % {"terms": terms})


class NewVersion(PageAction):
    name = "new-version"
    label = gettext_lazy("New version from this one")
    permission = "krcard.add_terms"
    form_class = forms.Form

    def is_possible(self, terms: Terms) -> bool:
        return terms.status != Terms.Status.DRAFT

    def effects(self, terms: Terms) -> list[str]:
        return [
            _("A draft is made with the same rule and the same texts."),
            _("Customers see nothing of it until it is published."),
        ]

    def perform(self, terms: Terms, *, by: str) -> Outcome:
        draft = new_draft(terms)
        return Outcome(_("This is the draft: %(draft)s.") % {"draft": draft}, row=draft)


def _in_force(terms: Terms) -> Terms | None:
    return Terms.objects.filter(slug=terms.slug, status=Terms.Status.PUBLISHED).first()


def _seen(terms: Terms) -> str:
    return sha256(as_toml(version_of(terms)))


def _doubts(terms: Terms) -> list[str]:
    return [] if what_is_missing(terms) else what_is_doubted(terms)


def _living(terms: Terms) -> dict[int, int]:
    """Version → how many agreements live under it."""
    versions = Mandate.objects.filter(consent__terms__slug=terms.slug).exclude(status__in=ENDED)
    counted = versions.values_list("consent__terms__version").annotate(Count("pk"))
    return dict(counted.order_by("consent__terms__version"))
