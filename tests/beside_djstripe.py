"""dj-stripe and this package in one project, with one customer at Stripe.

Run by ``tests/test_packaging.py`` where only the two are installed: ``python beside_djstripe.py FOLDER``. The sandbox
stands in for Stripe; to dj-stripe, which knows no other way, behind a port.
"""

import os
import sys
import threading
from pathlib import Path

import django
from django.conf import settings

#: dj-stripe wants a key as long as Stripe's.
KEY = "sk_test_krcardBesideDjStripe00000"
THEIR_SECRET = "whsec_of_dj_stripe"

settings.configure(
    SECRET_KEY="beside",
    DEBUG=True,
    ALLOWED_HOSTS=["testserver"],
    ROOT_URLCONF=__name__,
    INSTALLED_APPS=[
        "django.contrib.auth",
        "django.contrib.contenttypes",
        "django.contrib.messages",
        "django.contrib.sessions",
        "djstripe",
        "django_krcard",
        "django_krcard.sandbox",
    ],
    MIDDLEWARE=[
        "django.contrib.sessions.middleware.SessionMiddleware",
        "django.contrib.auth.middleware.AuthenticationMiddleware",
        "django.contrib.messages.middleware.MessageMiddleware",
    ],
    TEMPLATES=[
        {
            "BACKEND": "django.template.backends.django.DjangoTemplates",
            "APP_DIRS": True,
            "OPTIONS": {"context_processors": ["django.contrib.auth.context_processors.auth"]},
        }
    ],
    DATABASES={
        "default": {
            "ENGINE": "django.db.backends.sqlite3",
            "NAME": Path(sys.argv[1]) / "site.sqlite3",
            "OPTIONS": {"transaction_mode": "IMMEDIATE", "timeout": 20},
        }
    },
    EMAIL_BACKEND="django.core.mail.backends.locmem.EmailBackend",
    STRIPE_SECRET_KEY=KEY,
    STRIPE_WEBHOOK_SECRET="whsec_of_krcard",
    KRCARD_SANDBOX=True,
    DJSTRIPE_FOREIGN_KEY_TO_FIELD="id",
    STRIPE_LIVE_MODE=False,
    STRIPE_TEST_SECRET_KEY=KEY,
)
django.setup()

# Only now: models need the settings.
import djstripe.models as theirs  # noqa: E402
import stripe  # noqa: E402
from django.contrib.auth import get_user_model  # noqa: E402
from django.core.management import call_command  # noqa: E402
from django.test import Client  # noqa: E402
from django.urls import include, path, reverse  # noqa: E402

from django_krcard import models as ours  # noqa: E402
from django_krcard import services  # noqa: E402
from django_krcard.sandbox.models import Event as Sent  # noqa: E402
from django_krcard.sandbox.server import SandboxServer  # noqa: E402
from django_krcard.testing.factories import published_terms, saved_mandate  # noqa: E402
from django_krcard.testing.signing import sign  # noqa: E402

urlpatterns = [
    path("krcard/", include("django_krcard.urls")),
    path("sandbox/", include("django_krcard.sandbox.urls")),
    path("stripe/", include("djstripe.urls", namespace="djstripe")),
]


def main():
    call_command("migrate", verbosity=0)
    call_command("check", fail_level="ERROR")
    user = get_user_model().objects.create_user("minji", "minji@example.com", "demo")

    # A customer that dj-stripe has made saves a card and is charged here.
    customer = theirs.Customer.create(subscriber=user)
    mandate = saved_mandate(services.link_customer(user, customer.id), published_terms())
    charge = services.charge(mandate, 12_900, reference="2026-11")
    assert charge.status == "succeeded", charge.status
    browser = Client()
    browser.force_login(user)
    page = browser.get(reverse("krcard:cards"))
    assert mandate.reference in page.content.decode(), page.status_code

    # Both get the same message, each at its own address and under its own secret.
    event = Sent.objects.filter(type="payment_method.attached").get()
    assert ours.Event.objects.get(stripe_id=event.stripe_id).status == "done"
    answer = Client().post(
        their_address(),
        event.raw,
        content_type="application/json",
        headers={"Stripe-Signature": sign(event.raw, THEIR_SECRET)},
    )
    assert answer.status_code == 200, answer.content
    assert theirs.Event.objects.filter(id=event.stripe_id).exists()
    assert theirs.PaymentMethod.objects.get(id=mandate.payment_method.stripe_id).customer == customer
    # What the other one's address is for, ours refuses.
    theirs_at_ours = Client().post(
        reverse("krcard:webhook"),
        event.raw,
        content_type="application/json",
        headers={"Stripe-Signature": sign(event.raw, THEIR_SECRET)},
    )
    assert theirs_at_ours.status_code == 400
    print("beside each other, with stripe", stripe.VERSION)


def their_address():
    key, _new = theirs.APIKey.objects.get_or_create_by_api_key(KEY)
    key.refresh_account()
    endpoint = theirs.WebhookEndpoint.objects.create(
        id="we_theirs",
        djstripe_owner_account=key.djstripe_owner_account,
        enabled_events=["*"],
        livemode=False,
        secret=THEIR_SECRET,
        status="enabled",
        url="https://shop.example/stripe/",
    )
    return reverse("djstripe:djstripe_webhook_by_uuid", args=[endpoint.djstripe_uuid])


if __name__ == "__main__":
    os.environ["NO_PROXY"] = "127.0.0.1"
    with SandboxServer("127.0.0.1", 0) as server:
        stripe.api_base = server.address
        threading.Thread(target=server.serve_forever, daemon=True).start()
        main()
        server.shutdown()
