"""Mandates that ended long ago: kept apart from what staff work with."""

from __future__ import annotations

from datetime import timedelta

from django.contrib import admin
from django.db.models import QuerySet
from django.utils import timezone
from django.utils.translation import gettext_lazy

from django_krcard.conf import conf
from django_krcard.models import Mandate

PERMISSION = "krcard.view_archived"


def without_archived(mandates: QuerySet[Mandate]) -> QuerySet[Mandate]:
    return mandates.exclude(ended_at__lt=timezone.now() - timedelta(days=conf.ARCHIVE_AFTER_DAYS))


class ArchiveFilter(admin.SimpleListFilter):
    """For those who may see them. Others never do."""

    title = gettext_lazy("archive")
    parameter_name = "archived"

    def lookups(self, request, model_admin):
        return [("yes", gettext_lazy("With archived ones"))] if request.user.has_perm(PERMISSION) else []

    def queryset(self, request, queryset) -> QuerySet[Mandate]:
        return queryset if self.value() == "yes" else without_archived(queryset)
