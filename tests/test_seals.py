"""Seals: what is kept of them elsewhere shows what was cut off here."""

import hashlib

import pytest
from django.db import connection, transaction

from django_krcard.models import Consent, Seal, SealedConsent
from django_krcard.services import seals
from tests.factories import CustomerFactory, consent_of
from tests.unguarded import unguarded

pytestmark = pytest.mark.django_db


@pytest.fixture
def consents(membership):
    """Make so many more."""
    return lambda number: [consent_of(CustomerFactory(), membership) for _ in range(number)]


def test_a_seal_is_over_what_no_seal_is_over_yet(consents):
    consents(3)
    first = seals.make()
    assert seals.make() is None
    consents(2)
    second = seals.make()
    assert [(seal.number, seal.count) for seal in (first, second)] == [(1, 3), (2, 2)]
    assert second.previous_root == first.root
    assert seals.root_of(Seal.objects.get(number=2)) == second.root
    assert seals.line_of(second) == f"krcard-seal 2 2 {second.root} {seals.moment(second.made_at)}"


def test_without_consents_there_is_nothing_to_seal():
    assert seals.make() is None


@pytest.mark.parametrize("number", [1, 2, 3, 5, 8])
def test_each_consent_is_proved_with_nothing_but_sha256(consents, number):
    for consent in consents(number):
        assert seals.proof_of(consent) is None
    seal = seals.make()
    for consent in Consent.objects.all():
        assert (
            by_hand(seals.proof_of(consent), consent.record_hash)
            == seal.root
            == seals.root_from(seals.proof_of(consent))
        )
        assert by_hand(seals.proof_of(consent), "0" * 64) != seal.root


def by_hand(proof, record_hash):
    """As the documentation says it, by somebody who has only that."""

    def sha(data):
        return hashlib.sha256(data).digest()

    node = sha(b"\0" + bytes.fromhex(record_hash))
    for sibling in proof["siblings"]:
        other = bytes.fromhex(sibling["hash"])
        node = sha(b"\1" + (other + node if sibling["side"] == "left" else node + other))
    words = [proof["number"], proof["count"], proof["made_at"], proof["previous_root"], node.hex()]
    return sha(b"\2" + "|".join(map(str, words)).encode()).hex()


def test_what_a_slow_transaction_commits_later_is_in_the_next_seal(consents):
    """It took its id early. A seal over a range of ids would never see it."""
    slow, quick = consents(2)
    row = hold_back(slow)
    assert [leaf.public_id for leaf in seals.make().consents.all()] == [quick.public_id]
    bring_back(row)
    assert [leaf.public_id for leaf in seals.make().consents.all()] == [slow.public_id]


def hold_back(consent):
    origin, row = consent.origin, Consent.objects.get(pk=consent.pk)
    with unguarded(), connection.cursor() as cursor:
        cursor.execute("DELETE FROM krcard_consentorigin WHERE consent_id = %s", [origin.pk])
        cursor.execute("DELETE FROM krcard_consent WHERE id = %s", [row.pk])
    return row


def bring_back(row):
    row._state.adding = True
    row.save()


def test_a_seal_is_all_or_nothing(consents, monkeypatch):
    consents(2)

    def fails(*args, **kwargs):
        raise RuntimeError

    monkeypatch.setattr(SealedConsent.objects, "bulk_create", fails)
    with pytest.raises(RuntimeError), transaction.atomic():
        seals.make()
    assert not Seal.objects.exists()
