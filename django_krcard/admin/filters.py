"""Filters that read better than the column they look at."""

from __future__ import annotations

from django.contrib import admin
from django.utils.translation import gettext_lazy as _

from django_krcard.issuers import ISSUERS, NETWORKS
from django_krcard.models import PaymentMethod


class _Through(admin.SimpleListFilter):
    """A filter on a field of the row itself, or of the row that a foreign key leads to."""

    path = ""

    @classmethod
    def through(cls, foreign_key: str) -> type[admin.SimpleListFilter]:
        return type(cls.__name__, (cls,), {"path": f"{foreign_key}__"})


class ModeFilter(_Through):
    title = _("mode")
    parameter_name = "mode"

    def lookups(self, request, model_admin):
        return [("live", _("live")), ("test", _("test"))]

    def queryset(self, request, queryset):
        if self.value() is None:
            return queryset
        return queryset.filter(**{f"{self.path}livemode": self.value() == "live"})


class BrandFilter(_Through):
    title = _("issuer or network")
    parameter_name = "brand"

    def lookups(self, request, model_admin):
        brands = PaymentMethod.objects.exclude(brand="").order_by("brand").values_list("type", "brand").distinct()
        return [(brand, _name(type, brand)) for type, brand in brands]

    def queryset(self, request, queryset):
        if self.value() is None:
            return queryset
        return queryset.filter(**{f"{self.path}brand": self.value()})


def _name(type: str, brand: str) -> str:
    # The raw value for names not known yet: staff may see what Stripe calls it.
    names = ISSUERS if type == "kr_card" else NETWORKS
    return str(names.get(brand, brand))
