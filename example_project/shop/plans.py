"""What the shop offers. Each plan has terms of the same slug in the database; prices are written there only."""

from dataclasses import dataclass

from django.http import Http404
from django.utils.translation import gettext_lazy as _

from django_krcard import services
from django_krcard.models import Mandate, Terms


@dataclass(frozen=True)
class Plan:
    slug: str
    name: str
    summary: str
    benefits: tuple[str, ...]

    @property
    def terms(self) -> Terms:
        try:
            return services.terms.in_force(self.slug)
        except Terms.DoesNotExist:
            raise Http404("No terms are published. Run: manage.py seed_demo") from None

    def mandate_of(self, user) -> Mandate | None:
        """The user's active agreement: whoever has one takes part in the plan."""
        return services.active_mandate(user, self.slug)


MEMBERSHIP = Plan(
    slug="membership",
    name=_("책방 멤버십"),
    summary=_("달마다 책 한 권, 그리고 언제든 앉을 자리."),
    benefits=(
        _("책방지기가 고른 책 매달 한 권"),
        _("강이 보이는 2층 서재 이용"),
        _("낭독회와 작가와의 만남 무료 입장"),
    ),
)
AS_USED = Plan(
    slug="as-used",
    name=_("지갑 없는 책방"),
    summary=_("커피도 책도 한 번 눌러 주문하고, 쓴 만큼만 결제해요."),
    benefits=(
        _("지갑을 꺼내지 않고 한 번에 주문"),
        _("쓰지 않은 달에는 결제도 없어요"),
        _("정해 둔 한도를 넘으면 결제하지 않아요"),
    ),
)
PLANS = {plan.slug: plan for plan in (MEMBERSHIP, AS_USED)}
