"""How far we have read what Stripe keeps."""

from django.db import models


class Watermark(models.Model):
    """Everything at Stripe up to ``at`` was compared with our rows. A restored backup brings an old one back."""

    name = models.CharField(max_length=64, unique=True)
    at = models.DateTimeField()

    def __str__(self) -> str:
        return f"{self.name}: {self.at:%Y-%m-%d %H:%M:%S}"
