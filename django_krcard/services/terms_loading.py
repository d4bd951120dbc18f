"""Terms from files into the database, as often as one likes and from two deploys at once."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import NamedTuple

from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from django.utils.translation import gettext as _

from django_krcard.models import Terms
from django_krcard.services.terms import publish
from django_krcard.services.terms_files import Version, as_toml, rows_of, version_of


class Loaded(NamedTuple):
    """What came of one version."""

    slug: str
    version: int
    action: str  # created, updated, unchanged, refused
    published: bool = False
    problems: tuple[str, ...] = ()
    diff: str = ""

    def __str__(self) -> str:
        done = f"{self.slug} v{self.version}: {self.action}{', published' if self.published else ''}"
        return "\n".join([done, *(f"  {problem}" for problem in self.problems), *self.diff.splitlines()])


def load(versions: Iterable[Version], *, by: str, publish_drafts: bool = False, dry_run: bool = False) -> list[Loaded]:
    """Bring the database to what the files say, all of it or nothing.

    What is there already is left alone, a draft is changed, and what was published is refused unless it is the same.
    ``publish_drafts`` puts drafts of these versions in force, older versions first.
    """
    in_order = sorted(versions, key=lambda version: version[:2])
    for last_try in (False, True):
        try:
            with transaction.atomic():
                loaded = [_load(version, by=by, publish_drafts=publish_drafts) for version in in_order]
                if dry_run or any(one.problems for one in loaded):
                    transaction.set_rollback(True)
            break
        except IntegrityError:
            # Another deploy made the same version at this moment. Now it can be seen.
            if last_try:
                raise
    return loaded


def _load(version: Version, *, by: str, publish_drafts: bool) -> Loaded:
    stored = {terms.version: terms for terms in Terms.objects.filter(slug=version.slug).locked()}
    terms = stored.get(version.version)
    loaded = Loaded(version.slug, version.version, "unchanged")
    if terms is None:
        terms, loaded = _create(version), loaded._replace(action="created")
    elif diff := _diff(terms, version):
        if terms.status != Terms.Status.DRAFT:
            problem = _("It was published and cannot be changed any more. Write version %(next)d.")
            return loaded._replace(action="refused", problems=(problem % {"next": max(stored) + 1},), diff=diff)
        loaded = loaded._replace(action="updated", diff=diff)
        _update(terms, version)
    if publish_drafts and terms.status == Terms.Status.DRAFT:
        try:
            publish(terms, by=by, words_checked=version.words_checked)
        except ValidationError as error:
            return loaded._replace(action="refused", problems=tuple(error.messages))
        loaded = loaded._replace(published=True)
    return loaded


def _create(version: Version) -> Terms:
    terms, texts = rows_of(version)
    terms.save()
    for text in texts:
        text.save()
    return terms


def _update(terms: Terms, version: Version) -> None:
    wanted, texts = rows_of(version)
    for name in ("words_checked", *version.rule._fields):
        setattr(terms, name, getattr(wanted, name))
    terms.save()
    # All anew: their order says which is shown to readers of a language that has none.
    terms.texts.all().delete()
    for text in texts:
        text.terms = terms
        text.save()


def _diff(terms: Terms, version: Version) -> str:
    """Line by line; empty when the file says what is stored."""
    before = version_of(terms)
    if terms.status != Terms.Status.DRAFT:
        # Why somebody found that the words fit was written down then, and is no part of the terms.
        before, version = before._replace(words_checked=""), version._replace(words_checked="")
    lines = difflib.unified_diff(
        as_toml(before).splitlines(), as_toml(version).splitlines(), "in the database", "in the file", lineterm=""
    )
    return "\n".join(lines)
