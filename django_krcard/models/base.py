"""What several models share."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
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


def lock(row: Row, *related: str) -> Row:
    """Return a fresh copy of ``row``, locked until the transaction ends; ``related`` rows come along, not locked.

    What ``row`` has in hand of them is taken over, so give only names of what does not change; the rest is read when
    it is asked for. Not by a join: what PostgreSQL joins to a row that it had to wait for is as old as the question.
    """
    (fresh,) = lock_all([row], *related)
    return fresh


def lock_all(rows: Sequence[Row], *related: str) -> list[Row]:
    """``lock`` for many rows of one model, at once and in the order of their ids: no two of us wait for each other.

    SQLite ignores ``SELECT … FOR UPDATE``, and a transaction that starts with a read cannot always be turned into one
    that writes, so there the lock is a write.
    """
    connection = transaction.get_connection()
    if not connection.in_atomic_block:
        raise ImproperlyConfigured("lock() needs a transaction around it.")
    if not rows:
        return []
    model = type(rows[0])
    wanted = model._base_manager.filter(pk__in={row.pk for row in rows})
    if connection.features.has_select_for_no_key_update:
        # Not against rows that only point here: a timeline entry may be written meanwhile.
        locked = wanted.select_for_update(no_key=True).order_by("pk")
    else:
        wanted.update(created_at=models.F("created_at"))
        locked = wanted
    fresh = {row.pk: row for row in locked}
    if missing := {row.pk for row in rows} - fresh.keys():
        raise model.DoesNotExist(f"{model.__name__} {missing} is gone.")
    for field in map(model._meta.get_field, related):
        for row in rows:
            if field.is_cached(row) and getattr(row, field.attname) == getattr(fresh[row.pk], field.attname):
                field.set_cached_value(fresh[row.pk], field.get_cached_value(row))
    return [fresh[row.pk] for row in rows]


def save_all(rows: Sequence[Row], fields: Sequence[str]) -> None:
    """``save(update_fields=fields)`` for many rows that are locked, in one statement; rows that are new are inserted.

    Not by ``bulk_update``, which takes longer than to save one by one.
    """
    stored = [row for row in rows if row.pk]
    for row in rows:
        if not row.pk:
            row.save(force_insert=True)
    if stored:
        values = {name: _values(stored, type(stored[0])._meta.get_field(name)) for name in fields}
        type(stored[0])._base_manager.filter(pk__in=[row.pk for row in stored]).update(**values)


def _values(rows: Sequence[Row], field: models.Field) -> Any:
    """What an UPDATE writes into ``field``: mostly it is the same for all."""
    values = {row.pk: getattr(row, field.attname) for row in rows}
    first, *others = values.values()
    return Each(values, field) if any(other != first for other in others) else first


class Each(models.Expression):
    """In an UPDATE: to each row, by its id, a value of its own."""

    def __init__(self, values: dict[int, Any], field: models.Field) -> None:
        super().__init__(output_field=field)
        self.values = values

    def as_sql(self, compiler: Any, connection: Any) -> tuple[str, list[Any]]:
        pk = connection.ops.quote_name(self.output_field.model._meta.pk.column)
        sql = f"CASE {pk} {' '.join(['WHEN %s THEN %s'] * len(self.values))} END"
        if connection.features.requires_casted_case_in_updates and self.output_field.max_length is None:
            # To PostgreSQL it may look like text. To cast text is not needed, and it would cut what is too long.
            sql = f"CAST({sql} AS {self.output_field.db_type(connection)})"
        params = [(pk, self.output_field.get_db_prep_save(value, connection)) for pk, value in self.values.items()]
        return sql, [one for pair in params for one in pair]


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


class ErasableQuerySet(AppendOnlyQuerySet):
    """Of what is personal, and may be removed once it is written down that it was."""

    def erase(self) -> None:
        models.QuerySet._raw_delete(self, self.db)


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
