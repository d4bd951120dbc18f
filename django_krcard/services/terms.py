"""Terms: which are in force, how they read, and how a draft becomes one of them."""

from __future__ import annotations

import hashlib

from django.core.exceptions import ValidationError
from django.db import transaction
from django.utils import timezone, translation
from django.utils.translation import gettext as _

from django_krcard.models import Terms, TermsText


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


def publish(terms: Terms, *, by: str) -> Terms:
    """Put a draft in force and retire the version before it. From now on it cannot be changed.

    Raises ``ValidationError`` with a sentence for each thing that is missing. ``by`` is "staff:<name>" or "system".
    """
    if terms.status != Terms.Status.DRAFT:
        raise ValidationError(_("Only a draft can be published."))
    terms.full_clean()
    _check_texts(list(terms.texts.all()))
    with transaction.atomic():
        Terms.objects.filter(slug=terms.slug, status=Terms.Status.PUBLISHED).retire()
        terms.status = Terms.Status.PUBLISHED
        terms.published_at = timezone.now()
        terms.published_by = by
        terms.save()
    return terms


def _check_texts(texts: list[TermsText]) -> None:
    if not texts:
        raise ValidationError(_("These terms have no text in any language."))
    for text in texts:
        text.full_clean()
