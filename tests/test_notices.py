"""What customers are told, where it went, and when."""

from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, time, timedelta

import pytest
from django.core import mail
from django.db import connection, transaction
from django.utils import timezone, translation

from django_krcard import services
from django_krcard.conf import conf
from django_krcard.exceptions import ChargeRefused, InsideTransaction
from django_krcard.formatting import kst
from django_krcard.models import Amendment, Charge, Notice
from django_krcard.sandbox import control
from django_krcard.services import amendment_steps, amendments, gate, notices
from django_krcard.services.notices import deliver, deliver_due, postponed, write
from tests.factories import REQUIRED, PublishedTerms, consent_of

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("krcard_clock", "no_waiting")]

Kind = Notice.Kind
sms_sent = []


def broken(notice):
    raise ConnectionRefusedError(f"no mail server for {notice.address}")


def by_sms(notice):
    sms_sent.append(notice.subject)
    return "010-****-1234"


@pytest.fixture
def site(settings):
    settings.KRCARD_BASE_URL = "https://shop.example"
    return settings


@pytest.fixture
def announced(save_card):
    """A mandate whose terms promise notice three days ahead."""
    return save_card(PublishedTerms(slug="announced", notice_days=3))


def the_mail():
    (message,) = mail.outbox
    return message


def test_a_payment_is_told(mandate, site, user):
    services.charge(mandate, 12_900, reference="r", description="11월 이용료")
    message = the_mail()
    assert message.to == [user.email]
    assert message.subject.startswith("[한강 멤버십] 12,900원")
    for fact in ("신한카드 ****-1234", "11월 이용료", mandate.reference, "https://shop.example/krcard/"):
        assert fact in message.body
    notice = Notice.objects.get()
    assert (notice.kind, notice.address, notice.attempts) == (Kind.CHARGE_SUCCEEDED, user.email, 1)
    assert notice.sent_at
    told = mandate.timeline.get(kind="notice_sent")
    assert told.data == {"notice": "charge_succeeded", "reference": "r"}


def everything_that_can_happen(mandate):
    control.decline_next("insufficient_funds")
    services.charge(mandate, 12_900, reference="declined")
    control.require_action_next()
    services.cancel_charge(services.charge(mandate, 12_900, reference="action"), by="system", reason="")
    services.schedule_charge(mandate, 12_900, reference="later", due_at=timezone.now() + timedelta(hours=30))
    services.cancel_charge(Charge.objects.get(reference="later"), by="system", reason="")
    paid = services.charge(mandate, 12_900, reference="paid", description="이용료 <b>")
    services.refund(paid, 2_900, reference="back")
    notices.announce(Charge.objects.get(reference="later"), days=1, promised=False)
    everything_of_a_change(mandate)
    services.revoke(mandate, by="customer", reason="enough")


def everything_of_a_change(mandate):
    today, raised = gate.day_of(timezone.now()), PublishedTerms(amount=14_900)
    asked = {"effective_on": today + timedelta(days=20), "by": "system", "reason": ""}
    amendment = services.request_amendment(mandate, raised, **asked)
    Amendment.objects.update(effective_on=today, next_step_at=timezone.now())
    amendment = amendment_steps.take_step(amendment.pk)
    language = mandate.consent.language
    amendments.agree(amendment, language=language, ticked=REQUIRED, evidence=services.Evidence())


@pytest.mark.parametrize("language", ["ko", "en"])
@pytest.mark.parametrize("base_url", [None, "https://shop.example"])
def test_every_kind_reads_well_in_both_languages(user, membership, settings, language, base_url):
    settings.KRCARD_BASE_URL = base_url
    settings.KRCARD_CONFIRM_AGREEMENT = True
    consent = consent_of(services.get_or_create_customer(user), membership, language=language)
    setup = services.start_checkout(consent, success_url="http://testserver/ok", cancel_url="http://testserver/no")
    control.authorise(setup.checkout_session_id, brand="shinhan", last4="1234")
    everything_that_can_happen(services.complete_setup(setup))

    told = list(Notice.objects.order_by("pk"))
    assert {notice.kind for notice in told} == set(Kind)
    for notice in told:
        words = notice.subject + notice.text
        assert notice.sent_at
        assert "{" not in words
        assert "%" not in words
        assert "None" not in words
        assert "&lt;" not in words
        assert "\n\n\n" not in notice.text
        assert (base_url in words) if base_url else ("http" not in words)
        # Without the merchant's own name and the shop's words.
        hangul = [sign for sign in words.replace("한강 멤버십", "").replace("이용료", "") if "가" <= sign <= "힣"]
        assert bool(hangul) == (language == "ko"), words


@pytest.mark.parametrize(
    ("code", "link", "card"),
    [
        ("do_not_honor", True, True),
        ("lost_card", False, True),
        # The same card may do tomorrow, and who told the issuer to stop is not asked for another one.
        ("insufficient_funds", False, False),
        ("revocation_of_authorization", False, False),
    ],
)
def test_a_failure_says_what_the_customer_can_do(mandate, site, code, link, card):
    control.decline_next(code)
    charge = services.charge(mandate, 12_900, reference="r")
    text = Notice.objects.get(kind=Kind.CHARGE_FAILED).text
    assert (f"https://shop.example/krcard/charges/{charge.public_id}/" in text) is link
    assert ("다른 카드를 등록해 주세요" in text) is card
    # Stripe asks not to tell why.
    assert code not in text


def test_days_are_those_of_the_calendar_in_seoul(mandate):
    day = timezone.localdate(timezone=conf.TIME_ZONE) + timedelta(days=10)
    at = datetime.combine(day, time(0, 30), conf.TIME_ZONE)
    services.schedule_charge(mandate, 12_900, reference="r", due_at=at)
    # As the database gives it: in UTC it is still the day before.
    charge = Charge.objects.get()
    assert charge.due_at.date() < day
    with translation.override("ko"):
        words = kst(day)
    assert words in notices.announce(charge, days=1, promised=False).subject
    assert words in write(mandate, Kind.CHARGE_FAILED, about="x", charge=charge, retry_at=charge.due_at).text


def test_the_same_thing_is_told_once(mandate):
    first = write(mandate, Kind.MANDATE_ENDED, about="x")
    assert write(mandate, Kind.MANDATE_ENDED, about="x") == first
    assert len(mail.outbox) == 1


def test_sixteen_at_once_tell_it_once(mandate):
    def tell(number):
        try:
            return write(mandate, Kind.MANDATE_ENDED, about="x").pk
        finally:
            connection.close()

    with ThreadPoolExecutor(16) as pool:
        assert len(set(pool.map(tell, range(16)))) == 1
    assert len(mail.outbox) == 1


def test_nothing_is_told_of_what_was_rolled_back(mandate):
    with transaction.atomic():
        write(mandate, Kind.MANDATE_ENDED, about="x")
        transaction.set_rollback(True)
    assert (Notice.objects.count(), mail.outbox) == (0, [])


def test_a_mail_server_that_is_down_is_tried_again_and_given_up(mandate, settings, krcard_clock, caplog, user):
    settings.KRCARD_NOTIFIER = "tests.test_notices.broken"
    services.charge(mandate, 12_900, reference="r")
    for tries in range(1, 5):
        notice = Notice.objects.get()
        assert (notice.attempts, notice.sent_at, notice.last_error) == (tries, None, "ConnectionRefusedError")
        assert deliver_due() == (0, 0)
        krcard_clock.advance(hours=13)
        assert deliver_due() == (0, 1)
    assert Notice.objects.get().next_attempt_at is None
    assert mandate.timeline.filter(kind="notice_failed").count() == 1
    assert user.email not in caplog.text
    assert user.email not in str(list(mandate.timeline.values_list("data", flat=True)))

    settings.KRCARD_NOTIFIER = "django_krcard.services.notices.by_email"
    assert notices.send_again(Notice.objects.get()).sent_at


def test_what_is_still_tried_is_not_sent_again_by_hand(mandate, settings):
    """Somebody may be sending it at this moment."""
    settings.KRCARD_NOTIFIER = "tests.test_notices.broken"
    notice = write(mandate, Kind.MANDATE_ENDED, about="x")
    settings.KRCARD_NOTIFIER = "django_krcard.services.notices.by_email"
    assert notices.send_again(notice).sent_at is None
    assert mail.outbox == []


def test_without_an_address_it_is_given_up_at_once(user, mandate):
    user.email = ""
    user.save()
    services.charge(mandate, 12_900, reference="r")
    notice = Notice.objects.get()
    assert (notice.last_error, notice.next_attempt_at, notice.sent_at) == ("NoAddress", None, None)


def test_another_way_says_where_it_went(mandate, settings):
    settings.KRCARD_NOTIFIER = "tests.test_notices.by_sms"
    services.charge(mandate, 12_900, reference="r")
    assert sms_sent.pop().startswith("[한강 멤버십]")
    assert Notice.objects.get().address == "010-****-1234"
    assert mail.outbox == []


def test_postponed_notices_wait_for_their_delivery(mandate):
    with postponed():
        services.charge(mandate, 12_900, reference="r")
    assert mail.outbox == []
    assert deliver_due() == (1, 0)
    assert len(mail.outbox) == 1


def test_with_a_queue_nothing_is_sent_where_it_arises(mandate, settings):
    settings.KRCARD_TASK_BACKEND = "default"
    assert write(mandate, Kind.MANDATE_ENDED, about="x").sent_at is None
    assert mail.outbox == []
    assert deliver(Notice.objects.get().pk).sent_at


def test_no_notice_leaves_while_a_transaction_is_open(mandate):
    with postponed():
        notice = write(mandate, Kind.MANDATE_ENDED, about="x")
    with pytest.raises(InsideTransaction), transaction.atomic():
        deliver(notice.pk)
    assert mail.outbox == []
    assert deliver_due() == (1, 0)


def test_a_run_takes_as_many_as_it_is_told(mandate):
    with postponed():
        for number in range(3):
            write(mandate, Kind.MANDATE_ENDED, about=f"x{number}")
    assert deliver_due(limit=2) == (2, 0)
    assert deliver_due() == (1, 0)


def test_many_runs_at_once_send_each_notice_once(mandate):
    with postponed():
        for number in range(10):
            write(mandate, Kind.MANDATE_ENDED, about=f"x{number}")

    def run(number):
        try:
            return deliver_due()
        finally:
            connection.close()

    with ThreadPoolExecutor(8) as pool:
        sent, failed = map(sum, zip(*pool.map(run, range(8)), strict=True))
    assert (sent, failed, len(mail.outbox)) == (10, 0, 10)


def test_a_notice_is_sent_by_one_worker(mandate):
    with postponed():
        write(mandate, Kind.MANDATE_ENDED, about="x")
    pk = Notice.objects.get().pk
    deliver(pk)
    deliver(pk)
    assert len(mail.outbox) == 1


def test_a_site_sends_the_kinds_it_wants_and_always_what_was_promised(announced, settings, krcard_clock):
    settings.KRCARD_NOTICE_KINDS = []
    services.schedule_charge(announced, 12_900, reference="r", due_at=timezone.now() + timedelta(days=4))
    krcard_clock.advance(days=2)
    list(services.run_due())
    assert [notice.kind for notice in Notice.objects.all()] == [Kind.CHARGE_UPCOMING]


def test_a_template_that_is_broken_does_not_undo_a_payment(mandate, monkeypatch, caplog):
    monkeypatch.setattr(notices, "render_to_string", broken)
    assert services.charge(mandate, 12_900, reference="r").status == "succeeded"
    notice = Notice.objects.get()
    assert (notice.last_error, notice.next_attempt_at) == ("template: TypeError", None)
    assert "could not be written" in caplog.text
    # There is nothing in it to send.
    assert notices.send_again(notice).sent_at is None
    assert mail.outbox == []


def test_a_template_that_was_mended_tells_it_after_all(mandate, monkeypatch):
    """Or the charge that waits for its announcement would wait for ever."""
    with monkeypatch.context() as bad_day:
        bad_day.setattr(notices, "render_to_string", broken)
        first = write(mandate, Kind.MANDATE_ENDED, about="x")
    again = write(mandate, Kind.MANDATE_ENDED, about="x")
    again.refresh_from_db()
    assert again == first
    assert again.sent_at
    assert the_mail().body == again.text


# --- advance notice -------------------------------------------------------------------------------


def test_what_was_promised_to_be_announced_is_not_charged_without(announced):
    with pytest.raises(ChargeRefused) as refused:
        services.charge(announced, 12_900, reference="r")
    assert refused.value.code == "notice_not_given"


def test_a_scheduled_charge_is_announced_in_time_and_then_sent(announced, krcard_clock, ledger, site):
    due = timezone.now() + timedelta(days=10)
    services.schedule_charge(announced, 12_900, reference="r", due_at=due)
    told_on = None
    for day in range(1, 12):
        krcard_clock.advance(days=1)
        list(services.run_due())
        if mail.outbox and told_on is None:
            told_on = day
            assert ledger() == []
    assert told_on == 7
    assert [notice.kind for notice in Notice.objects.order_by("pk")] == [Kind.CHARGE_UPCOMING, Kind.CHARGE_SUCCEEDED]
    assert "12,900원" in mail.outbox[0].subject
    assert len(ledger()) == 1


def test_announced_late_it_is_charged_late(announced, krcard_clock, ledger):
    services.schedule_charge(announced, 12_900, reference="r", due_at=timezone.now() + timedelta(hours=1))
    paid_on = None
    for day in range(6):
        list(services.run_due())
        if ledger() and paid_on is None:
            paid_on = day
        krcard_clock.advance(days=1)
    assert paid_on in (3, 4)


def test_announced_late_by_weeks_it_is_charged_on_the_day_that_was_told(save_card, krcard_clock, ledger):
    """The terms promise a month, the site planned it for tomorrow: the customer expects it in a month."""
    mandate = save_card(PublishedTerms(slug="month-ahead", notice_days=30))
    services.schedule_charge(mandate, 12_900, reference="r", due_at=timezone.now() + timedelta(days=1))
    for _ in range(30):
        list(services.run_due())
        assert (Charge.objects.get().status, ledger()) == ("scheduled", [])
        krcard_clock.advance(days=1)
    list(services.run_due())
    assert Charge.objects.get().status == "succeeded"
    told, _paid = mail.outbox
    day = Charge.objects.get().due_at.astimezone(conf.TIME_ZONE)
    assert f"{day.year}년 {day.month}월 {day.day}일" in told.subject


def test_announced_and_then_late_for_weeks_it_is_not_charged(announced, krcard_clock, ledger):
    services.schedule_charge(announced, 12_900, reference="r", due_at=timezone.now() + timedelta(days=4))
    krcard_clock.advance(days=1)
    list(services.run_due())
    krcard_clock.advance(days=12)
    list(services.run_due())
    assert (Charge.objects.get().refusal_code, ledger()) == ("overdue", [])


@pytest.fixture
def refused_after_its_announcement(announced, krcard_clock):
    """The customer was told of one day, and on that day nothing was charged."""
    services.schedule_charge(announced, 12_900, reference="r", due_at=timezone.now() + timedelta(days=5))
    krcard_clock.advance(days=3)
    list(services.run_due())
    krcard_clock.advance(days=20)
    list(services.run_due())
    charge = Charge.objects.get()
    assert (charge.status, len(mail.outbox)) == ("refused", 1)
    return charge


def test_planned_anew_for_another_day_it_is_announced_anew(refused_after_its_announcement, krcard_clock, ledger):
    charge = refused_after_its_announcement
    services.schedule_charge(charge.mandate, 12_900, reference="r", due_at=timezone.now() + timedelta(hours=1))
    krcard_clock.advance(hours=2)
    list(services.run_due())
    assert (len(mail.outbox), ledger()) == (2, []), "told again, and not charged before the promised days have passed"
    krcard_clock.advance(days=3)
    list(services.run_due())
    assert len(ledger()) == 1


def test_asked_for_at_once_it_was_not_announced(refused_after_its_announcement, ledger):
    with pytest.raises(ChargeRefused) as refused:
        services.charge(refused_after_its_announcement.mandate, 12_900, reference="r")
    assert (refused.value.code, ledger()) == ("notice_not_given", [])


def test_turned_away_on_its_day_and_sent_on_the_next_it_was_announced(announced, krcard_clock, ledger):
    services.schedule_charge(announced, 12_900, reference="r", due_at=timezone.now() + timedelta(days=4))
    krcard_clock.advance(days=1)
    list(services.run_due())
    krcard_clock.advance(days=4)
    control.fail_next("POST", "/v1/payment_intents", status=429)
    list(services.run_due())
    assert Charge.objects.get().status == "ready"
    krcard_clock.advance(days=1)
    list(services.run_due())
    assert (Charge.objects.get().status, len(ledger())) == ("succeeded", 1)


def test_an_announcement_that_was_not_sent_does_not_count(announced, krcard_clock, ledger, settings):
    settings.KRCARD_NOTIFIER = "tests.test_notices.broken"
    services.schedule_charge(announced, 12_900, reference="r", due_at=timezone.now() + timedelta(days=1))
    for _ in range(6):
        krcard_clock.advance(days=1)
        list(services.run_due())
    assert ledger() == []


def test_reminders_beside_the_promise(mandate, settings, krcard_clock, ledger):
    settings.KRCARD_NOTICE_DAYS = [7, 1]
    services.schedule_charge(mandate, 12_900, reference="r", due_at=timezone.now() + timedelta(days=10))
    for _ in range(11):
        krcard_clock.advance(days=1)
        list(services.run_due())
    assert Notice.objects.filter(kind=Kind.CHARGE_UPCOMING).count() == 2
    assert len(ledger()) == 1
