"""Whether everything that proves the agreements is as it was written. Reads only, and holds a page at a time.

Nothing of a row is taken for granted, not even that it can be read: whoever changed it may have left nonsense.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import groupby
from typing import Any, NamedTuple, TypeVar
from uuid import UUID

from django.db import DEFAULT_DB_ALIAS, OperationalError, models
from django.db.models import Q

from django_krcard import triggers
from django_krcard.conf import conf
from django_krcard.models import (
    Consent,
    ConsentAttachment,
    ConsentErasure,
    ConsentOrigin,
    Customer,
    Seal,
    SealedConsent,
    Terms,
)
from django_krcard.rules import Rule
from django_krcard.services import seals
from django_krcard.services.consents import attachment_is_intact, is_intact, origin_is_intact

PAGE = 500

Answer = TypeVar("Answer")

#: What reading or hashing a row that was tampered with may raise.
NONSENSE = (ValueError, TypeError, AttributeError, ArithmeticError)


class Finding(NamedTuple):
    """Something that is not as it should be. ``about`` names a consent by its public id, or another thing in words."""

    kind: str
    about: str
    message: str


MESSAGES = {
    "trigger": "the trigger is missing or altered: migrate puts it back",
    "unreadable": "the row cannot be read: it was changed",
    "changed": "the record does not match its hash: it was changed, or this site never wrote it",
    "unknown_key": "the record names the key {0!r}, which KRCARD_EVIDENCE_KEYS does not have, and matches none",
    "customer_missing": "its customer is gone",
    "terms_missing": "its terms are gone",
    "terms_changed": "its terms do not say any more what was agreed to",
    "origin_changed": "where it came from does not match the record",
    "origin_missing": "where it came from is gone, and nobody said that it was erased",
    "origin_left": "it says that where it came from was erased, and it was not",
    "attachment_changed": "its attachment does not match the record",
    "attachment_missing": "its attachment is gone, and nobody said that it was erased",
    "attachment_left": "it says that its attachment was erased, and it was not",
    "missing": "a record that came right before this one is gone",
    "inserted": "it stands where another record of this customer belongs: it was inserted",
    "forked": "two records of this customer follow the same one",
    "reordered": "it comes before the record that it follows",
    "cut": "seal {0} was made over it, and it is gone",
    "seal_differs": "seal {0} was made over it with another hash",
    "seal_changed": "it does not lead to its own root: the seal or its list was changed",
    "seal_missing": "a seal that came before it is gone",
    "seal_cut": "it was kept elsewhere and is not here: the newest records were cut off",
    "seal_rewritten": "it was kept elsewhere, and here it says something else",
}


def finding(kind: str, about: object, *details: object) -> Finding:
    return Finding(kind, str(about), MESSAGES[kind].format(*details))


def verify(*, looked: Callable[[], object] = lambda: None) -> Iterator[Finding]:
    """All that is not in order. ``looked`` is called for each record and each sealed one."""
    yield from (finding("trigger", name) for name in triggers.missing(DEFAULT_DB_ALIAS))
    yield from _consents(looked)
    yield from _seals(looked)


def count() -> int:
    """How often ``verify`` will call ``looked``."""
    return Consent.objects.count() + SealedConsent.objects.count()


class BadLine(ValueError):
    """It is no line of krcard_seal."""


def compare_lines(lines: Iterable[str]) -> Iterator[Finding]:
    """Compare what krcard_seal printed once, and somebody kept elsewhere, with what is here. Raises ``BadLine``."""
    for line in filter(None, map(str.strip, lines)):
        try:
            name, number, _count, _root, _made_at = line.split()
            number = int(number)
        except ValueError:
            name = ""
        if name != seals.NAME:
            raise BadLine(f"This is no line of krcard_seal: {line!r}")
        seal = Seal.objects.filter(number=number).first()
        if seal is None:
            yield finding("seal_cut", _name(number))
        elif seals.line_of(seal).split() != line.split():
            yield finding("seal_rewritten", _name(number))


# --- consents -------------------------------------------------------------------------------------


class _Link(NamedTuple):
    """Of a record, what its chain is made of."""

    customer_id: int
    public_id: UUID
    record_hash: str
    previous_hash: str
    intact: bool


def _consents(looked: Callable[[], object]) -> Iterator[Finding]:
    found: list[Finding] = []
    for _customer, chain in groupby(_links(found, looked), key=lambda link: link.customer_id):
        links = list(chain)
        yield from found
        found.clear()
        yield from _chain(links)
    yield from found


def _links(found: list[Finding], looked: Callable[[], object]) -> Iterator[_Link]:
    """Each record in the order of its customer's chain. What is wrong with it goes on the list."""
    terms = _by_pk(Terms.objects.all())
    for page in _pages():
        about = _About(page, terms)
        for consent in page:
            looked()
            if isinstance(consent, int):
                found.append(finding("unreadable", f"consent {consent}"))
                continue
            problems = list(about.problems_of(consent))
            found += problems
            intact = not any(problem.kind in ("changed", "unknown_key") for problem in problems)
            yield _Link(consent.customer_id, consent.public_id, consent.record_hash, consent.previous_hash, intact)


def _pages() -> Iterator[list[Consent | int]]:
    """All records by customer, in the order in which they came; of one that cannot be read only the id."""
    customer_id = last = -1
    while True:
        # The first condition says nothing new; it lets the index find the place.
        rest = Consent.objects.filter(Q(customer_id__gt=customer_id) | Q(pk__gt=last), customer_id__gte=customer_id)
        keys = list(rest.order_by("customer_id", "pk").values_list("customer_id", "pk")[:PAGE])
        if not keys:
            return
        customer_id, last = keys[-1]
        rows = _by_pk(Consent.objects.filter(pk__in=[pk for _customer_id, pk in keys]))
        yield [rows.get(pk, pk) for _customer_id, pk in keys]


def _by_pk(rows: models.QuerySet[Any]) -> dict[int, Any]:
    """The rows that can be read."""
    rows = rows.order_by()
    found = _unless_nonsense(lambda: list(rows))
    if found is None:
        each = (_unless_nonsense(partial(rows.get, pk=pk)) for pk in rows.values_list("pk", flat=True))
        found = filter(None, each)
    return {row.pk: row for row in found}


def _unless_nonsense(read: Callable[[], Answer]) -> Answer | None:
    try:
        return read()
    except NONSENSE:
        return None
    except OperationalError as error:
        # SQLite takes bytes that are no UTF-8. Everything else is no matter of the row.
        if "decode" not in str(error):
            raise
        return None


class _About:
    """What belongs to a page of records, each kind in one question. Not by joins: those hide what points nowhere."""

    def __init__(self, page: list[Consent | int], terms: dict[int, Terms]) -> None:
        rows = [row for row in page if isinstance(row, Consent)]
        pks = [row.pk for row in rows]
        self.terms = terms
        self.customers = _by_pk(Customer.objects.filter(pk__in={row.customer_id for row in rows}))
        self.origins = _by_pk(ConsentOrigin.objects.filter(pk__in=pks))
        self.attached = set(ConsentAttachment.objects.filter(pk__in=pks).values_list("pk", flat=True))
        self.erased = set(ConsentErasure.objects.filter(pk__in=pks).values_list("pk", flat=True))

    def problems_of(self, consent: Consent) -> Iterator[Finding]:
        about, erased = consent.public_id, consent.pk in self.erased
        customer, terms = self.customers.get(consent.customer_id), self.terms.get(consent.terms_id)
        if customer is None:
            yield finding("customer_missing", about)
        if terms is None:
            yield finding("terms_missing", about)
        if customer and terms:
            consent.customer, consent.terms = customer, terms
            yield from _record(consent)
        origin = self.origins.get(consent.pk)
        if origin:
            Consent.origin.related.set_cached_value(consent, origin)
        yield from _part("origin", consent, bool(origin), origin_is_intact, expected=not erased)
        attached = consent.pk in self.attached
        if attached or consent.attachment_sha256:
            yield from _part("attachment", consent, attached, attachment_is_intact, expected=not erased)
            # Looked at one at a time, and let go: a page of them would not fit into memory.
            consent._state.fields_cache.pop("attachment", None)


def _record(consent: Consent) -> Iterator[Finding]:
    if not _holds(is_intact, consent):
        if consent.key_id in conf.EVIDENCE_KEYS:
            yield finding("changed", consent.public_id)
        else:
            yield finding("unknown_key", consent.public_id, consent.key_id)
    elif not _holds(_still_says, consent):
        yield finding("terms_changed", consent.public_id)


def _still_says(consent: Consent) -> bool:
    return consent.terms.rule == Rule.from_dict(consent.rule)


def _part(
    name: str, consent: Consent, there: bool, is_intact: Callable[[Consent], bool], *, expected: bool
) -> Iterator[Finding]:
    if there and not expected:
        yield finding(f"{name}_left", consent.public_id)
    elif there and not _holds(is_intact, consent):
        yield finding(f"{name}_changed", consent.public_id)
    elif expected and not there:
        yield finding(f"{name}_missing", consent.public_id)


def _holds(check: Callable[[Consent], bool], consent: Consent) -> bool:
    return bool(_unless_nonsense(partial(check, consent)))


def _chain(links: list[_Link]) -> Iterator[Finding]:
    """Whether the records of one customer follow each other, each one the one before it."""
    followers: dict[str, _Link] = {}
    followed = {link.previous_hash for link in links}
    for link in sorted(links, key=lambda link: (not link.intact, link.record_hash not in followed)):
        # Of two that follow the same one, the right one is that which holds, and which others follow.
        followers.setdefault(link.previous_hash, link)
    right = [link for link in links if followers[link.previous_hash] is link]
    yield from (
        finding("forked" if link.intact else "inserted", link.public_id)
        for link in links
        if followers[link.previous_hash] is not link
    )
    place = {link.record_hash: number for number, link in enumerate(right)}
    for number, link in enumerate(right):
        before = place.get(link.previous_hash) if link.previous_hash else -1
        if before is None:
            yield finding("missing", link.public_id)
        elif before >= number or (before == -1 and number):
            yield finding("reordered", link.public_id)


# --- seals ----------------------------------------------------------------------------------------


def _seals(looked: Callable[[], object]) -> Iterator[Finding]:
    number, root = 0, ""
    for seal in _in_order():
        if seal.number != number + 1 or seal.previous_root != root:
            yield finding("seal_missing", _name(seal.number))
        number, root = seal.number, seal.root
        tree = seals.Tree()
        yield from _sealed(seal, tree, looked)
        said = (seal.count, seal.tree, seal.root)
        if said != (tree.count, tree.root() if tree.count else "", seals.root_of(seal)):
            yield finding("seal_changed", _name(seal.number))


def _in_order() -> Iterator[Seal]:
    last = 0
    while page := list(Seal.objects.filter(number__gt=last).order_by("number")[:PAGE]):
        yield from page
        last = page[-1].number


def _sealed(seal: Seal, tree: seals.Tree, looked: Callable[[], object]) -> Iterator[Finding]:
    last = -1
    while True:
        rest = SealedConsent.objects.filter(seal=seal, position__gt=last).order_by("position")[:PAGE]
        leaves = list(rest.values_list("position", "public_id", "record_hash"))
        if not leaves:
            return
        here = dict(
            Consent.objects.filter(public_id__in=[public_id for _position, public_id, _hash in leaves])
            .order_by()
            .values_list("public_id", "record_hash")
        )
        for position, public_id, record_hash in leaves:
            looked()
            last = position
            try:
                tree.add(record_hash)
            except ValueError:
                yield finding("seal_changed", _name(seal.number))
            if public_id not in here:
                yield finding("cut", public_id, seal.number)
            elif here[public_id] != record_hash:
                yield finding("seal_differs", public_id, seal.number)


def _name(number: int) -> str:
    return f"seal {number}"
