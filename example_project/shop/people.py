"""Who can log in to the demo."""

from dataclasses import dataclass

from django.utils.translation import gettext_lazy as _

PASSWORD = "dalnaru-demo"


@dataclass(frozen=True)
class Person:
    username: str
    name: str
    role: str
    is_staff: bool = False
    is_superuser: bool = False


PEOPLE = (
    Person("minji", "김민지", _("손님")),
    Person("junho", "이준호", _("손님")),
    Person("reviewer", "박서연", _("직원: 동의와 결제를 살펴봐요"), is_staff=True),
    Person("admin", "최도윤", _("관리자: 무엇이든 할 수 있어요"), is_staff=True, is_superuser=True),
)
