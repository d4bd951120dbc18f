"""krcard_import_consents: a file of consents that were taken elsewhere."""

import pytest

from django_krcard.models import Consent, Customer
from django_krcard.services.verify import verify
from tests.factories import CustomerFactory, UserFactory

pytestmark = pytest.mark.django_db

HEADER = "reference,customer,terms,version,language,ticked,given_at"
BY = ("--by", "park")


@pytest.fixture
def file(tmp_path, membership):
    def write(*lines, header=HEADER):
        path = tmp_path / "consents.csv"
        path.write_text("\n".join([header, *lines]), encoding="utf-8")
        return path

    return write


@pytest.fixture
def org():
    return CustomerFactory(reference="org-7")


GOOD = "old-1,org-7,membership,1,ko,autopay save_card,2025-03-01T09:30"


def test_each_line_is_recorded_once(play, file, org):
    path = file(GOOD)
    assert play("krcard_import_consents", path, *BY).lines[-1].startswith("1 recorded;")
    assert play("krcard_import_consents", path, *BY).lines[-1].startswith("1 known;")
    consent = Consent.objects.get()
    assert (consent.customer, consent.source, consent.recorded_by) == (org, "import", "staff:park")
    assert f"{consent.given_at:%Y-%m-%d %H:%M}" == "2025-03-01 00:30"
    assert list(verify()) == []


def test_a_user_becomes_a_customer(play, file):
    user = UserFactory()
    assert play("krcard_import_consents", file(GOOD.replace("org-7", str(user.pk))), *BY).code == 0
    assert Customer.objects.get().user == user


def test_a_scan_beside_the_file(play, file, org, tmp_path):
    (tmp_path / "scans").mkdir()
    (tmp_path / "scans" / "1.pdf").write_bytes(b"%PDF")
    header = f"{HEADER},source,note,attachment"
    path = file(f"{GOOD},paper,folder 7,scans/1.pdf", f"{GOOD.replace('old-1', 'x')},paper,,../1.pdf", header=header)
    ended = play("krcard_import_consents", path, *BY)
    assert ended.lines[0] == "line 3 has the attachment '../1.pdf', which is not below the file's own folder."
    attachment = Consent.objects.get().attachment
    assert (attachment.name, attachment.content_type, bytes(attachment.content)) == (
        "1.pdf",
        "application/pdf",
        b"%PDF",
    )


@pytest.mark.parametrize(
    ("wrong", "outcome"),
    [
        (GOOD.replace("org-7", "nobody"), "bad"),
        (GOOD.replace(",1,", ",2,"), "bad"),
        (GOOD.replace(",1,", ",one,"), "bad"),
        (GOOD.replace("2025-03-01T09:30", "yesterday"), "bad"),
        (GOOD.replace("old-1", ""), "bad"),
        (GOOD.replace("old-1", "x" * 192), "bad"),
        (GOOD + ",more", "bad"),
        (GOOD.replace("autopay save_card", "autopay"), "refused"),
        (GOOD.replace(",ko,", ",fr,"), "refused"),
        (GOOD.replace("2025", "2199"), "refused"),
    ],
)
def test_a_bad_line_is_named_and_the_others_go_on(play, file, org, wrong, outcome):
    ended = play("krcard_import_consents", file(wrong, GOOD.replace("old-1", "old-2")), *BY, "--json")
    assert ended.code == 1
    assert [line["outcome"] for line in ended.objects[:-1]] == [outcome, "recorded"]
    assert ended.objects[0]["line"] == 2
    assert Consent.objects.get().source_reference == "old-2"


def test_a_dry_run_changes_nothing(play, file):
    user = UserFactory()
    ended = play("krcard_import_consents", file(GOOD.replace("org-7", str(user.pk))), *BY, "--dry-run")
    assert ended.lines[0] == "line 2: old-1: recorded"
    assert not Consent.objects.exists()
    assert not Customer.objects.exists()


def test_what_is_no_such_file(play, file, tmp_path):
    assert play("krcard_import_consents", file(GOOD, header="name,customer"), *BY).code == 2
    assert play("krcard_import_consents", tmp_path / "nowhere.csv", *BY).code == 2
    assert play("krcard_import_consents", file(GOOD), "--by", "x" * 300).code == 2
