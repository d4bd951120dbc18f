"""What several models share."""

from __future__ import annotations

import uuid
from typing import Any, TypeVar

from django.core.exceptions import ImproperlyConfigured
from django.db import models, transaction
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from django_krcard.exceptions import RecordIsFinal


class Record(models.Model):
    """A row with the moment it was made and an id that cannot be guessed."""

    public_id = models.UUIDField(_("public id"), default=uuid.uuid4, unique=True, editable=False)
    created_at = models.DateTimeField(_("created at"), default=timezone.now, editable=False)

    class Meta:
        abstract = True


Row = TypeVar("Row", bound=Record)


def lock(row: Row) -> Row:
    """Return a fresh copy of ``row``, locked until the transaction ends.

    Locks by writing, not by ``SELECT … FOR UPDATE``: SQLite ignores the latter, and there a transaction that starts
    with a read cannot always be turned into one that writes.
    """
    if not transaction.get_connection().in_atomic_block:
        raise ImproperlyConfigured("lock() needs a transaction around it.")
    rows = type(row)._base_manager.filter(pk=row.pk)
    rows.update(created_at=models.F("created_at"))
    return rows.get()


def freeze_params(row: Row, params: dict[str, Any]) -> dict[str, Any]:
    """Return what Stripe is asked for ``row``: ``params`` the first time, and the same ones ever after.

    Committed before the call, because Stripe refuses a key that comes back with other parameters.
    """
    with transaction.atomic():
        row = lock(row)
        if not row.params:
            row.params = params
            row.save(update_fields=["params"])
    return row.params


class AppendOnlyQuerySet(models.QuerySet):
    """Refuses every way of changing rows that goes through the ORM."""

    def _refuse(self, *args, **kwargs):
        raise RecordIsFinal(f"{self.model.__name__} rows are never changed or removed.")

    update = bulk_update = delete = _raw_delete = update_or_create = _refuse

    def _update(self, *args, **kwargs):
        # Where every save() of a row ends. loaddata asks for it first and inserts when there was nothing to change.
        return self._refuse() if self.exists() else super()._update(*args, **kwargs)

    def bulk_create(self, objs, batch_size=None, ignore_conflicts=False, update_conflicts=False, *args, **kwargs):
        if update_conflicts:
            self._refuse()
        return super().bulk_create(objs, batch_size, ignore_conflicts, update_conflicts, *args, **kwargs)


class AppendOnlyModel(models.Model):
    objects = AppendOnlyQuerySet.as_manager()

    class Meta:
        abstract = True
        base_manager_name = "objects"

    def save(self, *args, **kwargs):
        if not self._state.adding:
            raise RecordIsFinal(f"{type(self).__name__} rows are never changed.")
        super().save(*args, **kwargs | {"force_insert": True})

    def delete(self, *args, **kwargs):
        raise RecordIsFinal(f"{type(self).__name__} rows are never removed.")
