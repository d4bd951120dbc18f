"""Terms: which are in force, how they read, and how a draft becomes one of them."""

from __future__ import annotations

import hashlib
from functools import partial

from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import Max
from django.utils import timezone, translation
from django.utils.translation import gettext as _

from django_krcard.models import Amendment, Terms, TermsText, lock_all
from django_krcard.services.closing import close_under_older
from django_krcard.services.fit import doubts
from django_krcard.services.timeline import entry, record_all


class WordsDoNotFit(ValidationError):
    """What the rule says was not found in the words: a sentence each."""


def in_force(slug: str) -> Terms:
    """The published version of ``slug``. Raises ``Terms.DoesNotExist``."""
    return Terms.objects.get(slug=slug, status=Terms.Status.PUBLISHED)


def text_for(terms: Terms, language: str) -> TermsText:
    """The text in ``language``; else in Korean; else in whatever language there is."""
    texts = {text.language: text for text in terms.texts.select_related("terms").order_by("pk")}
    for candidate in (language, language.split("-")[0], "ko"):
        if candidate in texts:
            return texts[candidate]
    if not texts:
        raise TermsText.DoesNotExist(f"{terms} has no text in any language.")
    return next(iter(texts.values()))


def rendered(text: TermsText) -> str:
    """The whole text as plain text: what a customer reads, and what a consent keeps."""
    with translation.override(text.language):
        parts = [text.title]
        parts += [f"{heading}\n{words}" for heading, words in text.points]
        parts += [text.body] if text.body else []
        parts += [
            "\n".join(
                f"[{_('required') if item['required'] else _('optional')}] {item['label']}" for item in text.items
            )
        ]
    return "\n\n".join(part.strip() for part in parts)


def sha256(words: str) -> str:
    return hashlib.sha256(words.encode()).hexdigest()


def publish(terms: Terms, *, by: str, words_checked: str = "") -> Terms:
    """Put a draft in force and retire the version before it. From now on it cannot be changed.

    Whoever agreed to an older version stays under it; attempts to save a card that are still open under one are closed,
    and whoever was asked to agree to one is not asked any more.

    Raises ``ValidationError`` with a sentence for each thing that is missing, and for each thing that the rule says and
    the words do not (see ``fit``). ``words_checked`` is the reason why they fit all the same: somebody has read them.
    It is kept with the terms, beside what was doubted. ``by`` is "staff:<name>" or "system".
    """
    with transaction.atomic():
        versions = Terms.objects.filter(slug=terms.slug)
        versions.locked()
        # Asked after the wait: what is stored now is published, and nobody else publishes before we are through.
        terms.refresh_from_db()
        if terms.status != Terms.Status.DRAFT:
            raise ValidationError(_("Only a draft can be published."))
        if newer := versions.filter(status=Terms.Status.PUBLISHED, version__gt=terms.version).first():
            text = _("%(newer)s is in force, and an older version cannot follow it.")
            raise ValidationError(text % {"newer": newer})
        if missing := what_is_missing(terms):
            raise ValidationError(missing)
        doubted = what_is_doubted(terms)
        if doubted and not words_checked.strip():
            raise WordsDoNotFit(doubted)
        versions.filter(status=Terms.Status.PUBLISHED).retire()
        terms.status = Terms.Status.PUBLISHED
        terms.published_at = timezone.now()
        terms.published_by = by
        terms.words_checked = words_checked
        terms.words_doubted = doubted
        terms.save()
        close_under_older(terms, by=by)
        _supersede_requests(terms, by)
        # And those of customers who were agreeing at this very moment.
        transaction.on_commit(partial(close_under_older, terms, by=by), robust=True)
    return terms


def _supersede_requests(terms: Terms, by: str) -> None:
    asked = Amendment.objects.filter(terms__slug=terms.slug, status__in=Amendment.OPEN).select_related("mandate")
    # Locked, so that an answer given at this moment is not written over.
    still_asked = [row for row in lock_all(asked, "mandate") if row.is_open]
    superseded = {"status": Amendment.Status.SUPERSEDED, "next_step_at": None}
    Amendment.objects.filter(pk__in=[row.pk for row in still_asked]).update(**superseded)
    record_all(
        entry(row.mandate, "amendment_superseded", actor=by, amendment=str(row.public_id), terms=str(terms))
        for row in still_asked
    )


def what_is_missing(terms: Terms) -> list[str]:
    """A sentence for each thing without which these terms cannot be published, whoever has read them."""
    texts = list(terms.texts.order_by("pk"))
    missing = _problems_of(terms)
    if not texts:
        missing.append(_("These terms have no text in any language."))
    for text in texts:
        missing += [f"{text.language}, {problem}" for problem in _problems_of(text)]
    return missing or _other_boxes(texts)


def what_is_doubted(terms: Terms) -> list[str]:
    """What the rule says and was not found in the words. To be asked once nothing is missing."""
    return doubts(terms.rule, terms.texts.order_by("pk"))


def new_draft(terms: Terms) -> Terms:
    """The next version, with the same rule, the same texts and the same boxes, to be changed and published."""
    with transaction.atomic():
        versions = Terms.objects.filter(slug=terms.slug)
        versions.locked()
        # Asked after the wait: of what was added meanwhile the lock itself does not tell.
        newest = versions.aggregate(version=Max("version"))["version"]
        draft = Terms.objects.create(slug=terms.slug, version=newest + 1, **terms.rule.as_dict())
        for text in terms.texts.order_by("pk"):
            # Django's way to copy a row: https://docs.djangoproject.com/en/stable/topics/db/queries/#copying-model-instances
            text.pk, text.terms, text._state.adding = None, draft, True
            text.save()
    return draft


def _problems_of(row: Terms | TermsText) -> list[str]:
    """All that is wrong in a row, each with the name of the field it is about."""
    try:
        row.full_clean()
    except ValidationError as error:
        return [f"{_label(row, name)}: {' '.join(found)}" for name, found in error.message_dict.items()]
    return []


def _other_boxes(texts: list[TermsText]) -> list[str]:
    """What is agreed to is the same in every language, and so are its boxes."""
    first, *others = texts
    found = []
    for text in others:
        if other := {key for key, _required in _boxes(text).items() ^ _boxes(first).items()}:
            sentence = _(
                "%(language)s, boxes to tick: %(keys)s must be in %(first)s too, and required in both or in none."
            )
            told = {"language": text.language, "first": first.language, "keys": ", ".join(sorted(other))}
            found.append(sentence % told)
    return found


def _boxes(text: TermsText) -> dict[str, bool]:
    return {item["key"]: item["required"] for item in text.items}


def _label(row: Terms | TermsText, name: str) -> str:
    return next((str(field.verbose_name) for field in row._meta.fields if field.name == name), name)
