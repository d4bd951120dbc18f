"""The page that says how the site is doing."""

import re
from datetime import timedelta

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from django_krcard import services
from django_krcard.models import Charge, Event
from tests.admin.pages import page
from tests.test_health import quiet_site, trouble, used

__all__ = ["quiet_site", "used"]

pytestmark = pytest.mark.django_db(transaction=True)

HEALTH = "/admin/krcard/event/health/"
EVENTS = reverse("admin:krcard_event_changelist")
CHARGES = reverse("admin:krcard_charge_changelist")


def links(answer, words):
    """Where the links in whose text these words stand lead to."""
    found = re.findall(r'<a href="([^"]*)">(.*?)</a>', answer.text, re.DOTALL)
    return [url.replace("&amp;", "&") for url, text in found if words in text]


def figure(answer, label):
    """The value of a figure, and where its link leads."""
    [row] = re.findall(rf"<dt>{re.escape(label)}</dt><dd>(.*?)</dd>", answer.text, re.DOTALL)
    link = re.search(r'href="([^"]*)"', row)
    return re.sub(r"<[^>]*>", "", row).strip(), link and link[1].replace("&amp;", "&")


def test_it_is_one_click_from_events_and_charges(boss, quiet_site):
    for listing in (EVENTS, CHARGES):
        assert links(boss.get(listing), "Health") == [HEALTH]
    assert "All is well." in boss.get(HEALTH).text


def test_dead_events_are_two_clicks_away_and_a_third_processes_them_again(boss, quiet_site):
    event = Event.objects.filter(status="done").first()
    Event.objects.filter(pk=event.pk).update(status="dead", last_error="KeyError: 'id'")

    [url] = links(boss.get(EVENTS), "Health")
    value, url = figure(boss.get(url), "given up, in the last month")
    assert value.startswith("1")
    listing = boss.get(url)
    assert list(listing.context["cl"].queryset) == [event]
    assert "KeyError" in listing.text
    # Or by the filter of the list itself.
    assert any(
        list(boss.get(EVENTS + way).context["cl"].queryset) == [event] for way in links(boss.get(EVENTS), "given up")
    )

    boss.post(url, {"action": "process_again", "_selected_action": [event.pk]})
    assert figure(boss.get(HEALTH), "given up, in the last month") == ("0", None)


def test_every_figure_leads_to_its_rows(boss, quiet_site):
    trouble(quiet_site)
    answer = boss.get(HEALTH)
    counted = [row for _title, rows in answer.context["sections"] for row in rows if row.url]
    assert len(counted) >= 12
    for row in counted:
        assert row.url.replace("&", "&amp;") in answer.text
        listing = boss.get(row.url)
        # Django's admin leads away from a filter that it does not know.
        assert listing.status_code == 200, row
        there = listing.context["cl"].queryset.count()
        # A list has no filter for "and nobody is at it": it shows all that wait.
        assert there == row.value or (row.label, there) == ("nobody works them off", 2), row
    assert f"{quiet_site.reference} unknown-1" in answer.text


def test_every_finding_is_shown_with_its_level_in_words(boss, quiet_site):
    trouble(quiet_site)
    answer = boss.get(HEALTH)
    assert "All is well." not in answer.text
    for finding in answer.context["findings"]:
        assert finding["code"] in answer.text
    assert "error</span>" in answer.text
    assert "to check</span>" in answer.text


def test_who_may_not_see_events_sees_neither_page_nor_link(staff, quiet_site):
    reviewer = staff("view_charge")
    assert reviewer.get(HEALTH).status_code == 403
    assert HEALTH not in reviewer.get(CHARGES).text
    assert Client().get(HEALTH).status_code == 302


def test_who_may_see_events_only_is_not_told_of_charges_by_name(staff, quiet_site):
    trouble(quiet_site)
    answer = staff("view_event").get(HEALTH)
    assert quiet_site.reference not in answer.text
    assert CHARGES not in answer.text
    assert EVENTS in answer.text


def test_looking_is_all_it_does(boss, quiet_site):
    assert boss.post(HEALTH).status_code == 405
    assert boss.head(HEALTH).status_code == 200


def test_paused_charging_is_told(boss, quiet_site, settings):
    settings.KRCARD_CHARGING_PAUSED = True
    assert figure(boss.get(HEALTH), "charging as a whole") == ("paused", None)


def test_a_late_message_is_marked_in_the_list(boss, quiet_site):
    assert "late</small>" not in boss.get(EVENTS).text
    event = Event.objects.first()
    Event.objects.filter(pk=event.pk).update(created=event.received_at - timedelta(hours=2))
    assert boss.get(EVENTS).text.count("<small>2\xa0hours late</small>") == 1
    assert "2\xa0hours" in boss.get(page(event)).text


def test_words_of_stripe_or_of_a_site_are_escaped(boss, quiet_site):
    services.charge(quiet_site, 1_000, reference="<script>r</script>")
    Charge.objects.update(
        status="unknown", first_sent_at=timezone.now() - timedelta(days=2), next_step_at=timezone.now()
    )
    text = boss.get(HEALTH).text
    assert "<script>r" not in text
    assert "&lt;script&gt;r" in text
