"""A payment that stopped, finished by its customer in a real browser; and the staff who follow it."""

import re

import pytest
from playwright.sync_api import expect

from tests.browser.test_story import log_in, picture, save_card

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("browser")]

PREPARE = """
from datetime import timedelta
from django.utils import timezone
from django_krcard import services
from django_krcard.models import Charge, Mandate
from django_krcard.sandbox import control

def of(username, slug):
    return Mandate.objects.get(customer__user__username=username, consent__terms__slug=slug, status="active")
"""

NEXT_VERSION = """
from django_krcard.models import Terms
old = Terms.objects.get(slug="membership", status="published")
rule = old.rule.as_dict() | {"max_retries": 2, "retry_after_days": 3, "notice_days": 7}
new = Terms.objects.create(slug=old.slug, version=old.version + 1, **rule)
told = {"ko": " 결제 7일 전에 알려 드립니다.", "en": " You are told 7 days before a payment."}
for text in old.texts.all():
    text.timing += told[text.language]
    text.pk, text.terms, text._state.adding = None, new, True
    text.save()
services.publish_terms(new, by="system")
"""

STATES = """
mandate = of("junho", "as-used")
first = services.charge(mandate, 4_500, reference="order-1", description="전자책 한 권")
services.refund(first, 2_000, reference="back-1", reason="일부 취소")
second = services.charge(mandate, 9_000, reference="order-2", description="오디오북")
for reference, days in (("order-4", 3), ("order-5", 10)):
    services.schedule_charge(
        mandate, 7_700, reference=reference, due_at=timezone.now() + timedelta(days=days), description="정기 배송"
    )
control.decline_next("card_declined", "insufficient_funds")
services.charge(mandate, 3_300, reference="order-3", description="잡지")
control.dispute(second.stripe_id)
"""


def run(shop, code):
    """What the site itself does meanwhile."""
    return shop.manage("shell", "-c", PREPARE + code)


def finish(page):
    page.locator('form[action$="/finish/"] button').click()
    page.wait_for_url("**/stripe-sandbox/pay/**")


def test_the_issuer_wants_to_see_the_customer(browse, shop):
    page = browse()
    log_in(page, "minji", "**/member/")
    save_card(page, "membership", "shinhan")
    run(
        shop,
        """
control.require_action_next()
services.charge(of("minji", "membership"), 12_900, reference="2026-11", description="멤버십 11월 이용료")
""",
    )

    page.goto("/krcard/")
    picture(page, "80-payment-waits")
    page.locator('.krcard-waiting a[href*="/krcard/charges/"]').click()
    expect(page.get_by_text("12,900원")).to_be_visible()
    expect(page.get_by_text("신한카드").first).to_be_visible()
    expect(page.locator('a[href$="/krcard/agree/membership/"]')).to_be_visible()
    picture(page, "81-payment")

    finish(page)
    picture(page, "82-payment-at-the-issuer")
    page.locator("a.back").click()
    page.wait_for_url("**/return/**")
    picture(page, "83-payment-open")

    page.locator('.krcard-actions a[href*="/krcard/charges/"]').click()
    finish(page)
    page.locator('button[formaction$="/fail/"]').click()
    page.wait_for_url("**/return/**")
    picture(page, "84-payment-failed")

    page.locator('.krcard-actions a[href*="/krcard/charges/"]').click()
    picture(page, "85-payment-again")
    finish(page)
    page.locator('form[action$="/authorise/"] button.primary').click()
    page.wait_for_url("**/return/**")
    expect(page.locator(".krcard-sign-good")).to_be_visible()
    expect(page.get_by_text("12,900원")).to_be_visible()
    picture(page, "86-payment-made")

    other = browse()
    other.goto(page.url)
    expect(other.locator(".krcard-sign-good")).to_be_visible()
    assert "12,900" not in other.content()
    picture(other, "87-payment-other-browser")

    page.goto("/krcard/")
    assert page.locator('a[href*="/krcard/charges/"]').count() == 0


def test_another_card_pays_what_the_first_one_did_not(browse, shop):
    page = browse()
    log_in(page, "junho", "**/member/")
    save_card(page, "membership", "kookmin")
    run(
        shop,
        """
control.decline_next("card_declined", "do_not_honor")
services.charge(of("junho", "membership"), 12_900, reference="2026-11")
""",
    )
    page.goto("/krcard/")
    page.locator(".krcard-waiting a").click()
    payment = page.url
    page.locator('a[href$="/krcard/agree/membership/"]').click()
    save_card(page, "membership", "lotte")

    page.goto(payment)
    expect(page.get_by_text("롯데카드").first).to_be_visible()
    finish(page)
    page.locator('form[action$="/authorise/"] button.primary').click()
    expect(page.locator(".krcard-sign-good")).to_be_visible()
    expect(page.get_by_text("롯데카드").first).to_be_visible()


def test_planned_refunded_disputed_and_the_staff_who_look(browse, shop):
    page = browse()
    log_in(page, "junho", "**/member/")
    save_card(page, "as-used", "hyundai")
    run(shop, STATES)
    page.goto("/krcard/")
    for shown in ("7,700원", "2,000원", "9,000원", "3,300원"):
        expect(page.get_by_text(shown).first).to_be_visible()
    picture(page, "90-cards")
    page.locator('article:has-text("7,700원") a[href*="/krcard/mandates/"]').first.click()
    expect(page.get_by_text("7,700원").first).to_be_visible()
    picture(page, "91-mandate")

    staff = browse(phone=False)
    log_in(staff, "reviewer", "**/admin/")
    staff.goto("/admin/krcard/mandate/")
    staff.locator("#result_list tbody tr", has_text=re.compile("as-used")).locator("th a").first.click()
    expect(staff.get_by_text("7,700원").first).to_be_visible()
    picture(staff, "92-admin-mandate")


def test_a_charge_is_scheduled_from_the_page_of_a_mandate(browse, shop):
    page = browse()
    log_in(page, "minji", "**/member/")
    save_card(page, "as-used", "samsung")

    staff = browse(phone=False)
    log_in(staff, "reviewer", "**/admin/")
    staff.goto("/admin/krcard/mandate/")
    staff.locator("#result_list tbody th a").first.click()
    staff.locator('.object-tools a[href$="/schedule/"]').click()
    staff.locator("[name=amount]").fill("5000")
    staff.locator("[name=reason]").fill("전화로 약속한 날짜")
    picture(staff, "93-admin-schedule")
    staff.locator("input[type=submit]").click()
    expect(staff.locator(".messagelist .success")).to_be_visible()
    picture(staff, "94-admin-scheduled")

    page.goto("/krcard/")
    expect(page.get_by_text("5,000원").first).to_be_visible()


def test_the_summary_tells_of_notice_and_of_more_tries(browse, shop):
    run(shop, NEXT_VERSION)
    page = browse()
    log_in(page, "minji", "**/member/")
    page.goto("/krcard/agree/membership/")
    picture(page, "95-consent-retries")

    english = browse(locale="en-GB")
    log_in(english, "minji", "**/member/")
    english.goto("/krcard/agree/membership/")
    expect(english.get_by_text("up to 2 more tries, 3 days apart")).to_be_visible()
    picture(english, "96-consent-retries-english")

    staff = browse(phone=False)
    log_in(staff, "admin", "**/admin/")
    staff.goto("/admin/krcard/terms/add/")
    expect(staff.locator("[name=max_retries]")).to_be_visible()
    picture(staff, "97-admin-terms")
