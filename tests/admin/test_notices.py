"""Notices in the admin."""

import pytest
from django.urls import reverse
from django.utils import timezone

from django_krcard import services
from django_krcard.models import Notice
from tests.admin.pages import act, page
from tests.test_notices import broken

pytestmark = pytest.mark.django_db(transaction=True)


def test_staff_see_what_was_told_and_send_what_did_not_arrive(mandate, admin_client, settings, mailoutbox):
    settings.KRCARD_NOTIFIER = f"{broken.__module__}.{broken.__name__}"
    services.charge(mandate, 12_900, reference="r")
    settings.KRCARD_NOTIFIER = "django_krcard.services.notices.by_email"
    Notice.objects.update(next_attempt_at=None)  # given up
    notice = Notice.objects.get()

    listing = admin_client.get(reverse("admin:krcard_notice_changelist"), {"sent": "no"}).content.decode()
    assert notice.subject in listing
    shown = admin_client.get(page(notice)).content.decode()
    assert mandate.reference in shown
    assert "ConnectionRefusedError" in shown

    mandate.customer.user.email = "new@example.com"
    mandate.customer.user.save()
    act(admin_client, notice, "send")
    assert [message.to for message in mailoutbox] == [["new@example.com"]]
    notice.refresh_from_db()
    assert notice.sent_at


def test_a_notice_cannot_be_changed_or_removed(mandate, admin_client):
    services.charge(mandate, 12_900, reference="r")
    pk = Notice.objects.get().pk
    admin_client.post(reverse("admin:krcard_notice_change", args=[pk]), {"text": "something else"})
    assert admin_client.get(reverse("admin:krcard_notice_delete", args=[pk])).status_code == 403
    assert "something else" not in Notice.objects.get().text


def test_sending_needs_its_permission_and_a_notice_that_was_given_up(mandate, boss, staff):
    services.charge(mandate, 12_900, reference="r")
    notice = Notice.objects.get()
    assert page(notice, "send") not in boss.get(page(notice)).text

    Notice.objects.update(sent_at=None)
    assert page(notice, "send") in boss.get(page(notice)).text
    reviewer = staff("view_notice")
    assert page(notice, "send") not in reviewer.get(page(notice)).text
    assert reviewer.post(page(notice, "send")).status_code == 403
    assert Notice.objects.get().sent_at is None


@pytest.mark.parametrize("state", ["yes", "waits", "no"])
def test_notices_are_found_by_what_became_of_them(mandate, boss, state):
    services.charge(mandate, 12_900, reference="r")
    changes = {"yes": {}, "waits": {"sent_at": None, "next_attempt_at": timezone.now()}, "no": {"sent_at": None}}
    Notice.objects.update(**changes[state])
    for asked in changes:
        listing = boss.get(reverse("admin:krcard_notice_changelist"), {"sent": asked})
        assert (page(Notice.objects.get()) in listing.text) is (asked == state)


def test_a_notice_is_found_by_what_a_caller_can_tell(mandate, boss, user):
    services.charge(mandate, 12_900, reference="order-7")
    found = page(Notice.objects.get())
    for told in (mandate.reference, "order-7", user.email, user.username):
        assert found in boss.get(reverse("admin:krcard_notice_changelist"), {"q": told}).text, told
    assert found not in boss.get(reverse("admin:krcard_notice_changelist"), {"q": "nobody"}).text
