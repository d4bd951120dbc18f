"""Terms: drafts are written, published, and then only read."""

import pytest
from django.core.exceptions import ValidationError
from django.urls import reverse

from django_krcard.admin.terms_items import ItemsField
from django_krcard.models import Terms, TermsText
from tests.admin.pages import act, page
from tests.factories import PublishedTerms, TermsFactory, consent_of

pytestmark = pytest.mark.django_db(transaction=True)

DRAFT = {
    "slug": "storage",
    "version": 1,
    "frequency": "recurring",
    "period": "month",
    "period_count": 1,
    "amount_kind": "fixed",
    "amount": 5_000,
    "notice_days": 0,
    "texts-TOTAL_FORMS": 1,
    "texts-INITIAL_FORMS": 0,
    "texts-0-language": "ko",
    "texts-0-title": "보관 서비스",
    "texts-0-permission": "결제를 시작하는 것에 동의합니다.",
    "texts-0-timing": "매월 한 번 결제합니다.",
    "texts-0-amount_basis": "매회 5,000원입니다.",
    "texts-0-cancellation": "언제든지 해지할 수 있습니다.",
    "texts-0-items": "autopay | required | 자동결제 이용 동의\nnews | 선택 | 소식 | 혜택 받기",
}


def test_a_draft_is_written_line_by_line(boss):
    boss.post(reverse("admin:krcard_terms_add"), DRAFT)

    text = TermsText.objects.get()
    assert text.terms.status == "draft"
    assert text.items == [
        {"key": "autopay", "label": "자동결제 이용 동의", "required": True},
        {"key": "news", "label": "소식 | 혜택 받기", "required": False},
    ]
    assert "news | optional | 소식 | 혜택 받기" in boss.get(page(text.terms)).text


@pytest.mark.parametrize(
    ("lines", "sentence"),
    [
        ("", "This field is required."),
        ("autopay", "Line 1: write it as key | required | label."),
        ("autopay | required | a\n\nb | perhaps | c", "Line 3: “perhaps” must be required or optional."),
        ("자동 | required | a", "Line 1: “자동” is no key."),
        ("news | optional | a", "At least one box must be required"),
        ("a | required | x\na | optional | y", "Each box needs a key of its own."),
    ],
)
def test_lines_that_make_no_box_are_explained(boss, lines, sentence):
    answer = boss.post(reverse("admin:krcard_terms_add"), DRAFT | {"texts-0-items": lines})

    assert sentence in answer.text
    assert not Terms.objects.exists()


def test_the_lines_are_read_back_as_they_were_written():
    field = ItemsField()
    items = field.clean("a_1 | REQUIRED | 동의\nb | optional | 선택 동의")

    assert field.clean(field.prepare_value(items)) == items
    with pytest.raises(ValidationError):
        field.clean("a | required |")


def test_publishing_puts_a_draft_in_force_and_retires_the_one_before(boss, membership):
    draft = TermsFactory(version=2)
    assert "membership v1 is retired." in boss.get(page(draft, "publish")).text

    assert "embership v2 is in force." in act(boss, draft, "publish").text
    assert dict(Terms.objects.values_list("version", "status")) == {1: "retired", 2: "published"}


def test_what_is_missing_is_told_and_nothing_is_published(boss):
    draft = TermsFactory()
    TermsText.objects.filter(language="en").update(timing="", items=[])

    answer = act(boss, draft, "publish")
    assert "Not published." in answer.text
    assert "This field cannot be blank." in answer.text
    assert Terms.objects.get().status == "draft"


def test_published_terms_are_only_read(boss, membership):
    assert boss.get(page(membership)).status_code == 200
    assert "autopay | required | 자동결제 이용 동의" in boss.get(page(membership)).text
    assert boss.post(page(membership), DRAFT).status_code == 403
    assert boss.post(page(membership, "delete"), {"post": "yes"}).status_code == 403
    assert page(membership, "publish") not in boss.get(page(membership)).text


def test_a_draft_can_be_thrown_away(boss):
    boss.post(page(TermsFactory(), "delete"), {"post": "yes"})

    assert not Terms.objects.exists()


def test_a_new_version_starts_as_a_copy(boss, membership):
    answer = act(boss, membership, "new-version")

    draft = Terms.objects.get(status="draft")
    assert answer.redirect_chain[-1][0] == page(draft)
    assert (draft.version, draft.rule) == (2, membership.rule)
    assert [text.items for text in draft.texts.all()] == [text.items for text in membership.texts.all()]
    assert membership.texts.count() == 2


def test_publishing_needs_its_permission(staff):
    writer, draft = staff("view_terms", "change_terms"), TermsFactory()

    assert page(draft, "publish") not in writer.get(page(draft)).text
    assert writer.post(page(draft, "publish")).status_code == 403
    assert Terms.objects.get().status == "draft"


def test_the_preview_is_what_customers_will_see(boss, staff):
    draft = TermsFactory()
    address = reverse("admin:krcard_terms_preview", args=[draft.pk, "ko"])

    text = boss.get(address).text
    assert "회사가 고객을 대신하여" in text
    assert "자동결제 이용 동의" in text
    assert boss.get(reverse("admin:krcard_terms_preview", args=[draft.pk, "fr"])).status_code == 404
    assert staff("view_mandate").get(address).status_code == 403


def test_the_list_counts_consents_and_living_mandates(boss, save_card, membership):
    mandate = save_card(membership)
    consent_of(mandate.customer, membership)
    PublishedTerms(slug="other")

    found = boss.get(reverse("admin:krcard_terms_changelist")).context["cl"].queryset
    assert {terms.slug: (terms.number_of_consents, terms.number_of_mandates) for terms in found} == {
        "membership": (2, 1),
        "other": (0, 0),
    }
