"""Whether the site that is tested has what the fixtures need. Imports nothing of the sandbox: it may be missing."""

import pytest
from django.apps import apps
from django.urls import NoReverseMatch, reverse

APPS = ["django_krcard", "django_krcard.sandbox"]
ADDRESSES = [
    ("krcard:webhook", [], 'path("krcard/", include("django_krcard.urls"))'),
    ("krcard_sandbox:checkout", ["cs_test"], 'path("stripe-sandbox/", include("django_krcard.sandbox.urls"))'),
]


def check() -> None:
    if missing := list(missing_lines()):
        lines = "\n".join(f"    {line}" for line in missing)
        pytest.fail(f"The krcard fixtures need these lines in the site that is tested:\n{lines}", pytrace=False)


def missing_lines():
    missing_apps = [app for app in APPS if not apps.is_installed(app)]
    yield from (f'INSTALLED_APPS += ["{app}"]  # in the settings of the tests' for app in missing_apps)
    for name, args, line in ADDRESSES:
        try:
            reverse(name, args=args)
        except NoReverseMatch:
            yield f"urlpatterns += [{line}]  # in urls.py; tests run with DEBUG = False"
