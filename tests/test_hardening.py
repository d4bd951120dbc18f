"""What a hostile reader once broke: each story is one that went wrong before it was mended."""

import json
import threading
import time
import uuid
from datetime import timedelta

import pytest
from django.core import serializers
from django.core.management import call_command
from django.db import connection, transaction
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from django_krcard import gateway, services
from django_krcard.exceptions import (
    ConsentRefused,
    InsideTransaction,
    KrcardError,
    RecordIsFinal,
    StripeBusy,
    StripeRefusedKey,
    StripeRefusedRequest,
)
from django_krcard.models import CardSetup, Charge, Consent, Customer, Event, Mandate, Terms, TermsText, lock
from django_krcard.sandbox import control
from django_krcard.sandbox.models import Resource
from django_krcard.services import charges, checkout, gate, mandates, outcomes
from django_krcard.services.attempts import agree
from django_krcard.services.consents import is_intact, origin_is_intact
from django_krcard.services.terms import publish
from tests.factories import REQUIRED, CustomerFactory, PublishedTerms, TermsFactory, UserFactory, consent_of
from tests.test_webhook import EVENT
from tests.unguarded import tamper

pytestmark = pytest.mark.django_db(transaction=True)

ALL = [*REQUIRED, "news"]
ADDRESSES = {"success_url": "http://testserver/ok", "cancel_url": "http://testserver/no"}


def agree_as(customer, terms, ticked):
    return agree(customer, terms, language="ko", ticked=ticked, evidence=services.Evidence(), attempt=uuid.uuid4())


def meanwhile(act):
    """Run ``act`` in another thread with a connection of its own."""

    def run():
        try:
            act()
        finally:
            connection.close()

    thread = threading.Thread(target=run)
    thread.start()
    return thread


def time_out(path, *effects):
    for effect in effects:
        control.fail_next("POST", path, effect=effect, status="timeout")


# --- money ----------------------------------------------------------------------------------------


def taken(mandate, reference="r"):
    """A charge that was judged and is about to be sent."""
    with transaction.atomic():
        mandate = gate.locked(mandate)
        charge = mandate.charges.filter(reference=reference).first()
        charge = charge or Charge(mandate=mandate, reference=reference, amount=12_900, requested_by="system")
        verdict = charges.take(charge, mandate)
    return charge if verdict and verdict.allowed else None


@pytest.mark.postgresql
def test_what_waits_for_a_withdrawal_is_not_sent_after_it(mandate, ledger):
    refused = []
    with transaction.atomic():
        services.revoke(mandate, by="customer", reason="enough")
        thread = meanwhile(lambda: refused.append(taken(mandate)))
        time.sleep(0.5)
    thread.join()
    assert refused == [None]
    assert not Charge.objects.exists()


@pytest.mark.postgresql
def test_a_charge_is_taken_by_one_sender(mandate):
    services.schedule_charge(mandate, 12_900, reference="r", due_at=timezone.now())
    both = []
    with transaction.atomic():
        both.append(taken(mandate))
        thread = meanwhile(lambda: both.append(taken(mandate)))
        time.sleep(0.5)
    thread.join()
    assert [bool(charge) for charge in both] == [True, False]


def test_a_replaced_card_is_never_asked_again(mandate, ledger, no_waiting, save_card, membership):
    control.set_delivery("dropped")
    old = mandate.payment_method
    time_out("/v1/payment_intents", "before", "before", "before")
    services.charge(mandate, 12_900, reference="r")
    time_out(f"/v1/payment_methods/{old.stripe_id}/detach", "before", "before", "before")
    save_card(membership, brand="hyundai")

    assert services.charge(mandate, 12_900, reference="r").status == "unknown"
    assert ledger() == []


def test_a_message_that_was_faster_is_not_overwritten(mandate, ledger, monkeypatch, no_waiting):
    control.set_delivery("dropped")
    time_out("/v1/payment_intents", "after", "before", "before")
    charge = services.charge(mandate, 12_900, reference="r")
    judge = gate.judge

    def told_meanwhile(*args, **kwargs):
        Charge.objects.filter(pk=charge.pk).update(status="succeeded", next_step_at=None)
        return judge(*args, **kwargs)

    monkeypatch.setattr(gate, "judge", told_meanwhile)
    assert services.charge(mandate, 12_900, reference="r").status == "succeeded"
    assert len(ledger()) == 1


def test_a_time_out_before_a_429_stays_unknown(mandate, ledger, no_waiting):
    control.set_delivery("dropped")
    time_out("/v1/payment_intents", "after")
    for _ in range(2):
        control.fail_next("POST", "/v1/payment_intents", effect="before", status=429)
    assert services.charge(mandate, 12_900, reference="r").status == "unknown"
    assert [paid["status"] for paid in ledger()] == ["succeeded"]


def test_an_unknown_charge_stays_unknown_when_the_key_is_refused(mandate, no_waiting):
    control.set_delivery("dropped")
    time_out("/v1/payment_intents", "after", "before", "before")
    services.charge(mandate, 12_900, reference="r")
    control.fail_next("POST", "/v1/payment_intents", effect="before", status=401)
    with pytest.raises(StripeRefusedKey):
        services.charge(mandate, 12_900, reference="r")
    assert Charge.objects.get().status == "unknown"


def test_what_the_key_kept_from_being_sent_counts_as_never_sent(mandate):
    control.fail_next("POST", "/v1/payment_intents", status=401)
    with pytest.raises(StripeRefusedKey):
        services.charge(mandate, 12_900, reference="r")
    assert Charge.objects.get().first_sent_at is None

    services.revoke(mandate, by="customer", reason="enough")
    assert Charge.objects.get().status == "cancelled"


def test_an_old_answer_does_not_undo_a_newer_one(mandate):
    control.set_delivery("dropped")
    control.processing_next()
    charge = services.charge(mandate, 12_900, reference="r")
    old_answer = gateway.retrieve_payment_intent(charge.stripe_id)
    control.settle(charge.stripe_id, succeeded=False)
    outcomes.apply(charge, gateway.retrieve_payment_intent(charge.stripe_id))

    outcomes.apply(charge, old_answer)
    charge.refresh_from_db()
    assert charge.status == "declined"


@pytest.mark.parametrize(
    "answer",
    [
        {"status": "a word of tomorrow"},
        {"currency": "usd", "status": "succeeded"},
        {"customer": "cus_other", "status": "succeeded"},
        {"amount": 1, "status": "succeeded"},
    ],
)
def test_only_this_payment_and_only_known_words_make_a_success(mandate, answer):
    prepared = taken(mandate)
    usual = {"id": "pi_1", "amount": 12_900, "currency": "krw", "customer": mandate.customer.stripe_id}
    outcomes.apply(prepared, gateway.PaymentIntent(**usual | answer), ours=True)
    assert Charge.objects.get().status in ("sending", "unknown")


def test_the_issuers_wish_to_see_the_customer_also_comes_by_webhook(mandate):
    prepared = taken(mandate)
    intent = gateway.PaymentIntent(
        id="pi_1",
        status="requires_payment_method",
        amount=12_900,
        currency="krw",
        customer=mandate.customer.stripe_id,
        failure_code="authentication_required",
    )
    outcomes.apply(prepared, intent, ours=True)
    outcomes.apply(prepared, intent, ours=True)
    assert Charge.objects.get().status == "action_required"
    assert mandate.timeline.filter(kind="charge_action_required").count() == 1


def test_a_success_is_final(mandate):
    charge = services.charge(mandate, 12_900, reference="r")
    outcomes.settle(charge, "declined", stripe_id=charge.stripe_id, code="card_declined")
    charge.refresh_from_db()
    assert charge.status == "succeeded"


def test_the_day_of_one_key_begins_with_the_first_try(mandate, no_waiting):
    for _ in range(2):
        time_out("/v1/payment_intents", "before", "before", "before")
        charge = services.charge(mandate, 12_900, reference="r")
    assert charge.first_sent_at < charge.last_sent_at


# --- agreement ------------------------------------------------------------------------------------


def test_unticking_a_box_and_sending_the_same_form_is_another_agreement(minji, membership, agree):
    page = minji.get(reverse("krcard:consent", args=["membership"]))
    agree(page=page, ticked=ALL)
    agree(page=page, ticked=REQUIRED)
    assert CardSetup.objects.get(status="open").consent.ticked == REQUIRED


@pytest.mark.parametrize("address", ["::ffff:203.0.113.7", "2001:DB8::1", "2001:db8:0:0:0:0:0:1", None])
def test_however_an_address_is_written_the_record_holds(user, membership, address):
    consent_of(CustomerFactory(user=user), membership)
    customer = Customer.objects.get()
    evidence = services.Evidence(ip_address=address)
    services.give_consent(customer, membership, language="ko", ticked=REQUIRED, evidence=evidence)
    assert all(origin_is_intact(consent) for consent in Consent.objects.all())


@pytest.mark.parametrize(
    ("proxies", "forwarded", "remote", "kept"),
    [
        (0, "198.51.100.1", "::ffff:203.0.113.7", "203.0.113.7"),
        (0, "198.51.100.1", "fe80::1%eth0", "fe80::1"),
        (1, "198.51.100.1, 203.0.113.9", "10.0.0.1", "203.0.113.9"),
        (2, "198.51.100.1, 203.0.113.9, 10.0.0.2", "10.0.0.1", "203.0.113.9"),
        (2, "203.0.113.9", "10.0.0.1", "10.0.0.1"),
        (1, "nonsense", "10.0.0.1", "10.0.0.1"),
        (0, "", "", None),
    ],
)
def test_exactly_as_many_proxies_are_believed_as_there_are(rf, settings, proxies, forwarded, remote, kept):
    from django_krcard.views.base import client_ip

    settings.KRCARD_TRUSTED_PROXY_COUNT = proxies
    request = rf.get("/", headers={"X-Forwarded-For": forwarded}, REMOTE_ADDR=remote)
    assert client_ip(request) == kept


def test_a_withdrawn_consent_opens_no_new_session(mandate):
    services.revoke(mandate, by="customer", reason="enough")
    with pytest.raises(ConsentRefused):
        services.start_checkout(mandate.consent, **ADDRESSES)


def test_a_consent_to_retired_terms_opens_no_session(user, membership):
    consent = consent_of(services.get_or_create_customer(user), membership)
    publish(TermsFactory(version=2, amount=14_900), by="system")
    with pytest.raises(ConsentRefused):
        services.start_checkout(consent, **ADDRESSES)


def test_a_replaced_consent_opens_no_session(user, membership):
    customer = services.get_or_create_customer(user)
    first = consent_of(customer, membership)
    consent_of(customer, membership)
    with pytest.raises(ConsentRefused):
        services.start_checkout(first, **ADDRESSES)


def test_agreeing_again_begins_the_time_of_validity_anew(save_card, krcard_clock):
    terms = PublishedTerms(valid_for_days=365)
    mandate = save_card(terms)
    krcard_clock.advance(days=400)
    assert services.can_charge(mandate, 12_900).code == "after_end"

    mandate.consent = consent_of(mandate.customer, terms)
    mandate.save()
    assert services.can_charge(mandate, 12_900).allowed


def test_a_second_one_time_agreement_covers_a_second_payment(save_card):
    terms = PublishedTerms(frequency="one_time", period=None, amount=50_000)
    services.charge(save_card(terms), 50_000, reference="1")
    again = save_card(terms)
    assert services.charge(again, 50_000, reference="2").status == "succeeded"
    assert services.can_charge(again, 50_000).code == "already_used"


def test_an_open_payment_of_the_agreement_before_still_counts(save_card, no_waiting):
    terms = PublishedTerms(frequency="one_time", period=None, amount=50_000)
    mandate = save_card(terms)
    time_out("/v1/payment_intents", "before", "before", "before")
    services.charge(mandate, 50_000, reference="1")
    assert services.can_charge(save_card(terms), 50_000).code == "already_used"


def test_terms_that_have_run_out_have_no_next_payment(save_card):
    terms = PublishedTerms(valid_for_days=10)
    mandate = save_card(terms)
    old = services.Evidence(given_at=timezone.now() - timedelta(days=40))
    mandate.consent = services.give_consent(mandate.customer, terms, language="ko", ticked=REQUIRED, evidence=old)
    assert services.next_payment_on(mandate) is None


@pytest.mark.parametrize(
    "act",
    [
        lambda consent: consent.save_base(),
        lambda consent: Consent.objects.bulk_create([consent], None, False, True, ["language"], ["public_id"]),
        lambda consent: Terms.objects.filter(status="published").update(amount=99_000),
        lambda consent: TermsText.objects.update(timing="x"),
        lambda consent: TermsText.objects.all().delete(),
        lambda consent: Terms.objects.all().delete(),
    ],
)
def test_no_way_of_the_orm_changes_what_was_agreed(membership, act):
    consent = consent_of(CustomerFactory(), membership)
    consent.language = "en"
    with pytest.raises(RecordIsFinal):
        act(consent)
    assert is_intact(Consent.objects.get())
    assert Terms.objects.get().amount == 12_900


def test_loaddata_restores_consents_and_changes_none(membership, tmp_path):
    consent = consent_of(CustomerFactory(), membership)
    file = tmp_path / "consents.json"
    file.write_text(serializers.serialize("json", [consent]).replace('"source": "web"', '"source": "paper"'))
    with pytest.raises(RecordIsFinal):
        call_command("loaddata", file, verbosity=0)

    file.write_text(serializers.serialize("json", [consent, consent.origin]))
    tamper("DELETE FROM krcard_consentorigin")
    tamper("DELETE FROM krcard_consent")
    call_command("loaddata", file, verbosity=0)
    assert is_intact(Consent.objects.get())
    assert origin_is_intact(Consent.objects.get())


def test_a_published_text_cannot_be_taken_away_to_a_draft(membership):
    text = membership.texts.first()
    text.terms = TermsFactory(slug="draft", languages=["ja"])
    with pytest.raises(RecordIsFinal):
        text.save()


# --- attempts -------------------------------------------------------------------------------------


@pytest.mark.postgresql
def test_agreeing_while_the_mandate_is_ending_makes_a_living_one(user, membership, save_card):
    mandate = save_card(membership)
    customer = mandate.customer
    with transaction.atomic():
        mandates._end(lock(mandate), "revoked", by="customer", reason="enough")
        thread = meanwhile(lambda: agree_as(customer, membership, ALL))
        time.sleep(0.5)
    thread.join()
    assert CardSetup.objects.get(status="open").mandate.status == "pending"


def test_a_withdrawal_closes_the_session_that_is_open(agree):
    agree()
    setup = CardSetup.objects.get()
    services.revoke(setup.mandate, by="customer", reason="enough")
    setup.refresh_from_db()
    assert (setup.status, setup.redirect_url) == ("cancelled", "")
    assert Resource.objects.get(stripe_id=setup.checkout_session_id).status == "expired"


def test_a_page_does_not_say_saved_when_the_agreement_has_ended(minji, mandate):
    services.revoke(mandate, by="customer", reason="enough")
    page = minji.get(reverse("krcard:success", args=[mandate.setups.get().public_id]))
    assert page.context["state"] == "cancelled"


def test_a_late_older_attempt_leaves_no_card_behind(user, membership):
    customer = services.get_or_create_customer(user)
    control.set_delivery("dropped")
    older = services.start_checkout(consent_of(customer, membership), **ADDRESSES)
    newer = services.start_checkout(consent_of(customer, membership), **ADDRESSES)
    control.authorise(newer.checkout_session_id, brand="hyundai")
    services.complete_setup(newer)
    control.authorise(older.checkout_session_id, brand="shinhan")
    mandate = services.complete_setup(older)

    assert Mandate.objects.get().payment_method.brand == "hyundai"
    services.revoke(mandate, by="customer", reason="enough")
    cards = Resource.objects.filter(kind="payment_method")
    assert [card.body["customer"] for card in cards] == [None, None]


def test_nobody_is_sent_to_a_session_that_was_replaced_before_it_opened(user, membership):
    customer = services.get_or_create_customer(user)
    first = agree_as(customer, membership, ALL)
    agree_as(customer, membership, REQUIRED)
    checkout.open_session(first, **ADDRESSES)
    first.refresh_from_db()
    assert (first.status, first.redirect_url) == ("cancelled", "")
    assert Resource.objects.get(stripe_id=first.checkout_session_id).status == "expired"


def test_a_slow_double_click_goes_where_the_first_one_went(user, membership, monkeypatch):
    setup = agree_as(services.get_or_create_customer(user), membership, ALL)
    create = gateway.create_checkout_session

    def busy(params, *, key):
        monkeypatch.setattr(gateway, "create_checkout_session", create)
        checkout.open_session(CardSetup.objects.get(), **ADDRESSES)
        raise StripeBusy("409", http_status=409)

    monkeypatch.setattr(gateway, "create_checkout_session", busy)
    assert checkout.open_session(setup, **ADDRESSES).redirect_url


def test_an_attempt_that_stripe_refuses_is_over_and_the_next_is_a_new_one(agree, monkeypatch):
    create = gateway.create_checkout_session

    def refuse(params, *, key):
        monkeypatch.setattr(gateway, "create_checkout_session", create)
        raise StripeRefusedRequest("400", code="parameter_invalid", http_status=400)

    monkeypatch.setattr(gateway, "create_checkout_session", refuse)
    answer = agree()
    assert answer.status_code == 503
    assert CardSetup.objects.get().status == "failed"
    assert agree(page=answer).status_code == 303


@pytest.mark.parametrize("strange", ["customer", "livemode"])
def test_a_session_of_another_customer_or_mode_is_refused(minji, agree, strange):
    agree()
    setup = CardSetup.objects.get()
    control.set_delivery("dropped")
    control.authorise(setup.checkout_session_id)
    session = Resource.objects.get(stripe_id=setup.checkout_session_id)
    session.body[strange] = {"customer": "cus_other", "livemode": True}[strange]
    session.save()
    assert minji.get(reverse("krcard:success", args=[setup.public_id])).status_code == 404
    assert Mandate.objects.get().status == "pending"


def test_a_mandate_with_a_word_of_tomorrow_is_held(mandate, monkeypatch):
    monkeypatch.setattr(gateway, "retrieve_mandate_status", lambda mandate_id: "suspended")
    assert mandates.sync_with_stripe(mandate).status == "on_hold"


def test_a_new_card_waits_for_its_permission_at_stripe(save_card, membership, mandate):
    control.mandate_pending_next()
    save_card(membership, brand="hyundai")
    assert services.can_charge(mandate, 12_900).code == "mandate_not_active"

    control.activate_mandate(mandate.payment_method.stripe_id)
    assert services.can_charge(mandate, 12_900).allowed


def test_a_mandate_that_was_never_saved_survives_another_attempt_running_out(user, membership):
    customer = services.get_or_create_customer(user)
    control.set_delivery("dropped")
    older = services.start_checkout(consent_of(customer, membership), **ADDRESSES)
    services.start_checkout(consent_of(customer, membership), **ADDRESSES)
    control.expire(older.checkout_session_id)
    services.complete_setup(older)
    assert Mandate.objects.get().status == "pending"


# --- webhook --------------------------------------------------------------------------------------


def test_a_message_that_somebody_else_is_working_on_is_not_acknowledged(krcard_events):
    body = json.dumps(EVENT | {"type": "checkout.session.completed"}).encode()
    lease = timezone.now() + timedelta(minutes=1)
    event = Event.objects.create(
        stripe_id="evt_test_1", type="checkout.session.completed", body=body, lease_until=lease
    )
    assert krcard_events.post_raw(body).status_code == 500
    event.refresh_from_db()
    assert event.attempts == 0

    Event.objects.update(lease_until=timezone.now())
    assert krcard_events.post_raw(body).status_code == 200


def test_the_charge_of_another_site_on_the_same_account_is_not_waited_for(krcard_events):
    metadata = {"krcard_mandate": str(uuid.uuid4()), "krcard_reference": "theirs"}
    old = {"id": "pi_1", "metadata": metadata, "created": int(time.time()) - 3600}
    message = EVENT | {"type": "payment_intent.succeeded", "data": {"object": old}}
    assert krcard_events.post_raw(json.dumps(message)).status_code == 200


def test_what_a_message_says_of_a_mandate_is_asked_and_not_believed(krcard_events, mandate):
    subject = {"id": mandate.stripe_id, "status": "inactive"}
    message = EVENT | {"type": "mandate.updated", "data": {"object": subject}}
    assert krcard_events.post_raw(json.dumps(message)).status_code == 200
    mandate.refresh_from_db()
    assert mandate.status == "active"


def test_a_length_without_end_is_refused():
    client = Client(raise_request_exception=False)
    answer = client.post(reverse("krcard:webhook"), b"x", content_type="application/json", CONTENT_LENGTH="9" * 5000)
    assert answer.status_code == 413


# --- people and sites -----------------------------------------------------------------------------


def test_a_number_that_belongs_to_an_organisation_is_not_the_users(user):
    organisation = services.get_or_create_customer(UserFactory(), reference=str(user.pk))
    mine = services.get_or_create_customer(user)
    assert mine != organisation
    assert mine.user == user
    assert services.get_or_create_customer(user) == mine


def test_nobody_is_given_somebody_elses_customer_when_both_names_are_taken(user):
    for reference in (str(user.pk), f"user-{user.pk}"):
        services.get_or_create_customer(reference=reference)
    with pytest.raises(KrcardError):
        services.get_or_create_customer(user)


def test_nobody_inherits_the_customer_of_a_deleted_account(user):
    Customer.objects.create(reference=str(user.pk), user=None)
    assert services.get_or_create_customer(user).user == user


def test_an_address_that_stripe_does_not_take_can_be_corrected(user, monkeypatch):
    create = gateway.create_customer

    def refuse(params, *, key):
        monkeypatch.setattr(gateway, "create_customer", create)
        raise StripeRefusedRequest("400", code="email_invalid", http_status=400)

    monkeypatch.setattr(gateway, "create_customer", refuse)
    customer = services.get_or_create_customer(user)
    with pytest.raises(StripeRefusedRequest):
        services.ensure_at_stripe(customer)
    user.email = "minji@example.org"
    user.save()
    stripe_id = services.ensure_at_stripe(Customer.objects.get())
    assert Resource.objects.get(stripe_id=stripe_id).body["email"] == "minji@example.org"


def test_what_is_asked_for_a_customer_is_the_same_at_every_try(user, no_waiting):
    customer = services.get_or_create_customer(user)
    time_out("/v1/customers", "after", "before", "before")
    with pytest.raises(Exception, match="APIConnectionError"):
        services.ensure_at_stripe(customer)
    user.email = "changed@example.org"
    user.save()
    services.ensure_at_stripe(Customer.objects.get())
    assert Resource.objects.filter(kind="customer").count() == 1


def test_a_stored_500_does_not_lock_a_customer_out(user):
    control.fail_next("POST", "/v1/customers", effect="after", status=500)
    customer = services.get_or_create_customer(user)
    with pytest.raises(Exception, match="500"):
        services.ensure_at_stripe(customer)
    assert services.ensure_at_stripe(Customer.objects.get())


def test_signing_in_again_leads_back_to_the_terms(membership, mandate):
    answer = Client().post(reverse("krcard:create-checkout-session"), {"terms": "membership"})
    assert answer["Location"].endswith("next=/krcard/agree/membership/")
    answer = Client().post(reverse("krcard:revoke", args=[mandate.public_id]))
    assert answer["Location"].endswith(f"next=/krcard/mandates/{mandate.public_id}/")


def test_odd_names_of_terms_have_a_page(minji, membership):
    for slug in ("a\x00b", "../x", "", "가"):
        answer = minji.post(reverse("krcard:create-checkout-session"), {"terms": slug})
        assert answer.status_code == 404


def test_a_long_name_of_staff_fits(mandate):
    assert services.revoke(mandate, by="staff:" + "x" * 254, reason="r").ended_by.endswith("x")


def test_a_transaction_by_hand_counts_too(mandate):
    transaction.set_autocommit(False)
    try:
        with pytest.raises(InsideTransaction):
            gateway.retrieve_payment_method(mandate.payment_method.stripe_id)
    finally:
        transaction.rollback()
        transaction.set_autocommit(True)
