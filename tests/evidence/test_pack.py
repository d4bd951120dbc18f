"""The evidence pack: complete, the same each time, and it verifies without us."""

import hashlib
import json
import zipfile
from datetime import timedelta
from io import BytesIO

import pytest
from django.utils import timezone, translation

from django_krcard import services
from django_krcard.models import ConsentOrigin, Mandate
from django_krcard.services import mandates
from django_krcard.services.consents import Attachment, erase_origin
from django_krcard.services.evidence_pack import customers_copy, evidence, hand_out
from django_krcard.services.evidence_pack.dispute import MAX_TEXT
from django_krcard.services.seals import make as make_seal
from tests.factories import REQUIRED, consent_of
from tests.unguarded import tamper, unguarded

pytestmark = pytest.mark.django_db

FORMS = ["html", "json", "zip"]


def test_the_pack_has_every_consent_as_it_was_agreed(lived):
    first, again = lived.customer.consents.filter(terms__slug="membership").order_by("pk")
    facts = evidence(lived).facts

    assert [each["public_id"] for each in facts["consents"]] == [str(first.public_id), str(again.public_id)]
    assert facts["mandate"]["consent"] == str(again.public_id)
    told = facts["consents"][1]
    assert told["text"] == again.text
    assert [item["key"] for item in told["ticked"]] == [*REQUIRED, "news"]
    assert told["ticked"][0]["label"] == "자동결제 이용 동의"
    assert told["origin"]["ip_address"] == "203.0.113.7"
    assert told["given_at"].endswith("+00:00")
    assert told["given_at_local"].endswith("+09:00")
    assert told["rule"]["amount"] == 12_900


def test_the_pack_has_what_was_done_under_the_agreement(lived):
    facts = evidence(lived).facts

    assert [(card["brand"], card["last4"]) for card in facts["cards"]] == [("shinhan", "1234"), ("kookmin", "9876")]
    (charge,) = facts["charges"]
    assert (charge["amount"], charge["status"], charge["refunded_amount"]) == (12_900, "succeeded", 2_900)
    assert charge["agreed"]["consent"] == facts["mandate"]["consent"]
    assert charge["agreed"]["period"] is not None
    assert [refund["amount"] for refund in charge["refunds"]] == [2_900]
    assert [notice["kind"] for notice in facts["notices"]] == ["charge_succeeded", "charge_refunded"]
    assert "12,900원" in facts["notices"][0]["text"]
    assert facts["timeline"][0]["kind"] == "consent_given"


@pytest.mark.django_db(transaction=True)
def test_stripe_was_given_the_hash_that_the_pack_says_it_has(mandate, ledger):
    services.charge(mandate, 12_900, reference="r")
    (witness,) = [each for each in evidence(mandate).facts["consents"][0]["witnesses"] if each["id"].startswith("pi_")]
    (intent,) = ledger()

    assert intent["id"] == witness["id"]
    assert witness["metadata"].items() <= intent["metadata"].items()


def test_of_other_agreements_there_are_only_hashes(lived):
    other = lived.customer.consents.get(terms__slug="other")
    pack = evidence(lived)

    assert {"record_hash": other.record_hash, "previous_hash": other.previous_hash} in pack.facts["chain"]
    for secret in (str(other.public_id), other.origin.salt, other.origin_sha256):
        assert secret not in pack.as_json()


def test_made_again_it_is_the_same_to_the_last_byte(lived, settings):
    with translation.override("en"):
        before = [evidence(lived).as_bytes(form) for form in FORMS]
    settings.TIME_ZONE = "America/New_York"

    assert [evidence(lived).as_bytes(form) for form in FORMS] == before


def test_handing_it_out_is_written_down_and_changes_no_pack(lived):
    before = evidence(lived).as_zip()
    handed = hand_out(lived, "zip", by="staff:boss", reason="분쟁")

    entry = lived.timeline.first()
    assert (entry.kind, entry.actor, entry.data["reason"]) == ("evidence_exported", "staff:boss", "분쟁")
    assert entry.data["sha256"] == hashlib.sha256(handed).hexdigest()
    assert evidence(lived).as_zip() == handed == before


def test_what_happens_later_is_in_the_next_pack(lived):
    before = evidence(lived)
    services.revoke(lived, by="customer", reason="withdrawn by the customer")
    after = evidence(lived)

    assert after.facts["mandate"]["status"] == "revoked"
    assert after.facts["as_of"] > before.facts["as_of"]
    assert before.facts["mandate"]["status"] == "active"


def test_the_page_needs_nothing_runs_nothing_and_speaks_the_language_asked_for(lived):
    page = evidence(lived).as_html()
    for forbidden in ("<script", "src=", "href=", "url(", "@import"):
        assert forbidden not in page
    assert "b=&lt;2&gt;" in page

    english = evidence(lived, language="en").as_html()
    assert '<html lang="ko">' in page
    assert '<html lang="en">' in english
    assert "₩12,900" in english


# --- it verifies, and only when nothing was touched -------------------------------------------------


def test_the_pack_verifies_with_nothing_but_python_also_with_less_in_it(lived, unpack):
    for pack in (evidence(lived), evidence(lived, personal=False), customers_copy(lived)):
        done = unpack(pack.as_zip()).verify()
        assert (done.returncode, done.stderr) == (0, "")
        assert "WRONG" not in done.stdout


def test_a_hash_known_from_elsewhere_is_compared(lived, unpack):
    pack = unpack(evidence(lived).as_zip())
    assert pack.verify(lived.consent.record_hash).returncode == 0
    assert pack.verify("0" * 64).returncode == 1


@pytest.fixture
def on_paper(membership):
    """Terms that Minji signed on paper, sealed together with four others."""
    customers = [services.get_or_create_customer(reference=f"c{number}") for number in range(5)]
    scan = Attachment("../../동의서 <1>.pdf", "application/pdf", b"%PDF-1.7 signed")
    how = {"source": "paper", "recorded_by": "staff:boss", "note": "창구에서 받음", "attachment": scan}
    consents = [consent_of(customer, membership, **(how if n == 3 else {})) for n, customer in enumerate(customers)]
    make_seal()
    return mandates.for_consent(consents[3])


def test_a_signed_paper_and_its_seal_are_in_the_pack_and_verify(on_paper, unpack):
    pack = evidence(on_paper)
    (consent,) = pack.facts["consents"]
    names = names_in(pack)

    assert f"attachments/{on_paper.consent.public_id}.pdf" in names
    assert not any(".." in name for name in names)
    unpacked = unpack(pack.as_zip())
    done = unpacked.verify(consent["seal"]["root"])
    assert (done.returncode, done.stderr) == (0, "")
    assert "it leads to the root of seal 1" in done.stdout

    write(unpacked.folder, f"attachments/{on_paper.consent.public_id}.pdf", b"another")
    assert unpacked.verify().returncode == 1


@pytest.mark.parametrize("part", ["hash", "side"])
def test_a_changed_way_to_the_seal_shows(on_paper, unpack, part):
    pack = unpack(evidence(on_paper).as_zip())
    facts = json.loads((pack.folder / "evidence.json").read_text(encoding="utf-8"))
    (consent,) = facts["consents"]
    sibling = consent["seal"]["siblings"][0]
    sibling[part] = {"hash": "0" * 64, "side": {"left": "right", "right": "left"}[sibling["side"]]}[part]
    write(pack.folder, "evidence.json", json.dumps(facts).encode())

    assert "WRONG it leads to the root" in pack.verify().stdout


def test_without_personal_data_a_signed_paper_stays_at_home(on_paper, unpack):
    pack = evidence(on_paper, personal=False)
    assert not any(name.startswith("attachments/") for name in names_in(pack))
    assert "창구에서" not in pack.as_json()
    assert unpack(pack.as_zip()).verify().returncode == 0


def test_an_erased_origin_is_told_and_a_lost_one_shows(lived, unpack):
    with unguarded():
        ConsentOrigin.objects.all().erase()
    assert "WRONG where it came from" in unpack(evidence(lived).as_zip()).verify().stdout

    for consent in lived.customer.consents.all():
        erase_origin(consent, by="staff:boss", reason="asked to")
    pack = evidence(lived)
    assert unpack(pack.as_zip()).verify().returncode == 0
    assert pack.facts["consents"][0]["erasure"]["reason"] == "asked to"
    assert "asked to" not in customers_copy(lived).as_json()


def change_text(consent, pack):
    consent["text"] = consent["text"].replace("12,900", "92,900")


def change_text_and_its_hash(consent, pack):
    change_text(consent, pack)
    consent["text_sha256"] = hashlib.sha256(consent["text"].encode()).hexdigest()


def untick_a_box(consent, pack):
    consent["not_ticked"].append(consent["ticked"].pop())


def rename_a_box(consent, pack):
    consent["ticked"][0]["label"] = "무엇이든 동의"


def change_a_clause(consent, pack):
    consent["points"]["cancellation"] = "해지할 수 없습니다."


def change_time(consent, pack):
    consent["given_at"] = "2020-01-01T00:00:00.000000+00:00"


def change_local_time(consent, pack):
    consent["given_at_local"] = "2020-01-01T00:00:00.000000+09:00"


def change_amount_in_rule(consent, pack):
    consent["rule"]["amount"] = 99_000


def change_record(consent, pack):
    consent["canonical"] = consent["canonical"].replace('"amount":12900', '"amount":99000')
    consent["rule"]["amount"] = 99_000


def change_record_hash(consent, pack):
    consent["record_hash"] = "0" * 64


def change_key(consent, pack):
    consent["record_key"] = "00" * 32


def change_address(consent, pack):
    consent["origin"]["ip_address"] = "198.51.100.1"


def cut_a_link(consent, pack):
    del pack["chain"][1]


def swap_links(consent, pack):
    pack["chain"].reverse()


def move_to_another_customer(consent, pack):
    pack["customer"]["public_id"] = "00000000-0000-0000-0000-000000000000"


def charge_more(consent, pack):
    pack["charges"][0]["amount"] = 99_000


def charge_under_another_rule(consent, pack):
    pack["charges"][0]["amount"] = pack["charges"][0]["agreed"]["amount"] = 99_000


TAMPERINGS = [
    change_text,
    change_text_and_its_hash,
    untick_a_box,
    rename_a_box,
    change_a_clause,
    change_time,
    change_local_time,
    change_amount_in_rule,
    change_record,
    change_record_hash,
    change_key,
    change_address,
    cut_a_link,
    swap_links,
    move_to_another_customer,
    charge_more,
    charge_under_another_rule,
]


def test_each_tampering_shows_also_when_the_list_of_files_was_redone(lived, unpack):
    content = evidence(lived).as_zip()
    missed = []
    for change in TAMPERINGS:
        pack = unpack(content)
        facts = json.loads((pack.folder / "evidence.json").read_text(encoding="utf-8"))
        change(facts["consents"][1], facts)
        write(pack.folder, "evidence.json", json.dumps(facts, ensure_ascii=False).encode())
        done = pack.verify()
        if done.returncode != 1 or "WRONG" not in done.stdout or done.stderr:
            missed.append((change.__name__, done.stderr))
    assert missed == []


def test_a_changed_page_or_text_shows(lived, unpack):
    content = evidence(lived).as_zip()
    names = [
        each for each in zipfile.ZipFile(BytesIO(content)).namelist() if each.startswith(("texts/", "evidence.html"))
    ]
    assert len(names) == 3
    for name in names:
        pack = unpack(content)
        changed = (pack.folder / name).read_bytes().replace("12,900원".encode(), "92,900원".encode())
        write(pack.folder, name, changed)
        assert pack.verify().returncode == 1


def write(folder, name, content):
    """Change a file and redo its line in the list, as who knows the procedure would."""
    before = hashlib.sha256((folder / name).read_bytes()).hexdigest()
    (folder / name).write_bytes(content)
    listed = (folder / "MANIFEST").read_text(encoding="utf-8")
    assert before in listed
    (folder / "MANIFEST").write_text(listed.replace(before, hashlib.sha256(content).hexdigest()), encoding="utf-8")


def test_a_file_that_is_not_the_listed_one_shows(lived, unpack):
    pack = unpack(evidence(lived).as_zip())
    (pack.folder / "README.txt").write_text("x")
    assert "WRONG README.txt" in pack.verify().stdout


def test_a_record_that_was_changed_in_the_database_gives_a_pack_that_says_so(lived, unpack):
    tamper("UPDATE krcard_consent SET ticked = '[\"autopay\"]'")
    pack = evidence(lived)

    assert pack.facts["consents"][0]["record_key"] is None
    assert "DOES NOT match" in evidence(lived, language="en").as_html()
    assert unpack(pack.as_zip()).verify().returncode == 1


def test_the_key_that_is_disclosed_is_that_of_one_record(lived, settings):
    keys = [each["record_key"] for each in evidence(lived).facts["consents"]]
    assert len(set(keys)) == 2
    assert settings.SECRET_KEY.encode().hex() not in keys


def test_a_record_under_an_old_secret_still_verifies(lived, unpack, settings):
    settings.SECRET_KEY_FALLBACKS, settings.SECRET_KEY = [settings.SECRET_KEY], "a new one"
    assert unpack(evidence(lived).as_zip()).verify().returncode == 0


# --- what is left out ----------------------------------------------------------------------------


def test_without_personal_data_nobody_is_named_anywhere(lived, user):
    pack = evidence(lived, personal=False)
    everything = "".join(zipfile.ZipFile(BytesIO(pack.as_zip())).read(name).decode() for name in names_in(pack))
    for told in (
        user.email,
        "203.0.113.7",
        "Test browser",
        "shop.example",
        lived.consent.origin.salt,
        "staff:boss",
        "전화 문의",
    ):
        assert told in evidence(lived).as_json()
        assert told not in everything
    assert "Personal data was left out" in evidence(lived, personal=False, language="en").as_html()


def names_in(pack):
    return zipfile.ZipFile(BytesIO(pack.as_zip())).namelist()


def test_a_customer_is_not_told_what_is_between_the_site_and_the_card_companies(lived):
    text = customers_copy(lived).as_json()
    for internal in ("staff:boss", "전화 문의", "불편"):
        assert internal not in text
    assert "203.0.113.7" in text


def test_a_customer_is_not_told_that_the_card_was_reported_stolen(lived):
    lived.charges.update(decline_code="stolen_card")
    assert "stolen" in evidence(lived).as_json()
    assert "stolen" not in customers_copy(lived).as_json()


# --- a dispute -----------------------------------------------------------------------------------


def test_a_dispute_is_answered_in_stripes_words(lived):
    charge = lived.charges.get()
    answer = evidence(lived).for_dispute("2026-11")

    assert answer["payment_intent"] == charge.stripe_id
    assert answer["texts"]["customer_purchase_ip"] == "203.0.113.7"
    assert "11월 이용료" in answer["texts"]["product_description"]
    assert "해지할 수 있으며" in answer["files"]["cancellation_policy"]
    assert answer["files"]["service_documentation"] == lived.consent.text
    assert "12,900원" in answer["files"]["receipt"]
    assert all(len(words) <= MAX_TEXT for words in answer["texts"].values())


def test_the_words_are_those_of_the_sdk(lived):
    from stripe.params._dispute_modify_params import DisputeModifyParamsEvidence as known

    answer = evidence(lived).for_dispute("2026-11")
    assert {*answer["texts"], *answer["files"], *answer["for_you_to_add"]} <= set(known.__annotations__)


def test_a_disputed_charge_brings_its_answer_along(lived, unpack):
    lived.charges.update(dispute_id="dp_1", dispute_status="needs_response")
    pack = evidence(lived)

    assert pack.facts["disputes"]["2026-11"]["dispute"]["status"] == "needs_response"
    assert "disputes/1/customer_purchase_ip.txt" in names_in(pack)
    assert unpack(pack.as_zip()).verify().returncode == 0
    assert "disputes" not in evidence(lived, personal=False).facts


def test_a_payment_after_the_end_gets_no_words_that_defend_it(lived):
    services.revoke(lived, by="customer", reason="x")
    Mandate.objects.update(ended_at=timezone.now() - timedelta(days=1))
    assert "cancellation_rebuttal" not in evidence(lived).for_dispute("2026-11")["texts"]


def test_a_pending_mandate_has_a_pack(membership, user, unpack):
    consent = consent_of(services.get_or_create_customer(user), membership, language="en")
    setup = services.start_checkout(consent, success_url="http://testserver/ok", cancel_url="http://testserver/no")
    pack = evidence(setup.mandate)
    assert pack.language == "en"
    assert unpack(pack.as_zip()).verify().returncode == 0
