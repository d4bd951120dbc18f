"""What no message told of: cards, mandates, attempts and payments are compared with Stripe, both ways."""

import json
import random
import signal
import threading
import time
from datetime import timedelta

import pytest
from django.utils import timezone
from stripe import StripeClient

from django_krcard import gateway, services
from django_krcard.conf import PINNED_API_VERSION
from django_krcard.exceptions import StripeUnavailable
from django_krcard.models import CardSetup, Customer, Mandate, PaymentMethod, Subscription
from django_krcard.sandbox import control
from django_krcard.sandbox.http import SandboxHTTPClient
from django_krcard.sandbox.models import Fault, Resource
from django_krcard.services import mandates
from django_krcard.services.reconcile import customers, reconcile
from django_krcard.testing.sandbox import SECRET_KEY
from tests.commands.conftest import play
from tests.commands.test_process import run, started
from tests.factories import UserFactory, as_used_terms, consent_of

__all__ = ["play"]

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("krcard_clock", "no_waiting")]

PAGES = {"success_url": "http://testserver/ok", "cancel_url": "http://testserver/no"}


@pytest.fixture
def stripe():
    """The hands of a person in the dashboard, or of another site on the same account."""
    # Not what the installed SDK would ask for: an older one names an older version.
    return StripeClient(SECRET_KEY, http_client=SandboxHTTPClient(), stripe_version=PINNED_API_VERSION).v1


@pytest.fixture
def terms():
    return as_used_terms(period="month")


@pytest.fixture
def used(save_card, terms):
    return save_card(terms)


@pytest.fixture
def deaf(used):
    """No message of Stripe's reaches the site."""
    control.set_delivery("dropped")


@pytest.fixture
def card(used):
    return used.payment_method


@pytest.fixture
def asked(monkeypatch):
    """What Stripe is asked from now on."""
    paths, request = [], SandboxHTTPClient.request

    def noted(self, method, url, *args, **kwargs):
        paths.append(f"{method.upper()} {url.partition('?')[0].split('/v1/')[1]}")
        return request(self, method, url, *args, **kwargs)

    monkeypatch.setattr(SandboxHTTPClient, "request", noted)
    return paths


def found(**options):
    return [(each.kind, each.here, each.there, each.fixed) for each in reconcile(everybody=True, **options)]


def kinds(**options):
    return sorted((each.kind, each.fixed) for each in reconcile(everybody=True, **options))


def fresh(row):
    return type(row).objects.get(pk=row.pk)


def save_elsewhere(stripe, customer, **card):
    """A card for ``customer`` that this site has not asked for."""
    params = {"mode": "setup", "currency": "krw", "customer": customer, **PAGES}
    params |= {"allowed_payment_method_types": ["card", "kr_card"]}
    session = stripe.checkout.sessions.create(params)
    control.authorise(session.id, **card)
    intent = stripe.checkout.sessions.retrieve(session.id, {"expand": ["setup_intent"]}).setup_intent
    return intent.payment_method


def pay_in_dashboard(stripe, card, amount=5_000, **more):
    params = {
        "amount": amount,
        "currency": "krw",
        "customer": card.customer.stripe_id,
        "payment_method": card.stripe_id,
        "allowed_payment_method_types": [card.type],
        "off_session": True,
        "confirm": True,
    }
    return stripe.payment_intents.create(params | more).id


def at_stripe(stripe_id, **changes):
    """The object changed there, and nobody told us."""
    row = Resource.objects.get(stripe_id=stripe_id)
    row.body |= changes
    row.status = changes.get("status", row.status)
    row.save()


def cards_at_stripe(customer):
    return {each.id for each in gateway.payment_methods_of(customer.stripe_id)}


def others(number, stripe):
    """Customers who had a card once: cheap, and worth a question all the same."""
    made = []
    for at in range(number):
        customer = Customer.objects.create(reference=f"other-{at}", stripe_id=stripe.customers.create({}).id)
        gone = {"type": "kr_card", "detached_at": timezone.now()}
        PaymentMethod.objects.create(customer=customer, stripe_id=f"pm_gone_{at}", **gone)
        made.append(customer)
    return made


# --- all is well ----------------------------------------------------------------------------------


def test_a_customer_costs_two_lists_and_a_question_for_each_mandate_and_then_nothing_for_a_day(
    used, asked, krcard_clock
):
    theirs = f"GET customers/{used.customer.stripe_id}/payment_methods"
    whole = [theirs, f"GET mandates/{used.stripe_id}", "GET subscriptions"]
    # Once for all of them: whether somebody has a second Customer.
    doubles = ["GET customers"]
    assert list(reconcile()) == []
    assert asked[2:] == whole + doubles
    assert fresh(used.customer).compared_at is not None
    del asked[:]
    assert list(reconcile()) == []
    assert not set(asked) & set(whole)
    # A daily run is never to the second.
    krcard_clock.advance(hours=23, minutes=59)
    del asked[:]
    assert list(reconcile()) == []
    assert asked[2:] == whole + doubles


def test_with_all_nobody_is_left_out(play, used, asked):
    assert play("krcard_reconcile", "--json").objects[-1]["customers"] == 1
    assert play("krcard_reconcile", "--json").objects[-1]["customers"] == 0
    assert play("krcard_reconcile", "--json", "--all").objects[-1]["customers"] == 1


def test_who_never_had_a_card_or_a_mandate_costs_nothing(stripe, asked):
    Customer.objects.create(reference="new", stripe_id=stripe.customers.create({}).id)
    del asked[:]
    assert list(reconcile()) == []
    assert asked == ["GET payment_intents", "GET payment_intents", "GET customers"]


def test_customers_of_other_sites_on_the_account_are_never_spoken_of(play, used, stripe):
    theirs = stripe.customers.create({"name": "somebody else's"}).id
    card = save_elsewhere(stripe, theirs)
    pay = {"amount": 9_000, "currency": "krw", "customer": theirs, "payment_method": card}
    more = {"allowed_payment_method_types": ["kr_card"], "off_session": True, "confirm": True}
    stripe.payment_intents.create(pay | more)
    assert found(fix=True) == []
    ended = play("krcard_reconcile", "--all", "--fix")
    assert (ended.code, len(ended.lines)) == (0, 1)


def test_the_customers_of_the_other_mode_are_left_alone(used, asked):
    Customer.objects.update(livemode=True)
    assert found(fix=True) == []
    assert set(asked) == {"GET payment_intents", "GET customers"}


# --- messages that never came ---------------------------------------------------------------------


def test_what_a_lost_message_says_is_written_down_and_told(play, used, deaf, card):
    control.detach(card.stripe_id)
    ended = play("krcard_reconcile")
    # The mandate went with the card, as it does at Stripe.
    assert ended.code == 0
    lines = sorted(line.split()[1] for line in ended.lines if line.startswith("event:"))
    assert lines == ["mandate.updated", "payment_method.detached"]
    assert all(line.endswith("; settled") for line in ended.lines[:-1])
    assert fresh(card).detached_at is not None
    assert fresh(used).status == "inactive"


def test_a_message_that_cannot_be_worked_off_is_left(play, used, deaf, monkeypatch):
    control.deactivate_mandate(used.payment_method.stripe_id)

    def lost(mandate_id):
        raise StripeUnavailable("APIConnectionError")

    monkeypatch.setattr(gateway, "retrieve_mandate_status", lost)
    ended = play("krcard_reconcile", "--json")
    assert ended.code == 1
    event = next(each for each in ended.objects if each["kind"] == "event")
    assert (event["here"], event["fixed"]) == ("failed", False)
    assert event["stripe_id"].startswith("evt_")


# --- attempts to save a card ----------------------------------------------------------------------


@pytest.fixture
def attempt(used, deaf, membership):
    return services.start_checkout(consent_of(used.customer, membership), **PAGES)


def test_a_card_saved_while_no_message_came_is_saved_here(attempt, krcard_clock):
    control.authorise(attempt.checkout_session_id)
    assert found() == [("setup", "open", "complete", True)]
    mandate = fresh(attempt.mandate)
    assert (mandate.status, mandate.payment_method.detached_at) == ("active", None)
    assert services.can_charge(mandate, 12_900).allowed
    assert found() == []


@pytest.mark.parametrize("minutes", [0, 60 * 24 * 3])
def test_an_attempt_that_ran_out_of_time_is_over_also_long_after(attempt, krcard_clock, minutes):
    control.expire(attempt.checkout_session_id)
    krcard_clock.advance(minutes=minutes)
    assert found() == [("setup", "open", "expired", True)]
    assert (fresh(attempt).status, fresh(attempt.mandate).status) == ("expired", "expired")
    assert found() == []


def test_the_customer_may_still_be_at_it(attempt, asked, krcard_clock):
    session = f"GET checkout/sessions/{attempt.checkout_session_id}"
    assert found() == []
    assert asked.count(session) == 1
    # Asked a moment ago, by us or by the customer's own way back.
    assert found() == []
    assert asked.count(session) == 1
    krcard_clock.advance(minutes=6)
    assert found() == []
    assert asked.count(session) == 2
    assert fresh(attempt).status == "open"


def test_a_session_that_stripe_says_is_somebody_elses_is_for_a_person(attempt):
    at_stripe(attempt.checkout_session_id, client_reference_id="another")
    assert found(fix=True) == [("setup", "open", "somebody else's", False)]
    assert fresh(attempt).status == "open"


def test_a_session_that_stripe_does_not_have_is_for_a_person(attempt):
    Resource.objects.filter(stripe_id=attempt.checkout_session_id).delete()
    assert found(fix=True) == [("missing", "open", "", False)]


def test_the_card_of_an_attempt_that_was_closed_meanwhile_is_no_strangers_and_goes(attempt):
    control.authorise(attempt.checkout_session_id)
    control.fail_next("POST", "/v1/checkout/sessions", status=500)
    services.revoke(attempt.mandate, by="customer", reason="thought better of it")
    assert fresh(attempt).status == "cancelled"
    [before] = CardSetup.objects.filter(status="complete")
    assert len(cards_at_stripe(attempt.mandate.customer)) == 2
    assert found() == []
    assert cards_at_stripe(attempt.mandate.customer) == {before.mandate.payment_method.stripe_id}
    assert fresh(attempt.mandate).status == "revoked"


# --- mandates -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("becomes", "status"), [("active", "active"), ("inactive", "inactive")])
def test_a_pending_mandate_follows_without_fix(save_card, membership, becomes, status):
    control.mandate_pending_next()
    mandate = save_card(membership)
    assert mandate.status == "pending"
    assert found() == []
    control.set_delivery("dropped")
    control.turn_mandate(mandate.payment_method.stripe_id, becomes)
    assert found() == [("mandate", "pending", becomes, True)]
    assert fresh(mandate).status == status


@pytest.mark.parametrize("held", [False, True])
def test_a_permission_withdrawn_at_the_issuer_ends_with_fix(play, used, deaf, card, held):
    if held:
        services.hold(used, by="staff:han", reason="a complaint")
    control.deactivate_mandate(card.stripe_id)
    here = "on_hold" if held else "active"
    assert found() == [("mandate", here, "inactive", False)]
    assert fresh(used).status == here
    assert fresh(used.customer).compared_at is None
    assert found(fix=True) == [("mandate", here, "inactive", True)]
    assert fresh(used).status == "inactive"
    # What no agreement uses any more does not stay saved.
    assert cards_at_stripe(used.customer) == set()
    assert found() == []


def test_a_word_of_stripes_that_we_do_not_know_holds_the_mandate_and_is_left(used, deaf):
    at_stripe(used.stripe_id, status="frozen")
    assert found() == [("mandate", "active", "frozen", False)]
    assert found(fix=True) == [("mandate", "active", "frozen", False)]
    assert fresh(used).status == "on_hold"


def test_a_mandate_that_stripe_does_not_have_is_told_and_never_changed(used, deaf):
    Resource.objects.filter(kind="mandate").delete()
    assert found(fix=True) == [("missing", "active", "", False)]
    assert fresh(used).status == "active"


def test_an_answer_about_the_mandate_of_the_card_before_changes_nothing(used, deaf, membership, monkeypatch):
    retrieve = gateway.retrieve_mandate_status

    def meanwhile(mandate_id):
        # The customer saves another card while Stripe is asked.
        status = retrieve(mandate_id)
        Mandate.objects.update(stripe_id="mandate_of_the_new_card")
        return status

    control.deactivate_mandate(used.payment_method.stripe_id)
    monkeypatch.setattr(gateway, "retrieve_mandate_status", meanwhile)
    assert found(fix=True) == []
    assert fresh(used).status == "active"
    mandates.follow_stripe(used, "inactive")
    assert fresh(used).status == "active"


# --- cards ----------------------------------------------------------------------------------------


def test_a_card_that_nobody_agreed_to_is_told_and_never_touched(play, used, stripe, card):
    stranger = save_elsewhere(stripe, used.customer.stripe_id, brand="kookmin", last4="9876")
    for options in ([], ["--fix"], ["--fix", "--all"]):
        ended = play("krcard_reconcile", *options)
        assert ended.code == 1
        assert ended.lines[-2] == (
            f"card_without_consent: {used.customer.stripe_id} ({stranger}): "
            "here nothing, at Stripe kr_card kookmin ****9876; left"
        )
    assert list(PaymentMethod.objects.values_list("stripe_id", flat=True)) == [card.stripe_id]
    assert fresh(used).payment_method_id == card.pk
    assert cards_at_stripe(used.customer) == {card.stripe_id, stranger}
    # A person decided.
    control.detach(stranger)
    assert play("krcard_reconcile").code == 0


def test_a_card_that_was_removed_here_and_is_still_there_is_told(used, deaf, card):
    PaymentMethod.objects.update(detached_at=timezone.now() - timedelta(hours=1))
    assert found(fix=True) == [("card_without_consent", "removed", "kr_card shinhan ****1234", False)]
    assert services.can_charge(fresh(used), 1_000).code == "card_detached"


def test_a_card_removed_in_the_dashboard(used, deaf, card, stripe):
    at_stripe(card.stripe_id, customer=None)
    Resource.objects.filter(stripe_id=card.stripe_id).update(customer="")
    assert found() == [("card_gone", "shinhan ****1234", "", False)]
    assert fresh(card).detached_at is None
    assert found(fix=True) == [("card_gone", "shinhan ****1234", "", True)]
    assert services.can_charge(fresh(used), 1_000).code == "card_detached"
    assert used.timeline.filter(kind="card_removed").count() == 1
    assert found() == []


def test_removed_by_the_dashboards_button_its_mandate_goes_too(play, used, deaf, card):
    control.detach(card.stripe_id)
    assert kinds() == [("card_gone", False), ("mandate", False)]
    assert kinds(fix=True) == [("card_gone", True), ("mandate", True)]
    assert fresh(used).status == "inactive"
    assert kinds() == []


def test_a_card_that_the_list_leaves_out_is_asked_for_before_charges_stop(used, deaf, card, monkeypatch):
    monkeypatch.setattr(gateway, "payment_methods_of", lambda customer: iter(()))
    assert found(fix=True) == []
    assert fresh(card).detached_at is None


def test_a_card_that_is_saved_while_stripe_is_asked_is_not_gone(used, deaf, save_card, membership, monkeypatch):
    list_cards, new = gateway.payment_methods_of, []

    def meanwhile(customer):
        answer = list(list_cards(customer))
        if not new:
            new.append(save_card(membership, customer=used.customer))
        return iter(answer)

    monkeypatch.setattr(gateway, "payment_methods_of", meanwhile)
    assert found(fix=True) == []
    assert fresh(new[0].payment_method).detached_at is None


def test_a_card_that_is_removed_while_stripe_is_asked_is_no_strangers(used, deaf, monkeypatch):
    list_cards = gateway.payment_methods_of

    def meanwhile(customer):
        answer = list(list_cards(customer))
        services.revoke(used, by="customer", reason="enough")
        return iter(answer)

    monkeypatch.setattr(gateway, "payment_methods_of", meanwhile)
    assert found(fix=True) == []


def test_the_card_was_renewed(attempt):
    control.authorise(attempt.checkout_session_id, type="card", last4="4242")
    visa = services.complete_setup(attempt)
    card = visa.payment_method
    body = Resource.objects.get(stripe_id=card.stripe_id).body
    at_stripe(card.stripe_id, **{card.type: body[card.type] | {"last4": "1881"}})
    there = f"{card.type} {card.brand} ****1881"
    [(kind, here, said, fixed)] = found()
    assert (kind, fixed, said.startswith(there)) == ("card", False, True)
    assert "4242" in here
    assert fresh(card).last4 == "4242"
    assert [fixed for *_, fixed in found(fix=True)] == [True]
    assert fresh(card).last4 == "1881"
    assert visa.timeline.filter(kind="card_updated").count() == 1
    assert found() == []


def test_a_card_whose_agreement_ended_and_that_could_not_be_removed(play, used, deaf, card):
    for _ in range(3):
        control.fail_next("POST", f"/v1/payment_methods/{card.stripe_id}/detach", status="timeout")
    services.revoke(used, by="customer", reason="enough")
    assert cards_at_stripe(used.customer) == {card.stripe_id}
    assert kinds() == [("card_unused", False)]
    assert cards_at_stripe(used.customer) == {card.stripe_id}
    assert kinds(fix=True) == [("card_unused", True)]
    assert (cards_at_stripe(used.customer), fresh(card).detached_at is None) == (set(), False)
    assert kinds() == []


def test_and_still_cannot(used, deaf, card):
    for _ in range(6):
        control.fail_next("POST", f"/v1/payment_methods/{card.stripe_id}/detach", status="timeout")
    services.revoke(used, by="customer", reason="enough")
    assert kinds(fix=True) == [("card_unused", False)]
    assert fresh(card).detached_at is None


# --- the customer ---------------------------------------------------------------------------------


def test_a_customer_deleted_at_stripe(used, deaf, stripe, card):
    stripe.customers.delete(used.customer.stripe_id)
    [(kind, here, there, fixed)] = found()
    assert (kind, here, there, fixed) == ("customer_deleted", "1 mandates, 1 cards", "deleted", False)
    assert fresh(used).status == "active"
    assert kinds(fix=True) == [("customer_deleted", True)]
    assert (fresh(used).status, fresh(card).detached_at is None) == ("inactive", False)
    assert found() == []


def test_a_customer_that_stripe_never_had_is_told_and_never_changed(used, deaf, card):
    """Then the key is another account's: all would look deleted."""
    Resource.objects.filter(kind="customer").delete()
    assert kinds(fix=True) == [("missing", False)]
    assert (fresh(used).status, fresh(card).detached_at) == ("active", None)


def test_a_customer_that_stripe_has_and_lists_nothing_of_is_not_taken_for_deleted(used, deaf, card, monkeypatch):
    monkeypatch.setattr(gateway, "customer_is_deleted", lambda customer: False)
    Resource.objects.filter(kind="customer").delete()
    assert kinds(fix=True) == [("missing", False)]
    assert (fresh(used).status, fresh(card).detached_at) == ("active", None)
    assert fresh(used.customer).compared_at is None


# --- payments that nobody agreed to ----------------------------------------------------------------


def test_a_payment_in_the_dashboard_is_told_and_stays(play, used, card, stripe, ledger):
    intent = pay_in_dashboard(stripe, card)
    for options in ([], ["--fix"]):
        ended = play("krcard_reconcile", *options, "--json")
        assert ended.code == 1
        [told] = [each for each in ended.objects if each.get("kind") == "outside_mandate"]
        assert told == {
            "kind": "outside_mandate",
            "mandate": used.reference,
            "reference": used.customer.stripe_id,
            "stripe_id": intent,
            "here": "",
            "there": "succeeded, 5,000 won",
            "fixed": False,
        }
    assert used.charges.count() == 0
    assert [each["status"] for each in ledger()] == ["succeeded"]


@pytest.mark.parametrize("part", [False, True])
def test_paid_back_in_full_nobody_is_told_any_more(used, card, stripe, part):
    intent = pay_in_dashboard(stripe, card)
    stripe.refunds.create({"payment_intent": intent, "amount": 2_000 if part else 5_000})
    left = [("outside_mandate", "", "succeeded, 5,000 won, 2,000 of it paid back", False)]
    assert found() == (left if part else [])


def test_a_person_may_say_at_stripe_why_it_is_right(used, card, stripe):
    pay_in_dashboard(stripe, card, metadata={"krcard_outside_mandate": "by phone, order 1042"})
    assert found() == []


@pytest.mark.parametrize(
    ("status", "is_told"),
    [
        ("processing", True),
        ("requires_action", True),
        ("requires_capture", True),
        ("a word to come", True),
        ("requires_payment_method", False),
        ("requires_confirmation", False),
        ("canceled", False),
    ],
)
def test_only_what_moved_money_or_may_is_worth_a_word(used, card, stripe, status, is_told):
    at_stripe(pay_in_dashboard(stripe, card), status=status)
    assert found() == ([("outside_mandate", "", f"{status}, 5,000 won", False)] if is_told else [])


def test_to_name_a_mandate_is_not_enough(used, card, stripe, save_card, terms):
    other = save_card(terms, customer=services.get_or_create_customer(UserFactory()))
    mine, theirs = str(used.public_id), str(other.public_id)
    pay_in_dashboard(stripe, card, 1_000, metadata={"krcard_mandate": theirs, "krcard_reference": "r"})
    pay_in_dashboard(stripe, card, 2_000, metadata={"krcard_mandate": "nonsense", "krcard_reference": "r"})
    pay_in_dashboard(stripe, card, 3_000, metadata={"krcard_mandate": mine})
    # Named in full it is one of ours: a backup was restored.
    pay_in_dashboard(stripe, card, 4_000, metadata={"krcard_mandate": mine, "krcard_reference": "r"})
    told = sorted((each.kind, each.there) for each in reconcile())
    outside = [("outside_mandate", f"succeeded, {amount}") for amount in ("1,000 won", "2,000 won", "3,000 won")]
    assert told == [("orphan", "succeeded, 4,000 won"), *outside]


def test_with_another_card_of_a_customer_of_ours(used, stripe):
    """Also a card that nobody agreed to can be charged at Stripe."""
    theirs = PaymentMethod(
        customer=used.customer, stripe_id=save_elsewhere(stripe, used.customer.stripe_id), type="kr_card"
    )
    pay_in_dashboard(stripe, theirs)
    assert kinds() == [("card_without_consent", False), ("outside_mandate", False)]


@pytest.fixture
def subscribed(stripe, used):
    """Stripe charges 12,900 won a month under the mandate."""
    recurring = {"currency": "krw", "unit_amount": 12_900, "recurring": {"interval": "month"}}
    price = stripe.prices.create(recurring | {"product_data": {"name": "달빛 회원권"}}).id
    stripe.subscriptions.create(
        {
            "customer": used.customer.stripe_id,
            "items": [{"price": price}],
            "default_payment_method": used.payment_method.stripe_id,
            "payment_settings": {"payment_method_types": ["kr_card"]},
            "off_session": True,
            "metadata": {"krcard_mandate": str(used.public_id)},
        }
    )
    return Subscription.objects.get()


def test_what_stripe_charges_for_a_subscription_on_a_mandate_is_agreed(subscribed, krcard_clock, ledger):
    krcard_clock.advance(days=32)
    assert [each["amount"] for each in ledger()] == [12_900, 12_900]
    assert found() == []


def test_of_a_lost_invoice_too_once_its_message_was_read(play, subscribed, krcard_clock, ledger):
    assert play("krcard_reconcile").code == 0
    control.set_delivery("dropped")
    krcard_clock.advance(days=32)
    ended = play("krcard_reconcile")
    assert [line for line in ended.lines if "outside_mandate" in line] == []
    assert ended.code == 0


def test_a_subscription_that_ended_at_stripe(subscribed, stripe):
    control.set_delivery("dropped")
    stripe.subscriptions.cancel(subscribed.stripe_id)
    [(kind, here, there, fixed)] = found()
    assert (kind, here.split(",")[0], there.split(",")[0], fixed) == ("subscription", "active", "canceled", False)
    assert fresh(subscribed).status == "active"
    assert kinds(fix=True) == [("subscription", True)]
    assert fresh(subscribed).status == "canceled"
    assert found() == []


def test_a_subscription_that_outlives_its_mandate_is_told_until_it_is_ended(subscribed, used, krcard_clock):
    control.set_delivery("dropped")
    for _time in range(3):
        control.fail_next("DELETE", "/v1/subscriptions")
    services.revoke(used, by="customer", reason="enough")
    [(kind, here, there, fixed)] = found(fix=True)
    assert (kind, here, fixed) == ("subscription", "mandate revoked", False)
    assert there.startswith("active, 12,900 won")
    krcard_clock.advance(minutes=5)
    list(services.run_due())
    assert found() == []


# --- stopped, resumed, and at Stripe's pace ---------------------------------------------------------


def lists_in(asked):
    return [path for path in asked if path.endswith("/payment_methods")]


def test_stopped_half_way_it_goes_on_where_it_was(stripe, asked):
    others(6, stripe)
    looked = []

    def stop_after_three(what):
        looked.append(what)
        if looked.count("customers") == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        list(reconcile(looked=stop_after_three))
    first = lists_in(asked)
    del asked[:]
    assert list(reconcile()) == []
    assert len(first) == len(lists_in(asked)) == 3
    assert not set(first) & set(lists_in(asked))


def test_who_has_something_left_is_asked_about_again_and_nobody_else(stripe, asked):
    made = others(3, stripe)
    save_elsewhere(stripe, made[1].stripe_id)
    assert kinds() == [("card_without_consent", False)]
    del asked[:]
    assert [each.kind for each in reconcile()] == ["card_without_consent"]
    assert lists_in(asked) == [f"GET customers/{made[1].stripe_id}/payment_methods"]


def test_with_all_what_is_left_now_is_not_forgotten_by_the_next_run(stripe):
    [customer] = others(1, stripe)
    assert list(reconcile()) == []
    save_elsewhere(stripe, customer.stripe_id)
    assert list(reconcile()) == []
    assert len(list(reconcile(everybody=True))) == len(list(reconcile())) == 1


def test_who_was_compared_longest_ago_comes_first(stripe, asked, krcard_clock):
    """A run that is always stopped early would otherwise never reach the last ones."""
    made = others(4, stripe)
    now = timezone.now()
    for customer, days in zip(made, (2, 4, None, 3), strict=True):
        Customer.objects.filter(pk=customer.pk).update(compared_at=days and now - timedelta(days=days))
    del asked[:]
    assert list(reconcile()) == []
    order = [path.split("/")[1] for path in lists_in(asked)]
    assert order == [made[at].stripe_id for at in (2, 1, 3, 0)]


@pytest.mark.parametrize("clean", [True, False])
def test_each_of_many_once(stripe, monkeypatch, clean):
    """More than are read at a time; those with something left stay in the set that is walked through."""
    made = others(9, stripe)
    monkeypatch.setattr(customers, "CHUNK", 2)
    seen = []

    def cards(customer):
        seen.append(customer)
        return iter([] if clean else [gateway.Card("pm_stranger", "kr_card", customer)])

    monkeypatch.setattr(gateway, "payment_methods_of", cards)
    for _ in range(2):
        del seen[:]
        assert len(list(reconcile(everybody=True))) == (0 if clean else 9)
        assert sorted(seen) == sorted(each.stripe_id for each in made)


def test_turned_away_it_asks_again(play, used, deaf, card, krcard_clock):
    control.deactivate_mandate(card.stripe_id)
    for path in (f"/v1/customers/{used.customer.stripe_id}", f"/v1/mandates/{used.stripe_id}"):
        for _ in range(3):
            control.fail_next("GET", path, status=429)
    assert kinds(fix=True) == [("mandate", True)]
    assert not Fault.objects.exists()


def test_turned_away_too_often_it_says_so_and_the_next_run_makes_up_for_it(play, stripe):
    others(2, stripe)
    [first, _second] = Customer.objects.order_by("pk")
    for _ in range(6):
        control.fail_next("GET", f"/v1/customers/{first.stripe_id}", status=429)
    ended = play("krcard_reconcile")
    assert (ended.code, ended.lines[0].split(":")[0]) == (1, "unanswered")
    assert play("krcard_reconcile", "--json").objects == [
        {"events": 0, "payments": 0, "customers": 1, "settled": 0, "left": 0, "seconds": pytest.approx(1, abs=10)}
    ]


def test_turned_away_in_the_middle_of_a_list_it_goes_on(used, card, stripe, monkeypatch):
    for amount in (1_000, 2_000, 3_000):
        pay_in_dashboard(stripe, card, amount)
    monkeypatch.setattr(gateway, "PAGE", 1)
    request, count = SandboxHTTPClient.request, []

    def sometimes(self, method, url, *args, **kwargs):
        if "starting_after" in url:
            count.append(url)
            if len(count) % 2:
                control.fail_next("GET", "/v1/payment_intents", status=429)
        return request(self, method, url, *args, **kwargs)

    monkeypatch.setattr(SandboxHTTPClient, "request", sometimes)
    assert kinds() == [("outside_mandate", False)] * 3


def test_one_customer_that_cannot_be_asked_about_stops_nobody(play, stripe, monkeypatch):
    made = others(3, stripe)
    cards = gateway.payment_methods_of

    def sometimes(customer):
        if customer == made[0].stripe_id:
            raise StripeUnavailable("APIConnectionError")
        return cards(customer)

    monkeypatch.setattr(gateway, "payment_methods_of", sometimes)
    ended = play("krcard_reconcile")
    assert (ended.code, [line.split(":")[0] for line in ended.lines[:-1]]) == (1, ["unanswered"])
    assert list(Customer.objects.filter(compared_at=None)) == [made[0]]


def test_when_nobody_answers_it_gives_up(play, stripe, monkeypatch):
    others(8, stripe)
    monkeypatch.setattr("django_krcard.services.reconcile.MOST_IN_VAIN", 3)
    asked = []

    def lost(customer):
        asked.append(customer)
        raise StripeUnavailable("APIConnectionError")

    monkeypatch.setattr(gateway, "payment_methods_of", lost)
    ended = play("krcard_reconcile")
    assert (ended.code, len(asked)) == (2, 3)
    assert "asked in vain" in ended.error


def test_with_a_refused_key_it_could_not_run(play, used):
    control.fail_next("GET", f"/v1/customers/{used.customer.stripe_id}", status=401)
    ended = play("krcard_reconcile")
    assert (ended.code, "STRIPE_SECRET_KEY" in ended.error) == (2, True)
    assert fresh(used.customer).compared_at is None


def test_many_are_asked_about_at_a_time(stripe, settings, monkeypatch):
    made = others(9, stripe)
    three_here, seen = threading.Barrier(3), []

    def cards(customer):
        seen.append(customer)
        three_here.wait(timeout=10)
        return iter(())

    settings.KRCARD_SANDBOX, settings.KRCARD_IN_FLIGHT = False, 3
    monkeypatch.setattr(gateway, "payment_intents_since", lambda *args, **kwargs: iter(()))
    monkeypatch.setattr(gateway, "customers_since", lambda *args, **kwargs: iter(()))
    monkeypatch.setattr(gateway, "subscriptions_of", lambda customer: iter(()))
    monkeypatch.setattr(gateway, "payment_methods_of", cards)
    assert list(reconcile()) == []
    assert sorted(seen) == sorted(each.stripe_id for each in made)
    assert Customer.objects.filter(compared_at=None).count() == 0


def test_killed_half_way_and_run_again(stripe):
    others(40, stripe)
    with started("krcard_reconcile") as process:
        limit = time.monotonic() + 60
        while Customer.objects.exclude(compared_at=None).count() < 5 and time.monotonic() < limit:
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
    waiting = Customer.objects.filter(compared_at=None).count()
    assert 0 < waiting <= 35
    code, out, _error = run("krcard_reconcile", "--json")
    assert (code, json.loads(out)["customers"]) == (0, waiting)


# --- everything at once -----------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(8))
def test_whatever_drifts_apart_is_brought_together_or_told(stripe, save_card, terms, membership, seed, krcard_clock):
    """Many things happen at Stripe and no message comes. After one run with fix, only what is for a person is left, and
    to run it again changes nothing."""
    chance = random.Random(seed)
    made = [save_card(terms, customer=services.get_or_create_customer(UserFactory())) for _ in range(4)]
    control.set_delivery("dropped")
    for mandate in made:
        happenings = chance.sample(sorted(HAPPENINGS), 3)
        for name in happenings:
            HAPPENINGS[name](stripe, mandate, membership)
    list(reconcile(fix=True))
    again = list(reconcile(fix=True, everybody=True))
    # Of a charge that got no answer and may not be sent again, nobody knows for a day.
    assert {each.kind for each in again} <= {"card_without_consent", "outside_mandate", "unknown"}
    assert [each for each in again if each.fixed] == []
    assert list(reconcile(fix=True, everybody=True)) == again
    for mandate in map(fresh, made):
        attached = cards_at_stripe(mandate.customer)
        # Whoever may be charged has a card at Stripe, and a mandate there that is in force.
        if services.can_charge(mandate, 1_000).allowed:
            assert mandate.payment_method.stripe_id in attached
            assert gateway.retrieve_mandate_status(mandate.stripe_id) == "active"
        told = {each.stripe_id for each in again if each.kind == "card_without_consent"}
        used = Mandate.objects.filter(customer=mandate.customer, status__in=["active", "on_hold", "pending"])
        assert attached - told == set(
            used.filter(payment_method__detached_at=None).values_list("payment_method__stripe_id", flat=True)
        )


def is_saved(mandate):
    return mandate.payment_method.stripe_id in cards_at_stripe(mandate.customer)


def detached(stripe, mandate, _terms):
    if is_saved(mandate):
        control.detach(mandate.payment_method.stripe_id)


def deactivated(stripe, mandate, _terms):
    if gateway.retrieve_mandate_status(mandate.stripe_id) == "active":
        control.deactivate_mandate(mandate.payment_method.stripe_id)


def stranger(stripe, mandate, _terms):
    save_elsewhere(stripe, mandate.customer.stripe_id)


def paid(stripe, mandate, _terms):
    if gateway.retrieve_mandate_status(mandate.stripe_id) == "active":
        pay_in_dashboard(stripe, mandate.payment_method)


def second_agreement(stripe, mandate, terms):
    setup = services.start_checkout(consent_of(mandate.customer, terms), **PAGES)
    control.authorise(setup.checkout_session_id)


def left_behind(stripe, mandate, terms):
    setup = services.start_checkout(consent_of(mandate.customer, terms), **PAGES)
    control.expire(setup.checkout_session_id)


def charged_in_vain(stripe, mandate, _terms):
    if is_saved(mandate) and not fresh(mandate).has_ended:
        control.fail_next("POST", "/v1/payment_intents", effect="after", status="timeout")
        services.charge(fresh(mandate), 1_000, reference="r")


def revoked(stripe, mandate, _terms):
    services.revoke(mandate, by="customer", reason="enough")


HAPPENINGS = {
    each.__name__: each
    for each in (detached, deactivated, stranger, paid, second_agreement, left_behind, charged_in_vain, revoked)
}
