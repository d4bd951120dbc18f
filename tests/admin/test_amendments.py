"""Staff ask customers to agree to other terms, see what was answered, and take it back."""

from datetime import timedelta

import pytest
from django.contrib.admin.models import LogEntry
from django.urls import reverse
from django.utils import timezone

from django_krcard import services
from django_krcard.admin import amendment_actions
from django_krcard.models import Amendment
from django_krcard.services import amendments
from django_krcard.services.in_force import day_of
from tests.admin.pages import act, page
from tests.factories import PublishedTerms, TermsFactory, UserFactory

pytestmark = pytest.mark.django_db(transaction=True)

MAY = ["view_mandate", "view_terms", "view_amendment", "request_amendment"]


@pytest.fixture
def raised(mandate):
    return PublishedTerms(amount=14_900)


def in_days(days):
    return day_of(timezone.now()) + timedelta(days=days)


def test_staff_ask_one_customer_with_a_reason(staff, mandate, raised):
    reviewer = staff(*MAY)
    answer = act(reviewer, mandate, "request-amendment", effective_on=in_days(20), reason="costs went up")
    amendment = Amendment.objects.get()
    assert (amendment.terms, amendment.by, amendment.reason) == (raised, "staff:reviewer", "costs went up")
    assert "The customer is asked" in answer.text
    shown = reviewer.get(page(mandate)).text
    assert "₩12,900 → ₩14,900" in shown
    assert "asked" in shown
    assert LogEntry.objects.filter(change_message__contains="costs went up").exists()


def test_what_the_law_does_not_allow_is_said_and_not_done(staff, mandate, raised):
    answer = act(staff(*MAY), mandate, "request-amendment", effective_on=in_days(2), reason="in a hurry")
    assert "7 days ahead" in answer.text
    assert not Amendment.objects.exists()


def test_from_free_to_paid(staff, mandate):
    data = {"effective_on": in_days(20), "free_until_now": "on", "reason": "the trial ends"}
    reviewer = staff(*MAY)
    act(reviewer, mandate, "request-amendment", **data)
    assert Amendment.objects.get().kind == "free_to_paid"
    assert "Free → ₩12,900" in reviewer.get(page(mandate)).text


def test_without_the_permission_nobody_asks(staff, mandate, raised):
    assert staff("view_mandate", "cancel_mandate").get(page(mandate, "request-amendment")).status_code == 403


def test_without_a_reason_nobody_is_asked_and_there_is_nothing_to_take_back(staff, mandate, raised):
    reviewer = staff(*MAY)
    act(reviewer, mandate, "request-amendment", effective_on=in_days(20), reason="")
    assert reviewer.get(page(mandate, "cancel-amendment")).status_code == 302
    assert not Amendment.objects.exists()


def test_staff_take_it_back(staff, mandate, raised):
    amendment = services.request_amendment(mandate, raised, effective_on=in_days(20), by="staff:han", reason="costs")
    act(staff(*MAY), mandate, "cancel-amendment", reason="we keep the price")
    amendment.refresh_from_db()
    assert amendment.status == "cancelled"
    assert mandate.timeline.filter(kind="amendment_cancelled", actor="staff:reviewer").exists()


def test_the_list_is_to_look_at(boss, mandate, raised):
    amendment = services.request_amendment(mandate, raised, effective_on=in_days(20), by="staff:han", reason="costs")
    shown = boss.get(reverse("admin:krcard_amendment_changelist") + f"?q={mandate.reference}")
    assert "₩12,900 → ₩14,900" in shown.text
    one = boss.get(page(amendment))
    assert "costs" in one.text
    assert 'name="_save"' not in one.text
    assert boss.get(reverse("admin:krcard_amendment_add")).status_code == 403


def test_publishing_says_how_many_must_agree_again(staff, mandate, membership):
    publisher = staff("view_terms", "publish_terms")
    dearer, cheaper = TermsFactory(amount=14_900), TermsFactory(amount=9_900)
    assert "Must agree again: 1 customers. Need not: 0." in publisher.get(page(dearer, "publish")).text
    assert "Must agree again: 0 customers. Need not: 1." in publisher.get(page(cheaper, "publish")).text


def test_all_who_must_are_asked_from_the_page_of_the_terms_and_each_once(
    staff, mandate, save_card, membership, monkeypatch
):
    save_card(membership, customer=services.get_or_create_customer(UserFactory()))
    raised = PublishedTerms(amount=14_900)
    reviewer = staff(*MAY)
    monkeypatch.setattr(amendment_actions, "AT_ONCE", 1)
    answer = act(reviewer, raised, "ask-all", effective_on=in_days(20), reason="costs went up")
    assert f"krcard_amend membership --effective-on {in_days(20)}" in answer.text
    assert not Amendment.objects.exists()
    monkeypatch.undo()
    answer = act(reviewer, raised, "ask-all", effective_on=in_days(20), reason="costs went up")
    assert "Asked: 2. Could not be asked: 0." in answer.text
    assert {amendment.by for amendment in Amendment.objects.all()} == {"staff:reviewer"}
    assert not amendments.to_ask(raised).exists()
    assert reviewer.get(page(raised, "ask-all")).status_code == 302
