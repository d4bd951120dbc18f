"""The proof of agreement: complete, unchangeable, and it shows when it was changed all the same."""

import pytest
from django.core.exceptions import ValidationError
from django.db import IntegrityError

from django_krcard.exceptions import ConsentRefused, RecordIsFinal
from django_krcard.models import Consent, Terms, TimelineEntry
from django_krcard.services.consents import is_intact, origin_is_intact
from django_krcard.services.terms import publish, rendered, sha256, text_for
from django_krcard.services.timeline import record
from tests.factories import CustomerFactory, PublishedTerms, TermsFactory, TermsTextFactory, consent_of
from tests.unguarded import tamper

pytestmark = pytest.mark.django_db


@pytest.fixture
def consent(membership):
    return consent_of(CustomerFactory(), membership)


def test_a_consent_keeps_what_was_shown_and_what_was_agreed(consent, membership):
    text = membership.texts.get(language="ko")
    assert consent.text == rendered(text)
    assert consent.text_sha256 == sha256(consent.text)
    assert consent.rule["amount"] == 12_900
    assert consent.ticked == ["autopay", "save_card"]
    assert "[필수]" in consent.text
    assert is_intact(consent)


def test_a_consent_survives_being_read_back(consent):
    assert is_intact(Consent.objects.get())


@pytest.mark.parametrize(
    "change",
    [
        {"text": "something else"},
        {"ticked": ["autopay"]},
        {"origin_sha256": "0" * 64},
        {"language": "en"},
        {"rule": {"amount": 99_000}},
        {"previous_hash": "0" * 64},
        {"record_hash": "0" * 64},
        {"source": "paper"},
    ],
)
def test_every_change_shows(consent, change):
    for name, value in change.items():
        setattr(consent, name, value)
    assert not is_intact(consent)


@pytest.mark.parametrize("change", [{"ip_address": "198.51.100.1"}, {"user_agent": "another"}, {"page_url": "x"}])
def test_every_change_of_where_it_came_from_shows(consent, change):
    assert origin_is_intact(consent)
    for name, value in change.items():
        setattr(consent.origin, name, value)
    assert not origin_is_intact(consent)


def test_without_its_personal_part_the_record_still_holds(consent):
    tamper("DELETE FROM krcard_consentorigin")
    erased = Consent.objects.get()
    assert is_intact(erased)
    assert origin_is_intact(erased)
    assert (erased.ip_address, erased.user_agent, erased.page_url) == (None, "", "")


def test_somebody_with_only_the_database_cannot_make_a_record_that_holds(consent, settings):
    settings.KRCARD_EVIDENCE_KEYS = {"other": "another secret"}
    assert not is_intact(consent)


def test_old_keys_still_verify(membership, settings):
    settings.KRCARD_EVIDENCE_KEYS = {"2025": "old secret"}
    consent = consent_of(CustomerFactory(), membership)
    settings.KRCARD_EVIDENCE_KEYS = {"2025": "old secret", "2026": "new secret"}
    assert consent.key_id == "2025"
    assert is_intact(consent)
    assert consent_of(CustomerFactory(), membership).key_id == "2026"


def test_a_rotated_secret_key_still_verifies_as_a_fallback(consent, settings):
    settings.SECRET_KEY_FALLBACKS = [settings.SECRET_KEY]
    settings.SECRET_KEY = "a new one"
    assert is_intact(consent)


def test_the_consents_of_a_customer_form_one_chain(membership):
    customer = CustomerFactory()
    first, second = consent_of(customer, membership), consent_of(customer, membership, language="en")
    assert (first.previous_hash, second.previous_hash) == ("", first.record_hash)
    assert "[required]" in second.text
    fork = Consent.objects.get(pk=second.pk)
    fork.pk, fork._state.adding = None, True
    fork.public_id = "00000000-0000-4000-8000-000000000000"
    with pytest.raises(IntegrityError):
        fork.save()


@pytest.mark.parametrize("ticked", [[], ["autopay"], ["autopay", "save_card", "unheard-of"]])
def test_without_the_required_boxes_nothing_is_recorded(membership, ticked):
    with pytest.raises(ConsentRefused):
        consent_of(CustomerFactory(), membership, ticked=ticked)
    assert not Consent.objects.exists()


def test_nobody_can_agree_to_what_is_not_in_force(membership):
    publish(TermsFactory(version=2), by="system")
    for terms in (membership, TermsFactory(slug="draft")):
        with pytest.raises(ConsentRefused):
            consent_of(CustomerFactory(), terms)


@pytest.mark.parametrize(
    "change",
    [
        lambda consent: consent.save(),
        lambda consent: consent.delete(),
        lambda consent: Consent.objects.update(language="en"),
        lambda consent: Consent.objects.filter(pk=consent.pk).delete(),
        lambda consent: Consent._base_manager.all().update(language="en"),
        lambda consent: Consent.objects.bulk_update([consent], ["language"]),
        lambda consent: Consent.objects.update_or_create(pk=consent.pk, defaults={"language": "en"}),
        lambda consent: Consent.objects.bulk_create(
            [consent], update_conflicts=True, unique_fields=["public_id"], update_fields=["language"]
        ),
    ],
)
def test_a_consent_is_never_changed_or_removed(consent, change):
    with pytest.raises(RecordIsFinal):
        change(consent)
    assert is_intact(Consent.objects.get())


def test_the_timeline_is_never_changed(consent, membership):
    from django_krcard.services.mandates import for_consent

    entry = record(for_consent(consent), "test", actor="system")
    for change in (entry.save, entry.delete, TimelineEntry.objects.all().delete):
        with pytest.raises(RecordIsFinal):
            change()


def test_published_terms_are_never_changed(membership):
    text = membership.texts.first()
    text.timing = "매주"
    membership.amount = 99_000
    for change in (text.save, text.delete, membership.save, membership.delete):
        with pytest.raises(RecordIsFinal):
            change()
    with pytest.raises(RecordIsFinal):
        TermsTextFactory(terms=membership, language="ja")
    assert Terms.objects.get().amount == 12_900


def test_publishing_retires_the_version_before(membership):
    second = publish(TermsFactory(version=2), by="system")
    membership.refresh_from_db()
    assert (membership.status, second.status) == ("retired", "published")


@pytest.mark.parametrize(
    "flaw",
    [
        {"languages": []},
        {"amount": 50},
        {"period": None},
    ],
)
def test_what_is_incomplete_cannot_be_published(flaw):
    draft = TermsFactory(**{name: value for name, value in flaw.items() if name != "languages"})
    if "languages" in flaw:
        draft.texts.all().delete()
    with pytest.raises(ValidationError):
        publish(draft, by="system")
    draft.refresh_from_db()
    assert draft.status == "draft"


@pytest.mark.parametrize("point", ["permission", "timing", "amount_basis", "cancellation"])
def test_each_of_the_guides_four_points_must_be_there(point):
    draft = TermsFactory()
    draft.texts.filter(language="en").update(**{point: ""})
    with pytest.raises(ValidationError):
        publish(draft, by="system")


@pytest.mark.parametrize(
    "items",
    [
        [],
        "autopay",
        [{"key": "a", "label": "A"}],
        [{"key": "a", "label": "A", "required": False}],
        [{"key": "a", "label": "A", "required": True}, {"key": "a", "label": "B", "required": True}],
        [{"key": "", "label": "A", "required": True}],
    ],
)
def test_boxes_that_prove_nothing_cannot_be_published(items):
    draft = TermsFactory()
    draft.texts.update(items=items)
    with pytest.raises(ValidationError):
        publish(draft, by="system")


def test_the_text_in_the_readers_language_or_else_korean():
    terms = PublishedTerms()
    assert text_for(terms, "en-gb").language == "en"
    assert text_for(terms, "fr").language == "ko"
