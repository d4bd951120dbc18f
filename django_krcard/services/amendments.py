"""Changes of terms that a customer must agree to separately: who must be asked, and what they answered.

Until somebody has agreed the terms before rule on, and silence is never an answer. What was agreed beforehand waits on
the mandate (``next_consent``) and the gate lets it rule from its day on, whether or not ``krcard_run_due`` runs.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import date, timedelta

from django.db import transaction
from django.db.models import Count, Q, QuerySet
from django.utils import timezone
from django.utils.translation import gettext as _

from django_krcard import signals
from django_krcard.conf import conf
from django_krcard.exceptions import AmendmentRefused
from django_krcard.models import Amendment, CardSetup, Consent, Mandate, Notice, Terms, lock
from django_krcard.rules import Rule, worse_in
from django_krcard.services import notices
from django_krcard.services.amendment_steps import close, has_come, release_hold, step, write_down
from django_krcard.services.consents import Evidence, give
from django_krcard.services.gate import locked
from django_krcard.services.in_force import day_of, midnight, put_in_force
from django_krcard.services.mandates import cancel_setup
from django_krcard.services.timeline import record

Status = Amendment.Status

#: Mandates read at a time.
CHUNK = 500


# --- whom to ask -----------------------------------------------------------------------------------


def living_under_older(terms: Terms) -> QuerySet[Mandate]:
    """The mandates in use under an older version of ``terms``, but for those that agreed to this one beforehand."""
    used = Mandate.objects.filter(status__in=[Mandate.Status.ACTIVE, Mandate.Status.ON_HOLD])
    older = used.filter(consent__terms__slug=terms.slug, consent__terms__version__lt=terms.version)
    return older.exclude(next_consent__terms=terms)


def who_must_agree(terms: Terms) -> tuple[int, int]:
    """How many customers must agree again before ``terms`` may rule for them, and how many need not."""
    must, others = Counter(), Counter()
    older = living_under_older(terms).order_by().values_list("consent__terms").annotate(number=Count("pk"))
    versions = Terms.objects.in_bulk(pk for pk, _number in older)
    for pk, number in older:
        (must if worse_in(versions[pk].rule, terms.rule) else others)[pk] = number
    return must.total(), others.total()


def to_ask(terms: Terms) -> QuerySet[Mandate]:
    """Those who must agree again and were not asked yet. Who has said no is not asked again by itself."""
    rule, slug = terms.rule, Q(slug=terms.slug, version__lt=terms.version)
    worse = [older.pk for older in Terms.objects.filter(slug) if worse_in(older.rule, rule)]
    asked = Amendment.objects.filter(terms=terms).exclude(status__in=[Status.CANCELLED, Status.SUPERSEDED])
    return living_under_older(terms).filter(consent__terms__in=worse).exclude(pk__in=asked.values("mandate"))


def ask_all(terms: Terms, *, effective_on: date, by: str, reason: str) -> Iterator[Amendment | AmendmentRefused]:
    """Ask everybody who must agree again, each in a transaction of its own. Stopped and run again it goes on.

    Gives each request, or the refusal of one. The notices wait for ``krcard_run_due``.
    """
    pays_more = to_ask(terms).filter(consent__terms__amount__lt=terms.amount).exists()
    _refuse_unasked(terms, effective_on, kind=Amendment.Kind.PRICE_RISE if pays_more else Amendment.Kind.OTHER)
    after = 0
    while chunk := list(to_ask(terms).filter(pk__gt=after).order_by("pk")[:CHUNK]):
        for mandate in chunk:
            try:
                with notices.postponed():
                    asked = request(mandate, terms, effective_on=effective_on, by=by, reason=reason)
            except AmendmentRefused as refused:
                refused.add_note(mandate.reference)
                asked = refused
            yield asked
        after = chunk[-1].pk


# --- asking ----------------------------------------------------------------------------------------


def request(
    mandate: Mandate, terms: Terms, *, effective_on: date, by: str, reason: str, free_until_now: bool = False
) -> Amendment:
    """Ask the customer of ``mandate`` to agree that ``terms`` rule from the day ``effective_on`` on.

    They are told, and can answer, from ``KRCARD_AMENDMENT_WINDOW_DAYS`` before that day. ``free_until_now``: they have
    paid nothing yet, and nothing is charged before they agree to pay, whatever they agreed to when they signed up; then
    ``terms`` may be the version that they are under. Asking for the same again returns the same request; for newer
    terms it replaces the one before. Raises ``AmendmentRefused`` with a sentence.
    """
    with transaction.atomic():
        mandate = locked(mandate)
        free = free_until_now or mandate.is_free
        before, after = Rule.from_dict(mandate.consent.rule), terms.rule
        raised = after.amount > before.amount
        kind = Amendment.Kind.FREE_TO_PAID if free else Amendment.Kind.PRICE_RISE if raised else Amendment.Kind.OTHER
        if same := mandate.amendments.filter(terms=terms, status__in=Amendment.OPEN | {Status.AGREED}).first():
            if same.effective_on == effective_on:
                return same
            if same.is_open:
                text = _("This customer is asked already, for %(day)s. Cancel that first.")
                raise AmendmentRefused(text % {"day": same.effective_on})
        _refuse_request(mandate, terms, free)
        _refuse_unasked(terms, effective_on, kind=kind)
        for older in mandate.amendments.filter(status__in=Amendment.NOT_AGREED):
            close(older, Status.SUPERSEDED)
        if free and not mandate.is_free:
            mandate.is_free = True
            mandate.save(update_fields=["is_free"])
        opens_at = midnight(effective_on - timedelta(days=conf.AMENDMENT_WINDOW_DAYS))
        amendment = Amendment.objects.create(
            mandate=mandate,
            terms=terms,
            before=mandate.consent,
            kind=kind,
            amount_before=None if free else before.amount,
            amount_after=after.amount,
            effective_on=effective_on,
            opens_at=max(opens_at, timezone.now()),
            next_step_at=max(opens_at, timezone.now()),
            by=by,
            reason=reason,
        )
        write_down(amendment, "amendment_requested", by, reason=reason)
        step(amendment)
    return amendment


def _refuse_request(mandate: Mandate, terms: Terms, free: bool) -> None:
    mine = mandate.consent.terms
    if not mandate.can_be_held:
        raise AmendmentRefused(_("The agreement is not active."))
    if terms.slug != mine.slug:
        raise AmendmentRefused(_("These are other terms, and not a version of those agreed to."))
    if terms.version < mine.version or (terms.version == mine.version and not free):
        raise AmendmentRefused(_("The customer has agreed to these terms already."))
    if mandate.next_consent_id:
        text = _("The customer has agreed to a change on %(day)s. Ask again after that day, or cancel it first.")
        raise AmendmentRefused(text % {"day": mandate.next_consent_on})


def _refuse_unasked(terms: Terms, effective_on: date, *, kind: str) -> None:
    today = day_of(timezone.now())
    if not Terms.objects.filter(pk=terms.pk, status=Terms.Status.PUBLISHED).exists():
        raise AmendmentRefused(_("These terms are not in force."))
    if effective_on <= today:
        raise AmendmentRefused(_("A change takes effect tomorrow at the earliest."))
    least = conf.AMENDMENT_MIN_NOTICE_DAYS
    if kind in Amendment.BY_LAW and (effective_on - today).days < least:
        text = _("Before a customer pays more they are told %(days)d days ahead: %(day)s at the earliest.")
        raise AmendmentRefused(text % {"days": least, "day": today + timedelta(days=least)})


# --- answers ---------------------------------------------------------------------------------------


def agree(amendment: Amendment, *, language: str, ticked: Iterable[str], evidence: Evidence) -> Amendment:
    """Record the customer's separate consent to the new terms. The card, the mandate and its reference stay.

    Before its day the old terms rule on, and from then on the new ones. Who has not agreed in time may still do so:
    then the new terms rule at once, and what was on hold for it is resumed. Raises ``AmendmentRefused`` when there is
    nothing to answer, or when it was answered otherwise since ``amendment`` was read; ``ConsentRefused`` when a box is
    missing or the terms are not in force any more.
    """
    with transaction.atomic():
        amendment, mandate = _locked_to_answer(amendment, but=Status.AGREED)
        if amendment.status == Status.AGREED:
            return amendment
        consent = give(mandate.customer, amendment.terms, language=language, ticked=ticked, evidence=evidence)
        _answered_yes(amendment, mandate, consent)
    return amendment


def refuse(amendment: Amendment) -> Amendment:
    """Write down that the customer does not agree. The old terms rule on, and what follows from the day on is what the
    site has chosen for everybody who has not agreed. Raises ``AmendmentRefused`` as ``agree`` does."""
    with transaction.atomic():
        amendment, _mandate = _locked_to_answer(amendment, but=Status.REFUSED)
        if amendment.status == Status.REFUSED:
            return amendment
        over = amendment.status == Status.UNANSWERED
        amendment.status, amendment.answered_at = Status.REFUSED, timezone.now()
        # After the day what follows has followed.
        amendment.next_step_at = None if over else midnight(amendment.effective_on)
        amendment.save()
        write_down(amendment, "amendment_refused", "customer")
    return amendment


def cancel(amendment: Amendment, *, by: str, reason: str) -> Amendment:
    """Take back a request, or a change that was agreed to and is not in force yet: the old terms rule on.

    Raises ``AmendmentRefused`` when it is in force or over.
    """
    with transaction.atomic():
        mandate = locked(amendment.mandate)
        amendment = lock(amendment)
        amendment.mandate = mandate
        if amendment.status == Status.CANCELLED:
            return amendment
        if amendment.status == Status.SUPERSEDED or (amendment.status == Status.AGREED and not amendment.is_coming):
            raise AmendmentRefused(_("This change is in force, or was replaced by another."))
        if amendment.is_coming:
            mandate.next_consent = mandate.next_consent_on = None
        if amendment.kind == Amendment.Kind.FREE_TO_PAID:
            mandate.is_free = False
        mandate.save(update_fields=["next_consent", "next_consent_on", "is_free"])
        close(amendment, Status.CANCELLED)
        write_down(amendment, "amendment_cancelled", by, reason=reason)
        release_hold(mandate)
    return amendment


def answer_by(mandate: Mandate, consent: Consent) -> Consent:
    """A customer has agreed to ``consent`` on the page where cards are saved. Return what rules the locked mandate now.

    Whoever was asked for these very terms has answered, and the change takes effect on its day: to save another card
    never raises a price early. Before the window opens it is no answer, and they are asked in it. Where nobody was
    asked, the new terms rule at once, as that page says.
    """
    if consent.pk == mandate.consent_id:
        return consent
    if consent.pk <= max(mandate.consent_id, mandate.next_consent_id or 0):
        # Also an attempt that ended late, begun before the customer agreed to what rules now or will.
        return mandate.consent
    amendment = asked_for(mandate, consent.terms)
    if amendment is None or (amendment.status == Status.AGREED and mandate.next_consent_id is None):
        is_newer = consent.terms.version > mandate.consent.terms.version
        put_in_force(mandate, consent)
        if is_newer:
            release_hold(mandate)
    elif amendment.status == Status.AGREED:
        amendment.consent = mandate.next_consent = consent
        amendment.save(update_fields=["consent"])
        mandate.save(update_fields=["next_consent"])
    elif amendment.opens_at <= consent.given_at:
        _answered_yes(lock(amendment), mandate, consent)
    mandate.refresh_from_db(fields=["status"])
    return mandate.consent


def asked_for(mandate: Mandate, terms: Terms) -> Amendment | None:
    """The request for these very terms, whatever was answered."""
    asked = mandate.amendments.filter(terms=terms).exclude(status__in=[Status.CANCELLED, Status.SUPERSEDED])
    amendment = asked.select_related("terms").order_by("-pk").first()
    if amendment:
        amendment.mandate = mandate
    return amendment


def agree_again(mandate: Mandate, terms: Terms, *, language: str, ticked: Iterable[str], evidence: Evidence) -> Mandate:
    """Record that the customer agrees to ``terms`` and keeps the card. See ``answer_by`` for when they rule.

    Sent twice it is one agreement. Raises ``ConsentRefused``, and ``AmendmentRefused`` when there is no card to keep.
    """
    ticked = sorted(ticked)
    with transaction.atomic():
        customer = lock(mandate.customer)
        mandate = locked(mandate)
        mandate.customer = customer
        rules_now_or_later = Q(pk=mandate.consent_id) | Q(pk=mandate.next_consent_id)
        last = customer.consents.filter(rules_now_or_later, terms=terms, language=language).first()
        if last and sorted(last.ticked) == ticked:
            return mandate
        if not keeps_card(mandate):
            raise AmendmentRefused(_("The saved card cannot be used any more. Please save a card."))
        if (asked := asked_for(mandate, terms)) and not can_be_answered(asked):
            raise AmendmentRefused(_("There is nothing to answer here now."))
        consent = give(customer, terms, language=language, ticked=ticked, evidence=evidence)
        record(mandate, "consent_given", actor="customer", consent=str(consent.public_id), terms=str(terms))
        answer_by(mandate, consent)
        # Whoever keeps the card does not save another one.
        for setup in mandate.setups.filter(status=CardSetup.Status.OPEN):
            cancel_setup(setup)
    return mandate


def keeps_card(mandate: Mandate) -> bool:
    """Whether a customer can agree again without saving a card."""
    card = mandate.payment_method
    return mandate.can_be_held and card is not None and card.detached_at is None


def of_interest(mandate: Mandate) -> Amendment | None:
    """The change that the customer can answer now, or has agreed to for a later day."""
    for amendment in mandate.amendments.all():
        amendment.mandate = mandate
        if can_be_answered(amendment) or (amendment.is_coming and not has_come(amendment)):
            return amendment
    return None


def can_be_answered(amendment: Amendment) -> bool:
    """Whether the customer can agree now."""
    return (
        amendment.status in Amendment.NOT_AGREED
        and amendment.opens_at <= timezone.now()
        and not amendment.mandate.has_ended
        and amendment.terms.status == Terms.Status.PUBLISHED
    )


def _locked_to_answer(amendment: Amendment, *, but: str) -> tuple[Amendment, Mandate]:
    """Customer, mandate, request: in the order in which everybody locks them. Already ``but``: nothing to refuse."""
    seen = amendment.status
    customer = lock(amendment.mandate.customer)
    mandate = locked(amendment.mandate)
    mandate.customer = customer
    amendment = lock(amendment)
    amendment.mandate = mandate
    if amendment.status == but:
        return amendment, mandate
    if not can_be_answered(amendment):
        raise AmendmentRefused(_("There is nothing to answer here now."))
    if amendment.status != seen and {amendment.status, seen} != Amendment.OPEN:
        raise AmendmentRefused(_("This was answered meanwhile, in another window. Please look at it again."))
    return amendment, mandate


def _answered_yes(amendment: Amendment, mandate: Mandate, consent: Consent) -> None:
    """The one place where a yes is written down; all rows are locked."""
    amendment.status, amendment.consent, amendment.answered_at = Status.AGREED, consent, timezone.now()
    amendment.mandate, amendment.next_step_at = mandate, None
    if has_come(amendment):
        put_in_force(mandate, consent)
        release_hold(mandate)
    else:
        mandate.next_consent, mandate.next_consent_on = consent, amendment.effective_on
        mandate.save(update_fields=["next_consent", "next_consent_on"])
        amendment.next_step_at = midnight(amendment.effective_on)
    amendment.save()
    _agreed(amendment)


def _agreed(amendment: Amendment) -> None:
    """What follows a yes, inside its transaction. Whoever stopped something for want of it can go on: after the commit,
    ``amendment_agreed`` says so."""
    consent = str(amendment.consent.public_id)
    write_down(amendment, "amendment_agreed", "customer", consent=consent, effective_on=str(amendment.effective_on))
    notices.write(
        amendment.mandate,
        Notice.Kind.AMENDMENT_AGREED,
        about=f"amendment:{amendment.public_id}:agreed",
        amendment=amendment,
        effective_on=max(amendment.effective_on, day_of(timezone.now())),
    )
    signals.send_on_commit(signals.amendment_agreed, Amendment, amendment=amendment)
