"""What becomes of a change of terms as time goes by: asked, reminded, in force, or not agreed to.

All that is done by ``krcard_run_due``, and none of it in place of an answer: see ``amendments`` for those.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from datetime import date, datetime, timedelta

from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone

from django_krcard.conf import conf
from django_krcard.models import Amendment, Mandate, Notice, lock
from django_krcard.services import notices
from django_krcard.services.disputes import HELD_FOR
from django_krcard.services.gate import IN_DISPUTE, locked
from django_krcard.services.in_force import day_of, midnight
from django_krcard.services.mandates import hold, holds_on, release, resume, revoke
from django_krcard.services.timeline import record

logger = logging.getLogger(__name__)

Status = Amendment.Status

#: By whom and why a mandate is on hold when its customer has not agreed. One for all changes: whoever agrees to the
#: newest terms has answered for those before.
HOLD = {"by": "system", "reason": "a change of the terms was not agreed to"}


def due() -> QuerySet[Amendment]:
    return Amendment.objects.filter(next_step_at__lte=timezone.now()).order_by("next_step_at", "pk")


def take_due_steps() -> Iterator[Exception]:
    """Ask, remind, let take effect and close what is due. Gives what went wrong: one does not stop the others."""
    for pk in list(due().values_list("pk", flat=True)):
        try:
            take_step(pk)
        except Exception as error:
            error.add_note(f"amendment {pk}")
            yield error


def take_step(pk: int) -> Amendment:
    """The next step of one request, if it is still due."""
    amendment = Amendment.objects.select_related("mandate__customer").get(pk=pk)
    with transaction.atomic():
        # That puts in force what was agreed to for a day that has come.
        mandate = locked(amendment.mandate)
        amendment = lock(amendment)
        amendment.mandate = mandate
        step(amendment)
    return amendment


def step(amendment: Amendment) -> None:
    """All that is due of a request by now; its mandate is locked."""
    now, today = timezone.now(), day_of(timezone.now())
    if amendment.next_step_at is None or amendment.next_step_at > now:
        return
    if amendment.status == Status.PLANNED:
        _ask(amendment, today)
    elif amendment.status == Status.ASKED and not has_come(amendment):
        _remind(amendment, now)
    elif amendment.status in (Status.ASKED, Status.REFUSED) and has_come(amendment):
        _not_agreed(amendment)
    elif amendment.status == Status.AGREED and has_come(amendment):
        # In force since the mandate was locked. Who had not agreed to an earlier change is not waited for any more.
        release_hold(amendment.mandate)
    amendment.next_step_at = _next_step_at(amendment, now)
    amendment.save()


def _ask(amendment: Amendment, today: date) -> None:
    late = amendment.effective_on <= today or not amendment.is_in_time(today, conf.AMENDMENT_MIN_NOTICE_DAYS)
    if late:
        # Nobody ran krcard_run_due while the window was open. Who was not asked in time has not kept silent.
        amendment.status = Status.CANCELLED
        write_down(amendment, "amendment_cancelled", "system", reason="the customer could not be asked in time")
        logger.error("Change %s was not asked in time and is cancelled. Is krcard_run_due run?", amendment.public_id)
        return
    amendment.status, amendment.asked_at = Status.ASKED, timezone.now()
    write_down(amendment, "amendment_asked", "system", effective_on=str(amendment.effective_on))
    _tell(amendment, "asked")


def _remind(amendment: Amendment, now: datetime) -> None:
    """One reminder for each of the site's days; if several were missed, the last of them."""
    passed = [days for days in conf.AMENDMENT_NOTICE_DAYS if amendment.asked_at < _days_before(amendment, days) <= now]
    if passed:
        _tell(amendment, str(min(passed)))


def _tell(amendment: Amendment, which: str) -> None:
    notices.write(
        amendment.mandate,
        Notice.Kind.AMENDMENT_ASKED,
        about=f"amendment:{amendment.public_id}:{which}",
        # The law wants it told, whatever else a site sends.
        promised=True,
        amendment=amendment,
        is_reminder=which != "asked",
        unanswered=conf.ON_AMENDMENT_UNANSWERED,
        effective_on=amendment.effective_on,
    )


def _not_agreed(amendment: Amendment) -> None:
    """The day has come without a yes. The price never rises by that; the rest is the site's choice."""
    mandate, wish = amendment.mandate, conf.ON_AMENDMENT_UNANSWERED
    if amendment.status == Status.ASKED:
        amendment.status = Status.UNANSWERED
    # Before the mandate ends, which closes what is open.
    amendment.save(update_fields=["status"])
    write_down(amendment, "amendment_not_agreed", "system", answer=str(amendment.status), follows=wish)
    if wish == "end":
        revoke(mandate, **HOLD)
    elif wish != "keep" and mandate.can_be_held:
        # An unknown word stops payments, too.
        hold(mandate, **HOLD)
        notices.write(
            mandate,
            Notice.Kind.AMENDMENT_PAUSED,
            about=f"amendment:{amendment.public_id}:paused",
            promised=True,
            amendment=amendment,
            effective_on=amendment.effective_on,
        )


def _next_step_at(amendment: Amendment, now: datetime) -> datetime | None:
    day = midnight(amendment.effective_on)
    if amendment.status == Status.PLANNED:
        return amendment.opens_at
    if amendment.status not in (Status.ASKED, Status.REFUSED, Status.AGREED) or day <= now:
        return None
    reminders = conf.AMENDMENT_NOTICE_DAYS if amendment.status == Status.ASKED else []
    coming = [moment for days in reminders if (moment := _days_before(amendment, days)) > now]
    return min([day, *coming])


def _days_before(amendment: Amendment, days: int) -> datetime:
    return midnight(amendment.effective_on - timedelta(days=days))


# --- shared with the acts -------------------------------------------------------------------------


def has_come(amendment: Amendment) -> bool:
    """Whether the day from which the new terms are to rule is here."""
    return amendment.effective_on <= day_of(timezone.now())


def close(amendment: Amendment, status: str) -> None:
    amendment.status, amendment.next_step_at = status, None
    amendment.save(update_fields=["status", "next_step_at"])


def release_hold(mandate: Mandate) -> None:
    """Nothing more is wanted of the customer: let payments go on, unless somebody else has stopped them."""
    ours = HOLD["by"], HOLD["reason"]
    others = {each for each in holds_on(mandate) if each != ours and not _is_of_a_dispute_that_is_over(mandate, each)}
    if ours in holds_on(mandate) and not others and mandate.status == Mandate.Status.ON_HOLD:
        resume(mandate, **HOLD)
    else:
        release(mandate, **HOLD)


def _is_of_a_dispute_that_is_over(mandate: Mandate, held: tuple[str, str]) -> bool:
    by, reason = held
    return by == "stripe" and reason.startswith(HELD_FOR) and not mandate.charges.filter(IN_DISPUTE).exists()


def write_down(amendment: Amendment, kind: str, actor: str, **data: str) -> None:
    about = {"amendment": str(amendment.public_id), "terms": str(amendment.terms)}
    record(amendment.mandate, kind, actor=actor, **about, **data)
