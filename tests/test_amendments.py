"""A customer is asked to agree to other terms: asked, answered or not, and what may be charged on which day."""

from datetime import timedelta

import pytest
from django.core import mail
from django.core.management import call_command
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from django_krcard import gateway, services
from django_krcard.exceptions import AmendmentRefused, ChargeRefused, ConsentRefused
from django_krcard.models import Amendment, CardSetup, Consent, Mandate, Notice, PaymentMethod
from django_krcard.sandbox import control
from django_krcard.services import amendment_steps, amendments, disputes, mandates
from django_krcard.services.in_force import day_of
from django_krcard.signals import amendment_agreed
from tests.factories import REQUIRED, PublishedTerms, UserFactory, consent_of
from tests.test_concurrency import all_at_once

pytestmark = pytest.mark.django_db(transaction=True)

Status = Amendment.Status
BY = {"by": "staff:han", "reason": "costs went up"}
EVIDENCE = services.Evidence(ip_address="203.0.113.7", user_agent="Test browser")


@pytest.fixture
def mandate(krcard_clock, save_card, membership):
    """Minji's active mandate, in a sandbox whose clock can be moved."""
    return save_card(membership)


@pytest.fixture
def raised(mandate):
    """A newer version in force, for 14,900 won. Minji's mandate is under the one before."""
    return PublishedTerms(amount=14_900)


@pytest.fixture
def ask(mandate, raised):
    """Ask Minji to agree, so many days ahead."""

    def request(days=20, *, terms=raised, mandate=mandate, **more):
        return services.request_amendment(mandate, terms, effective_on=in_days(days), **(BY | more))

    return request


@pytest.fixture
def answer(minji):
    """Open the page of a change and press one of its two buttons, as Minji does."""

    def press(button, amendment, *, client=minji, page=None, ticked=REQUIRED, **changes):
        page = page or client.get(url(amendment))
        form = page.context["form"]
        data = {"terms": form["terms"].value(), "token": form["token"].value()}
        data |= {f"agree_{key}": "on" for key in ticked}
        return client.post(url(amendment, button), data | changes)

    return press


def url(amendment, button=""):
    names = {"": "amendment", "agree": "agree-to-amendment", "refuse": "refuse-amendment"}
    return reverse(f"krcard:{names[button]}", args=[amendment.public_id])


def in_days(days):
    return day_of(timezone.now()) + timedelta(days=days)


def fresh(row):
    return type(row).objects.get(pk=row.pk)


def code_of(mandate, amount, *, in_days=0):
    return services.can_charge(mandate, amount, at=timezone.now() + timedelta(days=in_days)).code


def run_days(clock, days):
    """``krcard_run_due`` once a day."""
    for _day in range(days):
        clock.advance(days=1)
        assert not [result for result in services.run_due() if isinstance(result, Exception)]


def settle_dispute(charge, status):
    told = gateway.Dispute("du_1", status, charge.amount, charge.stripe_id, "fraudulent", None)
    disputes.apply(fresh(charge), told)


def kinds(mandate):
    return list(mandate.timeline.order_by("pk").values_list("kind", flat=True))


# --- asked, and agreed to -------------------------------------------------------------------------


def test_agreed_beforehand_the_old_price_rules_until_the_day_and_the_new_one_from_then_on(
    mandate, ask, answer, krcard_clock, ledger
):
    heard = []
    amendment_agreed.connect(lambda amendment, **_: heard.append(amendment.pk), weak=False, dispatch_uid="test")
    before, card = mandate.consent, mandate.payment_method
    amendment = ask(days=35)
    assert (amendment.status, amendment.kind) == (Status.PLANNED, "price_rise")
    krcard_clock.advance(days=6)

    assert answer("agree", amendment)["Location"] == url(amendment)

    amendment_agreed.disconnect(dispatch_uid="test")
    amendment, mandate = fresh(amendment), fresh(mandate)
    assert (amendment.status, heard) == (Status.AGREED, [amendment.pk])
    assert (mandate.consent, mandate.next_consent, mandate.payment_method) == (before, amendment.consent, card)
    assert amendment.consent.terms == amendment.terms
    assert amendment.consent.page_url == f"http://testserver{url(amendment)}"
    # Today, and until the day before.
    assert (code_of(mandate, 12_900), code_of(mandate, 14_900)) == ("", "before_start")
    assert (code_of(mandate, 12_900, in_days=28), code_of(mandate, 14_900, in_days=28)) == ("", "before_start")
    # From the day on: asked now, and then.
    assert (code_of(mandate, 12_900, in_days=29), code_of(mandate, 14_900, in_days=29)) == ("amount_not_agreed", "")
    assert services.charge(mandate, 12_900, reference="1").consent == before
    krcard_clock.advance(days=29)
    # Nobody ran krcard_run_due.
    assert Mandate.objects.filter(consent=before).exists()
    charge = services.charge(mandate, 14_900, reference="2")
    assert (charge.status, charge.consent) == ("succeeded", amendment.consent)
    mandate.refresh_from_db()
    assert (mandate.consent, mandate.next_consent, mandate.next_consent_on) == (amendment.consent, None, None)
    assert (mandate.reference, CardSetup.objects.count()) == (amendment.mandate.reference, 1)
    assert [paid["amount"] for paid in ledger()] == [12_900, 14_900]


def test_the_run_puts_in_force_what_was_agreed_to(mandate, ask, answer, krcard_clock):
    amendment = ask(days=8)
    answer("agree", amendment)
    run_days(krcard_clock, 8)
    assert fresh(mandate).consent == fresh(amendment).consent
    assert fresh(amendment).next_step_at is None
    assert kinds(mandate).count("consent_in_force") == 1


def test_periods_are_counted_on_over_the_change(mandate, ask, answer, krcard_clock):
    amendment = ask(days=8)
    answer("agree", amendment)
    services.charge(mandate, 12_900, reference="this month")
    krcard_clock.advance(days=8)
    assert code_of(mandate, 14_900) == "period_count_reached"
    krcard_clock.advance(days=23)
    assert code_of(mandate, 14_900) == ""


def test_what_is_planned_for_after_the_day_is_judged_by_what_rules_then(mandate, ask, answer, krcard_clock):
    answer("agree", ask(days=8))
    later = timezone.now() + timedelta(days=9)
    with pytest.raises(ChargeRefused, match="amount_not_agreed"):
        services.schedule_charge(mandate, 12_900, reference="old", due_at=later)
    plan = services.schedule_charge(mandate, 14_900, reference="new", due_at=later)
    # Planned too early it waits for the day.
    early = services.schedule_charge(mandate, 14_900, reference="early", due_at=timezone.now() + timedelta(days=6))
    run_days(krcard_clock, 8)
    assert fresh(early).status == "succeeded"
    assert fresh(plan).status == "scheduled"


def test_the_page_shows_both_prices_the_day_the_card_and_the_way_out(mandate, ask, minji):
    page = minji.get(url(ask()))
    for words in ("12,900원", "14,900원", "신한카드", "해지", mandate.reference):
        assert words in page.text
    assert page.text.count('type="checkbox"') == 3
    assert "checked" not in page.text
    text = page.context["text"]
    for words in (text.permission, text.timing, text.amount_basis, text.cancellation):
        assert words in page.text


def test_both_buttons_are_of_one_size_and_in_one_place(ask, minji):
    page = minji.get(url(ask())).text
    buttons = page.split('<div class="krcard-actions">')[1].split("</div>")[0]
    assert buttons.count("<button") == 2
    assert "krcard-button-line" not in buttons


@pytest.mark.parametrize("ticked", [[], ["autopay"], ["news"]])
def test_a_missing_box_is_no_agreement(mandate, ask, answer, ticked):
    amendment = ask()
    page = answer("agree", amendment, ticked=ticked)
    assert page.status_code == 200
    assert 'aria-invalid="true"' in page.text
    assert (fresh(amendment).status, Consent.objects.count()) == (Status.ASKED, 1)


def test_sending_the_answer_twice_is_one_consent(ask, answer, minji):
    amendment = ask()
    page = minji.get(url(amendment))
    assert [answer("agree", amendment, page=page).status_code for _ in range(2)] == [303, 303]
    assert Consent.objects.count() == 2


@pytest.mark.parametrize(("first", "second", "ends"), [("agree", "refuse", "agreed"), ("refuse", "agree", "refused")])
def test_of_two_tabs_that_answer_differently_the_first_counts(ask, answer, minji, first, second, ends):
    amendment = ask()
    one, other = minji.get(url(amendment)), minji.get(url(amendment))
    assert answer(first, amendment, page=one).status_code == 303
    page = answer(second, amendment, page=other)
    assert (page.status_code, fresh(amendment).status) == (200, ends)
    assert page.context["notice"] in page.text


def test_who_said_no_may_look_again_and_say_yes(mandate, ask, answer):
    amendment = ask()
    answer("refuse", amendment)
    answer("agree", amendment)
    assert (fresh(amendment).status, fresh(mandate).next_consent_on) == (Status.AGREED, amendment.effective_on)


def test_the_page_is_nobody_elses(ask, client, answer, minji):
    amendment = ask()
    other = Client()
    other.force_login(UserFactory())
    assert other.get(url(amendment)).status_code == 404
    assert other.post(url(amendment, "agree")).status_code == 404
    assert client.get(url(amendment)).status_code == 302
    assert url(amendment) in client.post(url(amendment, "agree"))["Location"]
    assert minji.get(url(amendment, "agree")).status_code == 405
    assert minji.get(reverse("krcard:amendment", args=["nonsense"])).status_code == 404
    # A form of somebody else's, or none.
    assert answer("agree", amendment, token="nonsense").context["notice"]
    assert fresh(amendment).status == Status.ASKED


def test_terms_published_meanwhile_take_the_question_back(mandate, ask, answer, minji):
    amendment = ask()
    page = minji.get(url(amendment))
    newest = PublishedTerms(amount=16_900)
    assert fresh(amendment).status == Status.SUPERSEDED
    assert answer("agree", amendment, page=page).status_code == 200
    assert (Consent.objects.count(), fresh(mandate).next_consent) == (1, None)
    # What was asked for and what is in force now: neither was agreed to.
    assert {code_of(mandate, amount) for amount in (14_900, 16_900)} == {"price_change_not_agreed"}
    assert newest.version == 3


# --- the window, and what the law wants told ----------------------------------------------------------


def test_before_the_window_opens_nothing_can_be_answered(mandate, ask, minji, krcard_clock):
    amendment = ask(days=40)
    page = minji.get(url(amendment))
    assert (page.context["state"], page.context["form"]) == ("planned", None)
    with pytest.raises(AmendmentRefused):
        amendments.agree(amendment, language="ko", ticked=REQUIRED, evidence=EVIDENCE)
    with pytest.raises(AmendmentRefused):
        amendments.refuse(amendment)
    assert not Notice.objects.filter(kind="amendment_asked").exists()
    run_days(krcard_clock, 10)
    assert fresh(amendment).status == Status.ASKED
    assert minji.get(url(amendment)).context["form"]


def test_the_customer_is_told_when_the_window_opens_and_on_the_sites_days(mandate, ask, krcard_clock, settings):
    settings.KRCARD_BASE_URL = "https://shop.example"
    amendment = ask(days=40)
    run_days(krcard_clock, 39)
    told = Notice.objects.filter(kind="amendment_asked").order_by("pk")
    days = [(amendment.effective_on - day_of(notice.sent_at)).days for notice in told]
    assert days == [30, 7, 1]
    text = told[0].text
    for words in ("12,900원 → 14,900원", "신한카드 ****-1234", f"https://shop.example{url(amendment)}", "해지"):
        assert words in text
    assert len(mail.outbox) == 3


def test_who_has_answered_is_not_reminded(ask, answer, krcard_clock):
    answer("refuse", ask(days=20))
    run_days(krcard_clock, 19)
    assert Notice.objects.filter(kind="amendment_asked").count() == 1


def test_after_days_without_a_run_one_reminder_is_enough(ask, krcard_clock):
    ask(days=20)
    krcard_clock.advance(days=19)
    list(services.run_due())
    list(services.run_due())
    assert Notice.objects.filter(kind="amendment_asked").count() == 2


@pytest.mark.parametrize("days", [-1, 0, 1, 6])
def test_too_little_notice_of_a_higher_price_is_refused(ask, days):
    with pytest.raises(AmendmentRefused):
        ask(days=days)
    assert not Amendment.objects.exists()


def test_the_least_notice_is_the_sites(ask, settings):
    settings.KRCARD_AMENDMENT_MIN_NOTICE_DAYS = 30
    with pytest.raises(AmendmentRefused):
        ask(days=29)
    assert ask(days=30).status == Status.ASKED


def test_who_was_not_asked_in_time_has_not_kept_silent(mandate, ask, krcard_clock):
    amendment = ask(days=40)
    krcard_clock.advance(days=35)
    list(services.run_due())
    krcard_clock.advance(days=10)
    list(services.run_due())
    assert fresh(amendment).status == Status.CANCELLED
    assert fresh(mandate).status == "active"
    assert not Notice.objects.filter(kind="amendment_asked").exists()


def test_asking_twice_is_one_question_and_another_day_is_refused(ask):
    assert ask(days=20) == ask(days=20)
    with pytest.raises(AmendmentRefused):
        ask(days=21)
    assert Amendment.objects.count() == Notice.objects.count() == 1


def test_newer_terms_take_the_place_of_what_was_asked_for(mandate, ask):
    """Two windows at once: only the newest question stands."""
    first = ask(days=20)
    newest = PublishedTerms(amount=15_900)
    second = ask(days=10, terms=newest)
    assert (fresh(first).status, second.status) == (Status.SUPERSEDED, Status.ASKED)


def test_what_cannot_be_asked_for(mandate, membership, raised, ask):
    with pytest.raises(AmendmentRefused):
        ask(terms=membership)
    with pytest.raises(AmendmentRefused):
        ask(terms=PublishedTerms(slug="other"))
    services.revoke(mandate, by="customer", reason="enough")
    with pytest.raises(AmendmentRefused):
        ask()


def test_a_second_change_waits_until_the_first_is_in_force(mandate, ask, answer, krcard_clock):
    answer("agree", ask(days=8))
    newest = PublishedTerms(amount=15_900)
    with pytest.raises(AmendmentRefused):
        ask(days=20, terms=newest)
    krcard_clock.advance(days=8)
    second = ask(days=20, terms=newest)
    assert (second.amount_before, second.amount_after) == (14_900, 15_900)


def test_a_dry_run_tells_what_is_due(ask, krcard_clock, capsys):
    amendment = ask(days=40)
    krcard_clock.advance(days=10)
    call_command("krcard_run_due", "--dry-run")
    assert f"{amendment} 14,900 won, planned" in capsys.readouterr().out
    assert fresh(amendment).status == Status.PLANNED


# --- not agreed to ----------------------------------------------------------------------------------


@pytest.mark.parametrize("says_no", [True, False])
@pytest.mark.parametrize(
    ("wish", "status", "code"),
    [("pause", "on_hold", "mandate_not_active"), ("keep", "active", ""), ("end", "revoked", "consent_withdrawn")],
)
def test_without_a_yes_the_price_never_rises(mandate, ask, answer, krcard_clock, settings, says_no, wish, status, code):
    settings.KRCARD_ON_AMENDMENT_UNANSWERED = wish
    amendment = ask(days=8)
    if says_no:
        answer("refuse", amendment)
    assert (code_of(mandate, 12_900), code_of(mandate, 14_900)) == ("", "price_change_not_agreed")
    run_days(krcard_clock, 8)
    assert fresh(amendment).status == (Status.REFUSED if says_no else Status.UNANSWERED)
    assert fresh(mandate).status == status
    assert code_of(mandate, 12_900) == code
    assert code_of(mandate, 14_900) == (code or "price_change_not_agreed")
    last = Notice.objects.order_by("pk").last().kind
    assert (last == "amendment_paused", last == "mandate_ended") == (wish == "pause", wish == "end")
    again = kinds(mandate)
    run_days(krcard_clock, 3)
    assert kinds(mandate) == again


def test_a_late_yes_counts_at_once_and_payments_go_on(mandate, ask, answer, minji, krcard_clock):
    amendment = ask(days=8)
    run_days(krcard_clock, 9)
    assert "일시 중지" in minji.get(url(amendment)).text
    assert url(amendment) in minji.get(reverse("krcard:cards")).text
    answer("agree", amendment)
    mandate = fresh(mandate)
    assert (mandate.status, mandate.consent) == ("active", fresh(amendment).consent)
    assert (code_of(mandate, 12_900), code_of(mandate, 14_900)) == ("amount_not_agreed", "")


def test_a_late_yes_does_not_lift_what_staff_have_stopped(mandate, ask, answer, krcard_clock):
    amendment = ask(days=8)
    run_days(krcard_clock, 8)
    services.hold(mandate, by="staff:han", reason="looks odd")
    answer("agree", amendment)
    assert fresh(mandate).status == "on_hold"
    assert mandates.holds_on(mandate) == {("staff:han", "looks odd")}
    assert mandates.release(mandate, by="staff:han", reason="looks odd").status == "active"


def test_a_dispute_that_is_over_does_not_keep_payments_stopped(mandate, ask, answer, krcard_clock):
    charge = services.charge(mandate, 12_900, reference="1")
    amendment = ask(days=8)
    run_days(krcard_clock, 8)
    settle_dispute(charge, "needs_response")
    settle_dispute(charge, "won")
    assert fresh(mandate).status == "on_hold"
    answer("agree", amendment)
    assert fresh(mandate).status == "active"


def test_a_yes_during_a_dispute_leaves_it_to_the_dispute(mandate, ask, answer, krcard_clock):
    charge = services.charge(mandate, 12_900, reference="1")
    amendment = ask(days=8)
    settle_dispute(charge, "needs_response")
    run_days(krcard_clock, 8)
    answer("agree", amendment)
    assert fresh(mandate).status == "on_hold"
    settle_dispute(charge, "won")
    assert fresh(mandate).status == "active"


def test_agreeing_to_the_newest_terms_answers_for_those_before(mandate, ask, answer, krcard_clock):
    ask(days=8)
    run_days(krcard_clock, 8)
    second = ask(days=8, terms=PublishedTerms(amount=15_900))
    answer("agree", second)
    assert fresh(mandate).status == "on_hold", "until the day the new terms do not rule"
    run_days(krcard_clock, 8)
    assert (fresh(mandate).status, code_of(mandate, 15_900)) == ("active", "")


@pytest.mark.parametrize("answered", ["", "agree", "refuse"])
def test_taken_back_by_staff_the_old_terms_go_on(mandate, ask, answer, krcard_clock, answered):
    amendment = ask(days=8)
    if answered:
        answer(answered, amendment)
    amendments.cancel(amendment, by="staff:han", reason="we keep the price")
    run_days(krcard_clock, 9)
    assert (fresh(amendment).status, fresh(mandate).status) == (Status.CANCELLED, "active")
    assert (code_of(mandate, 12_900), code_of(mandate, 14_900)) == ("", "price_change_not_agreed")


def test_what_is_in_force_is_not_taken_back(mandate, ask, answer, krcard_clock):
    amendment = ask(days=8)
    answer("agree", amendment)
    krcard_clock.advance(days=8)
    with pytest.raises(AmendmentRefused):
        amendments.cancel(amendment, by="staff:han", reason="too late")
    assert code_of(mandate, 14_900) == ""


def test_one_that_goes_wrong_does_not_stop_the_others(mandate, ask, save_card, membership, raised, monkeypatch):
    other = save_card(raised, customer=services.get_or_create_customer(UserFactory()))
    newest = PublishedTerms(amount=16_900)
    first, second = ask(days=40, terms=newest), ask(days=40, terms=newest, mandate=other)
    Amendment.objects.update(next_step_at=timezone.now())
    step = amendment_steps.step

    def sometimes(amendment):
        if amendment.pk == first.pk:
            raise RuntimeError("broken")
        step(amendment)

    monkeypatch.setattr(amendment_steps, "step", sometimes)
    [error] = services.run_due()
    assert error.__notes__ == [f"amendment {first.pk}"]
    assert fresh(second).next_step_at > timezone.now()


# --- free to paid -------------------------------------------------------------------------------------


def test_who_was_free_pays_nothing_before_a_separate_yes(mandate, membership, krcard_clock, answer, minji):
    """What was agreed to when signing up does not count: the law wants it asked again before it begins."""
    ask_to_pay = {"effective_on": in_days(10), "free_until_now": True, **BY}
    amendment = services.request_amendment(mandate, membership, **ask_to_pay)
    assert (amendment.kind, amendment.amount_before, amendment.amount_after) == ("free_to_paid", None, 12_900)
    assert "무료" in minji.get(url(amendment)).text
    assert code_of(mandate, 12_900) == "price_change_not_agreed"
    assert services.next_payment_on(fresh(mandate)) is None
    answer("agree", amendment)
    assert (code_of(mandate, 12_900), code_of(mandate, 12_900, in_days=10)) == ("before_start", "")
    krcard_clock.advance(days=10)
    assert services.charge(mandate, 12_900, reference="1").status == "succeeded"


def test_free_stays_free_without_a_yes(mandate, membership, krcard_clock, settings):
    settings.KRCARD_ON_AMENDMENT_UNANSWERED = "keep"
    services.request_amendment(mandate, membership, effective_on=in_days(10), free_until_now=True, **BY)
    run_days(krcard_clock, 12)
    assert code_of(mandate, 12_900) == "price_change_not_agreed"


# --- agreeing on the page where cards are saved ----------------------------------------------------------


def test_who_agrees_again_may_keep_the_card(mandate, raised, agree, minji):
    page = minji.get(reverse("krcard:consent", args=["membership"]))
    assert "신한카드 ****-1234" in page.text
    answer = agree(page=page, keep_card="1")
    assert answer["Location"] == reverse("krcard:mandate", args=[mandate.public_id])
    agree(page=page, keep_card="1")
    mandate = fresh(mandate)
    assert (mandate.consent.terms, mandate.status) == (raised, "active")
    assert (CardSetup.objects.count(), Consent.objects.count(), PaymentMethod.objects.count()) == (1, 2, 1)
    assert code_of(mandate, 14_900) == ""
    assert "14,900원" in minji.get(answer["Location"]).text


def test_a_card_that_is_gone_cannot_be_kept(mandate, raised, agree, minji):
    control.detach(mandate.payment_method.stripe_id)
    page = minji.get(reverse("krcard:consent", args=["membership"]))
    assert "keep_card" not in page.text
    assert agree(page=page, keep_card="1").context["notice"]
    assert fresh(mandate).consent.terms.version == 1


def test_keeping_the_card_answers_a_question_that_is_open(mandate, ask, agree, minji):
    amendment = ask(days=20)
    assert agree(keep_card="1").status_code == 303
    assert fresh(amendment).status == Status.AGREED
    assert (code_of(mandate, 12_900), code_of(mandate, 14_900)) == ("", "before_start")


@pytest.mark.parametrize(("days", "status"), [(20, Status.AGREED), (45, Status.PLANNED)])
def test_another_card_never_raises_the_price_early(mandate, ask, raised, days, status):
    amendment = ask(days=days)
    consent = consent_of(mandate.customer, raised)
    setup = services.start_checkout(consent, success_url="http://testserver/ok", cancel_url="http://testserver/no")
    control.authorise(setup.checkout_session_id, brand="hyundai", last4="9999")
    services.complete_setup(setup)
    mandate = fresh(mandate)
    assert mandate.payment_method.last4 == "9999"
    assert fresh(amendment).status == status
    assert code_of(mandate, 12_900) == ""
    assert code_of(mandate, 14_900) == ("before_start" if status == Status.AGREED else "price_change_not_agreed")
    assert code_of(mandate, 14_900, in_days=days) == ("" if status == Status.AGREED else "price_change_not_agreed")


def test_an_attempt_that_ends_late_does_not_undo_what_was_agreed_since(mandate, membership):
    pages = {"success_url": "http://testserver/ok", "cancel_url": "http://testserver/no"}
    setup = services.start_checkout(consent_of(mandate.customer, membership), **pages)
    control.authorise(setup.checkout_session_id, brand="hyundai", last4="9999")
    consent = amendments.agree_again(
        mandate, PublishedTerms(amount=14_900), language="ko", ticked=REQUIRED, evidence=EVIDENCE
    ).consent
    services.complete_setup(fresh(setup))
    assert (fresh(mandate).consent, fresh(mandate).payment_method.last4) == (consent, "9999")


def test_an_attempt_begun_before_does_not_take_back_what_was_agreed_for_later(mandate, membership):
    pages = {"success_url": "http://testserver/ok", "cancel_url": "http://testserver/no"}
    setup = services.start_checkout(consent_of(mandate.customer, membership), **pages)
    control.authorise(setup.checkout_session_id, brand="hyundai", last4="9999")
    raised = PublishedTerms(amount=14_900)
    amendment = services.request_amendment(mandate, raised, effective_on=in_days(9), **BY)
    amendments.agree(amendment, language="ko", ticked=REQUIRED, evidence=EVIDENCE)
    services.complete_setup(fresh(setup))
    assert fresh(mandate).payment_method.last4 == "9999"
    assert (code_of(mandate, 12_900), code_of(mandate, 14_900, in_days=9)) == ("", "")


def test_what_was_agreed_to_before_it_was_asked_is_no_answer(mandate, membership):
    """Somebody free saves another card under the old text, and is through with it after being asked to pay."""
    pages = {"success_url": "http://testserver/ok", "cancel_url": "http://testserver/no"}
    setup = services.start_checkout(consent_of(mandate.customer, membership), **pages)
    asked = {"effective_on": in_days(9), "free_until_now": True, **BY}
    amendment = services.request_amendment(mandate, membership, **asked)
    control.authorise(setup.checkout_session_id, brand="hyundai", last4="9999")
    services.complete_setup(fresh(setup))
    assert (fresh(amendment).status, fresh(mandate).payment_method.last4) == (Status.ASKED, "9999")
    assert code_of(mandate, 12_900, in_days=9) == "price_change_not_agreed"


def test_during_the_window_the_consent_page_says_from_when(mandate, ask, minji):
    amendment = ask(days=45)
    page = minji.get(reverse("krcard:consent", args=["membership"]))
    assert page.context["kept"].new_terms_from == amendment.effective_on
    assert "keep_card" not in page.text


# --- whom to ask -----------------------------------------------------------------------------------------


def test_only_those_are_asked_whose_terms_get_worse_and_each_once(save_card, krcard_clock):
    def someone(terms):
        return save_card(terms, customer=services.get_or_create_customer(UserFactory()))

    cheap = [someone(terms) for terms in [PublishedTerms(amount=9_900)] * 3]
    dear = [someone(terms) for terms in [PublishedTerms(amount=19_900)] * 2]
    gone = someone(Consent.objects.first().terms)
    services.revoke(gone, by="customer", reason="enough")
    newest = PublishedTerms(amount=14_900)
    assert amendments.who_must_agree(newest) == (3, 2)
    asked = list(amendments.ask_all(newest, effective_on=in_days(20), **BY))
    assert [amendment.mandate for amendment in asked] == cheap
    assert list(amendments.ask_all(newest, effective_on=in_days(20), **BY)) == []
    assert {code_of(mandate, 19_900) for mandate in dear} == {""}
    # Who says no is not asked again by itself.
    amendments.refuse(asked[0])
    assert not amendments.to_ask(newest).exists()


def test_nobody_is_asked_when_all_would_have_too_little_notice(mandate, raised):
    with pytest.raises(AmendmentRefused):
        next(amendments.ask_all(raised, effective_on=in_days(2), **BY))
    assert not Amendment.objects.exists()


# --- many at once ------------------------------------------------------------------------------------------


def test_a_yes_and_a_no_at_the_same_moment_are_one_answer(mandate, ask):
    amendment = ask()
    # All have the page open. Who opens it after the answer sees that, and may think better of a no.
    pages = [Amendment.objects.select_related("mandate__customer").get(pk=amendment.pk) for _ in range(8)]

    def press(number):
        if number % 2:
            return amendments.refuse(pages[number])
        return amendments.agree(pages[number], language="ko", ticked=REQUIRED, evidence=EVIDENCE)

    results = all_at_once(press, 8)
    stands = fresh(amendment)
    assert {type(result) for result in results} <= {Amendment, AmendmentRefused}
    assert {result.status for result in results if isinstance(result, Amendment)} == {stands.status}
    assert Consent.objects.count() == (2 if stands.status == Status.AGREED else 1)
    assert kinds(mandate).count("amendment_agreed") + kinds(mandate).count("amendment_refused") == 1


def test_asked_by_many_at_once_it_is_one_question(mandate, raised):
    day = in_days(20)
    results = all_at_once(lambda _n: services.request_amendment(mandate, raised, effective_on=day, **BY), 8)
    assert {getattr(result, "pk", result) for result in results} == {Amendment.objects.get().pk}
    assert Notice.objects.filter(kind="amendment_asked").count() == 1


def test_on_the_day_a_charge_and_the_run_put_the_consent_in_force_once(mandate, ask, answer, krcard_clock):
    amendment = ask(days=8)
    answer("agree", amendment)
    krcard_clock.advance(days=8)

    def act(number):
        return (
            amendment_steps.take_step(amendment.pk) if number % 2 else services.charge(mandate, 14_900, reference="1")
        )

    results = all_at_once(act, 6)
    assert not [result for result in results if isinstance(result, Exception)]
    assert kinds(mandate).count("consent_in_force") == 1


def test_withdrawn_and_agreed_at_the_same_moment_it_is_withdrawn(mandate, ask):
    amendment = ask()

    def act(number):
        if number % 2:
            return services.revoke(mandate, by="customer", reason="enough")
        mine = Amendment.objects.select_related("mandate__customer").get(pk=amendment.pk)
        return amendments.agree(mine, language="ko", ticked=REQUIRED, evidence=EVIDENCE)

    results = all_at_once(act, 6)
    assert {type(result) for result in results} <= {Amendment, Mandate, AmendmentRefused}
    assert fresh(mandate).status == "revoked"
    assert code_of(mandate, 14_900, in_days=30) == "consent_withdrawn"


def test_a_language_without_a_text_is_refused(ask):
    amendment = ask()
    with pytest.raises(ConsentRefused):
        amendments.agree(amendment, language="fr", ticked=REQUIRED, evidence=EVIDENCE)
    assert fresh(amendment).status == Status.ASKED
