"""For the tests of your own site: Stripe's sandbox, people with saved cards, signed webhooks, a clock.

Installing the package gives pytest the fixtures of `plugin`. Beside them:

    from django_krcard.testing import assert_charged, assert_refused, sign
    from django_krcard.testing import factories

`sign` needs neither pytest nor Django. docs/testing.md shows a whole test file.
"""

from importlib import import_module

from django_krcard.testing.signing import WEBHOOK_SECRET, sign

__all__ = ["WEBHOOK_SECRET", "assert_charged", "assert_refused", "sign"]


def __getattr__(name):
    # pytest loads this package in every run, long before Django is ready for models.
    if name in ("assert_charged", "assert_refused"):
        return getattr(import_module("django_krcard.testing.assertions"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
