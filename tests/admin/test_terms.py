"""Terms: drafts are written, published, and then only read."""

import re

import pytest
from django.contrib.auth.models import Permission
from django.core.exceptions import ValidationError
from django.test import Client
from django.urls import reverse
from django.utils import translation

from django_krcard import services
from django_krcard.admin.display import status_badge
from django_krcard.admin.terms import TermsAdmin
from django_krcard.admin.terms_items import ItemsField
from django_krcard.formatting import how_retried
from django_krcard.models import Consent, Terms, TermsText
from django_krcard.services.terms import publish
from tests.admin.pages import act, page
from tests.factories import PublishedTerms, TermsFactory, UserFactory, consent_of

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
    "max_retries": 0,
    "retry_after_days": 1,
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


def test_what_follows_a_declined_payment_is_part_of_the_rule(boss):
    answer = boss.post(reverse("admin:krcard_terms_add"), DRAFT | {"max_retries": 4})
    assert "From 0 to 3." in answer.text

    boss.post(reverse("admin:krcard_terms_add"), DRAFT | {"max_retries": 2, "retry_after_days": 3})
    draft = Terms.objects.get()
    assert (draft.max_retries, draft.retry_after_days) == (2, 3)
    with translation.override("ko"):
        tries = how_retried(draft.rule)
    assert tries in boss.get(reverse("admin:krcard_terms_preview", args=[draft.pk, "ko"])).text


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

    assert "This draft cannot be published yet." in boss.get(page(draft, "publish")).text
    answer = act(boss, draft, "publish")
    assert "Not published. en, Frequency and timing: This field cannot be blank." in answer.text
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


def test_the_preview_is_the_very_page_of_customers_and_sends_nothing(boss, staff, minji):
    terms = PublishedTerms()
    address = reverse("admin:krcard_terms_preview", args=[terms.pk, "en"])
    shown = boss.get(address)
    customers = minji.get(reverse("krcard:consent", args=["membership"]), headers={"Accept-Language": "en"})

    assert without_tokens(shown.text) == without_tokens(customers.text)
    assert shown.headers["Content-Security-Policy"] == "sandbox allow-same-origin"
    assert shown.headers["X-Frame-Options"] == "SAMEORIGIN"
    # Even if somebody sent it, with every box ticked.
    data = {"terms": "membership", "token": "", "agree_autopay": "on", "agree_save_card": "on"}
    boss.post(reverse("krcard:create-checkout-session"), data)
    assert not Consent.objects.exists()
    assert boss.get(reverse("admin:krcard_terms_preview", args=[terms.pk, "fr"])).status_code == 404
    assert staff("view_mandate").get(address).status_code == 403


def without_tokens(page):
    return re.sub(r'<input type="hidden"[^>]*>', "", page)


def test_each_language_of_a_draft_is_previewed_in_its_own_words(boss):
    draft = TermsFactory()
    frames = boss.get(reverse("admin:krcard_terms_previews", args=[draft.pk])).context["frames"]

    assert [name for name, _address in frames] == ["한국어 (ko)", "English (en)"]
    korean, english = (boss.get(address).text for _name, address in frames)
    assert '<html lang="ko">' in korean
    assert "12,900원" in korean
    assert '<html lang="en">' in english
    assert "₩12,900" in english


def test_lines_end_as_they_are_shown(boss):
    boss.post(reverse("admin:krcard_terms_add"), DRAFT | {"texts-0-body": "하나\r\n\r\n둘"})

    assert TermsText.objects.get().body == "하나\n\n둘"


# --- versions -------------------------------------------------------------------------------------


def versions_page(client, terms, **query):
    return client.get(reverse("admin:krcard_terms_versions", args=[terms.pk]), query)


def changed_words(answer, language):
    text = next(text for text in answer.context["changes"]["texts"] if text.language == language)
    changed = [line for line in text.lines if line.kind != "kept"]
    return [(line.kind, "".join(words for words, differ in line.pieces if differ)) for line in changed]


def test_the_versions_and_who_agreed_to_which(boss, save_card, membership):
    mandate = save_card(membership)
    newer = PublishedTerms(version=2, amount=14_900)
    consent_of(mandate.customer, newer)
    TermsFactory(version=3, amount=14_900)

    rows = versions_page(boss, membership).context["rows"]
    with translation.override("en"):
        expected = [str(status_badge(Terms(status=status))) for status in ("draft", "published", "retired")]
    assert [str(row[1][1]) for row in rows] == expected
    assert [(row[4][1], row[5][1]) for row in rows] == [(0, 0), (1, 0), (1, 1)]


def test_what_changed_from_one_version_to_another(boss, membership):
    second = TermsFactory(version=2, amount=14_900)
    third = TermsFactory(version=3, amount=14_900, notice_days=7)

    answer = versions_page(boss, third)
    assert (answer.context["changes"]["before"], answer.context["changes"]["after"]) == (second, third)
    assert answer.context["changes"]["rules"] == [("days of advance notice", "0", "7")]

    answer = versions_page(boss, third, before=membership.pk, after=second.pk)
    assert answer.context["changes"]["rules"] == [("amount (won)", "₩12,900", "₩14,900")]
    assert changed_words(answer, "ko") == [("removed", "12,900원(부가세"), ("added", "14,900원(부가세")]
    assert changed_words(answer, "en") == [("removed", "₩12,900,"), ("added", "₩14,900,")]
    # Not by colour alone: a sign to see, a word to hear, an element to know.
    sign = '<span class="krcard-sign" aria-hidden="true">−</span><span class="visually-hidden">removed: </span><del>'
    assert sign in answer.text


def test_a_language_that_comes_or_goes_is_all_new_or_all_gone(boss, membership):
    TermsFactory(version=2, languages=["ko", "ja"])
    texts = versions_page(boss, Terms.objects.get(version=2)).context["changes"]["texts"]

    kinds = {text.language: {line.kind for line in text.lines} for text in texts}
    assert kinds == {"ko": {"kept"}, "en": {"removed"}, "ja": {"added"}}


@pytest.mark.parametrize("query", [{"before": "x"}, {"before": "999999"}, {"after": ""}])
def test_versions_that_are_none_are_not_compared(boss, membership, query):
    TermsFactory(version=2)
    answer = versions_page(boss, membership, **query)
    assert (answer.status_code, answer.context["changes"]) == (200, None)


def test_versions_need_the_permission_to_look(staff, membership):
    reviewer = staff("view_mandate")
    assert versions_page(reviewer, membership).status_code == 403
    reviewer = UserFactory(username="reader", is_staff=True)
    reviewer.user_permissions.set(Permission.objects.filter(codename="view_terms"))
    client = Client()
    client.force_login(reviewer)
    assert versions_page(client, membership).status_code == 200


# --- publishing -----------------------------------------------------------------------------------


def test_the_page_says_what_publishing_will_do(boss, user, save_card, membership):
    save_card(membership)
    another = consent_of(services.get_or_create_customer(reference="another"), membership)
    services.start_checkout(another, success_url="https://x.example/", cancel_url="https://x.example/")
    draft = TermsFactory(version=2, amount=14_900, languages=["ko", "fr"])

    text = boss.get(page(draft, "publish")).text
    # The one who is saving a card has an agreement as well: pending.
    assert "2 living agreements stay under v1, with its own rule." in text
    assert "1 customer is saving a card under an older version. That attempt is closed." in text
    assert "fr): only numerals were compared with the rule." in text
    assert "What changes from membership v1" in text
    assert "₩14,900" in text


def test_a_draft_changed_meanwhile_is_not_published_unread(boss):
    draft = TermsFactory()
    seen = boss.get(page(draft, "publish")).context["form"]["seen"].value()
    draft.texts.filter(language="ko").update(body="그 밖의 조건")

    answer = boss.post(page(draft, "publish"), {"seen": seen}, follow=True)
    assert "The draft was changed after you opened this page." in answer.text
    assert Terms.objects.get().status == "draft"


def test_words_that_do_not_fit_need_somebody_who_answers_for_them(boss):
    draft = TermsFactory()
    draft.texts.filter(language="en").update(timing="At full moon.")

    answer = act(boss, draft, "publish")
    assert "the rule says “every month”, and these words do not." in answer.text
    assert set(answer.context["form"].errors) == {"words_fit", "reason"}
    assert set(act(boss, draft, "publish", reason="There is one a month.").context["form"].errors) == {"words_fit"}
    assert Terms.objects.get().status == "draft"

    act(boss, draft, "publish", words_fit="on", reason="There is one a month.")
    published = Terms.objects.get()
    assert (published.status, published.published_by) == ("published", "staff:boss")
    assert published.words_checked == "There is one a month."
    shown = boss.get(page(published)).text
    assert "There is one a month." in shown
    assert "the rule says “every month”, and these words do not." in shown


def test_a_draft_that_was_published_meanwhile_takes_no_change(boss, monkeypatch):
    draft = TermsFactory(slug="storage", languages=["ko"])
    asked = TermsAdmin.get_object

    def published_meanwhile(admin, *args, **kwargs):
        publish(Terms.objects.get(), by="system") if Terms.objects.get().status == "draft" else None
        return asked(admin, *args, **kwargs)

    monkeypatch.setattr(TermsAdmin, "get_object", published_meanwhile)
    assert boss.post(page(draft), DRAFT).status_code == 403
    assert Terms.objects.get().amount == 12_900


def test_the_list_counts_consents_and_living_mandates(boss, save_card, membership):
    mandate = save_card(membership)
    consent_of(mandate.customer, membership)
    PublishedTerms(slug="other")

    found = boss.get(reverse("admin:krcard_terms_changelist")).context["cl"].queryset
    assert {terms.slug: (terms.number_of_consents, terms.number_of_mandates) for terms in found} == {
        "membership": (2, 1),
        "other": (0, 0),
    }
