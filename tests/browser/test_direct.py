"""The Direct API in a real browser: from our page to the card processor, and back to a clean address."""

import pytest
from playwright.sync_api import expect

from tests.browser.test_story import log_in, picture

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("browser")]

SIGN = """
from django.contrib.auth import get_user_model
from django_krcard import services
from django_krcard.forms import sign_payment
user = get_user_model().objects.get(username="junho")
print(sign_payment(services.Payment(12_900, "order-7", "멤버십 첫 달"), str(user.pk)))
"""


def agree(page, address):
    page.goto(address)
    for box in page.locator("input[type=checkbox][required]").all():
        box.check()


def press(page):
    page.locator('form[action$="create-setup-intent"] button[type=submit]').click()


def test_a_card_is_saved_at_the_processors(browse):
    page = browse()
    log_in(page, "minji", "**/member/")
    agree(page, "/krcard/agree/membership/direct/")
    expect(page.locator('a[href^="https://start.nicepay.co.kr/"]')).to_be_visible()
    picture(page, "60-direct-consent")
    press(page)
    page.wait_for_url("**/stripe-sandbox/setup/**")
    picture(page, "61-direct-processor")
    page.locator('button[formaction$="/fail/"]').click()
    page.wait_for_url("**/krcard/return/**")
    picture(page, "62-direct-failed")

    page.locator(".krcard-actions a").first.click()
    page.wait_for_url("**/agree/membership/direct/")
    agree(page, page.url)
    press(page)
    page.wait_for_url("**/stripe-sandbox/setup/**")
    page.locator("input[name=brand][value=lotte]").check(force=True)
    page.locator("button.primary").click()
    page.wait_for_url("**/krcard/return/**")
    assert "?" not in page.url
    expect(page.locator(".krcard-sign-good")).to_be_visible()
    expect(page.get_by_text("롯데카드").first).to_be_visible()
    picture(page, "63-direct-saved")


def test_the_first_payment_saves_the_card(browse, shop):
    token = shop.manage("shell", "-c", SIGN).strip().splitlines()[-1]
    page = browse()
    log_in(page, "junho", "**/member/")
    agree(page, f"/krcard/agree/membership/direct/?pay={token}")
    expect(page.locator("form").get_by_text("12,900원").first).to_be_visible()
    picture(page, "64-direct-pay")
    press(page)
    page.wait_for_url("**/stripe-sandbox/pay/**")
    expect(page.get_by_text("12,900원")).to_be_visible()
    picture(page, "65-direct-pay-processor")
    page.locator("input[name=brand][value=kookmin]").check(force=True)
    page.locator("button.primary").click()
    page.wait_for_url("**/krcard/return/**")
    expect(page.get_by_text("멤버십 첫 달")).to_be_visible()
    picture(page, "66-direct-paid")

    page.goto("/krcard/")
    expect(page.get_by_text("멤버십 첫 달").first).to_be_visible()


def test_paid_on_stripes_page(browse, shop):
    token = shop.manage("shell", "-c", SIGN.replace('"junho"', '"minji"').replace("order-7", "order-8")).strip()
    page = browse()
    log_in(page, "minji", "**/member/")
    page.goto(f"/krcard/agree/as-used/?pay={token.splitlines()[-1]}")
    picture(page, "67-checkout-pay")
