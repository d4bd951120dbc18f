"""The sandbox's memory. Nothing here belongs to the site's own records."""

from typing import Any

from django.db import models

ENABLED_TYPES = ["card", "kr_card", "naver_pay", "kakao_pay"]


def enabled_types() -> list[str]:
    return list(ENABLED_TYPES)


class State(models.Model):
    """One row: the settings of the box. Writing it first is also the lock that puts changes in a row."""

    class Delivery(models.TextChoices):
        NOW = "now", "at once"
        HELD = "held", "when asked"
        DROPPED = "dropped", "never"

    class Format(models.TextChoices):
        SNAPSHOT = "snapshot", "with the whole object"
        THIN = "thin", "with its address only"
        BOTH = "both", "one of each"

    delivery = models.CharField(max_length=10, choices=Delivery.choices, default=Delivery.NOW)
    event_format = models.CharField(max_length=10, choices=Format.choices, default=Format.SNAPSHOT)
    clock_offset = models.BigIntegerField(default=0, help_text="Seconds ahead of the real clock.")
    enabled_types = models.JSONField(default=enabled_types)
    pages_at = models.CharField(max_length=200, blank=True, help_text="Where the hosted pages are.")
    changes = models.BigIntegerField(default=0)

    class Meta:
        verbose_name = verbose_name_plural = "state"

    def __str__(self) -> str:
        return f"delivery {self.delivery}, clock +{self.clock_offset} s"


class Fault(models.Model):
    """Something that will go wrong (or differently) once."""

    kind = models.CharField(max_length=20)
    data = models.JSONField(default=dict)

    def __str__(self) -> str:
        return self.kind


class Resource(models.Model):
    """One Stripe object as the API shows it; the columns are copies to search by."""

    stripe_id = models.CharField(max_length=80, unique=True)
    kind = models.CharField(max_length=40)
    customer = models.CharField(max_length=80, blank=True)
    payment_method = models.CharField(max_length=80, blank=True)
    status = models.CharField(max_length=40, blank=True)
    account = models.CharField(max_length=80, blank=True, help_text="The connected account that has it.")
    created = models.BigIntegerField()
    due_at = models.BigIntegerField(null=True, db_index=True, help_text="When time itself will change it.")
    body = models.JSONField()
    aside = models.JSONField(default=dict, help_text="What the shop said of it that the object does not show.")

    class Meta:
        indexes = [
            models.Index(fields=["kind", "customer"], name="krcard_sandbox_customer"),
            models.Index(fields=["kind", "payment_method"], name="krcard_sandbox_method"),
        ]

    def __str__(self) -> str:
        return self.stripe_id


class IdempotencyKey(models.Model):
    """One key, what was asked under it, and the first answer once there is one."""

    key = models.CharField(max_length=255, unique=True)
    fingerprint = models.CharField(max_length=64)
    token = models.CharField(max_length=32, help_text="Who is executing it.")
    claimed_at = models.DateTimeField()
    created = models.BigIntegerField(help_text="By the sandbox's clock.")
    request_id = models.CharField(max_length=80)
    status = models.PositiveSmallIntegerField(null=True)
    answer = models.TextField(blank=True)

    def __str__(self) -> str:
        return self.key


class Event(models.Model):
    """One webhook message, with the bytes that are signed and sent."""

    class Format(models.TextChoices):
        SNAPSHOT = "snapshot", "snapshot"
        THIN = "thin", "thin"

    class State(models.TextChoices):
        WAITING = "waiting", "waiting"
        DELIVERED = "delivered", "delivered"
        DROPPED = "dropped", "dropped"

    stripe_id = models.CharField(max_length=80, unique=True)
    type = models.CharField(max_length=100)
    format = models.CharField(max_length=10, choices=Format.choices, default=Format.SNAPSHOT)
    account = models.CharField(max_length=80, blank=True)
    created = models.BigIntegerField()
    body = models.BinaryField()
    state = models.CharField(max_length=10, choices=State.choices, db_index=True)
    claimed_until = models.DateTimeField(null=True)
    attempts = models.PositiveIntegerField(default=0)
    last_status = models.PositiveSmallIntegerField(null=True)

    def __str__(self) -> str:
        return f"{self.type} {self.stripe_id}"

    @property
    def raw(self) -> bytes:
        # PostgreSQL gives a memoryview, SQLite gives bytes.
        body: Any = self.body
        return bytes(body)
