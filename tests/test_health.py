"""How the site is doing: what is counted, and from when on it is worth a person's time."""

import re
from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone, translation

from django_krcard import services
from django_krcard.models import (
    Amendment,
    Charge,
    Customer,
    Event,
    Mandate,
    Notice,
    PaymentMethod,
    Refund,
    Subscription,
    Watermark,
)
from django_krcard.sandbox import control
from django_krcard.services import amendments, findings, health
from django_krcard.webhooks import inbox
from tests.factories import PublishedTerms, as_used_terms
from tests.test_notices import broken
from tests.unguarded import unguarded

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("no_waiting")]

MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)


@pytest.fixture
def used(save_card):
    return save_card(as_used_terms(period="month"))


@pytest.fixture
def quiet_site(used):
    """A card is saved, and both commands have just run."""
    list(services.run_due())
    Watermark.objects.create(name="events:test", at=timezone.now())
    return used


def found(*, after=timedelta()):
    """What would be found after some time in which nothing happened, as {code: level}; the commands ran meanwhile."""
    now = timezone.now() + after
    Watermark.objects.update(at=now)
    return levels(now)


def levels(now=None):
    with translation.override("en"):
        return {each.code: each.level for each in findings.of(health.look(now))}


def event(name, *, age=timedelta(), lag=timedelta(seconds=2), **fields):
    """A message that came ``age`` ago, ``lag`` after it was made."""
    at = timezone.now() - age
    fields = {
        "type": "charge.succeeded",
        "status": "done",
        "body": b"{}",
        "received_at": at,
        "created": at - lag,
    } | fields
    return Event.objects.create(stripe_id=f"evt_{name}", **fields)


def test_when_all_is_well_nothing_is_found(quiet_site):
    services.charge(quiet_site, 1_000, reference="r")
    assert found() == {}
    webhook = health.look().webhook
    assert webhook.received_last_day == Event.objects.count() > 0
    assert webhook.last_received_at == Event.objects.latest("received_at").received_at
    assert 0 <= webhook.lag_median_seconds <= webhook.lag_worst_seconds < 60


def test_a_site_without_cards_needs_no_commands(db):
    assert levels(timezone.now() + 10 * DAY) == {}


# --- webhook messages ------------------------------------------------------------------------------


def test_the_lag_is_told_and_half_of_the_messages_late_is_too_much(db):
    for n, minutes in enumerate([0, 1, 6, 7, 9]):
        event(n, lag=minutes * MINUTE)
    webhook = health.look().webhook
    assert (webhook.received_last_day, webhook.lag_median_seconds, webhook.lag_worst_seconds) == (5, 360, 540)
    assert levels() == {"webhook_lag": "warning"}
    Event.objects.filter(stripe_id="evt_4").delete()
    event("in-time", lag=timedelta())
    event("in-time-too", lag=timedelta())
    assert levels() == {}


@pytest.mark.parametrize(("lag", "expected"), [(5 * HOUR, {}), (7 * HOUR, {"webhook_lag": "warning"})])
def test_one_message_may_be_late_as_long_as_stripe_sends_it_again(db, lag, expected):
    for n in range(9):
        event(n)
    event("late", lag=lag)
    assert levels() == expected


def test_lag_is_of_the_last_day_and_of_what_was_meant_for_us(db):
    event("yesterday", age=25 * HOUR, lag=DAY)
    event("foreign", lag=DAY, status="foreign")
    event("unusable", lag=DAY, status="quarantined")
    event("live", lag=DAY, livemode=True)
    webhook = health.look().webhook
    assert (webhook.received_last_day, webhook.lag_median_seconds, webhook.lag_worst_seconds) == (0, None, None)


def test_an_event_from_any_year_is_no_obstacle(db):
    event("old", created=timezone.now().replace(year=1))
    assert levels() == {"webhook_lag": "warning"}


def test_no_message_after_a_payment_is_silence(quiet_site):
    control.set_delivery("dropped")
    Event.objects.all().delete()
    services.charge(quiet_site, 1_000, reference="r")
    assert found(after=5 * HOUR) == {}
    assert found(after=7 * HOUR) == {"webhook_silent": "error"}
    event("at-last", age=-HOUR)
    assert found(after=7 * HOUR) == {}


def test_a_message_that_was_faster_than_our_own_answer_is_no_silence(quiet_site):
    Event.objects.update(received_at=timezone.now() - 14 * MINUTE)
    assert found(after=7 * HOUR) == {}
    Event.objects.update(received_at=timezone.now() - 16 * MINUTE)
    assert found(after=7 * HOUR) == {"webhook_silent": "error"}


def test_where_nothing_happens_no_message_is_missed(quiet_site):
    Event.objects.update(received_at=timezone.now() + MINUTE)
    assert found(after=9 * DAY) == {}


@pytest.mark.parametrize(
    ("code", "fields", "quiet_for", "error_after"),
    [
        ("events_dead", {"status": "dead"}, None, timedelta()),
        ("events_failed", {"status": "failed", "next_attempt_at": timezone.now() + 9 * DAY}, HOUR, None),
        ("events_waiting", {"status": "received"}, 15 * MINUTE, 2 * HOUR),
        ("messages_unusable", {"status": "quarantined"}, None, None),
        ("messages_foreign", {"status": "foreign", "livemode": True}, None, None),
    ],
)
def test_events_that_need_a_person(db, code, fields, quiet_for, error_after):
    event("one", **fields)
    if quiet_for:
        assert levels(timezone.now() + quiet_for - MINUTE) == {}
    assert levels(timezone.now() + (quiet_for or timedelta()) + MINUTE) == {
        code: "error" if error_after == timedelta() else "warning"
    }
    if error_after:
        assert levels(timezone.now() + error_after + MINUTE) == {code: "error"}


@pytest.mark.parametrize("status", ["dead", "quarantined"])
def test_an_alarm_about_what_nobody_puts_right_ends_after_a_month(db, status):
    event("one", status=status)
    assert levels(timezone.now() + 29 * DAY) != {}
    assert levels(timezone.now() + 31 * DAY) == {}


def test_an_event_that_somebody_works_on_or_that_has_time_does_not_wait(db):
    now = timezone.now()
    event("claimed", age=HOUR, status="received", lease_until=now + MINUTE)
    event("later", age=HOUR, status="received", next_attempt_at=now + MINUTE)
    assert health.look().webhook.waiting.count == 2
    assert levels() == {}
    event("left", age=HOUR, status="received", lease_until=now - MINUTE)
    assert levels() == {"events_waiting": "warning"}


def test_an_event_that_is_worked_off_is_not_found_any_more(db):
    event("one", age=HOUR, status="received", body=b'{"id": "evt_one", "object": "event"}', type="a.b")
    assert levels() == {"events_waiting": "warning"}
    assert inbox.process(Event.objects.get().pk).status == "ignored"
    assert levels() == {}


# --- charges and refunds ---------------------------------------------------------------------------


def test_a_charge_that_nobody_sends(quiet_site):
    services.schedule_charge(quiet_site, 1_000, reference="r", due_at=timezone.now() + HOUR)
    assert found(after=HOUR + 14 * MINUTE) == {}
    assert found(after=HOUR + 16 * MINUTE) == {"charges_due": "warning"}
    assert found(after=3 * HOUR + MINUTE) == {"charges_due": "error"}
    assert health.look(timezone.now() + 3 * HOUR).charges.due == health.Backlog(1, 2 * 3600)


def test_a_charge_with_no_answer(quiet_site):
    control.set_delivery("dropped")
    for _each in range(3):
        control.fail_next("POST", "/v1/payment_intents", effect="before", status="timeout")
    assert services.charge(quiet_site, 1_000, reference="2026-11").status == "unknown"
    assert found(after=50 * MINUTE) == {}
    assert found(after=2 * HOUR) == {"charges_unknown": "warning"}
    assert found(after=31 * HOUR) == {"charges_unknown": "warning"}
    assert found(after=33 * HOUR) == {"charges_unknown": "error"}
    assert health.look().charges.unknown_references == [f"{quiet_site.reference} 2026-11"]


def test_a_sender_that_died_leaves_an_unknown_charge_and_one_at_work_does_not(quiet_site):
    services.charge(quiet_site, 1_000, reference="r")
    now = timezone.now()
    Charge.objects.update(status="sending", first_sent_at=now - 2 * HOUR, next_step_at=now + MINUTE)
    assert found() == {}
    assert found(after=2 * MINUTE) == {"charges_unknown": "warning"}


def test_only_the_oldest_unknown_charges_are_named(quiet_site):
    for n in range(7):
        services.charge(quiet_site, 1_000, reference=f"r{n}")
        sent = timezone.now() - n * DAY
        Charge.objects.filter(reference=f"r{n}").update(status="unknown", first_sent_at=sent, next_step_at=sent)
    seen = health.look().charges
    assert (seen.unknown.count, seen.unknown.oldest_seconds // 86_400) == (7, 6)
    assert seen.unknown_references == [f"{quiet_site.reference} r{n}" for n in (6, 5, 4, 3, 2)]


@pytest.mark.parametrize(
    ("code", "fields", "quiet_for", "error_after"),
    [
        ("refunds_due", {"status": "ready"}, 15 * MINUTE, 2 * HOUR),
        ("refunds_unknown", {"status": "unknown"}, HOUR, 32 * HOUR),
    ],
)
def test_refunds(quiet_site, code, fields, quiet_for, error_after):
    charge = services.charge(quiet_site, 1_000, reference="r")
    services.refund(charge, 500, reference="back")
    Refund.objects.update(next_step_at=timezone.now(), first_sent_at=timezone.now(), **fields)
    assert found(after=quiet_for - MINUTE) == {}
    assert found(after=quiet_for + MINUTE) == {code: "warning"}
    assert found(after=error_after + MINUTE) == {code: "error"}


def test_paused_charging_is_told_as_long_as_it_lasts(quiet_site, settings):
    settings.KRCARD_CHARGING_PAUSED = True
    # Nothing compares with Stripe meanwhile, and that is no news of its own.
    Watermark.objects.filter(name="payment_intents:test").update(at=timezone.now() - DAY)
    assert health.look().charging_paused
    assert levels() == {"charges_paused": "warning"}


# --- notices, cards, commands -----------------------------------------------------------------------


def test_a_notice_that_nobody_sends_and_one_that_was_given_up(quiet_site, settings):
    settings.KRCARD_NOTIFIER = f"{broken.__module__}.{broken.__name__}"
    services.charge(quiet_site, 1_000, reference="r")
    assert found(after=19 * MINUTE) == {}
    assert found(after=21 * MINUTE) == {"notices_due": "warning"}
    Notice.objects.update(next_attempt_at=None)
    assert found() == {"notices_given_up": "warning"}
    assert found(after=31 * DAY) == {}


def test_a_card_that_stripe_did_not_remove(quiet_site):
    card = PaymentMethod.objects.get()
    for _try in range(3):
        control.fail_next("POST", f"payment_methods/{card.stripe_id}/detach", status="timeout")
    services.revoke(quiet_site, by="customer", reason="")
    card.refresh_from_db()
    assert (card.detached_at, card.removal_tried_at is None) == (None, False)
    assert found(after=MINUTE) == {}
    assert found(after=3 * MINUTE) == {"cards_not_removed": "warning"}
    PaymentMethod.objects.update(removal_tried_at=timezone.now() - HOUR)
    list(services.run_due())
    assert found(after=HOUR) == {}


@pytest.mark.parametrize(
    ("mark", "code", "level", "limit"),
    [
        ("payment_intents:test", "run_due_stale", "error", HOUR),
        ("events:test", "reconcile_stale", "warning", 36 * HOUR),
    ],
)
def test_a_command_that_does_not_run(quiet_site, mark, code, level, limit):
    row = Watermark.objects.get(name=mark)
    Watermark.objects.exclude(name=mark).update(at=row.at + limit)
    assert levels(row.at + limit - MINUTE) == {}
    assert levels(row.at + limit + MINUTE) == {code: level}
    row.delete()
    # It never ran: the time counts from the first card.
    first = Mandate.objects.get().activated_at
    assert levels(first + limit - MINUTE) == {}
    assert levels(first + limit + MINUTE) == {code: level}


# --- changes of terms, and what guards the evidence ----------------------------------------------


def test_a_change_that_was_not_agreed_to_holds_payments_until_somebody_answers(krcard_clock, save_card, membership):
    mandate = save_card(membership)
    Watermark.objects.create(name="events:test", at=timezone.now())
    terms, today = PublishedTerms(amount=14_900), timezone.localdate()
    how = {"effective_on": today + timedelta(days=10), "by": "staff:boss", "reason": "costs"}
    amendment = services.request_amendment(mandate, terms, **how)
    assert found() == {}

    krcard_clock.advance(days=11)
    assert found()["amendments_due"] == "error"
    list(services.run_due())
    assert found() == {"amendments_unanswered": "warning"}

    amendments.cancel(Amendment.objects.get(), by="staff:boss", reason="talked to her")
    assert found() == {}
    assert Amendment.objects.get() == amendment


def test_where_the_old_terms_rule_on_nothing_is_held_for_an_answer(quiet_site, settings):
    trouble(quiet_site)
    assert "amendments_unanswered" in levels()
    settings.KRCARD_ON_AMENDMENT_UNANSWERED = "keep"
    assert "amendments_unanswered" not in levels()


def test_triggers_that_are_gone_are_found(quiet_site):
    with unguarded():
        assert found() == {"triggers_missing": "error"}
    assert found() == {}


# --- all together ----------------------------------------------------------------------------------


def trouble(mandate):
    """One of everything that is counted."""
    long_ago = timezone.now() - 3 * HOUR
    Mandate.objects.update(status="active")
    for status in ("received", "failed", "dead", "quarantined", "foreign"):
        event(f"{status}-{Event.objects.count()}", age=3 * HOUR, status=status)
    for status in ("scheduled", "unknown"):
        reference = f"{status}-{Charge.objects.count()}"
        charge = services.charge(mandate, 1_000, reference=reference)
        services.refund(charge, 500, reference="back")
        Charge.objects.filter(pk=charge.pk).update(status=status, first_sent_at=long_ago, next_step_at=long_ago)
        charge.refunds.update(
            status="ready" if status == "scheduled" else status, first_sent_at=long_ago, next_step_at=long_ago
        )
    waits, given_up = Notice.objects.order_by("-pk")[:2]
    Notice.objects.filter(pk=waits.pk).update(sent_at=None, next_attempt_at=long_ago)
    Notice.objects.filter(pk=given_up.pk).update(sent_at=None, next_attempt_at=None)
    PaymentMethod.objects.update(removal_tried_at=long_ago)
    row = Subscription.objects.create(
        mandate=mandate,
        reference=f"s-{Subscription.objects.count()}",
        status="starting",
        first_sent_at=long_ago,
        above_agreed_at=long_ago,
    )
    for status in ("ready", "not_paid_back"):
        row.changes.create(kind="cancel", requested_by="system", status=status, created_at=long_ago, done_at=long_ago)
    for status, next_step_at in (("agreed", long_ago), ("unanswered", None)):
        mandate.amendments.create(
            status=status,
            terms=mandate.consent.terms,
            before=mandate.consent,
            kind="other",
            effective_on=long_ago.date(),
            opens_at=long_ago,
            asked_at=long_ago,
            next_step_at=next_step_at,
            by="system",
        )
    Mandate.objects.update(status="on_hold")


EVERYTHING = {rule.code for rule in findings.RULES}


def test_everything_is_found_errors_first_and_each_says_what_to_do(quiet_site):
    trouble(quiet_site)
    with translation.override("en"):
        told = findings.of(health.look())
    assert {each.code for each in told} == EVERYTHING
    assert [each.level for each in told] == sorted(each.level for each in told)
    for each in told:
        assert each.sentence.endswith(".")
        assert "%" not in each.sentence + each.hint
        assert len(each.hint) > 20


def test_each_key_sees_its_own_mode(quiet_site, settings):
    trouble(quiet_site)
    settings.KRCARD_SANDBOX, settings.STRIPE_SECRET_KEY = False, "sk_live_krcard_tests"
    # What nobody could read names no mode, and what is foreign here has none of ours.
    assert set(levels()) == {"messages_unusable", "messages_foreign"}
    Customer.objects.update(livemode=True)
    Event.objects.update(livemode=True)
    Watermark.objects.create(name="payment_intents:live", at=timezone.now())
    Watermark.objects.create(name="events:live", at=timezone.now())
    assert set(levels()) == EVERYTHING


def questions():
    # Half a day from now, so that silence is looked into as well.
    with CaptureQueriesContext(
        connection,
    ) as asked:
        health.look(timezone.now() + DAY / 2)
    return [query["sql"] for query in asked]


def test_the_questions_stay_the_same_however_much_there_is(quiet_site):
    services.charge(quiet_site, 1_000, reference="r")
    before = len(questions())
    for _each in range(3):
        trouble(quiet_site)
    assert len(questions()) == before <= 18


@pytest.mark.sqlite
def test_no_question_reads_a_whole_table(quiet_site):
    for question in questions():
        if question.startswith("SELECT"):
            with connection.cursor() as cursor:
                cursor.execute(f"EXPLAIN QUERY PLAN {question}")
                plan = [row[-1] for row in cursor.fetchall()]
            whole = [step for step in plan if re.match(r"SCAN \S+(?! USING)", step) and "USING INDEX" not in step]
            # From the newest on, until one fits; a table of two rows; and the tables' own list.
            small = re.compile("SCAN (krcard_(timelineentry|watermark|mandate)|sqlite_master|m|c|i|s)( |$)")
            assert [step for step in whole if not small.match(step)] == [], question


def test_the_figures_are_json_in_the_zone_of_the_terms(quiet_site):
    figures = health.look().as_dict()
    assert figures["mode"] == "test"
    assert figures["at"].endswith("+09:00")
    assert figures["charges"]["due"] == {"count": 0, "oldest_seconds": None}


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(-3, "0 seconds"), (1, "1 second"), (59.9, "59 seconds"), (60, "1 minute"), (90_000, "1 day")],
)
def test_ages_in_words(seconds, words):
    with translation.override("en"):
        assert findings.age(seconds) == words
