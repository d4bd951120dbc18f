"""The suite's site in a process of its own, on the very database of the test that starts it."""

import os

import django

from tests.settings import *  # noqa: F403
from tests.settings import DATABASES, MAILERS

DATABASES["default"]["NAME"] = os.environ["KRCARD_TEST_DATABASE_NAME"]
# The memory in which the suite keeps its mail is another process's.
NO_MAIL = "django.core.mail.backends.dummy.EmailBackend"
if django.VERSION >= (6, 1):
    MAILERS["default"]["BACKEND"] = NO_MAIL
else:
    EMAIL_BACKEND = NO_MAIL
