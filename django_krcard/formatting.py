"""Won, times, cards and rules as people in Korea read them. Filters of ``{% load krcard %}`` and words of the admin."""

from __future__ import annotations

from datetime import date, datetime
from typing import Any

from django.utils import timezone
from django.utils.dateformat import format as format_date
from django.utils.formats import number_format
from django.utils.translation import get_language, gettext_lazy, ngettext
from django.utils.translation import gettext as _

from django_krcard.conf import conf
from django_krcard.issuers import name_of
from django_krcard.models import PaymentMethod
from django_krcard.rules import AmountKind, Frequency, Period, Rule


def won(amount: int | None) -> str:
    """``12900`` → ``12,900원``, outside Korean ``₩12,900``. Grouped whatever ``USE_THOUSAND_SEPARATOR`` says."""
    if amount is None or amount == "":
        return ""
    number = number_format(amount, use_l10n=True, force_grouping=True)
    return f"{number}원" if _is_korean() else f"₩{number}"


def kst(when: datetime | date | None) -> str:
    """A moment where the terms rule: ``2026년 11월 22일 17:05``, else ``22 Nov 2026 17:05 KST``. A date stays a date.

    Not Django's own Korean format, which says "5:05 오후".
    """
    if not when:
        return ""
    day = "Y년 n월 j일" if _is_korean() else "j M Y"
    if not isinstance(when, datetime):
        return format_date(when, day)
    if timezone.is_naive(when):
        when = timezone.make_aware(when)
    local = when.astimezone(conf.TIME_ZONE)
    zone = "" if _is_korean() else f" {local.tzname()}"
    return format_date(local, f"{day} H:i") + zone


def card_label(payment_method: PaymentMethod | None) -> str:
    """``신한카드 ****-1234``; the name alone when Stripe gave no digits."""
    if not payment_method:
        return ""
    name = name_of(payment_method)
    return f"{name} ****-{payment_method.last4}" if payment_method.last4 else name


def card_aloud(payment_method: PaymentMethod | None) -> str:
    """The same card for a screen reader, which would read the asterisks one by one."""
    if not payment_method:
        return ""
    name = name_of(payment_method)
    if not payment_method.last4:
        return name
    return _("%(name)s ending in %(last4)s") % {"name": name, "last4": payment_method.last4}


# Two tables and not one plural: Korean has no plural, and still says 매월, not 1개월마다.
EVERY = {
    Period.DAY: gettext_lazy("every day"),
    Period.WEEK: gettext_lazy("every week"),
    Period.MONTH: gettext_lazy("every month"),
    Period.YEAR: gettext_lazy("every year"),
}
EVERY_FEW = {
    Period.DAY: gettext_lazy("every %(count)d days"),
    Period.WEEK: gettext_lazy("every %(count)d weeks"),
    Period.MONTH: gettext_lazy("every %(count)d months"),
    Period.YEAR: gettext_lazy("every %(count)d years"),
}


def how_much(rule: Rule | dict[str, Any]) -> str:
    """One payment: ``₩12,900``, or ``up to ₩50,000``."""
    rule = _rule(rule)
    amount = won(rule.amount)
    return amount if rule.amount_kind == AmountKind.FIXED else _("up to %(amount)s") % {"amount": amount}


def how_often(rule: Rule | dict[str, Any]) -> str:
    """``every month``, ``once``, ``each time you use it``."""
    rule = _rule(rule)
    if rule.frequency == Frequency.RECURRING:
        return each_period(rule)
    return _("once") if rule.frequency == Frequency.ONE_TIME else _("each time you use it")


def each_period(rule: Rule | dict[str, Any]) -> str:
    """``every month``, ``every 3 months``; nothing without periods."""
    rule = _rule(rule)
    if not rule.period:
        return ""
    return str(EVERY[rule.period]) if rule.period_count == 1 else EVERY_FEW[rule.period] % {"count": rule.period_count}


def how_retried(rule: Rule | dict[str, Any]) -> str:
    """After a declined payment: ``up to 2 more tries, 3 days apart``; nothing where the terms allow none."""
    rule = _rule(rule)
    if not rule.max_retries:
        return ""
    days = ngettext("%(number)d day", "%(number)d days", rule.retry_after_days) % {"number": rule.retry_after_days}
    words = ngettext("one more try after %(days)s", "up to %(times)d more tries, %(days)s apart", rule.max_retries)
    return words % {"times": rule.max_retries, "days": days}


def _rule(rule: Rule | dict[str, Any]) -> Rule:
    """A consent keeps its rule as plain data."""
    return Rule.from_dict(rule) if isinstance(rule, dict) else rule


def _is_korean() -> bool:
    return (get_language() or "").split("-")[0] == "ko"


def actor(name: str) -> str:
    """Who did it, in words: "customer", "staff:<name>", "stripe" or "system"."""
    kind, _colon, staff = name.partition(":")
    if staff and kind == "staff":
        return _("staff: %(name)s") % {"name": staff}
    roles = {"customer": _("customer"), "staff": _("staff"), "stripe": "Stripe", "system": _("system")}
    return roles.get(kind, name)
