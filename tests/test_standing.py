"""The terms as somebody reads them who has an agreement already: no first payment, and no day that the gate refuses."""

from datetime import date, timedelta

import pytest
from django.template import Context, Template
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from django_krcard import services
from django_krcard.formatting import kst
from django_krcard.forms import ConsentForm, sign_payment
from django_krcard.models import Subscription
from django_krcard.services import amendments
from django_krcard.services.in_force import day_of
from tests.factories import REQUIRED, PublishedTerms, as_used_terms

pytestmark = pytest.mark.django_db(transaction=True)

EVIDENCE = services.Evidence(ip_address="203.0.113.7", user_agent="Test browser")
BY = {"by": "staff:han", "reason": "costs went up"}
FIRST = "첫 결제"


@pytest.fixture
def mandate(krcard_clock, save_card, membership):
    return save_card(membership)


def today() -> date:
    return day_of(timezone.now())


def summary_of(client: Client, slug: str = "membership") -> str:
    page = client.get(reverse("krcard:consent", args=[slug])).text
    start = page.index('<section class="krcard-card krcard-summary"')
    return page[start : page.index("</section>", start)]


def agree_to_a_rise(mandate, days: int):
    raised = PublishedTerms(amount=14_900)
    asked = services.request_amendment(mandate, raised, effective_on=today() + timedelta(days=days), **BY)
    return amendments.agree(asked, language="ko", ticked=REQUIRED, evidence=EVIDENCE)


def test_without_an_agreement_the_first_payment_is_told(minji, membership):
    summary = summary_of(minji)
    assert FIRST in summary
    assert "약정 번호" not in summary


def test_who_paid_today_reads_the_next_day_on_which_the_gate_says_yes(minji, mandate):
    services.charge(mandate, 12_900, reference="1")
    summary = summary_of(minji)
    assert FIRST not in summary
    assert f"{kst(services.next_payment_on(mandate))} 이후" in summary
    for words in ("이미 등록된 카드를 다른 카드로 바꿉니다", mandate.reference, "신한카드 ****-1234"):
        assert words in summary


def test_who_agreed_to_a_raised_price_reads_when_it_is_due_for_the_first_time(minji, mandate):
    services.charge(mandate, 12_900, reference="1")
    agree_to_a_rise(mandate, days=20)
    summary = summary_of(minji)
    assert FIRST not in summary
    assert f"{kst(services.next_payment_on(mandate))} 이후" in summary
    assert f"<dd>{kst(today() + timedelta(days=20))}</dd>" in summary
    assert "12,900원" not in summary


def test_a_payment_before_the_raised_price_is_told_with_the_price_before(minji, mandate):
    agree_to_a_rise(mandate, days=20)
    assert f"12,900원<br>{kst(today())} 이후" in summary_of(minji)


def test_who_is_free_until_a_day_reads_that_day(minji, mandate, membership):
    day = today() + timedelta(days=10)
    services.request_amendment(mandate, membership, effective_on=day, free_until_now=True, **BY)
    assert f"{kst(day)} 이후" in summary_of(minji)


def test_payments_as_used_begin_no_earlier_than_their_terms(minji, save_card, krcard_clock):
    mandate = save_card(as_used_terms())
    day = today() + timedelta(days=20)
    services.request_amendment(mandate, as_used_terms(amount=40_000), effective_on=day, **BY)
    assert f"{kst(day)}부터" in summary_of(minji, "as-used")


def test_the_button_on_a_page_of_the_site_knows_it_as_well(rf, user, mandate):
    request = rf.get("/shop/")
    request.user = user
    page = render('{% krcard_checkout_button "membership" %}', request)
    assert mandate.reference in page
    assert FIRST not in page


def test_what_has_ended_is_no_agreement(minji, mandate):
    services.revoke(mandate, by="customer", reason="enough")
    assert FIRST in summary_of(minji)


# --- what only a subscription ever paid -------------------------------------------------------------


def both_pages(client: Client, mandate) -> str:
    return (
        client.get(reverse("krcard:cards")).text + client.get(reverse("krcard:mandate", args=[mandate.public_id])).text
    )


def subscribed(mandate, status: str):
    return Subscription.objects.create(mandate=mandate, reference=status, stripe_id=f"sub_{status}", status=status)


def test_after_the_end_of_a_subscription_no_payment_is_announced(minji, mandate):
    assert both_pages(minji, mandate).count("다음 결제일") == 2
    subscribed(mandate, "canceled")
    assert "다음 결제일" not in both_pages(minji, mandate)
    assert "다음 결제일" not in summary_of(minji)


def test_nor_while_one_runs_that_is_about_to_end(minji, mandate, krcard_clock):
    row = subscribed(mandate, "active")
    row.cancel_at = timezone.now() + timedelta(days=3)
    row.save()
    assert "다음 결제일" not in both_pages(minji, mandate)
    # Over by now, and no message has told so yet.
    krcard_clock.advance(days=4)
    assert "다음 결제일" not in both_pages(minji, mandate)


def test_what_the_site_charges_by_itself_goes_on_without_the_subscription(minji, mandate):
    subscribed(mandate, "canceled")
    services.charge(mandate, 12_900, reference="1")
    assert both_pages(minji, mandate).count("다음 결제일") == 2


def test_a_subscription_that_never_began_ends_nothing(minji, mandate):
    subscribed(mandate, "not_started")
    assert both_pages(minji, mandate).count("다음 결제일") == 2


# --- a form that comes back ----------------------------------------------------------------------------


def test_a_refused_form_says_what_did_not_happen(agree, minji, membership, user):
    assert "아직 카드가 등록되지 않았습니다." in agree(ticked=[]).text
    page = minji.get(reverse("krcard:consent", args=["membership"]), pay_12_900(user))
    assert "아직 결제되지 않았습니다." in agree(page=page, ticked=[]).text


def test_who_has_a_card_is_not_told_that_there_is_none(agree, minji, mandate, user):
    for query, words in [({}, "아직 동의하지 않았습니다."), (pay_12_900(user), "아직 결제되지 않았습니다.")]:
        page = minji.get(reverse("krcard:consent", args=["membership"]), query)
        answer = agree(page=page, ticked=[]).text
        assert words in answer
        assert "카드가 등록되지 않았습니다" not in answer


def pay_12_900(user) -> dict:
    return {"pay": sign_payment(services.Payment(12_900, "order-7", "멤버십 첫 달"), str(user.pk))}


# --- several forms on one page -------------------------------------------------------------------


def render(source, request):
    return Template("{% load krcard %}" + source).render(Context({"request": request}))


def ids_on(page: str) -> list[str]:
    return [piece.partition('"')[0] for piece in page.split(' id="')[1:]]


def test_no_two_forms_on_a_page_share_an_id(rf, user, membership, settings):
    settings.KRCARD_PAYMENT_METHOD_TYPES = ["card", "kr_card", "naver_pay"]
    as_used_terms()
    request = rf.get("/shop/")
    request.user = user
    page = render(
        '{% krcard_checkout_button "membership" %}{% krcard_checkout_button "membership" pay=12900 %}'
        '{% krcard_direct_button "membership" %}{% krcard_checkout_button "as-used" %}',
        request,
    )
    found = ids_on(page)
    assert len(found) > 20
    assert sorted(found) == sorted(set(found))
    for words in ('for="', 'aria-labelledby="', 'aria-describedby="'):
        assert {piece.partition('"')[0] for piece in page.split(words)[1:]} <= set(found)
    assert page.count('name="agree_autopay"') == 4


def test_a_form_that_comes_back_shares_no_id_with_a_button_on_the_same_page(rf, user, membership):
    request = rf.post("/shop/")
    request.user = user
    text = membership.texts.get(language="ko")
    forms = [ConsentForm.for_request(request, text) for _ in range(2)]
    assert forms[0]["token"].id_for_label != forms[1]["token"].id_for_label
