"""A person asks what is known, and to be forgotten."""

import json
from datetime import timedelta

import pytest
from django.contrib.admin.models import LogEntry
from django.db import transaction
from django.utils import timezone

from django_krcard import services
from django_krcard.exceptions import ErasureRefused, InsideTransaction, StripeUnavailable
from django_krcard.models import Charge, Consent, Customer, Event, Notice, Refund, Subscription
from django_krcard.services import mandates
from django_krcard.services.consents import is_intact
from django_krcard.services.evidence_pack import evidence
from django_krcard.services.privacy import Erasure, erase_customer, export_customer, plan_erasure, set_hold
from django_krcard.testing.sandbox import books
from tests.admin.conftest import boss, browser, staff
from tests.admin.pages import act, page
from tests.commands.conftest import play
from tests.factories import PublishedTerms, consent_of

__all__ = ["boss", "browser", "play", "staff"]

pytestmark = pytest.mark.django_db


def erase(customer, **how):
    return erase_customer(customer, by="staff:boss", reason="asked to", **how)


def test_a_person_is_forgotten_and_the_books_still_hold(paid, user, unpack):
    customer = paid.customer
    plan = plan_erasure(customer)
    assert (plan.forbidden, plan.mandates, plan.cards, plan.notices, plan.messages) == ([], 1, 2, 2, 2)
    did = erase(customer)

    paid.refresh_from_db()
    assert paid.status == "revoked"
    assert (customer.user, customer.address, customer.reference) == (None, "", f"erased-{customer.public_id}")
    assert (did.mandates, did.cards, did.cards_left, did.messages) == (1, 2, 0, 2)
    assert {notice.address for notice in Notice.objects.all()} == {""}
    (others,) = Event.objects.exclude(body=b"")
    assert b"cus_12" in bytes(others.body)
    assert Charge.objects.get().amount == 12_900
    pack = evidence(paid)
    assert user.email not in pack.as_json()
    assert unpack(pack.as_zip()).verify().returncode == 0
    assert all(is_intact(consent) for consent in Consent.objects.select_related("customer"))


def test_proof_of_agreement_is_kept_unless_it_is_forced(paid, unpack):
    assert erase(paid.customer).origins_kept == 3
    assert "203.0.113.7" in evidence(paid).as_json()

    did = erase(paid.customer, force_personal=True)
    assert (did.origins, did.origins_kept) == (3, 0)
    pack = evidence(paid)
    assert "203.0.113.7" not in pack.as_json()
    assert unpack(pack.as_zip()).verify().returncode == 0


def test_messages_of_a_customer_who_was_deleted_at_stripe_go_too(paid):
    Customer.objects.update(stripe_id="cus_new", former_stripe_ids=["cus_1"])
    paid.refresh_from_db()
    assert erase(paid.customer).messages == 2
    assert {b"cus_12" in bytes(event.body) for event in Event.objects.exclude(body=b"")} == {True}


def test_who_is_asked_to_agree_to_a_change_is_not_asked_any_more(paid):
    Customer.objects.update(notice_address="minji@phone.example")
    paid.refresh_from_db()
    terms = PublishedTerms(amount=14_900)
    effective_on = timezone.localdate() + timedelta(days=20)
    services.request_amendment(paid, terms, effective_on=effective_on, by="staff:boss", reason="costs")
    assert Notice.objects.filter(kind="amendment_asked", address="minji@phone.example").exists()

    erase(paid.customer)

    (amendment,) = paid.amendments.all()
    assert (amendment.status, amendment.next_step_at) == ("cancelled", None)
    assert "minji@phone.example" not in evidence(paid).as_json()
    assert {notice.address for notice in Notice.objects.all()} == {""}


def test_erasing_again_changes_nothing(paid):
    erase(paid.customer)
    entries, row = paid.timeline.count(), Customer.objects.values().get()
    assert paid.timeline.filter(kind="customer_erased").count() == 1

    again = erase(paid.customer)
    assert (paid.timeline.count(), Customer.objects.values().get()) == (entries, row)
    assert again == Erasure(origins_kept=3)


def test_whoever_comes_back_is_somebody_new(paid, user):
    erase(paid.customer)
    assert services.get_or_create_customer(user) != paid.customer


def unknown_charge(mandate):
    mandate.charges.update(status=Charge.Status.UNKNOWN)


def turned_away_and_sent_again(mandate):
    mandate.charges.update(status=Charge.Status.READY)


def refund_on_its_way(mandate):
    Refund.objects.update(status=Refund.Status.PENDING)


def open_dispute(mandate):
    mandate.charges.update(dispute_id="dp_1", dispute_status="needs_response")


def living_subscription(mandate):
    Subscription.objects.create(mandate=mandate, stripe_id="sub_1", status="active")


def money_promised_back(mandate):
    row = Subscription.objects.create(mandate=mandate, stripe_id="sub_1", status="canceled")
    row.changes.create(kind="cancel", status="owed", pay_back=5_000, requested_by="customer")


def first_payment_under_way(mandate):
    setup = mandate.setups.first()
    mandate.charges.update(setup=setup, status=Charge.Status.ACTION_REQUIRED)


def hold_on_mandate(mandate):
    set_hold(mandate, by="staff:boss", reason="case")


def hold_on_customer(mandate):
    set_hold(mandate.customer, by="staff:boss", reason="case")


FORBIDDEN = [
    unknown_charge,
    turned_away_and_sent_again,
    refund_on_its_way,
    open_dispute,
    living_subscription,
    money_promised_back,
    first_payment_under_way,
    hold_on_mandate,
    hold_on_customer,
]


@pytest.mark.parametrize("cause", FORBIDDEN)
def test_what_forbids_it_is_told_and_nothing_is_changed(paid, cause):
    cause(paid)
    before = Customer.objects.values().get(), paid.timeline.count(), Notice.objects.filter(address="").count()

    (why,) = plan_erasure(paid.customer).forbidden
    with pytest.raises(ErasureRefused) as refused:
        erase(paid.customer)
    assert refused.value.reasons == [why]
    after = Customer.objects.values().get(), paid.timeline.count(), Notice.objects.filter(address="").count()
    assert after == before


@pytest.mark.django_db(transaction=True)
def test_a_card_that_stripe_did_not_remove_is_told_and_removed_later(mandate, monkeypatch):
    def down(*args, **kwargs):
        raise StripeUnavailable("down")

    with monkeypatch.context() as patched:
        patched.setattr("django_krcard.gateway.detach_payment_method", down)
        assert erase(mandate.customer).cards_left == 1
    later = timezone.now() + mandates.TRY_REMOVAL_AGAIN
    monkeypatch.setattr("django.utils.timezone.now", lambda: later)
    mandates.remove_leftover_cards()
    assert erase(mandate.customer).cards_left == 0
    assert books("payment_method")[0]["customer"] is None


def test_the_key_of_the_other_mode_removes_no_cards(paid, settings):
    settings.KRCARD_SANDBOX = False
    settings.STRIPE_SECRET_KEY = "sk_live_1"
    (why,) = plan_erasure(paid.customer).forbidden
    assert "다른 모드" in why


def test_stripe_is_not_asked_inside_a_transaction(paid):
    with transaction.atomic(), pytest.raises(InsideTransaction):
        erase(paid.customer)


# --- what is known -------------------------------------------------------------------------------


def test_a_person_gets_everything_about_them_and_nothing_about_staff(paid, membership, user):
    services.hold(paid, by="staff:boss", reason="suspicious")
    data = export_customer(paid.customer)
    words = json.dumps(data, ensure_ascii=False)

    assert data["customer"]["user"] == user.username
    assert [each["mandate"]["reference"] for each in data["agreements"]] == [paid.reference]
    for known in (user.email, "203.0.113.7", "11월 이용료", "매회 12,900원", "1234"):
        assert known in words
    for internal in ("suspicious", "staff:boss"):
        assert internal not in words


def test_a_consent_that_led_to_nothing_is_in_it_too(membership, user):
    customer = services.get_or_create_customer(user)
    consent = consent_of(customer, membership)
    assert [each["public_id"] for each in export_customer(customer)["other_consents"]] == [str(consent.public_id)]


# --- the doors -----------------------------------------------------------------------------------


def test_the_command_tells_first_and_erases_when_it_is_told_to(paid, play):
    reference = paid.customer.reference
    told = play("krcard_privacy", "erase", reference)
    assert (told.code, told.objects[0]["mandates"], told.objects[0]["origins_kept"]) == (0, 1, 3)
    assert Customer.objects.get().user is not None

    assert play("krcard_privacy", "erase", reference, "--yes").code == 2
    done = play("krcard_privacy", "erase", reference, "--yes", "--reason", "asked to", "--by", "boss")
    assert (done.code, done.objects[0]["cards"]) == (0, 2)
    assert Customer.objects.get().user is None
    assert play("krcard_privacy", "erase", reference).code == 2


def test_the_command_says_what_forbids_it(paid, play):
    open_dispute(paid)
    for options in ((), ("--yes", "--reason", "x")):
        ended = play("krcard_privacy", "erase", paid.customer.reference, *options)
        assert (ended.code, ended.error) == (1, "The customer disputes a payment.")


def test_the_command_exports(paid, play, user):
    ended = play("krcard_privacy", "export", str(paid.customer.public_id))
    assert ended.objects[0]["customer"]["user"] == user.username


def test_staff_export_hold_and_erase(boss, paid, user):
    customer = paid.customer
    assert act(boss, customer, "export", reason="asked").json()["customer"]["user"] == user.username

    act(boss, customer, "legal-hold", reason="case 17")
    assert "case 17" in boss.get(page(customer)).text
    assert "A legal hold is set" in act(boss, customer, "erase", reason="asked").text
    assert Customer.objects.get().user == user

    act(boss, customer, "lift-hold", reason="settled")
    assert "The person was erased." in act(boss, customer, "erase", reason="asked").text
    assert Customer.objects.get().user is None
    assert user.username not in LogEntry.objects.first().object_repr


def test_each_act_needs_its_own_permission(staff, paid):
    reviewer = staff("view_customer", "export_person")
    for name in ("erase", "legal-hold"):
        assert reviewer.post(page(paid.customer, name), {"reason": "x"}).status_code == 403
    assert Customer.objects.get().user is not None


def test_mandates_that_ended_long_ago_are_kept_apart(boss, staff, paid, settings):
    reviewer = staff("view_mandate")
    services.revoke(paid, by="customer", reason="x")
    lists = "/admin/krcard/mandate/"
    assert paid.reference in reviewer.get(lists).text

    settings.KRCARD_ARCHIVE_AFTER_DAYS = 0
    assert paid.reference not in reviewer.get(lists).text
    assert paid.reference not in reviewer.get(f"{lists}?archived=yes").text
    assert reviewer.get(page(paid)).status_code == 302
    assert paid.reference not in boss.get(lists).text
    assert paid.reference in boss.get(f"{lists}?archived=yes").text
