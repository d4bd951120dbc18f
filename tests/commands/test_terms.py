"""krcard_terms: terms in the site's repository, loaded on every deploy."""

import shutil
from pathlib import Path

import pytest

from django_krcard.models import CardSetup, Terms, TermsText
from django_krcard.services.terms import publish
from django_krcard.services.terms_files import from_toml
from django_krcard.services.terms_loading import load
from tests.factories import PublishedTerms, TermsFactory
from tests.test_concurrency import all_at_once
from tests.test_terms import attempt
from tests.unguarded import unguarded

pytestmark = pytest.mark.django_db(transaction=True)

DEMO = Path(__file__).parents[2] / "example_project" / "terms"


@pytest.fixture
def folder(tmp_path):
    """The terms of a site, in its repository."""
    for file in DEMO.glob("*.toml"):
        shutil.copy(file, tmp_path)
    return tmp_path


@pytest.fixture
def change(folder):
    def write(name, *change, to=None):
        source = (folder / name).read_text(encoding="utf-8")
        assert change[0] in source
        (folder / (to or name)).write_text(source.replace(*change), encoding="utf-8")

    return write


@pytest.fixture
def next_version(folder):
    """Version 2 of the membership costs 14,900 won."""

    def write():
        source = (folder / "membership-v1.toml").read_text(encoding="utf-8")
        source = source.replace("version = 1", "version = 2").replace("12900", "14900").replace("12,900", "14,900")
        (folder / "membership-v2.toml").write_text(source, encoding="utf-8")

    return write


def rows():
    return [*Terms.objects.order_by("pk").values(), *TermsText.objects.order_by("pk").values()]


def test_the_first_deploy_writes_and_publishes_and_the_next_changes_nothing(play, folder):
    first = play("krcard_terms", "load", folder, "--publish", "--by", "deploy")
    assert first.lines == [
        f"{folder}/as-used-v1.toml: as-used v1: created, published",
        f"{folder}/membership-v1.toml: membership v1: created, published",
    ]
    assert set(Terms.objects.values_list("slug", "status", "published_by")) == {
        ("as-used", "published", "staff:deploy"),
        ("membership", "published", "staff:deploy"),
    }
    before = rows()

    again = play("krcard_terms", "load", folder, "--publish")
    assert (again.code, rows()) == (0, before)
    assert all(line.endswith("unchanged") for line in again.lines)


def test_dump_load_dump_is_the_same_to_the_byte(play, tmp_path):
    PublishedTerms()
    draft = TermsFactory(version=2, amount=14_900, notice_days=7, valid_for_days=365, languages=["en", "ko"])
    draft.texts.filter(language="ko").update(body='둘째. 셋째.\n\n"넷"\\ ', cancellation="달이 \r\n 찰 때.\t")
    publish(draft, by="system")
    play("krcard_terms", "dump", "membership", "--to", tmp_path / "one")
    texts, terms = TermsText.objects.all(), Terms.objects.all()
    with unguarded():
        texts._raw_delete(texts.db)
        terms._raw_delete(terms.db)

    assert play("krcard_terms", "load", tmp_path / "one", "--publish").code == 0
    play("krcard_terms", "dump", "membership", "--to", tmp_path / "two")

    one, two = ({file.name: file.read_bytes() for file in (tmp_path / name).iterdir()} for name in ("one", "two"))
    assert one == two
    assert sorted(one) == ["membership-v1.toml", "membership-v2.toml"]
    assert dict(Terms.objects.values_list("version", "status")) == {1: "retired", 2: "published"}


def test_dump_prints_the_version_in_force_or_the_one_named(play, membership):
    TermsFactory(version=2, amount=14_900)

    assert from_toml(play("krcard_terms", "dump", "membership").out).version == 1
    assert from_toml(play("krcard_terms", "dump", "membership", "--version", "2").out).rule.amount == 14_900
    unknown = play("krcard_terms", "dump", "membership", "--version", "3")
    assert (unknown.code, unknown.error) == (2, "There are no terms membership v3.")


def test_a_draft_is_changed_as_long_as_it_is_one(play, folder, change):
    play("krcard_terms", "load", folder)
    assert set(Terms.objects.values_list("status", flat=True)) == {"draft"}
    change("membership-v1.toml", "한 달 안에", "보름 안에")

    answer = play("krcard_terms", "load", folder)

    assert answer.code == 0
    assert "membership v1: updated" in answer.out
    assert '+첫 결제는 카드를 등록한 뒤 보름 안에 이루어집니다."""' in answer.lines
    assert "보름 안에" in TermsText.objects.get(terms__slug="membership", language="ko").timing
    assert list(
        TermsText.objects.filter(terms__slug="membership").order_by("pk").values_list("language", flat=True)
    ) == ["ko", "en"]


def test_what_was_published_is_refused_with_a_diff_and_nothing_at_all_is_changed(play, folder, change, next_version):
    play("krcard_terms", "load", folder, "--publish")
    before = rows()
    change("as-used-v1.toml", "amount = 30000", "amount = 50000")
    next_version()

    answer = play("krcard_terms", "load", folder, "--publish")

    assert answer.code == 1
    assert "1 of 3 versions were refused, so nothing was changed." in answer.error
    assert {"-amount = 30000", "+amount = 50000"} <= set(answer.lines)
    assert rows() == before


def test_a_new_version_is_put_in_force_and_closes_what_is_open_under_the_old_one(play, folder, next_version):
    play("krcard_terms", "load", folder, "--publish")
    setup = attempt(Terms.objects.get(slug="membership"), ticked=["autopay", "card"])
    next_version()

    assert "membership v2: created, published" in play("krcard_terms", "load", folder, "--publish").out
    assert dict(Terms.objects.filter(slug="membership").values_list("version", "status")) == {
        1: "retired",
        2: "published",
    }
    assert CardSetup.objects.get(pk=setup.pk).status == "cancelled"
    assert play("krcard_terms", "load", folder, "--publish").code == 0


def test_a_dry_run_says_the_same_and_changes_nothing(play, folder, next_version):
    play("krcard_terms", "load", folder, "--publish")
    setup = attempt(Terms.objects.get(slug="membership"), ticked=["autopay", "card"])
    before = rows()
    next_version()

    answer = play("krcard_terms", "load", folder, "--publish", "--dry-run")
    assert "membership v2: created, published" in answer.out
    assert answer.lines[-1] == "Nothing was changed: this was a dry run."
    assert rows() == before
    assert CardSetup.objects.get(pk=setup.pk).status == "open"


def test_words_that_do_not_fit_are_refused_unless_the_file_says_why_they_do(play, folder, change):
    change("membership-v1.toml", "한 달에 한 번 정기적으로 결제합니다.", "보름달이 뜨는 날 결제합니다.")
    refused = play("krcard_terms", "load", folder / "membership-v1.toml", "--publish")
    assert refused.code == 1
    assert [line[:6] for line in refused.lines[1:]] == ["  ko, "]
    assert not Terms.objects.exists()

    change("membership-v1.toml", "version = 1\n", 'version = 1\nwords_checked = "보름달은 매월 한 번 뜹니다."\n')
    assert play("krcard_terms", "load", folder / "membership-v1.toml", "--publish").code == 0
    assert Terms.objects.get().words_checked == "보름달은 매월 한 번 뜹니다."
    assert play("krcard_terms", "load", folder / "membership-v1.toml", "--publish").out.endswith("unchanged\n")


def test_an_old_file_does_not_bring_old_terms_back(play, folder, next_version):
    next_version()
    play("krcard_terms", "load", folder / "membership-v2.toml", "--publish")

    answer = play("krcard_terms", "load", folder / "membership-v1.toml", "--publish")
    assert answer.code == 1
    assert Terms.objects.get().version == 2


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("a.toml", "slug = 3", "a.toml: line 1, slug: must be a text in quotes."),
        ("a.toml", "slug = = 3", "a.toml: It is no TOML: Invalid value (at line 1, column 8)."),
        ("a.toml", "\udcff", "a.toml: it is not UTF-8 (byte 0)."),
        ("membership-v2.toml", None, "membership-v2.toml: membership v1 is also in"),
    ],
)
def test_a_file_that_makes_no_terms_stops_everything(play, folder, name, content, says):
    content = (folder / "membership-v1.toml").read_text() if content is None else content
    (folder / name).write_bytes(content.encode(errors="surrogateescape"))

    answer = play("krcard_terms", "load", folder, "--publish")
    assert answer.code == 2
    assert says in answer.error
    assert not Terms.objects.exists()


def test_a_place_with_nothing_in_it_is_told(play, tmp_path):
    assert play("krcard_terms", "load", tmp_path).error == f"There is no *.toml in {tmp_path}."
    missing = play("krcard_terms", "load", tmp_path / "no.toml")
    assert (missing.code, "cannot be read: No such file" in missing.error) == (2, True)
    assert play("krcard_terms", "load", tmp_path, "--by", "x" * 300).code == 2


def test_a_machine_may_read_it(play, folder):
    first, second, last = play("krcard_terms", "load", folder, "--publish", "--json").objects
    assert (first["slug"], first["action"], first["published"]) == ("as-used", "created", True)
    assert second["file"] == f"{folder}/membership-v1.toml"
    assert last == {"summary": {"versions": 2, "refused": 0}, "dry_run": False}


def test_four_deploys_at_once_are_one(folder):
    files = [from_toml(file.read_text(encoding="utf-8")) for file in folder.glob("*.toml")]

    done = all_at_once(lambda number: load(files, by="system", publish_drafts=True), 4)

    assert [type(one) for one in done] == [list] * 4
    assert [one.problems for each in done for one in each] == [()] * 8
    assert sorted(Terms.objects.values_list("slug", "version", "status")) == [
        ("as-used", 1, "published"),
        ("membership", 1, "published"),
    ]
    assert TermsText.objects.count() == 4
