"""What customers are told: written with the fact it tells of, brought to them after it is committed."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urljoin

from django.conf import settings
from django.core.mail import send_mail
from django.db import IntegrityError, transaction
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils import timezone, translation
from django.utils.module_loading import import_string

from django_krcard import declines, signals
from django_krcard.conf import conf
from django_krcard.exceptions import KrcardError
from django_krcard.models import Charge, Mandate, Notice
from django_krcard.services import gate
from django_krcard.services.in_force import rule_on
from django_krcard.services.timeline import record
from django_krcard.transactions import refuse_inside_transaction

logger = logging.getLogger(__name__)

#: How long one worker has a notice for itself: longer than a slow mail server.
LEASE = timedelta(minutes=5)
#: After each failure; then it is given up and waits for a person.
RETRY_AFTER = [timedelta(minutes=m) for m in (5, 30, 120, 720)]

_postponed: ContextVar[bool] = ContextVar("krcard_notices_postponed", default=False)


class NoAddress(KrcardError):
    """Nobody knows where to reach the customer. Raised by a notifier, it ends the tries: a person has to look."""


def write(
    mandate: Mandate,
    kind: str,
    *,
    about: str,
    charge: Charge | None = None,
    promised: bool = False,
    **context: Any,
) -> Notice | None:
    """Write one message to the customer of ``mandate``, in the language of their consent; it is sent after the commit.

    ``about`` is what the message is about: the same thing is told once, and asking again returns the first row.
    ``None`` if the site does not send this kind (``KRCARD_NOTICE_KINDS``); what terms ``promised`` is always sent.
    ``context`` goes to the template ``krcard/notices/<kind>.txt``, whose first line is the subject.
    """
    if not (promised or are_sent(kind)):
        return None
    problem = ""
    try:
        subject, text = _rendered(mandate, kind, charge=charge, **context)
    except Exception as error:
        # A template of the site's. It must not undo what the notice tells of; the row says what is wrong.
        logger.exception("Notice %s about %s could not be written", kind, about)
        subject, text, problem = "", "", f"template: {type(error).__name__}"
    try:
        with transaction.atomic():
            notice = Notice.objects.create(
                mandate=mandate,
                charge=charge,
                kind=kind,
                about=about,
                address=mandate.customer.address,
                language=mandate.consent.language,
                subject=subject[:500],
                text=text,
                next_attempt_at=None if problem else timezone.now(),
                last_error=problem,
            )
    except IntegrityError:
        notice = Notice.objects.get(about=about)
        if problem or not _repair(notice, subject, text):
            return notice
    if not problem:
        _hand_over(notice)
    return notice


def are_sent(kind: str) -> bool:
    return conf.NOTICE_KINDS is None or kind in conf.NOTICE_KINDS


def _repair(notice: Notice, subject: str, text: str) -> bool:
    """Fill in a row whose template was broken then. Without it, one bad template would hold a charge for ever."""
    unwritten = Notice.objects.filter(pk=notice.pk, text="")
    words = {"subject": subject[:500], "text": text, "last_error": ""}
    if not unwritten.update(**words, next_attempt_at=timezone.now()):
        return False
    notice.refresh_from_db()
    return True


def _hand_over(notice: Notice) -> None:
    """Leave the sending to whoever does it: this thread after the commit, ``deliver_due``, or the site's queue."""
    if not (_postponed.get() or conf.TASK_BACKEND):
        transaction.on_commit(lambda: deliver(notice.pk), robust=True)


@contextmanager
def postponed() -> Iterator[None]:
    """What is written inside is left to ``deliver_due``: a slow mail server does not hold up charges."""
    token = _postponed.set(True)
    try:
        yield
    finally:
        _postponed.reset(token)


def announce(charge: Charge, *, days: int, promised: bool) -> Notice | None:
    """Tell the customer of a scheduled charge, once for each number of ``days`` before it."""
    return write(
        charge.mandate,
        Notice.Kind.CHARGE_UPCOMING,
        about=f"{gate.announcement_of(charge)}{'terms' if promised else days}",
        charge=charge,
        promised=promised,
        due_at=max(charge.due_at, _after_notice(charge) if promised else charge.due_at),
    )


def deliver(pk: int) -> Notice:
    """Bring one notice to its customer, unless somebody else is at it. What goes wrong is written to the row.

    A worker that dies between sending and writing sends it again: better twice than never, because a charge waits.
    """
    refuse_inside_transaction()
    return _send(pk) if _claim(pk) else Notice.objects.get(pk=pk)


def deliver_due(limit: int | None = None) -> tuple[int, int]:
    """Deliver everything that waits, or the first ``limit``. Returns how many were sent and how many failed."""
    refuse_inside_transaction()
    sent = failed = 0
    for pk in list(due().values_list("pk", flat=True)[:limit]):
        if _claim(pk):
            if _send(pk).sent_at:
                sent += 1
            else:
                failed += 1
    return sent, failed


def due():
    """Notices that wait to be sent now."""
    return Notice.objects.filter(sent_at=None, next_attempt_at__lte=timezone.now()).order_by("next_attempt_at", "pk")


def is_given_up(notice: Notice) -> bool:
    """Whether it waits for a person. One whose template was broken cannot be sent: it has no words."""
    return notice.sent_at is None and notice.next_attempt_at is None and notice.text != ""


def send_again(notice: Notice) -> Notice:
    """Try a notice that was given up once more, to where its customer is reached now."""
    given_up = Notice.objects.filter(pk=notice.pk, sent_at=None, next_attempt_at=None).exclude(text="")
    address = notice.mandate.customer.address or notice.address
    given_up.update(next_attempt_at=timezone.now(), address=address)
    return deliver(notice.pk)


def by_email(notice: Notice) -> None:
    """The notifier of the package: plain text by Django's mail."""
    if not notice.address:
        raise NoAddress("The customer has no address.")
    send_mail(notice.subject, notice.text, settings.DEFAULT_FROM_EMAIL, [notice.address])


def _claim(pk: int) -> bool:
    """Compare-and-set: of two workers one gets it."""
    now = timezone.now()
    waiting = Notice.objects.filter(pk=pk, sent_at=None, next_attempt_at__lte=now)
    return waiting.update(next_attempt_at=now + LEASE) == 1


def _send(pk: int) -> Notice:
    notice = Notice.objects.select_related("mandate__customer__user", "charge").get(pk=pk)
    # It may have waited, and the customer may have moved meanwhile.
    notice.address = notice.mandate.customer.address or notice.address
    try:
        address = import_string(conf.NOTIFIER)(notice)
    except Exception as error:
        # The site's own code, or a mail server: whatever it is, the notice waits and is tried again.
        return _failed(notice, error)
    with transaction.atomic():
        notice.address = str(address or notice.address)[:320]
        notice.sent_at, notice.next_attempt_at, notice.last_error = timezone.now(), None, ""
        notice.attempts += 1
        notice.save(update_fields=["address", "sent_at", "next_attempt_at", "last_error", "attempts"])
        record(notice.mandate, "notice_sent", actor="system", **_in_short(notice))
        signals.send_on_commit(signals.notice_sent, Notice, notice=notice)
    return notice


def _failed(notice: Notice, error: Exception) -> Notice:
    notice.attempts += 1
    more = notice.attempts <= len(RETRY_AFTER) and not isinstance(error, NoAddress)
    notice.next_attempt_at = timezone.now() + RETRY_AFTER[notice.attempts - 1] if more else None
    # The name only: what mail servers say has the address in it.
    notice.last_error = type(error).__name__
    notice.save(update_fields=["attempts", "next_attempt_at", "last_error"])
    logger.error("Notice %s (%s) could not be sent: %s", notice.public_id, notice.kind, type(error).__name__)
    if not more:
        record(notice.mandate, "notice_failed", actor="system", error=notice.last_error, **_in_short(notice))
    return notice


def _in_short(notice: Notice) -> dict[str, str]:
    """For the timeline, without the address: more people see it than see the notice."""
    about = {"reference": notice.charge.reference} if notice.charge else {}
    return {"notice": notice.kind} | about


def _after_notice(charge: Charge) -> datetime:
    """The first moment at which a charge announced today may be sent."""
    days = rule_on(charge.mandate, gate.day_of(charge.due_at)).notice_days
    return gate.midnight(gate.day_of(timezone.now()) + timedelta(days=days))


def _rendered(mandate: Mandate, kind: str, *, charge: Charge | None, **context: Any) -> tuple[str, str]:
    """Subject and text, in the language in which the customer agreed."""
    names = {
        "mandate": mandate,
        "charge": charge,
        "merchant": conf.MERCHANT_NAME,
        "revoked": bool(charge and declines.REVOKED & {charge.failure_code, charge.decline_code}),
        "cards_url": _address("krcard:cards"),
        "mandate_url": _address("krcard:mandate", mandate.public_id),
        "copy_url": _address("krcard:mandate-copy", mandate.public_id),
        "charge_url": _address("krcard:charge", charge.public_id) if charge else "",
        "amendment_url": _address("krcard:amendment", context["amendment"].public_id) if "amendment" in context else "",
    }
    with translation.override(mandate.consent.language):
        words = render_to_string(f"krcard/notices/{kind}.txt", names | _where_the_terms_rule(context))
    subject, _line, text = words.strip().partition("\n")
    return subject.strip(), text.strip() + "\n"


def _where_the_terms_rule(context: dict[str, Any]) -> dict[str, Any]:
    """Moments as they are on the customer's calendar: half past midnight in Seoul is still the day before in UTC."""
    return {
        name: value.astimezone(conf.TIME_ZONE) if isinstance(value, datetime) else value
        for name, value in context.items()
    }


def _address(name: str, *args: Any) -> str:
    """Outside of a request only the setting knows where this site is."""
    return urljoin(conf.BASE_URL, reverse(name, args=args)) if conf.BASE_URL else ""
