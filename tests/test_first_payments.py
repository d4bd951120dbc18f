"""A payment that saves the card it is made with: one consent, one gate, one PaymentIntent."""

import re
from datetime import timedelta
from urllib.parse import urlsplit

import pytest
from django.contrib.auth.models import AnonymousUser
from django.db.models import F
from django.template import Context, Template, TemplateSyntaxError
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from django_krcard import services, signals
from django_krcard.exceptions import ChargeRefused, ConsentRefused, GatewayError, ReferenceConflict
from django_krcard.forms import sign_payment
from django_krcard.models import CardSetup, Charge, Consent, Mandate, PaymentMethod
from django_krcard.sandbox import control
from django_krcard.sandbox.models import Event
from django_krcard.services import backup, reconcile, steps
from django_krcard.services.acts import finish
from django_krcard.testing.factories import consent_of
from django_krcard.testing.sandbox import books
from tests.factories import REQUIRED, PublishedTerms

pytestmark = pytest.mark.django_db(transaction=True)

AMOUNT = 12_900
ADDRESSES = {
    "checkout": {"success_url": "http://testserver/ok", "cancel_url": "http://testserver/no"},
    "direct": {"return_url": "http://testserver/back"},
}
both_flows = pytest.mark.parametrize("flow", ["checkout", "direct"])


@pytest.fixture
def consent(user, membership):
    return consent_of(services.get_or_create_customer(user), membership)


@pytest.fixture
def heard():
    """How often each of the two signals was sent."""
    counts = {"card_saved": 0, "charge_succeeded": 0}
    listeners = {}
    for name in counts:

        def listen(*, name=name, **told):
            counts[name] += 1

        listeners[name] = listen
        getattr(signals, name).connect(listen)
    yield counts
    for name, listen in listeners.items():
        getattr(signals, name).disconnect(listen)


def start(consent, flow, amount=AMOUNT, reference="order-7", **more):
    return services.start_first_payment(consent, amount, reference=reference, flow=flow, **ADDRESSES[flow], **more)


def the_payment_id(setup):
    return Charge.objects.get(setup=setup).stripe_id


def pay(setup, succeeded=True):
    """What the customer does at Stripe."""
    if setup.flow == "checkout":
        act = control.authorise if succeeded else control.fail
        return act(setup.checkout_session_id)
    return control.finish_payment(the_payment_id(setup), succeeded, brand="lotte")


def rows():
    return (
        list(CardSetup.objects.values_list("status", flat=True)),
        list(Mandate.objects.values_list("status", flat=True)),
        list(Charge.objects.values_list("status", "amount", "reference")),
    )


PAID = (["complete"], ["active"], [("succeeded", AMOUNT, "order-7")])


# --- paid and saved -------------------------------------------------------------------------------


@both_flows
def test_the_card_is_saved_with_the_payment(consent, heard, flow, ledger):
    setup = start(consent, flow)
    assert setup.redirect_url
    assert Charge.objects.get().status == "action_required"

    pay(setup)

    mandate = services.complete_setup(CardSetup.objects.get())
    assert rows() == PAID
    assert heard == {"card_saved": 1, "charge_succeeded": 1}
    charge = Charge.objects.get()
    assert (charge.payment_method, charge.consent) == (mandate.payment_method, consent)
    [intent] = ledger()
    assert (intent["amount"], intent["currency"], intent["setup_future_usage"]) == (AMOUNT, "krw", "off_session")
    assert intent["metadata"]["krcard_reference"] == "order-7"


@both_flows
def test_this_period_is_paid_and_the_next_one_can_be_charged(consent, krcard_clock, flow):
    pay(start(consent, flow))
    mandate = Mandate.objects.get()

    with pytest.raises(ChargeRefused) as refused:
        services.charge(mandate, AMOUNT, reference="2")
    assert refused.value.code == "period_count_reached"

    krcard_clock.advance(days=32)
    assert services.charge(mandate, AMOUNT, reference="3").status == "succeeded"


@both_flows
def test_midnight_between_the_click_and_the_payment_gives_nothing_away(consent, flow):
    setup = start(consent, flow)
    Charge.objects.update(due_at=F("due_at") - timedelta(days=1))

    pay(setup)

    mandate = Mandate.objects.get()
    assert Charge.objects.get().due_at == mandate.activated_at
    assert services.can_charge(mandate, AMOUNT).code == "period_count_reached"


NEWS = {
    "checkout": ["payment_intent.succeeded", "checkout.session.completed", "payment_method.attached"],
    "direct": ["payment_intent.succeeded", "mandate.updated", "payment_method.attached"],
}
ORDERS = [(0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0)]


@both_flows
@pytest.mark.parametrize("order", ORDERS, ids=str)
@pytest.mark.parametrize("customer_comes", [0, 3])
def test_in_any_order_it_ends_the_same(consent, heard, flow, order, customer_comes):
    control.set_delivery("held")
    setup = start(consent, flow)
    pay(setup)
    steps_ = [NEWS[flow][place] for place in order]
    steps_.insert(customer_comes, "the customer")
    for what in steps_:
        if what == "the customer":
            page = "krcard:success" if flow == "checkout" else "krcard:return"
            Client().get(reverse(page, args=[setup.public_id]))
        else:
            control.redeliver(Event.objects.get(type=what).stripe_id)
    control.deliver(copies=2)

    assert rows() == PAID
    assert heard == {"card_saved": 1, "charge_succeeded": 1}


def test_stripes_mandate_becomes_known_by_its_own_message(consent):
    control.set_delivery("held")
    setup = start(consent, "direct")
    pay(setup)
    services.complete_setup(CardSetup.objects.get())
    assert Mandate.objects.get().stripe_id is None
    control.set_delivery("now")

    control.deactivate_mandate(PaymentMethod.objects.get().stripe_id)

    mandate = Mandate.objects.get()
    assert (mandate.status, mandate.stripe_id) == ("inactive", books("mandate")[0]["id"])


@both_flows
@pytest.mark.parametrize("succeeded", [True, False])
def test_a_payment_that_takes_its_time_saves_the_card_in_the_end(consent, heard, flow, succeeded):
    setup = start(consent, flow)
    control.processing_next()
    pay(setup)
    services.complete_setup(CardSetup.objects.get())
    assert rows() == (["open"], ["pending"], [("processing", AMOUNT, "order-7")])

    control.settle(the_payment_id(setup), succeeded)

    if succeeded:
        assert rows() == PAID
    else:
        assert rows() == (["failed"], ["failed"], [("declined", AMOUNT, "order-7")])
    assert heard["card_saved"] == succeeded


def test_what_needs_no_redirect_is_paid_at_once(consent, heard):
    control.no_redirect_next()

    setup = start(consent, "direct")

    assert (setup.status, setup.redirect_url) == ("complete", "")
    assert heard == {"card_saved": 1, "charge_succeeded": 1}


# --- not paid -------------------------------------------------------------------------------------


def test_on_stripes_page_a_try_that_failed_is_no_outcome(consent):
    setup = start(consent, "checkout")
    pay(setup, succeeded=False)
    assert rows() == (["open"], ["pending"], [("action_required", AMOUNT, "order-7")])
    assert CardSetup.objects.get().failure_code == "payment_intent_authentication_failure"

    pay(setup)
    assert rows() == PAID


def test_at_the_processor_it_is(consent, ledger):
    pay(start(consent, "direct"), succeeded=False)

    assert rows() == (["failed"], ["failed"], [("declined", AMOUNT, "order-7")])
    charge = Charge.objects.get()
    assert (charge.next_step_at, charge.failure_code) == (None, "payment_intent_authentication_failure")


@both_flows
def test_in_the_time_that_was_given_nobody_paid(consent, krcard_clock, flow, ledger):
    start(consent, flow)
    krcard_clock.advance(CardSetup.LIFETIME + timedelta(minutes=1))

    list(services.run_due())

    assert rows() == (["expired"], ["expired"], [("cancelled", AMOUNT, "order-7")])
    assert [intent["status"] for intent in ledger()] in ([], ["canceled"])


@both_flows
def test_withdrawn_before_it_was_paid_it_cannot_be_paid(consent, flow):
    setup = start(consent, flow)

    services.revoke(Mandate.objects.get(), by="customer", reason="enough")

    assert Charge.objects.get().status == "cancelled"
    with pytest.raises(control.SandboxError):
        pay(setup)


@both_flows
def test_withdrawn_too_late_the_money_is_written_down_and_the_card_goes(consent, heard, flow):
    control.set_delivery("dropped")
    setup = start(consent, flow)
    pay(setup)
    services.revoke(Mandate.objects.get(), by="customer", reason="enough")

    assert services.complete_setup(CardSetup.objects.get()) is None

    assert rows() == (["cancelled"], ["revoked"], [("succeeded", AMOUNT, "order-7")])
    assert books("payment_method")[0]["customer"] is None
    assert heard == {"card_saved": 0, "charge_succeeded": 1}


@both_flows
def test_staff_call_it_off(consent, flow):
    setup = start(consent, flow)

    charge = services.cancel_charge(Charge.objects.get(), by="staff:han", reason="ordered twice")

    assert charge.status == "cancelled"
    with pytest.raises(control.SandboxError):
        pay(setup)


# --- the gate -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("amount", "code"),
    [(12_901, "amount_not_agreed"), (99, "amount_invalid"), (True, "amount_invalid"), ("12900", "amount_invalid")],
)
def test_what_the_terms_do_not_cover_is_refused_before_anything_is_written(consent, amount, code, ledger):
    with pytest.raises(ChargeRefused) as refused:
        start(consent, "checkout", amount)

    assert refused.value.code == code
    assert rows() == ([], [], [])
    assert books("checkout.session") == []


def test_a_pause_stops_it(consent, settings):
    settings.KRCARD_CHARGING_PAUSED = True

    with pytest.raises(ChargeRefused) as refused:
        start(consent, "direct")
    assert refused.value.code == "charging_paused"


def test_a_held_mandate_takes_no_payment(consent, save_card, membership):
    mandate = save_card(membership)
    services.hold(mandate, by="staff:han", reason="a question")
    again = consent_of(mandate.customer, membership)

    with pytest.raises(ChargeRefused) as refused:
        start(again, "direct")
    assert refused.value.code == "mandate_not_active"


def test_who_confirms_needs_no_notice(user):
    terms = PublishedTerms(slug="told", notice_days=7)
    consent = consent_of(services.get_or_create_customer(user), terms)

    pay(start(consent, "direct"))

    assert Charge.objects.get().status == "succeeded"


def test_while_it_is_open_it_keeps_its_place_in_the_limits(consent, save_card, membership):
    mandate = save_card(membership)
    again = consent_of(mandate.customer, membership)
    start(again, "direct")

    with pytest.raises(ChargeRefused) as refused:
        services.charge(mandate, AMOUNT, reference="other")
    assert refused.value.code == "period_count_reached"


def test_a_consent_that_was_replaced_carries_no_payment(consent, membership):
    consent_of(consent.customer, membership)

    with pytest.raises(ConsentRefused):
        start(consent, "direct")


# --- once -----------------------------------------------------------------------------------------


@both_flows
def test_asked_twice_it_is_one_payment(consent, flow):
    first, second = start(consent, flow), start(consent, flow)
    assert (first.pk, first.redirect_url) == (second.pk, second.redirect_url)

    pay(first)

    assert start(consent, flow).status == "complete"
    assert Charge.objects.count() == len(books("payment_intent")) == 1


def test_the_other_way_calls_off_the_first(consent, ledger):
    first = start(consent, "checkout")
    second = start(consent, "direct")

    assert books("checkout.session")[0]["status"] == "expired"
    with pytest.raises(control.SandboxError):
        pay(first)
    pay(second)
    assert [intent["status"] for intent in ledger()] == ["succeeded"]
    assert sorted(Charge.objects.values_list("status", flat=True)) == ["cancelled", "succeeded"]


def test_the_other_way_finds_the_first_one_paid(consent, ledger):
    control.set_delivery("dropped")
    first = start(consent, "checkout")
    pay(first)

    second = start(consent, "direct")

    assert (second.pk, second.status) == (first.pk, "complete")
    assert len(ledger()) == 1


def test_while_the_first_cannot_be_called_off_there_is_no_second(consent, no_waiting):
    first = start(consent, "checkout")
    for _ in range(3):
        control.fail_next("POST", f"/v1/checkout/sessions/{first.checkout_session_id}/expire", status="timeout")

    with pytest.raises(GatewayError):
        start(consent, "direct")
    assert Charge.objects.count() == 1


def test_under_a_living_mandate_the_same_reference_is_begun_anew(save_card, membership, krcard_clock, ledger):
    """She renews, fails at the processor, and tries again: the site's order keeps its one row."""
    mandate = save_card(membership)
    krcard_clock.advance(days=40)
    again = consent_of(mandate.customer, membership)
    pay(start(again, "direct"), succeeded=False)
    assert Charge.objects.get().status == "declined"

    second = start(again, "direct")
    control.deliver(copies=2)
    pay(second)

    charge = Charge.objects.get()
    assert (charge.status, charge.attempt, charge.setup_id) == ("succeeded", 2, second.pk)
    assert [intent["status"] for intent in ledger()] == ["canceled", "succeeded"]
    assert list(reconcile.reconcile()) == []


def test_a_reference_is_one_amount_and_one_payment(save_card, membership):
    mandate = save_card(membership)
    services.charge(mandate, AMOUNT, reference="order-7")
    again = consent_of(mandate.customer, membership)

    with pytest.raises(ReferenceConflict):
        start(again, "direct")


# --- when Stripe does not answer ------------------------------------------------------------------


@both_flows
@pytest.mark.parametrize(("effect", "status", "times"), [("before", "timeout", 3), ("before", 500, 1)])
def test_the_next_click_goes_on_with_the_same_attempt(consent, no_waiting, flow, effect, status, times):
    path = "/v1/checkout/sessions" if flow == "checkout" else "/v1/payment_intents"
    for _ in range(times):
        control.fail_next("POST", path, effect=effect, status=status)
    with pytest.raises(GatewayError):
        start(consent, flow)

    pay(start(consent, flow))

    assert rows() == PAID


@both_flows
def test_a_lost_answer_is_one_payment(consent, no_waiting, flow, ledger):
    path = "/v1/checkout/sessions" if flow == "checkout" else "/v1/payment_intents"
    control.fail_next("POST", path, effect="after", status="timeout")

    pay(start(consent, flow))

    assert rows() == PAID
    assert len(ledger()) == 1


def test_an_error_that_was_none_is_one_payment(consent, no_waiting, ledger):
    control.set_delivery("dropped")
    control.fail_next("POST", "/v1/payment_intents", effect="after", status=500)
    with pytest.raises(GatewayError):
        start(consent, "direct")

    setup = start(consent, "direct")

    assert setup.redirect_url
    assert len(ledger()) == 1


def test_an_answer_that_never_came_is_looked_for_before_it_is_given_up(consent, no_waiting, krcard_clock, ledger):
    control.set_delivery("dropped")
    control.fail_next("POST", "/v1/payment_intents", effect="after", status="timeout")
    for _ in range(2):
        control.fail_next("POST", "/v1/payment_intents", status="timeout")
    with pytest.raises(GatewayError):
        start(consent, "direct")
    backup.refuse_if_behind(again=True)
    krcard_clock.advance(CardSetup.LIFETIME + timedelta(minutes=1))

    list(services.run_due())

    assert [intent["status"] for intent in ledger()] == ["canceled"]
    assert (Charge.objects.get().status, Charge.objects.get().stripe_id) == ("cancelled", ledger()[0]["id"])


@both_flows
def test_reconcile_learns_of_it_when_every_message_was_lost(consent, heard, flow):
    control.set_delivery("dropped")
    pay(start(consent, flow))

    found = list(reconcile.reconcile())

    assert all(finding.fixed for finding in found)
    assert rows() == PAID
    assert heard == {"card_saved": 1, "charge_succeeded": 1}


def test_reconcile_leaves_an_open_page_alone(consent):
    control.set_delivery("dropped")
    setup = start(consent, "checkout")
    pay(setup, succeeded=False)

    list(reconcile.reconcile())

    assert rows() == (["open"], ["pending"], [("action_required", AMOUNT, "order-7")])


def test_its_step_asks_for_both(consent):
    control.set_delivery("dropped")
    setup = start(consent, "direct")
    control.processing_next()
    pay(setup)
    services.complete_setup(CardSetup.objects.get())
    control.settle(the_payment_id(setup))
    Charge.objects.update(next_step_at=timezone.now())

    finish(steps.step(Charge.objects.get().pk))

    assert rows() == PAID


# --- through the front door -----------------------------------------------------------------------


@pytest.fixture
def shop(minji, rf, user, membership):
    """A page of the site with the button on it, and the press of that button."""

    def page(tag="krcard_checkout_button", pay=AMOUNT, reference="order-7", said_by=user):
        request = rf.get("/order/7/?a=b")
        request.user = said_by
        tag = f'{{% load krcard %}}{{% {tag} "membership" pay=pay reference=reference description="주문 7" %}}'
        return Template(tag).render(Context({"request": request, "pay": pay, "reference": reference}))

    return page


def press(client, html, **changes):
    hidden = dict(re.findall(r'type="hidden" name="(\w+)" value="([^"]+)"', html))
    [action] = re.findall(r'action="([^"]+)"', html)
    data = hidden | {f"agree_{key}": "on" for key in REQUIRED}
    return client.post(action, data | changes, headers={"User-Agent": "Minji's phone"})


@pytest.mark.parametrize("tag", ["krcard_checkout_button", "krcard_direct_button"])
def test_the_button_pays_what_the_page_says(minji, shop, tag):
    html = shop(tag)
    assert "12,900" in html
    assert ("nicepay.co.kr" in html) == (tag == "krcard_direct_button")

    answer = press(minji, html, pay="1", amount="1", reference="other")

    assert answer.status_code == 303
    setup = CardSetup.objects.get()
    assert (setup.charge.amount, setup.charge.reference) == (AMOUNT, "order-7")
    pay(setup)
    assert rows() == PAID
    page = minji.get(reverse("krcard:success" if setup.flow == "checkout" else "krcard:return", args=[setup.public_id]))
    assert page.context["charge"].status == "succeeded"
    assert "주문 7" in page.text


def test_without_a_reference_each_form_has_one_of_its_own(minji, shop):
    html = shop(reference="")
    first, second = press(minji, html), press(minji, html)

    assert first["Location"] == second["Location"]
    assert Charge.objects.get().reference == f"first-{CardSetup.objects.get().public_id}"


def test_who_is_not_signed_in_comes_back_to_the_page_with_the_payment(shop):
    html = shop(said_by=AnonymousUser())

    assert "next=/order/7/%3Fa%3Db" in html
    assert "<form" not in html


def test_an_amount_that_is_no_amount_is_an_error_of_the_page(shop):
    with pytest.raises(TemplateSyntaxError, match="whole won"):
        shop(pay="12900")


def test_an_amount_above_the_terms_is_refused_on_the_page(minji, shop, caplog):
    answer = press(minji, shop(pay=50_000))

    assert answer.status_code == 200
    assert answer.context["notice"]
    assert answer.context["form"].payment.amount == 50_000
    assert not Consent.objects.exists()
    assert "amount_not_agreed" in caplog.text


def test_after_a_failure_the_page_offers_the_same_payment_once_more(minji, shop):
    answer = press(minji, shop("krcard_direct_button"))
    control.finish_payment(the_payment_id(CardSetup.objects.get()), succeeded=False)
    page = minji.get(reverse("krcard:return", args=[CardSetup.objects.get().public_id]))
    assert page.context["state"] == "failed"

    again = minji.get(page.context["retry_url"])
    assert again.context["form"].payment == services.Payment(AMOUNT, "order-7", "주문 7")
    answer = press(minji, again.text)

    assert answer.status_code == 303
    assert Client().get(urlsplit(answer["Location"]).path).status_code == 200
    assert sorted(Charge.objects.values_list("status", flat=True)) == ["action_required", "cancelled"]


def test_a_payment_signed_for_somebody_else_is_not_shown(minji, membership):
    theirs = sign_payment(services.Payment(AMOUNT, "order-7"), "somebody else")
    page = minji.get(reverse("krcard:consent", args=["membership"]), {"pay": theirs})

    assert page.context["form"].payment is None
    assert minji.get(reverse("krcard:consent", args=["membership"]), {"pay": "x"}).context["form"].payment is None


def test_somebody_else_presses_what_minji_was_shown(shop, django_user_model):
    other = Client()
    other.force_login(django_user_model.objects.create_user("junho"))

    answer = press(other, shop())

    assert answer.context["notice"]
    assert answer.context["form"].payment is None
    assert not Charge.objects.exists()


def test_an_open_first_payment_is_not_offered_to_be_finished_elsewhere(minji, save_card, membership, krcard_clock):
    mandate = save_card(membership)
    krcard_clock.advance(days=40)
    start(consent_of(mandate.customer, membership), "direct")
    minji.force_login(mandate.customer.user)

    page = minji.get(reverse("krcard:cards"))

    assert page.status_code == 200
    assert "/finish/" not in page.text
    assert 'class="krcard-waiting"' not in page.text
