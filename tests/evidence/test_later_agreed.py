"""What happens to an agreement after it was made is in its pack: changes of terms, subscriptions, a first payment."""

import json
import re

import pytest

from django_krcard import services
from django_krcard.models import Charge, Mandate
from django_krcard.services import amendments
from django_krcard.services.evidence_pack import customers_copy, evidence
from django_krcard.testing.sandbox import books
from django_krcard.timeline_words import TIMELINE
from tests.evidence.test_pack import write
from tests.factories import REQUIRED, PublishedTerms, consent_of
from tests.test_amendments import BY, EVIDENCE, in_days
from tests.test_first_payments import both_flows, pay, start
from tests.test_subscriptions import price, stripe, subscribe

__all__ = ["price", "stripe", "subscribe"]

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("krcard_clock", "no_waiting")]


@pytest.fixture
def asked(mandate):
    return services.request_amendment(mandate, PublishedTerms(amount=14_900), effective_on=in_days(20), **BY)


def agree(amendment):
    return amendments.agree(amendment, language="ko", ticked=REQUIRED, evidence=EVIDENCE)


@pytest.fixture
def subscribed(mandate, price):
    services.subscribe(mandate, price=price(), by="staff:boss", reason="전화 신청")
    return mandate


def witnesses_of(pack):
    return {(each["object"], each["id"]) for consent in pack.facts["consents"] for each in consent["witnesses"]}


def told_of_a_consent():
    """What Stripe really has, whoever made it."""
    kinds = {"checkout.session", "setup_intent", "payment_intent", "subscription"}
    return {(kind, each["id"]) for kind in kinds for each in books(kind) if each["metadata"].get("krcard_consent_hash")}


def holds(pack, unpack):
    return unpack(pack.as_zip()).verify().returncode == 0


# --- changes of terms ------------------------------------------------------------------------------


def test_what_was_agreed_beforehand_is_in_it_with_its_own_consent(mandate, asked, unpack):
    before = mandate.consent
    consent = agree(asked).consent
    pack = evidence(mandate)

    (change,) = pack.facts["amendments"]
    assert (change["kind"], change["status"]) == ("price_rise", "agreed")
    assert (change["amount_before"], change["amount_after"]) == (12_900, 14_900)
    assert (change["before"], change["consent"]) == (str(before.public_id), str(consent.public_id))
    assert change["effective_on"] == in_days(20).isoformat() == pack.facts["mandate"]["next_consent_on"]
    assert pack.facts["mandate"]["next_consent"] == str(consent.public_id)
    assert [each["public_id"] for each in pack.facts["consents"]] == [str(before.public_id), str(consent.public_id)]
    assert evidence(mandate).as_zip() == pack.as_zip()
    for each in (pack, evidence(mandate, personal=False), customers_copy(mandate)):
        assert holds(each, unpack)


def test_each_charge_is_held_to_the_consent_that_ruled_on_its_day(mandate, asked, krcard_clock, unpack):
    services.charge(mandate, 12_900, reference="before")
    agree(asked)
    krcard_clock.advance(days=32)
    mandate = Mandate.objects.get()
    services.charge(mandate, 14_900, reference="after")
    pack = evidence(mandate)

    assert [(each["amount"], each["agreed"]["amount"]) for each in pack.facts["charges"]] == [
        (12_900, 12_900),
        (14_900, 14_900),
    ]
    assert holds(pack, unpack)
    assert witnesses_of(pack) == told_of_a_consent()


@pytest.mark.parametrize(
    "changes", [{"amount_before": 1_000}, {"amount_after": 99_000}, {"consent": None}, {"before": "nobody's"}]
)
def test_a_change_that_was_tampered_with_shows(mandate, asked, unpack, changes):
    agree(asked)
    pack = unpack(evidence(mandate).as_zip())
    facts = json.loads((pack.folder / "evidence.json").read_text(encoding="utf-8"))
    facts["amendments"][0] |= changes
    write(pack.folder, "evidence.json", json.dumps(facts).encode())
    assert "WRONG change" in pack.verify().stdout


def test_who_was_not_asked_yet_does_not_hear_of_it_in_their_copy(mandate):
    services.request_amendment(mandate, PublishedTerms(amount=14_900), effective_on=in_days(60), **BY)
    assert len(evidence(mandate).facts["amendments"]) == 1
    assert customers_copy(mandate).facts["amendments"] == []


def test_a_refusal_is_evidence_as_well_and_staff_stay_unnamed(mandate, asked, unpack):
    amendments.refuse(asked)
    (change,) = evidence(mandate).facts["amendments"]
    assert (change["status"], change["consent"]) == ("refused", None)
    assert change["answered_at"] is not None
    for pack in (customers_copy(mandate), evidence(mandate, personal=False)):
        assert len(pack.facts["amendments"]) == 1
        assert BY["by"] not in pack.as_json()
        assert BY["reason"] not in pack.as_json()
        assert holds(pack, unpack)


# --- subscriptions ---------------------------------------------------------------------------------


def test_what_stripe_charges_by_itself_is_in_it_and_only_the_subscription_is_a_witness(subscribed, unpack):
    pack = evidence(subscribed)

    (subscription,), (charge,) = pack.facts["subscriptions"], pack.facts["charges"]
    assert (subscription["status"], subscription["amount"]) == ("active", 12_900)
    assert (charge["subscription"], charge["invoice"]) == (subscription["stripe_id"], books("invoice")[0]["id"])
    assert ("subscription", subscription["stripe_id"]) in witnesses_of(pack)
    assert witnesses_of(pack) == told_of_a_consent()
    assert holds(pack, unpack)


def test_a_part_of_a_period_is_within_a_fixed_amount_and_more_than_it_is_not(subscribed, unpack):
    Charge.objects.update(amount=5_000)
    assert holds(evidence(subscribed), unpack)
    Charge.objects.update(amount=15_000)
    pack = evidence(subscribed, language="en")
    assert "WRONG charge invoice:" in unpack(pack.as_zip()).verify().stdout
    answer = pack.for_dispute(pack.facts["charges"][0]["reference"])
    assert "covers this payment" not in answer["texts"]["uncategorized_text"]
    # Called off before anything was taken.
    Charge.objects.update(status="cancelled")
    assert holds(evidence(subscribed), unpack)


def test_a_disputed_invoice_leads_to_the_metadata_that_really_has_the_hash(subscribed, subscribe):
    by_hand = subscribe(subscribed)
    pack = evidence(subscribed, language="en")
    words = {
        charge["subscription"]: pack.for_dispute(charge["reference"])["texts"]["uncategorized_text"]
        for charge in pack.facts["charges"]
    }
    # In the dashboard nobody told it of a consent.
    assert f"Hash of the record: {subscribed.consent.record_hash}" in words.pop(by_hand)
    ((ours, told),) = words.items()
    assert f"in the metadata of {ours}: {subscribed.consent.record_hash}" in told


def test_what_was_wanted_of_a_subscription_is_in_it(subscribed):
    services.cancel_subscription(subscribed.subscriptions.get(), by="staff:boss", reason="전화 해지")
    (subscription,) = evidence(subscribed).facts["subscriptions"]

    (change,) = subscription["changes"]
    assert (change["status"], change["requested_by"], change["reason"]) == ("done", "staff:boss", "전화 해지")
    for pack in (customers_copy(subscribed), evidence(subscribed, personal=False)):
        for told in ("staff:boss", "전화 해지", "전화 신청"):
            assert told not in pack.as_json()


def test_an_invoice_is_judged_by_the_consent_that_rules_when_it_comes(mandate, asked, subscribe, krcard_clock, unpack):
    """The day of the change has come, and nobody has locked the mandate since."""
    agree(asked)
    krcard_clock.advance(days=21)
    mandate = Mandate.objects.get()
    assert mandate.next_consent is not None
    subscribe(mandate, amount=14_900)
    assert evidence(mandate).facts["charges"][0]["agreed"]["amount"] == 14_900
    assert holds(evidence(mandate), unpack)


# --- a first payment -------------------------------------------------------------------------------


@both_flows
def test_a_first_payment_was_told_of_its_consent(user, membership, flow, unpack):
    setup = start(consent_of(services.get_or_create_customer(user), membership), flow)
    pay(setup)
    pack = evidence(Mandate.objects.get())

    (charge,), (attempt,) = pack.facts["charges"], pack.facts["setups"]
    assert (charge["setup"], charge["status"]) == (attempt["public_id"], "succeeded")
    assert attempt["flow"] == flow
    assert ("payment_intent", charge["stripe_id"]) in witnesses_of(pack)
    assert witnesses_of(pack) == told_of_a_consent()
    assert holds(pack, unpack)


# --- the page --------------------------------------------------------------------------------------


@pytest.mark.parametrize("language", ["ko", "en"])
def test_the_page_says_what_happened_in_words(subscribed, asked, language):
    agree(asked)
    page = evidence(subscribed, language=language).as_html()

    cells = re.findall(r'<td class="when">[^<]*</td><td>([^<]*)</td>', page)
    assert {"ko": "약관에 동의함", "en": "Agreed to the terms"}[language] in cells
    assert not set(TIMELINE) & set(cells)
    assert {"ko": "12,900원 → 14,900원", "en": "₩12,900 → ₩14,900"}[language] in page
    assert "staff:" not in re.sub(r"<code>.*?</code>", "", page).replace("staff: ", "")
