"""What the package asks Stripe for: as it happens, and one line for each function that no story comes to.

A new function of the gateway needs a story that comes to it, or a line in ``CALLS``.
"""

from datetime import timedelta
from io import StringIO
from types import SimpleNamespace

from django.core.management import call_command
from django.utils import timezone
from stripe import StripeClient

from django_krcard import gateway, services
from django_krcard.models import CardSetup, Charge
from django_krcard.sandbox import control
from django_krcard.sandbox.http import SandboxHTTPClient
from django_krcard.services import present, setup_at_stripe
from django_krcard.services.reconcile import reconcile
from django_krcard.testing.sandbox import SECRET_KEY, books
from django_krcard.webhooks import missed
from django_krcard.webhooks.handlers import HANDLERS
from tests.factories import PublishedTerms, as_used_terms, consent_of, saved_mandate

ADDRESSES = {"success_url": "http://testserver/ok", "cancel_url": "http://testserver/no"}
RETURN_URL = "http://testserver/back"
ENDPOINT = "http://testserver/krcard/webhook/"


def dashboard():
    """The shop's own hands at Stripe."""
    return StripeClient(SECRET_KEY, http_client=SandboxHTTPClient()).v1


def monthly_price(amount):
    price = {"currency": "krw", "unit_amount": amount, "recurring": {"interval": "month"}}
    return dashboard().prices.create(price | {"product_data": {"name": "a"}}).id


# --- cards ----------------------------------------------------------------------------------------


def a_card_is_saved(world):
    consent = consent_of(world.customer, world.terms)
    control.fail(services.start_checkout(consent, **ADDRESSES).checkout_session_id)
    session = CardSetup.objects.get().checkout_session_id
    assert services.complete_setup(CardSetup.objects.get()) is None
    control.authorise(session, brand="hyundai", last4="4321")
    world.mandate = world.customer.mandates.get()
    assert world.mandate.status == "active"


def an_attempt_is_given_up(world):
    terms = PublishedTerms(slug="given-up")
    setup = services.start_checkout(consent_of(world.customer, terms), **ADDRESSES)
    services.revoke(setup.mandate, by="customer", reason="changed her mind")
    assert books("checkout.session")[-1]["status"] == "expired"


def a_card_is_saved_without_checkout(world):
    for type in ("kr_card", "naver_pay", "kakao_pay"):
        consent = consent_of(world.customer, PublishedTerms(slug=f"direct-{type}"))
        for succeeded in (False, True):
            setup = services.start_direct_setup(consent, return_url=RETURN_URL, method_type=type)
            assert setup.redirect_url
            control.finish_setup(setup.setup_intent_id, succeeded)
        assert services.complete_setup(setup).status == "active"


def an_attempt_without_checkout_is_given_up(world):
    consent = consent_of(world.customer, PublishedTerms(slug="direct-given-up"))
    setup = services.start_direct_setup(consent, return_url=RETURN_URL)
    services.revoke(setup.mandate, by="customer", reason="changed her mind")
    assert books("setup_intent")[-1]["status"] == "canceled"


def a_first_payment_saves_the_card(world):
    for flow, addresses in (("checkout", ADDRESSES), ("direct", {"return_url": RETURN_URL})):
        consent = consent_of(world.customer, PublishedTerms(slug=f"first-{flow}"))
        first = {"reference": flow, "description": "첫 달 이용료", "flow": flow} | addresses
        setup = services.start_first_payment(consent, 12_900, **first)
        if flow == "checkout":
            control.fail(setup.checkout_session_id)
            assert services.complete_setup(setup) is None
            control.authorise(setup.checkout_session_id)
        else:
            control.finish_payment(Charge.objects.get(setup=setup).stripe_id)
        assert services.complete_setup(setup).status == "active"
        assert Charge.objects.get(setup=setup).status == "succeeded"


# --- payments -------------------------------------------------------------------------------------


def a_card_is_charged(world):
    world.charge = services.charge(world.mandate, 5_000, reference="paid", description="11월 이용료")
    assert world.charge.status == "succeeded"
    control.decline_next("card_declined", "do_not_honor")
    assert services.charge(world.mandate, 5_000, reference="declined").status == "declined"
    control.processing_next()
    assert services.charge(world.mandate, 5_000, reference="on its way").status == "processing"


def a_customer_finishes_a_payment(world):
    control.require_action_next()
    charge = services.charge(world.mandate, 1_000, reference="seen")
    assert present.finish_charge(charge, return_url="http://testserver/back")
    control.finish_payment(charge.stripe_id)
    assert present.look(Charge.objects.get(pk=charge.pk)).status == "succeeded"


def a_payment_is_called_off(world):
    control.require_action_next()
    charge = services.charge(world.mandate, 1_000, reference="called off")
    assert services.cancel_charge(charge, by="staff:han", reason="by phone").status == "cancelled"


def a_declined_payment_is_tried_again(world):
    mandate = saved_mandate(world.customer, PublishedTerms(slug="patient", max_retries=1, retry_after_days=1))
    control.decline_next("insufficient_funds")
    charge = services.charge(mandate, 12_900, reference="again")
    Charge.objects.filter(pk=charge.pk).update(next_step_at=timezone.now())
    list(services.run_due())
    charge.refresh_from_db()
    assert (charge.status, charge.attempt) == ("succeeded", 2)


def money_goes_back(world):
    world.refund = services.refund(world.charge, 2_000, reference="back", reason="requested_by_customer")
    assert world.refund.status == "succeeded"


def a_payment_is_disputed(world):
    charge = services.charge(world.mandate, 1_000, reference="disputed")
    world.dispute = control.dispute(charge.stripe_id)["id"]
    control.close_dispute(world.dispute, won=True)
    charge.refresh_from_db()
    assert charge.dispute_status == "won"


# --- subscriptions --------------------------------------------------------------------------------


def stripe_charges_by_itself(world):
    """A subscription that somebody made in the dashboard."""
    params = {
        "customer": world.customer.stripe_id,
        "items": [{"price": monthly_price(100)}],
        "default_payment_method": world.mandate.payment_method.stripe_id,
        "metadata": {"krcard_mandate": str(world.mandate.public_id)},
    }
    dashboard().subscriptions.create(params)
    assert world.mandate.timeline.filter(kind="invoice_paid").exists()


def stripe_is_asked_to_charge_each_month(world):
    world.monthly = saved_mandate(world.customer, PublishedTerms(slug="monthly", valid_for_days=400))
    price = monthly_price(12_900)
    control.decline_next()
    assert services.subscribe(world.monthly, price=price).status == "not_started"
    world.subscription = services.subscribe(world.monthly, price=price)
    assert (world.subscription.status, world.monthly.charges.get().status) == ("active", "succeeded")


def a_subscription_is_paused_and_goes_on(world):
    services.hold(world.monthly, by="staff:han", reason="a question")
    assert books("subscription")[-1]["pause_collection"]["behavior"] == "keep_as_draft"
    services.resume(world.monthly, by="staff:han", reason="answered")
    assert books("subscription")[-1]["pause_collection"] is None


def a_higher_price_waits_for_the_customer(world):
    """Raised in the dashboard, and told of when the next invoice is there already."""
    control.set_delivery("held")
    item = {"id": books("subscription")[-1]["items"]["data"][0]["id"], "price": monthly_price(15_900)}
    dashboard().subscriptions.update(world.subscription.stripe_id, {"items": [item]})
    end = books("subscription")[-1]["items"]["data"][0]["current_period_end"]
    world.clock.advance(seconds=end - control.now().timestamp() + 60)
    control.set_delivery("now")
    control.deliver()
    assert [books("invoice")[-1][name] for name in ("status", "auto_advance")] == ["draft", False]
    saved_mandate(world.customer, PublishedTerms(slug="monthly", version=2, amount=15_900, valid_for_days=400))
    services.resume_collection(world.monthly, by="customer")
    world.clock.advance(hours=2)
    assert books("invoice")[-1]["status"] == "paid"
    assert books("payment_intent")[-1]["amount"] == 15_900


def a_subscription_is_left(world):
    row, said = world.subscription, {"by": "customer", "reason": "enough"}
    assert services.cancel_subscription(row, at_period_end=True, **said).cancel_at_period_end
    assert not services.keep_subscription(row, by="customer").cancel_at_period_end
    assert services.cancel_subscription(row, refund_unused=True, **said).status == "canceled"
    assert books("refund")[-1]["amount"] > 0


# --- the rest -------------------------------------------------------------------------------------


def messages_carry_no_object(world):
    control.set_event_format("thin")
    charge = services.charge(world.mandate, 1_000, reference="thin")
    services.refund(charge, reference="thin")
    control.close_dispute(control.dispute(world.charge.stripe_id)["id"], won=True)
    assert saved_mandate(world.customer, PublishedTerms(slug="thin")).status == "active"
    control.set_event_format("snapshot")


def both_books_are_compared(world):
    list(missed.read())
    list(reconcile(fix=True, since=timezone.now() - timedelta(days=60), everybody=True))


def stripe_is_told_who_she_is(world):
    services.update_customer(world.customer, email="minji@example.com", name="김민지")
    assert books("customer")[-1]["email"] == "minji@example.com"
    services.link_customer(world.customer.user, world.customer.stripe_id)


def stripe_is_a_witness(world):
    told = StringIO()
    call_command("krcard_verify", "--with-stripe", stdout=told)
    assert ", 0 findings" in told.getvalue()


def the_endpoint_is_made(world):
    call_command("krcard_create_webhook_endpoint", ENDPOINT, stdout=StringIO())
    dashboard().webhook_endpoints.update(books("webhook_endpoint")[-1]["id"], {"enabled_events": ["charge.captured"]})
    call_command("krcard_create_webhook_endpoint", ENDPOINT, "--update", stdout=StringIO())
    assert books("webhook_endpoint")[-1]["enabled_events"] == sorted(HANDLERS)


def the_doctor_looks_at_stripe(world):
    well = {each.code for each in setup_at_stripe.examine(HANDLERS) if each.level == "ok"}
    assert well >= {"country", "capability", "payment_methods", "webhook_events", "webhook_version", "last_event"}


def a_card_is_removed(world):
    services.revoke(world.mandate, by="customer", reason="enough")
    world.mandate.refresh_from_db()
    assert world.mandate.payment_method.detached_at


#: In this order: each may use what those before it have made.
STORIES = [
    a_card_is_saved,
    an_attempt_is_given_up,
    a_card_is_saved_without_checkout,
    an_attempt_without_checkout_is_given_up,
    a_first_payment_saves_the_card,
    a_card_is_charged,
    a_customer_finishes_a_payment,
    a_payment_is_called_off,
    a_declined_payment_is_tried_again,
    money_goes_back,
    a_payment_is_disputed,
    stripe_charges_by_itself,
    stripe_is_asked_to_charge_each_month,
    a_subscription_is_paused_and_goes_on,
    a_higher_price_waits_for_the_customer,
    a_subscription_is_left,
    messages_carry_no_object,
    both_books_are_compared,
    stripe_is_told_who_she_is,
    stripe_is_a_witness,
    the_endpoint_is_made,
    the_doctor_looks_at_stripe,
    a_card_is_removed,
]

#: What no story comes to, or only by a way round.
CALLS = {
    "customer_is_deleted": lambda world: gateway.customer_is_deleted(world.customer.stripe_id),
    "may_read": lambda world: [gateway.may_read(permission) for permission in gateway.PERMISSIONS],
    "retrieve_refund": lambda world: gateway.retrieve_refund(world.refund.stripe_id),
}

#: They ask Stripe for nothing; or by its API v2, of which these documents do not tell: ``thin_destinations``.
QUIET = {
    "can_retrieve",
    "checkout_session_params",
    "confirm_params",
    "first_payment_params",
    "give_turn_back",
    "mandate_data",
    "patiently",
    "payment_intent_params",
    "setup_intent_params",
    "subscription_params",
    "take_turn_to_charge",
    "thin_destinations",
    "verify_signature",
    "wait_to_charge",
    "with_payment",
}


def begin(user, clock):
    """Minji, and terms that let much be charged."""
    terms = as_used_terms(period="month", max_amount_per_period=1_000_000)
    return SimpleNamespace(terms=terms, customer=services.get_or_create_customer(user), clock=clock)
