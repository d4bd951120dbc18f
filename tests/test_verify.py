"""krcard_verify: whatever was done to a record behind our back, it is found."""

import json
import random
import secrets
from datetime import timedelta
from typing import Any, NamedTuple

import pytest
from django.db import connection, transaction

from django_krcard import services, triggers
from django_krcard.models import (
    Consent,
    ConsentAttachment,
    ConsentOrigin,
    Customer,
    Seal,
)
from django_krcard.services import consents, seals
from django_krcard.services.consents import Attachment, erase_origin
from django_krcard.services.verify import BadLine, _chain, _Link, compare_lines, verify
from tests.factories import REQUIRED, CustomerFactory, PublishedTerms, consent_of
from tests.unguarded import tamper, unguarded

pytestmark = pytest.mark.django_db

SCAN = Attachment("signed.pdf", "application/pdf", b"%PDF-1.7 scan")


def kinds():
    return sorted({found.kind for found in verify()})


@pytest.fixture
def minjis(membership):
    """Three records of one customer, in the order of their chain."""
    customer = CustomerFactory()
    return [consent_of(customer, membership) for _ in range(3)]


@pytest.fixture
def paper(membership):
    evidence = services.Evidence(source="paper", recorded_by="staff:park", reference="17", attachment=SCAN, note="원본")
    return services.give_consent(CustomerFactory(), membership, language="ko", ticked=REQUIRED, evidence=evidence)


def test_all_is_well(minjis, paper):
    seals.make()
    erase_origin(minjis[0], by="system", reason="asked for it")
    erase_origin(paper, by="system", reason="asked for it")
    seen = []
    assert list(verify(looked=lambda: seen.append(1))) == []
    assert len(seen) == 8  # four records, four sealed ones


@pytest.mark.parametrize(
    ("kind", "sql"),
    [
        ("changed", "UPDATE krcard_consent SET text = 'Anything goes.'"),
        ("changed", "UPDATE krcard_consent SET created_at = given_at, recorded_by = 'nobody'"),
        ("changed", "UPDATE krcard_consent SET key_id = 'secret-key', source = 'web'"),
        ("unknown_key", "UPDATE krcard_consent SET key_id = '2019'"),
        ("origin_changed", "UPDATE krcard_consentorigin SET note = 'another'"),
        ("origin_missing", "DELETE FROM krcard_consentorigin"),
        ("attachment_changed", "UPDATE krcard_consentattachment SET name = 'another'"),
        ("attachment_missing", "DELETE FROM krcard_consentattachment"),
        ("terms_changed", "UPDATE krcard_terms SET amount = 99000"),
    ],
)
def test_what_somebody_did_with_sql_is_found(paper, kind, sql):
    tamper(sql)
    assert kinds() == [kind]


def test_what_was_said_to_be_erased_and_was_not(paper):
    columns, values = "consent_id, at, by, reason", f"{paper.pk}, given_at, 'x', 'y'"
    with connection.cursor() as cursor:
        quoted = columns.replace("by", '"by"')
        cursor.execute(f"INSERT INTO krcard_consenterasure ({quoted}) SELECT {values} FROM krcard_consent")
    assert kinds() == ["attachment_left", "origin_left"]


def test_an_attachment_that_nobody_recorded(minjis):
    ConsentAttachment.objects.create(consent=minjis[0], salt="s", name="n", content_type="c", content=b"x")
    assert kinds() == ["attachment_changed"]


def without(consent):
    with unguarded(), connection.cursor() as cursor:
        cursor.execute("DELETE FROM krcard_consentorigin WHERE consent_id = %s", [consent.pk])
        cursor.execute("DELETE FROM krcard_consent WHERE id = %s", [consent.pk])


def test_a_record_is_missing_in_the_middle(minjis):
    without(minjis[1])
    assert [(found.kind, found.about) for found in verify()] == [("missing", str(minjis[2].public_id))]


def test_the_newest_record_is_missing_and_was_sealed(minjis):
    seals.make()
    without(minjis[2])
    assert [(found.kind, found.about) for found in verify()] == [("cut", str(minjis[2].public_id))]


def test_records_changed_places(minjis):
    first, second, _third = (consent.pk for consent in minjis)
    origins = list(ConsentOrigin.objects.order_by("pk"))
    with unguarded(), connection.cursor() as cursor:
        cursor.execute("DELETE FROM krcard_consentorigin")
        for before, after in ((first, -1), (second, first), (-1, second)):
            cursor.execute("UPDATE krcard_consent SET id = %s WHERE id = %s", [after, before])
    for origin, consent in zip(origins, [second, first, _third], strict=True):
        origin.pk, origin._state.adding = consent, True
        origin.save()
    assert kinds() == ["reordered"]


@pytest.mark.postgresql
@pytest.mark.parametrize(("knows_the_key", "kind"), [(True, ["forked"]), (False, ["changed", "inserted"])])
def test_a_second_record_in_the_place_of_another(minjis, knows_the_key, kind, settings):
    fork = Consent.objects.get(pk=minjis[1].pk)
    fork.pk, fork._state.adding, fork.public_id = None, True, "00000000-0000-4000-8000-000000000000"
    secret = settings.SECRET_KEY if knows_the_key else "guessed"
    origin = ConsentOrigin(salt="salt")
    fork.origin_sha256 = consents.origin_sha256(origin)
    fork.record_hash = consents._hash(fork, secret)
    with unguarded():
        drop_the_chain()
        fork.save()
        origin.consent = fork
        origin.save()
    assert kinds() == kind


def drop_the_chain():
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE krcard_consent DROP CONSTRAINT krcard_consent_one_chain")


@pytest.mark.parametrize(("intact", "kind"), [(True, "forked"), (False, "inserted")])
def test_two_that_follow_the_same(intact, kind):
    """What the database's own constraint would refuse."""
    one, two = (_Link(1, public_id, public_id, "", True) for public_id in "ab")
    links = [one, two._replace(intact=intact), _Link(1, "c", "c", "a", True)]
    assert [(found.kind, found.about) for found in _chain(links)] == [(kind, "b")]
    assert [(found.kind, found.about) for found in _chain([links[1], links[0], links[2]])] == [(kind, "b")]


def test_missing_triggers(minjis):
    triggers.remove("default")
    assert kinds() == ["trigger"]
    triggers.install("default")


def test_one_nonsense_row_does_not_hide_the_others(minjis):
    if connection.vendor == "sqlite":
        with connection.cursor() as cursor:
            cursor.execute("PRAGMA ignore_check_constraints = ON")
        tamper("UPDATE krcard_consent SET public_id = 'x' WHERE id = %s", [minjis[0].pk])
        tamper("UPDATE krcard_consent SET language = CAST(x'ff' AS TEXT) WHERE id = %s", [minjis[1].pk])
        assert [found.about for found in verify() if found.kind == "unreadable"] == [
            f"consent {consent.pk}" for consent in minjis[:2]
        ]
    tamper("UPDATE krcard_consent SET rule = '[1, 2]' WHERE id = %s", [minjis[2].pk])
    assert "changed" in kinds()


# --- seals ----------------------------------------------------------------------------------------


@pytest.fixture
def sealed(minjis, membership):
    """The lines of two seals, kept elsewhere."""
    lines = [seals.line_of(seals.make())]
    consent_of(CustomerFactory(), membership)
    return [*lines, seals.line_of(seals.make())]


@pytest.mark.parametrize(
    ("kind", "sql"),
    [
        ("seal_changed", "UPDATE krcard_seal SET count = 7 WHERE number = 2"),
        ("seal_changed", "UPDATE krcard_seal SET made_at = '2026-01-01 00:00:00+00:00' WHERE number = 2"),
        ("seal_changed", "DELETE FROM krcard_sealedconsent WHERE position = 1"),
        ("seal_missing", "UPDATE krcard_seal SET number = 3 WHERE number = 2"),
        ("seal_differs", f"UPDATE krcard_sealedconsent SET record_hash = '{'0' * 64}' WHERE position = 2"),
    ],
)
def test_a_seal_was_changed(sealed, kind, sql):
    tamper(sql)
    assert kind in kinds()


def test_the_first_seal_is_gone(sealed):
    tamper("DELETE FROM krcard_sealedconsent WHERE seal_id IN (SELECT id FROM krcard_seal WHERE number = 1)")
    tamper("DELETE FROM krcard_seal WHERE number = 1")
    assert kinds() == ["seal_missing"]


def test_a_cut_tail_shows_by_the_lines_kept_elsewhere(sealed):
    """Records, their seal and all that was said of them are gone: nothing here is wrong by itself."""
    newest = Consent.objects.order_by("pk").last()
    seal = Seal.objects.get(number=2)
    tamper("DELETE FROM krcard_sealedconsent WHERE seal_id = %s", [seal.pk])
    tamper("DELETE FROM krcard_seal WHERE number = 2")
    without(newest)
    assert kinds() == []
    assert [found.kind for found in compare_lines(sealed)] == ["seal_cut"]


def test_a_history_that_was_sealed_anew_differs_from_the_line(sealed):
    assert list(compare_lines([*sealed, "", " "])) == []
    other = sealed[1].replace(" 1 ", " 2 ")
    assert [found.kind for found in compare_lines([other])] == ["seal_rewritten"]


@pytest.mark.parametrize("line", ["anything", "krcard-seal one 2 3 4", "another-seal 1 2 3 4", "krcard-seal 1"])
def test_a_line_of_something_else(line):
    with pytest.raises(BadLine):
        list(compare_lines([line]))


@pytest.mark.parametrize("number", [*range(1, 18), 100])
def test_the_tree_that_grows_is_the_tree_of_the_proofs(number):
    hashes = [secrets.token_hex(32) for _ in range(number)]
    root = seals.tree_of(hashes)
    for position in {0, number // 2, number - 1}:
        node = seals._leaf(hashes[position])
        for sibling in seals._siblings(hashes, position):
            other = bytes.fromhex(sibling["hash"])
            node = seals._node(other, node) if sibling["side"] == "left" else seals._node(node, other)
        assert node.hex() == root


# --- ten thousand bits ----------------------------------------------------------------------------

ROWS, ROUNDS = 1_000, 10

#: What is stored of a consent and of where it came from, besides the ids that hold the tables together.
TEXTS = ["language", "text", "text_sha256", "source", "source_reference", "recorded_by", "origin_sha256"]
TEXTS += ["attachment_sha256", "key_id", "record_hash", "previous_hash"]
JSONS, MOMENTS = ["rule", "ticked"], ["given_at", "created_at"]
OF_ORIGIN = ["salt", "user_agent", "page_url", "note"]


def test_each_of_ten_thousand_bits_is_found():
    seed = random.SystemRandom().getrandbits(32)
    print("seed", seed)
    chance = random.Random(seed)
    rows = many(ROWS)
    for _round in range(ROUNDS):
        changes = [a_bit_of(consent, origin, chance) for consent, origin in rows]
        with unguarded(), transaction.atomic(), connection.cursor() as cursor:
            for change in changes:
                cursor.execute(change.sql, [change.value, change.pk])
            found = {found.about for found in verify() if found.kind in PER_RECORD}
            assert [change for change in changes if change.about not in found] == [], f"seed {seed}"
            transaction.set_rollback(True)
    # Nothing was wrong but these bits.
    assert kinds() == []


PER_RECORD = {"changed", "unknown_key", "origin_changed"}


class Change(NamedTuple):
    sql: str
    value: Any
    pk: int
    about: str


def many(number):
    """So many records, straight into the database."""
    terms = PublishedTerms()
    customers = Customer.objects.bulk_create(Customer(reference=str(n)) for n in range(number))
    text = terms.texts.get(language="ko")
    words = consents.rendered(text)[:200]
    rows = []
    for customer in customers:
        origin = ConsentOrigin(salt=secrets.token_hex(8), user_agent="Test browser", page_url="https://shop.example/")
        origin.note = "kept in folder 7"
        consent = Consent(
            customer=customer,
            terms=terms,
            language="ko",
            rule=terms.rule.as_dict(),
            text=words,
            text_sha256=consents.sha256(words),
            ticked=REQUIRED,
            given_at=terms.published_at,
            source="paper",
            source_reference=secrets.token_hex(16),
            recorded_by="staff:park",
            origin_sha256=consents.origin_sha256(origin),
            key_id="secret-key",
        )
        consent.record_hash = consents._hash(consent, consents.conf.EVIDENCE_KEYS["secret-key"])
        rows.append((consent, origin))
    Consent.objects.bulk_create([consent for consent, _origin in rows])
    for consent, origin in rows:
        origin.consent = consent
    ConsentOrigin.objects.bulk_create([origin for _consent, origin in rows])
    return rows


def a_bit_of(consent, origin, chance):
    """One bit of what is stored is changed, to something that the column takes."""
    while True:
        row = chance.choice([consent, consent, consent, origin])
        name = chance.choice(OF_ORIGIN if row is origin else [*TEXTS, *JSONS, *MOMENTS, "public_id"])
        value, about = getattr(row, name), consent.public_id
        if name in MOMENTS:
            changed = value + chance.choice([1, -1]) * timedelta(microseconds=1 << chance.randrange(40))
        elif name == "public_id":
            changed = about = type(value)(int=value.int ^ 1 << chance.randrange(128))
        else:
            changed = flipped(json.dumps(value) if name in JSONS else value, chance)
        if changed is None or (name in JSONS and not is_another_json(changed, value)):
            continue
        if name not in JSONS:
            changed = row._meta.get_field(name).get_db_prep_save(changed, connection)
        place = "%s::jsonb" if name in JSONS and connection.vendor == "postgresql" else "%s"
        sql = f"UPDATE {row._meta.db_table} SET {name} = {place} WHERE {row._meta.pk.column} = %s"
        return Change(sql, changed, row.pk, str(about))


def flipped(text, chance):
    """With one bit changed; ``None`` where no database would take it as text."""
    data = bytearray(text.encode())
    if not data:
        return None
    data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    try:
        changed = data.decode()
    except UnicodeDecodeError:
        return None
    return None if "\0" in changed else changed


def is_another_json(text, value):
    try:
        return json.loads(text) != value
    except ValueError:
        return False
