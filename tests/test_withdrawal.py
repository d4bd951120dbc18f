"""A customer withdraws, whatever is on its way: one page, one button, and not a won more."""

from datetime import timedelta

import pytest
from django.core import mail
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from django_krcard import gateway, services
from django_krcard.models import Amendment, Charge, Mandate
from django_krcard.sandbox import control
from django_krcard.services import amendments
from django_krcard.services.in_force import day_of
from django_krcard.testing.sandbox import books
from tests.factories import REQUIRED, PublishedTerms, UserFactory

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def terms(krcard_clock):
    return PublishedTerms(max_retries=2, retry_after_days=3)


@pytest.fixture
def mandate(save_card, terms):
    return save_card(terms)


@pytest.fixture
def withdraw(minji, mandate):
    """Open the page and press its one button, as Minji does."""

    def press():
        page = minji.get(reverse("krcard:mandate", args=[mandate.public_id]))
        assert page.text.count(f'action="{reverse("krcard:revoke", args=[mandate.public_id])}"') == 1
        return minji.post(reverse("krcard:revoke", args=[mandate.public_id]), follow=True)

    return press


def is_attached(mandate):
    return bool(gateway.retrieve_payment_method(mandate.payment_method.stripe_id).customer)


def nothing_more_happens(clock, days=20):
    before = len(books("charge"))
    for _day in range(days):
        clock.advance(days=1)
        list(services.run_due())
    return len(books("charge")) == before


def test_one_page_one_button_and_it_is_over(mandate, withdraw, minji):
    page = minji.get(reverse("krcard:cards")).text
    assert f"{reverse('krcard:mandate', args=[mandate.public_id])}#krcard-revoke" in page
    answer = withdraw()
    mandate = Mandate.objects.get()
    assert (mandate.status, mandate.ended_by) == ("revoked", "customer")
    assert services.can_charge(mandate, 12_900).code == "consent_withdrawn"
    assert "해지" in answer.text
    assert not is_attached(mandate)
    assert "해지" in mail.outbox[-1].body
    kinds = list(mandate.timeline.order_by("pk").values_list("kind", flat=True))
    assert kinds[kinds.index("mandate_ended") :] == ["mandate_ended", "notice_sent", "card_removed"]


def test_during_a_retry_schedule(mandate, withdraw, krcard_clock):
    control.decline_next("insufficient_funds")
    charge = services.charge(mandate, 12_900, reference="1")
    assert (charge.status, charge.next_step_at is not None) == ("declined", True)
    withdraw()
    assert nothing_more_happens(krcard_clock)
    charge.refresh_from_db()
    assert (charge.status, charge.next_step_at) == ("declined", None)


def test_with_a_payment_that_is_planned(mandate, withdraw, minji, krcard_clock):
    due = timezone.now() + timedelta(days=5)
    charge = services.schedule_charge(mandate, 12_900, reference="1", due_at=due)
    page = minji.get(reverse("krcard:mandate", args=[mandate.public_id])).text
    assert "12,900원 결제가 취소됩니다" in page
    withdraw()
    charge.refresh_from_db()
    assert charge.status == "cancelled"
    for address in (reverse("krcard:cards"), reverse("krcard:mandate", args=[mandate.public_id])):
        page = minji.get(address).text
        assert "취소됨" in page
        assert "결제되지 않음" not in page
    assert nothing_more_happens(krcard_clock)


def test_with_a_payment_that_waits_for_the_customer(mandate, withdraw, minji):
    control.require_action_next()
    charge = services.charge(mandate, 12_900, reference="1")
    assert charge.status == "action_required"
    assert "12,900원 결제가 취소됩니다" in minji.get(reverse("krcard:mandate", args=[mandate.public_id])).text
    withdraw()
    [intent] = books("payment_intent")
    assert intent["status"] == "canceled"
    list(services.run_due())
    assert Charge.objects.get().status == "cancelled"


def test_when_stripe_does_not_answer_the_card_is_removed_later(mandate, withdraw, krcard_clock):
    path = f"/v1/payment_methods/{mandate.payment_method.stripe_id}/detach"
    for _ in range(6):
        control.fail_next("POST", path, status=500)
    withdraw()
    assert services.can_charge(mandate, 12_900).code == "consent_withdrawn"
    assert is_attached(mandate)
    assert mandate.timeline.filter(kind="detach_failed").exists()
    for _hour in range(8):
        krcard_clock.advance(hours=1)
        list(services.run_due())
    assert not is_attached(mandate)
    mandate.payment_method.refresh_from_db()
    assert mandate.payment_method.detached_at


@pytest.mark.parametrize("answered", [False, True])
def test_while_a_change_is_open_or_agreed_to(mandate, withdraw, krcard_clock, minji, answered):
    day = day_of(timezone.now()) + timedelta(days=10)
    amendment = services.request_amendment(
        mandate, PublishedTerms(amount=14_900), effective_on=day, by="staff:han", reason="costs"
    )
    if answered:
        amendments.agree(amendment, language="ko", ticked=REQUIRED, evidence=services.Evidence())
    withdraw()
    amendment.refresh_from_db()
    assert (amendment.status, amendment.next_step_at) == ("agreed" if answered else "cancelled", None)
    told = len(mail.outbox)
    assert nothing_more_happens(krcard_clock, days=12)
    assert len(mail.outbox) == told, "nobody is asked about what has ended"
    assert services.can_charge(mandate, 14_900).code == "consent_withdrawn"
    page = minji.get(reverse("krcard:amendment", args=[amendment.public_id]))
    # After twelve days Minji has to sign in again.
    assert page.status_code == 302 or page.context["form"] is None
    assert not Amendment.objects.filter(status__in=Amendment.OPEN).exists()


def test_nobody_withdraws_for_somebody_else(mandate):
    other = Client()
    other.force_login(UserFactory())
    assert other.post(reverse("krcard:revoke", args=[mandate.public_id])).status_code == 404
    assert Mandate.objects.get().status == "active"
