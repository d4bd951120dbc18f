"""Receivers of webhooks that somebody would write by hand: what ours are compared with."""

import json
from contextlib import suppress
from functools import cache

import story
import stripe
from django.conf import settings
from django.db import IntegrityError, connection, models, transaction
from django.http import HttpResponse
from django.views.decorators.csrf import csrf_exempt


class Event(models.Model):
    stripe_id = models.CharField(max_length=255, unique=True)
    type = models.CharField(max_length=255)
    body = models.BinaryField()
    is_done = models.BooleanField(default=False)

    class Meta:
        app_label = "bare"

    def __str__(self):
        return self.stripe_id


class Thing(models.Model):
    stripe_id = models.CharField(max_length=255, unique=True)
    data = models.JSONField()

    class Meta:
        app_label = "bare"

    def __str__(self):
        return self.stripe_id


def create_tables():
    with connection.schema_editor() as editor:
        editor.create_model(Event)
        editor.create_model(Thing)


@csrf_exempt
def floor(request):
    """Verifies the event and inserts it once. Does nothing with it."""
    event = proved(request)
    # Unless it is here.
    with suppress(IntegrityError):
        Event.objects.create(stripe_id=event["id"], type=event["type"], body=request.body)
    return HttpResponse()


@csrf_exempt
def least(request):
    """Claims the event and upserts its object in one transaction: the least that has an effect, and has it once."""
    event = proved(request)
    told = event["data"]["object"]
    thing = Thing(stripe_id=told["id"], data=told)
    once = {"update_conflicts": True, "unique_fields": ["stripe_id"], "update_fields": ["data"]}
    # Unless it is here, and with it its effect.
    with suppress(IntegrityError), transaction.atomic():
        claim = Event.objects.create(stripe_id=event["id"], type=event["type"], body=request.body)
        Thing.objects.bulk_create([thing], **once)
        claim.is_done = True
        claim.save(update_fields=["is_done"])
    return HttpResponse()


@csrf_exempt
def asking(request):
    """Stores the event, asks Stripe for its object with no transaction open, and upserts that: for those to whom a
    message is a hint and the object the truth. The least of that."""
    event = proved(request)
    try:
        claim = Event.objects.create(stripe_id=event["id"], type=event["type"], body=request.body)
    except IntegrityError:
        return HttpResponse()
    told = event["data"]["object"]
    resource = RESOURCES[told["object"]](client().v1)
    thing = Thing(stripe_id=told["id"], data=resource.retrieve(told["id"]).to_dict())
    with transaction.atomic():
        Thing.objects.bulk_create([thing], update_conflicts=True, unique_fields=["stripe_id"], update_fields=["data"])
        claim.is_done = True
        claim.save(update_fields=["is_done"])
    return HttpResponse()


RESOURCES = {
    "payment_method": lambda stripe: stripe.payment_methods,
    "setup_intent": lambda stripe: stripe.setup_intents,
    "checkout.session": lambda stripe: stripe.checkout.sessions,
    "mandate": lambda stripe: stripe.mandates,
    "payment_intent": lambda stripe: stripe.payment_intents,
}


@cache
def client():
    return stripe.StripeClient("sk_test_krcard_benchmarks", base_addresses={"api": settings.BARE_API_BASE})


def proved(request):
    header = request.headers["Stripe-Signature"]
    stripe.WebhookSignature.verify_header(request.body, header, story.SECRET, 300)
    return json.loads(request.body)
