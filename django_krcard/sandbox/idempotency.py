"""Idempotency as in API v1: the first answer under a key is the answer, for 24 hours."""

import hashlib
import json
import uuid
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.db import IntegrityError, transaction
from django.db.models import QuerySet
from django.utils import timezone

from .errors import ApiError
from .models import IdempotencyKey

KEPT_SECONDS = 24 * 60 * 60
ABANDONED_AFTER = timedelta(seconds=60)


class Replay(Exception):
    """There is an answer already."""

    def __init__(self, row: IdempotencyKey) -> None:
        self.row = row


def fingerprint(method: str, path: str, params: dict[str, Any]) -> str:
    asked = json.dumps([method, path, params], sort_keys=True)
    return hashlib.sha256(asked.encode()).hexdigest()


@dataclass(frozen=True)
class Claim:
    """The right to execute a request. Ends with an answer kept, or with the key free again."""

    key: str
    token: str

    def __enter__(self) -> None:
        pass

    def __exit__(self, *error: object) -> None:
        # After `keep` there is nothing left to delete.
        self.rows.delete()

    @property
    def rows(self) -> QuerySet[IdempotencyKey]:
        return IdempotencyKey.objects.filter(key=self.key, token=self.token, status=None)

    def keep(self, status: int, answer: dict[str, Any]) -> None:
        """Keeps the answer, in the transaction of its effect. Too late: there is no effect either."""
        if not self.rows.update(status=status, answer=json.dumps(answer, ensure_ascii=False)):
            raise in_use(self.key)


def claim(key: str, asked: str, request_id: str, now: int) -> Claim:
    """Takes the key, committed, before anything is executed. Raises `Replay` if it was used."""
    if len(key) > 255:
        raise ApiError(400, "Idempotency keys can be at most 255 characters.", type="idempotency_error")
    mine: dict[str, Any] = {
        "fingerprint": asked,
        "token": uuid.uuid4().hex,
        "claimed_at": timezone.now(),
        "created": now,
        "request_id": request_id,
        "status": None,
        "answer": "",
    }
    try:
        with transaction.atomic():
            IdempotencyKey.objects.create(key=key, **mine)
        return Claim(key, mine["token"])
    except IntegrityError:
        row = IdempotencyKey.objects.filter(key=key).first()
    if row is None or not is_free(row, asked, now):
        raise in_use(key)
    if not IdempotencyKey.objects.filter(key=key, token=row.token, status=row.status).update(**mine):
        raise in_use(key)
    return Claim(key, mine["token"])


def is_free(row: IdempotencyKey, asked: str, now: int) -> bool:
    if row.created <= now - KEPT_SECONDS:
        return True
    if row.fingerprint != asked:
        message = (
            "Keys for idempotent requests can only be used with the same parameters they were first "
            f"used with. Try using a key other than '{row.key}' if you meant to execute a different request."
        )
        raise ApiError(400, message, type="idempotency_error")
    if row.status is not None:
        raise Replay(row)
    # A process that was killed left it: its work was rolled back, so it may be done again.
    return row.claimed_at <= timezone.now() - ABANDONED_AFTER


def in_use(key: str) -> ApiError:
    message = f"There is currently another in-progress request using this Idempotent Key: {key}."
    return ApiError(409, message, type="idempotency_error", code="idempotency_key_in_use")
