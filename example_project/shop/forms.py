from dataclasses import dataclass

from django import forms
from django.utils.translation import gettext_lazy as _


@dataclass(frozen=True)
class Item:
    name: str
    price: int
    hint: str = ""


MENU = {
    "americano": Item(_("아메리카노"), 4_500),
    "book": Item(_("이달의 책"), 28_000),
    "art-book": Item(_("화집 『강의 빛』"), 35_000, _("동의한 한도를 넘어서 결제가 거절돼요.")),
}


class OrderForm(forms.Form):
    """The page brings the number along, so that a double click is one order."""

    number = forms.UUIDField()
    item = forms.ChoiceField(choices=[(key, item.name) for key, item in MENU.items()])
