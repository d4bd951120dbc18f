"""From a draft to terms in force, and from those to the next draft."""

from __future__ import annotations

from django import forms
from django.contrib import messages
from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import Max
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from django_krcard import services
from django_krcard.admin.actions import Outcome, PageAction
from django_krcard.models import Terms, TermsText


class PublishTerms(PageAction):
    name = "publish"
    label = gettext_lazy("Publish")
    permission = "krcard.publish_terms"
    form_class = forms.Form

    def is_possible(self, terms: Terms) -> bool:
        return terms.status == Terms.Status.DRAFT

    def effects(self, terms: Terms) -> list[str]:
        found = [_("From now on new customers agree to this version, and nobody can change it any more.")]
        before = Terms.objects.filter(slug=terms.slug, status=Terms.Status.PUBLISHED).first()
        if before:
            text = _("%(before)s is retired. Whoever agreed to it stays under it.")
            found.append(text % {"before": before})
        languages = ", ".join(terms.texts.values_list("language", flat=True))
        return [*found, _("Languages: %(languages)s.") % {"languages": languages or _("none")}]

    def perform(self, terms: Terms, *, by: str) -> Outcome:
        try:
            services.publish_terms(terms, by=by)
        except ValidationError as error:
            return Outcome(_("Not published. %(problems)s") % {"problems": _sentences(error)}, messages.ERROR)
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
        newest = Terms.objects.filter(slug=terms.slug).aggregate(version=Max("version"))["version"]
        with transaction.atomic():
            draft = Terms.objects.create(slug=terms.slug, version=newest + 1, **terms.rule.as_dict())
            for text in terms.texts.all():
                # Django's way to copy a row: https://docs.djangoproject.com/en/stable/topics/db/queries/#copying-model-instances
                text.pk, text.terms, text._state.adding = None, draft, True
                text.save()
        return Outcome(_("This is the draft: %(draft)s.") % {"draft": draft}, row=draft)


def _sentences(error: ValidationError) -> str:
    """All that is wrong in a row, each with the name of the field it is about."""
    if not hasattr(error, "error_dict"):
        return " ".join(error.messages)
    return " ".join(f"{_label(name)}: {' '.join(found)}" for name, found in error.message_dict.items())


def _label(name: str) -> str:
    fields = [*Terms._meta.fields, *TermsText._meta.fields]
    return next((str(field.verbose_name) for field in fields if field.name == name), name)
