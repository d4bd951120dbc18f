"""Seals: what is printed and kept elsewhere, so that it shows when the newest records were cut off here.

Whoever holds nothing but one line of a seal, and the proof of one consent, needs SHA-256 and this to check it:

- leaf:  ``SHA-256(00 ‖ record hash)``, the record hash as its 32 bytes.
- node:  ``SHA-256(01 ‖ left ‖ right)``. A level with an odd number of nodes hands the last one up as it is.
- root:  ``SHA-256(02 ‖ text)``, the text in ASCII: ``number|count|made_at|previous root|tree``, where ``made_at`` is
  UTC as ``2026-11-25T22:30:00.123Z``, both hashes are hex, and the first seal has nothing for the previous one.

The first byte keeps a leaf from being taken for a node. The root speaks of the seal before it, so the newest line kept
elsewhere vouches for all of them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Any

from django.db import connection, transaction
from django.db.models import Exists, OuterRef
from django.utils import timezone

from django_krcard.models import Consent, Seal, SealedConsent, Watermark

#: Leaves that are written at a time.
BATCH = 1000

LOCK = "seal"

#: The first word of a line that is kept elsewhere.
NAME = "krcard-seal"


def make() -> Seal | None:
    """Seal all consents that no seal is over yet, in the order of their ids; ``None`` if there are none.

    One at a time. A transaction that commits later with a lower id is not lost: it is in the next seal.
    """
    with transaction.atomic():
        _one_at_a_time()
        previous = Seal.objects.order_by("-number").first()
        sealed = SealedConsent.objects.filter(public_id=OuterRef("public_id"))
        new = list(Consent.objects.filter(~Exists(sealed)).order_by("pk").values_list("public_id", "record_hash"))
        if not new:
            return None
        now = timezone.now()
        seal = Seal(
            number=previous.number + 1 if previous else 1,
            # More than milliseconds does not survive dumpdata.
            made_at=now.replace(microsecond=now.microsecond // 1000 * 1000),
            count=len(new),
            tree=tree_of(record_hash for _public_id, record_hash in new),
            previous_root=previous.root if previous else "",
        )
        seal.root = root_of(seal)
        seal.save()
        for first in range(0, len(new), BATCH):
            batch = enumerate(new[first : first + BATCH], start=first)
            SealedConsent.objects.bulk_create(
                SealedConsent(seal=seal, position=position, public_id=public_id, record_hash=record_hash)
                for position, (public_id, record_hash) in batch
            )
    return seal


def proof_of(consent: Consent) -> dict[str, Any] | None:
    """All that is needed to come from the consent's record hash to the root of its seal; ``None`` before it is sealed.

    ``root_from`` does it, and so does anybody with the three rules above.
    """
    leaf = SealedConsent.objects.select_related("seal").filter(public_id=consent.public_id).first()
    if leaf is None:
        return None
    seal = leaf.seal
    return {
        "number": seal.number,
        "count": seal.count,
        "made_at": moment(seal.made_at),
        "previous_root": seal.previous_root,
        "root": seal.root,
        "position": leaf.position,
        "record_hash": leaf.record_hash,
        "siblings": list(_siblings(hashes_of(seal), leaf.position)),
    }


def root_from(proof: dict[str, Any]) -> str:
    """The root that the proof leads to. It proves something when it is the one that was kept elsewhere."""
    node = _leaf(proof["record_hash"])
    for sibling in proof["siblings"]:
        other = bytes.fromhex(sibling["hash"])
        node = _node(other, node) if sibling["side"] == "left" else _node(node, other)
    return _root(proof["number"], proof["count"], proof["made_at"], proof["previous_root"], node.hex())


def line_of(seal: Seal) -> str:
    """The line for safekeeping elsewhere."""
    return f"{NAME} {seal.number} {seal.count} {seal.root} {moment(seal.made_at)}"


class Tree:
    """The tree over hashes that come one after the other. Holds one node for each level."""

    def __init__(self) -> None:
        self.count = 0
        self._whole: list[tuple[int, bytes]] = []  # (number of leaves, node), each a smaller power of two

    def add(self, record_hash: str) -> None:
        size, node = 1, _leaf(record_hash)
        while self._whole and self._whole[-1][0] == size:
            _size, left = self._whole.pop()
            size, node = size * 2, _node(left, node)
        self._whole.append((size, node))
        self.count += 1

    def root(self) -> str:
        *others, (_size, node) = self._whole
        for _size, left in reversed(others):
            node = _node(left, node)
        return node.hex()


def tree_of(record_hashes: Iterable[str]) -> str:
    tree = Tree()
    for record_hash in record_hashes:
        tree.add(record_hash)
    return tree.root()


def root_of(seal: Seal) -> str:
    return _root(seal.number, seal.count, moment(seal.made_at), seal.previous_root, seal.tree)


def hashes_of(seal: Seal) -> Iterator[str]:
    return seal.consents.order_by("position").values_list("record_hash", flat=True).iterator()


def moment(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _one_at_a_time() -> None:
    """Wait for whoever is at it. A row of its own to lock, because of seals there may be none."""
    Watermark.objects.get_or_create(name=LOCK, defaults={"at": timezone.now()})
    wanted = Watermark.objects.filter(name=LOCK)
    if connection.features.has_select_for_update:
        wanted.select_for_update().get()
    wanted.update(at=timezone.now())


def _leaf(record_hash: str) -> bytes:
    return hashlib.sha256(b"\x00" + bytes.fromhex(record_hash)).digest()


def _node(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\x01" + left + right).digest()


def _root(number: int, count: int, made_at: str, previous_root: str, tree: str) -> str:
    text = f"{number}|{count}|{made_at}|{previous_root}|{tree}"
    return hashlib.sha256(b"\x02" + text.encode("ascii")).hexdigest()


def _above(level: list[bytes]) -> list[bytes]:
    pairs = [_node(level[at], level[at + 1]) for at in range(0, len(level) - 1, 2)]
    return pairs + level[-1:] if len(level) % 2 else pairs


def _siblings(record_hashes: Iterable[str], position: int) -> Iterator[dict[str, str]]:
    level = [_leaf(record_hash) for record_hash in record_hashes]
    while len(level) > 1:
        other = position ^ 1
        if other < len(level):
            yield {"side": "left" if other < position else "right", "hash": level[other].hex()}
        level, position = _above(level), position // 2
