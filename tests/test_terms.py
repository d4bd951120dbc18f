"""From a draft to terms in force: what must be there, who answers for the words, and what closes behind it."""

import pytest
from django.core.exceptions import ValidationError
from django.db import connection
from django.utils import translation

from django_krcard import services
from django_krcard.exceptions import ConsentRefused, RecordIsFinal
from django_krcard.models import CardSetup, Consent, Mandate, Terms, TermsText
from django_krcard.sandbox import control
from django_krcard.services import attempts, checkout
from django_krcard.services.terms import WordsDoNotFit, new_draft, publish
from django_krcard.testing.sandbox import books
from tests.factories import REQUIRED, CustomerFactory, PublishedTerms, TermsFactory, TermsTextFactory, consent_of
from tests.test_concurrency import all_at_once

pytestmark = pytest.mark.django_db(transaction=True)

ADDRESSES = {"success_url": "https://shop.example/ok", "cancel_url": "https://shop.example/no"}


def attempt(terms, customer=None, ticked=REQUIRED):
    """A customer on the way to Stripe's page."""
    return services.start_checkout(consent_of(customer or CustomerFactory(), terms, ticked=ticked), **ADDRESSES)


def session(setup):
    return next(one for one in books("checkout.session") if one["id"] == setup.checkout_session_id)


@pytest.fixture
def silence():
    """Stripe's messages are late: what we know is what we ask."""
    control.set_delivery("held")


# --- what must be there ---------------------------------------------------------------------------


def test_the_boxes_are_the_same_in_every_language():
    draft = TermsFactory()
    english = draft.texts.get(language="en")
    english.items = [item | {"required": True} if item["key"] == "news" else item for item in english.items[1:]]
    english.save()

    with pytest.raises(ValidationError) as error:
        publish(draft, by="system", words_checked="I read them")
    (sentence,) = error.value.messages
    assert "en" in sentence
    assert "autopay, news" in sentence
    assert not isinstance(error.value, WordsDoNotFit)


def test_what_is_missing_is_told_with_its_language_and_field():
    draft = TermsFactory()
    draft.texts.filter(language="en").update(timing="", cancellation="")

    with translation.override("en"), pytest.raises(ValidationError) as error:
        publish(draft, by="system", words_checked="I read them")
    named = [sentence.split(":")[0] for sentence in error.value.messages]
    assert named == ["en, Frequency and timing", "en, Cancellation policy"]


def test_words_that_do_not_fit_are_refused_with_a_sentence_each():
    draft = TermsFactory(amount=14_900)
    draft.texts.filter(language="ko").update(amount_basis="매회 12,900원입니다.", timing="매년 결제합니다.")

    with pytest.raises(WordsDoNotFit) as error:
        publish(draft, by="system")
    assert len(error.value.messages) == 4
    assert all(sentence.startswith("ko, ") for sentence in error.value.messages)
    draft.refresh_from_db()
    assert draft.status == "draft"


def test_a_person_may_answer_for_unusual_words_and_it_is_kept():
    draft = TermsFactory()
    draft.texts.filter(language="ko").update(timing="달이 차오를 때, 그러니까 매번 보름에 결제합니다.")
    with pytest.raises(WordsDoNotFit):
        publish(draft, by="staff:sora", words_checked="  ")

    publish(draft, by="staff:sora", words_checked="보름은 한 달에 한 번입니다.")

    draft.refresh_from_db()
    assert (draft.status, draft.published_by) == ("published", "staff:sora")
    assert draft.words_checked == "보름은 한 달에 한 번입니다."
    assert "매월" in draft.words_doubted[0]
    with pytest.raises(RecordIsFinal):
        Terms.objects.filter(pk=draft.pk).update(words_checked="")


def test_nothing_is_kept_where_nothing_was_doubted(membership):
    assert (membership.words_checked, membership.words_doubted) == ("", [])


def test_an_older_version_does_not_follow_a_newer_one():
    old = TermsFactory(version=1)
    PublishedTerms(version=2)

    with pytest.raises(ValidationError):
        publish(old, by="system")
    assert Terms.objects.get(status="published").version == 2


def test_what_is_stored_is_published_and_not_what_somebody_has_in_hand():
    draft = TermsFactory()
    draft.amount = 99_000

    assert publish(draft, by="system").amount == 12_900


def test_of_eight_who_publish_at_once_one_wins(membership):
    drafts = [TermsFactory(version=version) for version in (2, 3)]
    done = all_at_once(lambda number: publish(Terms.objects.get(pk=drafts[number % 2].pk), by=f"staff:{number}"), 8)

    refused = [one for one in done if isinstance(one, ValidationError)]
    assert len(refused) + sum(isinstance(one, Terms) for one in done) == 8
    # Each draft once; version 2 not any more when version 3 was faster.
    assert len(refused) in (6, 7)
    assert [terms.version for terms in Terms.objects.filter(status="published")] == [3]


def test_a_new_version_is_a_copy_to_be_changed(membership):
    PublishedTerms(version=4, amount=14_900)
    draft = new_draft(membership)

    assert (draft.version, draft.status, draft.rule) == (5, "draft", membership.rule)
    assert list(draft.texts.order_by("pk").values_list("language", "items")) == list(
        membership.texts.order_by("pk").values_list("language", "items")
    )
    assert publish(draft, by="system").status == "published"


def test_drafts_made_at_once_have_versions_of_their_own(membership):
    versions = [draft.version for draft in all_at_once(lambda number: new_draft(membership), 4)]
    assert sorted(versions) == [2, 3, 4, 5]


# --- published is published -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [
        lambda terms, text: TermsText.objects.bulk_create([TermsText(terms=terms, language="ja", title="x")]),
        lambda terms, text: TermsText.objects.filter(terms__status="draft").update(terms=terms),
        lambda terms, text: TermsText.objects.filter(terms__status="draft").update(terms_id=terms.pk),
        lambda terms, text: terms.texts.add(TermsText.objects.get(language="ja")),
        lambda terms, text: terms.texts.set([TermsText.objects.get(language="ja")]),
        lambda terms, text: terms.texts.create(language="fr", title="x"),
        lambda terms, text: terms.texts.all().delete(),
        lambda terms, text: terms.texts.update(body="x"),
        lambda terms, text: TermsText.objects.bulk_update([text], ["title"]),
        lambda terms, text: TermsText._base_manager.update(title="x"),
        lambda terms, text: text.delete(),
        lambda terms, text: text.save(),
        lambda terms, text: Terms._base_manager.filter(pk=terms.pk).update(amount=1_000),
        lambda terms, text: Terms.objects.bulk_update([terms], ["amount"]),
        lambda terms, text: Terms.objects.update_or_create(pk=terms.pk, defaults={"amount": 1_000}),
        lambda terms, text: terms.delete(),
    ],
)
def test_no_way_of_the_orm_changes_what_was_published(change, membership):
    TermsTextFactory(terms=TermsFactory(slug="draft", languages=["ko"]), language="ja")
    before = [*Terms.objects.order_by("pk").values(), *TermsText.objects.order_by("pk").values()]

    with pytest.raises(RecordIsFinal):
        change(membership, membership.texts.first())
    assert [*Terms.objects.order_by("pk").values(), *TermsText.objects.order_by("pk").values()] == before


def test_a_draft_takes_texts_in_every_way():
    draft = TermsFactory(languages=["ko"])
    other = TermsFactory(slug="other", languages=["ja"])
    draft.texts.add(other.texts.get())
    TermsText.objects.bulk_create([TermsText(terms=draft, language="fr", title="x")])

    assert sorted(draft.texts.values_list("language", flat=True)) == ["fr", "ja", "ko"]


# --- attempts under the version before --------------------------------------------------------------


def test_publishing_closes_what_is_open_under_older_versions(membership):
    setup, other = attempt(membership), attempt(PublishedTerms(slug="other"))
    publish(TermsFactory(version=2, amount=14_900), by="staff:sora")

    setup.refresh_from_db()
    assert (setup.status, setup.redirect_url) == ("cancelled", "")
    assert session(setup)["status"] == "expired"
    entry = setup.mandate.timeline.get(kind="setup_closed")
    assert (entry.actor, entry.data["terms"]) == ("staff:sora", "membership v2")
    other.refresh_from_db()
    assert other.status == "open"


def test_what_is_refused_closes_nothing(membership):
    setup = attempt(membership)
    draft = TermsFactory(version=2)
    draft.texts.update(timing="")
    with pytest.raises(ValidationError):
        publish(draft, by="system")

    setup.refresh_from_db()
    assert setup.status == "open"
    assert session(setup)["status"] == "open"


def test_a_session_that_stripe_does_not_close_ends_by_itself(membership):
    setup = attempt(membership)
    control.fail_next("POST", f"/v1/checkout/sessions/{setup.checkout_session_id}/expire", status=403)
    publish(TermsFactory(version=2), by="system")
    assert session(setup)["status"] == "open"
    assert CardSetup.objects.get().status == "cancelled"

    control.expire(setup.checkout_session_id)
    services.complete_setup(CardSetup.objects.get())
    assert Mandate.objects.get().status == "expired"


def test_the_customer_who_comes_back_agrees_to_the_new_terms_under_the_same_mandate(user, membership, silence):
    customer = services.get_or_create_customer(user)
    first = attempt(membership, customer)
    newer = publish(TermsFactory(version=2, amount=14_900), by="system")

    second = attempt(newer, customer)
    control.authorise(second.checkout_session_id)
    mandate = services.complete_setup(second)

    assert mandate == first.mandate
    assert (mandate.status, mandate.consent.terms, mandate.consent.rule["amount"]) == ("active", newer, 14_900)


def test_a_pending_mandate_ends_when_stripe_says_that_its_closed_session_is_over(membership, silence):
    setup = attempt(membership)
    publish(TermsFactory(version=2), by="system")
    assert Mandate.objects.get().status == "pending"

    control.deliver()
    setup.mandate.refresh_from_db()
    assert setup.mandate.status == "expired"


def test_but_not_one_that_was_taken_up_again(user, membership, silence):
    customer = services.get_or_create_customer(user)
    first = attempt(membership, customer)
    newer = publish(TermsFactory(version=2), by="system")
    second = attempt(newer, customer)

    first.refresh_from_db()
    services.complete_setup(first)
    assert Mandate.objects.get().status == "pending"
    control.authorise(second.checkout_session_id)
    assert services.complete_setup(second).status == "active"


def test_whoever_finishes_all_the_same_stays_under_what_was_agreed(membership, silence, ledger):
    setup = attempt(membership)
    # Through at Stripe, and we have not heard of it when the new terms come.
    control.authorise(setup.checkout_session_id)
    publish(TermsFactory(version=2, amount=14_900), by="system")
    setup.refresh_from_db()
    assert setup.status == "cancelled"

    mandate = services.complete_setup(setup)

    assert (mandate.status, mandate.consent.terms) == ("active", membership)
    assert services.can_charge(mandate, 14_900).code == "price_change_not_agreed"
    assert services.charge(mandate, 12_900, reference="2026-11").status == "succeeded"
    assert [payment["amount"] for payment in ledger()] == [12_900]


def test_an_old_session_finished_late_does_not_undo_the_new_agreement(user, membership, silence):
    customer = services.get_or_create_customer(user)
    first = attempt(membership, customer)
    control.authorise(first.checkout_session_id)
    newer = publish(TermsFactory(version=2, amount=14_900), by="system")
    second = attempt(newer, customer)
    control.authorise(second.checkout_session_id, last4="2222")
    mandate = services.complete_setup(second)

    first.refresh_from_db()
    services.complete_setup(first)

    mandate.refresh_from_db()
    assert (mandate.consent.terms, mandate.payment_method.last4) == (newer, "2222")
    assert services.can_charge(mandate, 14_900).allowed


def test_an_active_mandate_keeps_its_card_when_a_new_attempt_is_closed(mandate, membership):
    attempt(membership, mandate.customer)
    publish(TermsFactory(version=2), by="system")
    services.complete_setup(CardSetup.objects.get(status="cancelled"))

    mandate.refresh_from_db()
    assert (mandate.status, mandate.consent.terms) == ("active", membership)
    assert services.can_charge(mandate, 12_900).allowed


def test_who_agreed_a_moment_before_gets_no_session(membership):
    customer = CustomerFactory()
    consent = consent_of(customer, membership)
    # The attempt is made, and before its session is asked for, the new terms are in force; our closing did not see it.
    setup = attempts.under(consent, attempts.Way())
    Terms.objects.filter(pk=membership.pk).retire()

    closed = checkout.open_session(setup, **ADDRESSES)

    assert (closed.status, closed.checkout_session_id) == ("cancelled", None)
    assert books("checkout.session") == []


def test_the_page_shows_the_new_terms_then(minji, membership, agree, monkeypatch):
    newer = TermsFactory(version=2, amount=14_900)
    opened = checkout.open_session

    def too_late(setup, **addresses):
        publish(newer, by="system")
        setup.refresh_from_db()
        return opened(setup, **addresses)

    monkeypatch.setattr("django_krcard.views.agree.checkout.open_session", too_late)
    answer = agree(minji, ticked=REQUIRED)

    assert answer.status_code == 200
    assert answer.context["terms"] == newer
    assert answer.context["notice"]
    with pytest.raises(ConsentRefused):
        services.start_checkout(Consent.objects.get(), **ADDRESSES)


def test_nobody_slips_through_between_agreeing_and_publishing(membership):
    """Eight agree while one publishes: afterwards no attempt is open under the old version."""
    newer = TermsFactory(version=2)
    customers = [CustomerFactory() for _number in range(7)]

    def act(number):
        if number == 7:
            return publish(newer, by="system")
        return attempt(membership, customers[number])

    all_at_once(act, 8)
    left = CardSetup.objects.filter(status="open", consent__terms=membership)
    assert list(left) == []
    assert Terms.objects.get(status="published") == newer
    assert connection.in_atomic_block is False
