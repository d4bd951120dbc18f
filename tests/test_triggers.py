"""What is evidence cannot be changed with SQL either, in whatever way; and what is no evidence can."""

import pytest
from django.apps import apps
from django.core.checks import run_checks
from django.core.management import CommandError, call_command
from django.db import IntegrityError, connection, transaction
from django.db.models import ProtectedError, QuerySet

from django_krcard import services, triggers
from django_krcard.exceptions import RecordIsFinal
from django_krcard.models import (
    Consent,
    ConsentAttachment,
    ConsentErasure,
    ConsentOrigin,
    Customer,
    Seal,
    SealedConsent,
    Terms,
    TermsText,
)
from django_krcard.models.base import AppendOnlyModel
from django_krcard.services import seals
from django_krcard.services.consents import Attachment, erase_origin
from django_krcard.services.mandates import for_consent
from django_krcard.services.terms import publish
from django_krcard.services.timeline import record
from tests.factories import REQUIRED, CustomerFactory, TermsFactory, consent_of
from tests.unguarded import settle, unguarded

pytestmark = pytest.mark.django_db

#: Of each table a column that means something, and another value for it.
TABLES = {
    "krcard_consent": ("text", "'Anything goes.'"),
    "krcard_consentorigin": ("user_agent", "'another'"),
    "krcard_consentattachment": ("name", "'another.pdf'"),
    "krcard_consenterasure": ("reason", "'none'"),
    "krcard_timelineentry": ("actor", "'nobody'"),
    "krcard_terms": ("amount", "99000"),
    "krcard_termstext": ("timing", "'whenever'"),
    "krcard_seal": ("root", "'0'"),
    "krcard_sealedconsent": ("record_hash", "'0'"),
}


@pytest.fixture
def evidence(membership):
    """A row in each of the tables."""
    paper = services.Evidence(
        source="paper",
        recorded_by="staff:park",
        reference="2026/17",
        attachment=Attachment("signed.pdf", "application/pdf", b"%PDF"),
    )
    customer = CustomerFactory()
    consent = services.give_consent(customer, membership, language="ko", ticked=REQUIRED, evidence=paper)
    erased = consent_of(customer, membership)
    erase_origin(erased, by="system", reason="asked for it")
    record(for_consent(consent), "test", actor="system")
    seals.make()
    return consent


def refused(sql, params=None):
    with pytest.raises(IntegrityError, match="is evidence"), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(sql, params)


@pytest.mark.parametrize("table", TABLES)
def test_no_sql_changes_or_removes_it(evidence, table):
    column, value = TABLES[table]
    refused(f"UPDATE {table} SET {column} = {value}")
    refused(f"DELETE FROM {table}")


def test_whatever_is_only_ever_added_is_guarded():
    only_added = {model._meta.db_table for model in apps.get_models() if issubclass(model, AppendOnlyModel)}
    assert only_added <= {guard.table for guard in triggers.GUARDS}
    assert "krcard_consent" in only_added


def test_every_table_of_evidence_was_tried():
    assert {guard.table for guard in triggers.GUARDS} == TABLES.keys()


@pytest.mark.postgresql
@pytest.mark.parametrize("table", TABLES)
def test_no_truncate(evidence, table):
    settle()
    refused(f"TRUNCATE {table} CASCADE")


@pytest.mark.sqlite
@pytest.mark.parametrize("table", TABLES)
def test_no_replace(evidence, table):
    """It removes the old row without a word to the triggers that guard against that."""
    refused(f"INSERT OR REPLACE INTO {table} SELECT * FROM {table}")
    refused(f"REPLACE INTO {table} SELECT * FROM {table} LIMIT 1")


@pytest.mark.sqlite
@pytest.mark.parametrize(
    ("table", "unique"),
    [
        ("krcard_consent", "public_id"),
        ("krcard_consent", "source_reference"),
        ("krcard_sealedconsent", "public_id"),
        ("krcard_seal", "number"),
        ("krcard_seal", "root"),
    ],
)
def test_no_replace_by_what_is_unique_besides_the_id(evidence, table, unique):
    with connection.cursor() as cursor:
        columns = [column.name for column in connection.introspection.get_table_description(cursor, table)]
    others = ", ".join(
        "9999" if name == "id" else name if name == unique or "INT" in name else f"{name}" for name in columns
    )
    refused(f"INSERT OR REPLACE INTO {table} ({', '.join(columns)}) SELECT {others} FROM {table} LIMIT 1")


@pytest.mark.sqlite
def test_a_draft_does_not_take_the_place_of_published_terms(membership):
    draft = TermsFactory(version=2)
    refused("UPDATE OR REPLACE krcard_terms SET version = 1 WHERE id = %s", [draft.pk])
    refused("UPDATE OR REPLACE krcard_terms SET status = 'published' WHERE id = %s", [draft.pk])
    refused("UPDATE OR REPLACE krcard_terms SET id = %s WHERE id = %s", [membership.pk, draft.pk])
    assert Terms.objects.filter(status="published").get() == membership


def test_no_upsert(evidence):
    columns = "id, number, made_at, count, tree, previous_root, root"
    refused(
        f"INSERT INTO krcard_seal ({columns}) SELECT {columns} FROM krcard_seal WHERE id > 0 "
        "ON CONFLICT (number) DO UPDATE SET root = '0'"
    )


def test_no_cascade_takes_it_along(evidence, membership):
    for row in (evidence.customer, evidence.terms, Seal.objects.get()):
        with pytest.raises((ProtectedError, RecordIsFinal)), transaction.atomic():
            row.delete()
    evidence.customer.user.delete()
    assert Customer.objects.get().user is None
    assert Consent.objects.count() == 2


@pytest.mark.parametrize("model", [Consent, ConsentOrigin, ConsentAttachment, ConsentErasure, Seal, SealedConsent])
def test_past_the_models_too(evidence, model):
    """Whoever calls Django's own methods, and not ours, meets the triggers."""
    rows = QuerySet(model)
    field = TABLES[model._meta.db_table][0]
    for change in (
        lambda: rows.update(**{field: "0"}),
        lambda: rows.bulk_update([changed(rows.first(), field)], [field]),
        lambda: rows._raw_delete("default"),
    ):
        with pytest.raises(IntegrityError), transaction.atomic():
            change()


def changed(row, field):
    setattr(row, field, "0")
    return row


def test_published_terms_can_be_retired_and_never_come_back(membership):
    publish(TermsFactory(version=2), by="system")
    refused("UPDATE krcard_terms SET status = 'published' WHERE version = 1")
    refused("UPDATE krcard_terms SET status = 'draft' WHERE version = 1")
    refused("UPDATE krcard_terms SET status = 'retired', amount = 1 WHERE version = 2")


def test_a_draft_is_free(membership):
    draft = TermsFactory(version=2)
    with connection.cursor() as cursor:
        cursor.execute("UPDATE krcard_terms SET amount = 5000 WHERE id = %s", [draft.pk])
        cursor.execute("UPDATE krcard_termstext SET timing = 'often' WHERE terms_id = %s", [draft.pk])
    text = draft.texts.first()
    # Not to terms that are published, and not away from them.
    refused("UPDATE krcard_termstext SET terms_id = %s WHERE id = %s", [membership.pk, text.pk])
    refused("UPDATE krcard_termstext SET terms_id = %s WHERE terms_id = %s", [draft.pk, membership.pk])
    Terms.objects.get(pk=draft.pk).delete()
    assert not TermsText.objects.filter(pk=text.pk).exists()


def test_what_is_personal_goes_only_after_it_is_said_so(evidence):
    refused("DELETE FROM krcard_consentorigin")
    refused("DELETE FROM krcard_consentattachment")

    erase_origin(evidence, by="staff:park", reason="asked by letter")
    erase_origin(evidence, by="system", reason="again")

    assert not ConsentOrigin.objects.exists()
    assert not ConsentAttachment.objects.exists()
    assert evidence.ip_address is None
    assert ConsentErasure.objects.get(consent=evidence).reason == "asked by letter"


def test_the_flush_of_production_is_refused(evidence, monkeypatch):
    # Django's own, and not the quicker one of this suite.
    monkeypatch.setattr(connection.ops, "sql_flush", type(connection.ops).sql_flush.__get__(connection.ops))
    settle()
    with pytest.raises(CommandError, match="couldn't be flushed"), transaction.atomic():
        call_command("flush", interactive=False, verbosity=0)
    assert Consent.objects.exists()


# --- the triggers themselves ----------------------------------------------------------------------


def warnings():
    return [(found.id, found.msg) for found in run_checks(databases=["default"]) if found.id == "krcard.W021"]


def test_missing_triggers_are_found_and_made_again():
    assert warnings() == []
    with connection.cursor() as cursor:
        (_table, name), *_others = triggers._present(connection, cursor)
        triggers._drop(connection, cursor, _table, name)
    assert name in warnings()[0][1]
    assert triggers.missing("default") == [name]
    call_command("migrate", verbosity=0)
    assert warnings() == []


def test_an_altered_trigger_is_found():
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute("ALTER TABLE krcard_consent DISABLE TRIGGER krcard_consent_rows")
        else:
            cursor.execute("DROP TRIGGER krcard_consent_update")
            cursor.execute(
                "CREATE TRIGGER krcard_consent_update BEFORE UPDATE ON krcard_consent WHEN 0 BEGIN SELECT 1; END"
            )
    assert len(triggers.missing("default")) == 1
    assert len(triggers.install("default")) == 1
    assert triggers.missing("default") == []


@pytest.mark.postgresql
def test_a_function_that_lets_everything_through_is_found():
    with connection.cursor() as cursor:
        cursor.execute(
            "CREATE OR REPLACE FUNCTION krcard_consent_guard() RETURNS trigger LANGUAGE plpgsql AS "
            "$$ BEGIN RETURN NEW; END $$"
        )
    assert triggers.missing("default") == ["krcard_consent_rows", "krcard_consent_truncate"]


@pytest.mark.postgresql
def test_a_temporary_table_of_the_same_name_fools_nobody(evidence):
    settle()
    with connection.cursor() as cursor:
        erased = "SELECT consent_id FROM krcard_consentorigin"
        cursor.execute(f"CREATE TEMPORARY TABLE krcard_consenterasure ON COMMIT DROP AS {erased}")
    refused("DELETE FROM public.krcard_consentorigin")


@pytest.mark.sqlite
@pytest.mark.django_db(transaction=True)
def test_a_rebuilt_table_gets_its_triggers_back():
    field = Consent._meta.get_field("language")
    wider = type(field)(max_length=13)
    wider.set_attributes_from_name("language")
    with connection.schema_editor() as editor:
        editor.alter_field(Consent, field, wider)
    assert triggers.missing("default") == [f"krcard_consent_{event}" for event in ("update", "delete", "insert")]
    with connection.schema_editor() as editor:
        editor.alter_field(Consent, wider, field)
    call_command("migrate", verbosity=0)
    assert triggers.missing("default") == []


@pytest.mark.django_db(transaction=True)
def test_the_migration_can_be_undone_and_done_again():
    call_command("migrate", "krcard", "0001", verbosity=0)
    call_command("migrate", "krcard", verbosity=0)
    assert triggers.missing("default") == []


def test_unguarded_is_only_for_a_while(evidence):
    with unguarded(), connection.cursor() as cursor:
        cursor.execute("UPDATE krcard_consent SET text = 'tampered'")
    refused("UPDATE krcard_consent SET text = 'again'")


def test_another_database_is_told_that_it_is_not_protected(monkeypatch):
    monkeypatch.setattr(connection, "vendor", "oracle")
    found = [each.id for each in run_checks(databases=["default"]) if each.id in ("krcard.W020", "krcard.W021")]
    assert found == ["krcard.W020"]
    assert triggers.install("default") == triggers.missing("default") == []
