"""The rows of our stories: those of the testing kit, and what only our own suite needs."""

from django_krcard.testing.factories import (
    REQUIRED,
    CustomerFactory,
    PublishedTerms,
    TermsFactory,
    TermsTextFactory,
    UserFactory,
    consent_of,
    saved_mandate,
)

__all__ = [
    "REQUIRED",
    "CustomerFactory",
    "PublishedTerms",
    "TermsFactory",
    "TermsTextFactory",
    "UserFactory",
    "as_used_terms",
    "consent_of",
    "saved_mandate",
]


def as_used_terms(**rule):
    """Terms under which a site charges what was used, up to a limit per payment and per month."""
    fields = {"frequency": "as_used", "amount_kind": "maximum", "amount": 30_000, "max_amount_per_period": 100_000}
    return PublishedTerms(slug="as-used", **(fields | rule))
