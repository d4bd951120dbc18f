"""The story of the product in a real browser, with a picture of every page at 360 and at 1280 px."""

import re

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import SCREENSHOTS

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("browser")]


def picture(page, name):
    """Keep the page as it looks on a phone and on a desk. No page may need scrolling sideways."""
    SCREENSHOTS.mkdir(exist_ok=True)
    before = page.viewport_size
    for width, height in ((360, 800), (1280, 900)):
        page.set_viewport_size({"width": width, "height": height})
        page.screenshot(path=SCREENSHOTS / f"{name}-{width}.png", full_page=True)
        wide = page.evaluate("document.documentElement.scrollWidth")
        assert wide <= width, f"{name} is {wide} px wide at {width}"
    page.set_viewport_size(before)


def log_in(page, username, landing):
    page.goto("/login/")
    page.locator("form", has=page.locator(f'input[name=username][value="{username}"]')).locator("button").click()
    page.wait_for_url(landing)


def agree(page, slug="membership"):
    page.goto(f"/krcard/agree/{slug}/")
    for box in page.locator("input[type=checkbox][required]").all():
        box.check()
    page.locator('form[action$="create-checkout-session"] button[type=submit]').click()
    page.wait_for_url("**/stripe-sandbox/checkout/**")


def choose_local_card(page, brand="shinhan"):
    page.locator("input[name=type][value=kr_card]").check()
    page.locator("main form").first.locator("button").click()
    page.wait_for_url("**/issuer/**")
    page.locator(f"input[name=brand][value={brand}]").check(force=True)


def authorise(page):
    page.locator('form[action$="/authorise/"] button.primary').click()
    page.wait_for_url("**/krcard/success/**")


def fail(page):
    page.locator('button[formaction$="/fail/"]').click()


def save_card(page, slug, brand):
    agree(page, slug)
    choose_local_card(page, brand)
    authorise(page)
    expect(page.get_by_role("heading", name="카드가 등록되었")).to_be_visible()


def test_the_whole_job(browse, shop):
    page = browse()
    page.goto("/")
    picture(page, "01-home")
    log_in(page, "minji", "**/member/")
    page.goto("/plans/membership/")
    picture(page, "02-plan")

    page.goto("/krcard/agree/membership/")
    assert page.locator("input[type=checkbox]:checked").count() == 0
    picture(page, "03-consent")

    page.locator('form[action$="create-checkout-session"] button[type=submit]').click()
    expect(page.get_by_role("alert").first).to_be_visible()
    expect(page.locator("[aria-invalid=true]").first).to_be_visible()
    picture(page, "04-consent-refused")

    agree(page)
    picture(page, "05-hosted-page")
    choose_local_card(page, "shinhan")
    picture(page, "06-issuer")
    authorise(page)
    expect(page.get_by_role("heading", name="카드가 등록되었")).to_be_visible()
    expect(page.get_by_text("신한카드").first).to_be_visible()
    picture(page, "07-saved")

    page.goto("/krcard/")
    expect(page.get_by_text("신한카드").first).to_be_visible()
    picture(page, "08-my-cards")
    page.locator('a[href*="/krcard/mandates/"]').first.click()
    picture(page, "09-mandate")

    staff = browse(phone=False)
    log_in(staff, "reviewer", "**/admin/")
    staff.goto("/admin/krcard/mandate/")
    picture(staff, "10-admin-mandates")
    staff.locator("#result_list tbody th a").first.click()
    expect(staff.get_by_text("신한카드").first).to_be_visible()
    picture(staff, "11-admin-mandate")
    staff.locator('.object-tools a[href$="/charge/"]').click()
    staff.locator("[name=reason]").fill("11월 이용료")
    picture(staff, "12-admin-charge")
    staff.locator("input[type=submit]").click()
    expect(staff.locator(".messagelist .success")).to_be_visible()
    picture(staff, "13-admin-charged")

    page.goto("/krcard/")
    expect(page.get_by_text("12,900원").first).to_be_visible()
    picture(page, "14-charged")


def test_the_issuer_says_no_then_yes(browse):
    page = browse()
    log_in(page, "junho", "**/member/")
    agree(page, "as-used")
    choose_local_card(page, "kookmin")
    fail(page)
    page.wait_for_url(re.compile(r"/stripe-sandbox/checkout/[^/]+/(\?.*)?$"))
    expect(page.get_by_role("alert")).to_be_visible()
    picture(page, "20-failed-at-stripe")

    page.locator("a.back").click()
    page.wait_for_url("**/krcard/cancel/**")
    picture(page, "21-failed")

    page.go_back()
    choose_local_card(page, "kookmin")
    authorise(page)
    expect(page.get_by_text("국민카드").first).to_be_visible()


def test_buying_as_used_up_to_the_limit(browse):
    page = browse()
    log_in(page, "junho", "**/member/")
    save_card(page, "as-used", "samsung")
    page.goto("/member/")
    picture(page, "30-member")
    page.locator('form[action$="/orders/"] button').first.click()
    page.wait_for_url("**/orders/*/")
    picture(page, "31-order")
    expect(page.get_by_text("4,500원").first).to_be_visible()


def test_an_order_without_an_answer_is_settled_by_checking_again(browse, shop):
    page = browse()
    log_in(page, "junho", "**/member/")
    save_card(page, "as-used", "samsung")
    page.goto("/member/")
    for _ in range(3):  # as often as the SDK tries
        shop.sandbox('fail_next("POST", "/v1/payment_intents", effect="before", status="timeout")')
    page.locator('form[action$="/orders/"] button').first.click()
    page.wait_for_url("**/orders/*/")
    picture(page, "32-order-unknown")
    page.get_by_role("button", name="다시 확인").click()
    expect(page.get_by_role("heading", name="결제했어요")).to_be_visible()


def test_an_order_that_the_issuer_wants_confirmed_leads_to_its_payment(browse, shop):
    page = browse()
    log_in(page, "junho", "**/member/")
    save_card(page, "as-used", "samsung")
    page.goto("/member/")
    shop.sandbox("require_action_next()")
    page.locator('form[action$="/orders/"] button').first.click()
    page.wait_for_url("**/orders/*/")
    picture(page, "33-order-waits")
    page.get_by_role("link", name="결제 완료하기").click()
    page.locator('form[action$="/finish/"] button').click()
    page.wait_for_url("**/stripe-sandbox/pay/**")


def test_turning_back_and_coming_again(browse):
    page = browse()
    log_in(page, "junho", "**/member/")
    agree(page, "membership")
    hosted = page.url
    page.locator("a.back").click()
    page.wait_for_url("**/krcard/cancel/**")
    picture(page, "40-cancelled")

    agree(page, "membership")
    assert page.url == hosted


def test_back_from_stripe_to_a_form_that_had_an_error(browse):
    page = browse()
    log_in(page, "junho", "**/member/")
    page.goto("/krcard/agree/membership/")
    send = 'form[action$="create-checkout-session"] button[type=submit]'
    page.locator(send).click()
    for box in page.locator("input[type=checkbox][required]").all():
        box.check()
    page.locator(send).click()
    page.wait_for_url("**/stripe-sandbox/checkout/**")

    page.go_back()
    expect(page.locator(send)).to_be_visible()


def test_letting_the_session_expire(browse):
    page = browse()
    log_in(page, "junho", "**/member/")
    agree(page, "membership")
    result = page.locator("a.back").get_attribute("href").replace("/cancel/", "/success/")
    page.locator("form.tools button").click()
    page.goto(result)
    picture(page, "41-expired")
    expect(page.locator('a[href$="/krcard/agree/membership/"]')).to_be_visible()


@pytest.mark.parametrize("delivery", ["held", "dropped"])
def test_the_page_does_not_wait_for_the_webhook(browse, shop, delivery):
    shop.sandbox(f'set_delivery("{delivery}")')
    page = browse()
    log_in(page, "minji", "**/member/")
    agree(page, "as-used")
    choose_local_card(page, "hyundai" if delivery == "held" else "lotte")
    authorise(page)
    expect(page.get_by_role("heading", name="카드가 등록되었")).to_be_visible()

    shop.sandbox("deliver()")
    shop.sandbox('set_delivery("now")')
    page.reload()
    expect(page.get_by_role("heading", name="카드가 등록되었")).to_be_visible()


def test_another_browser_without_the_cookie_learns_the_state_only(browse):
    page = browse()
    log_in(page, "minji", "**/member/")
    save_card(page, "as-used", "woori")

    other = browse()
    other.goto(page.url)
    picture(other, "50-other-browser")
    assert "우리카드" not in other.content()
    expect(other.get_by_role("heading", name="카드가 등록되었")).to_be_visible()


def test_withdrawing_takes_one_confirmation(browse):
    page = browse()
    log_in(page, "minji", "**/member/")
    save_card(page, "membership", "nh")
    page.goto("/krcard/")
    page.locator('a[href*="/krcard/mandates/"]').first.click()
    page.locator("details:has(form[action$='/revoke/']) summary").click()
    picture(page, "60-revoke")
    page.locator("form[action$='/revoke/'] button").click()
    picture(page, "61-revoked")
    assert page.locator("form[action$='/revoke/']").count() == 0


def test_in_english_too(browse):
    page = browse(locale="en-GB")
    log_in(page, "minji", "**/member/")
    page.goto("/krcard/agree/membership/")
    expect(page.locator("html")).to_have_attribute("lang", "en")
    expect(page.get_by_role("button", name="Agree and save card")).to_be_visible()
    picture(page, "70-consent-english")
