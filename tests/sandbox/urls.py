"""A site with the sandbox and a webhook view that only writes down what it gets."""

import json

from django.http import HttpResponse
from django.urls import include, path
from stripe import WebhookSignature

from tests.settings import STRIPE_WEBHOOK_SECRET

heard = []
answers = []


def webhook(request):
    body = request.body.decode()
    WebhookSignature.verify_header(body, request.headers["Stripe-Signature"], STRIPE_WEBHOOK_SECRET, 300)
    heard.append(json.loads(body))
    answer = answers.pop(0) if answers else 200
    if isinstance(answer, Exception):
        raise answer
    if callable(answer):
        answer = answer()
    return HttpResponse(status=answer)


site = [path("webhook/", webhook, name="webhook")]

urlpatterns = [
    path("krcard/", include((site, "krcard"))),
    path("stripe-sandbox/", include("django_krcard.sandbox.urls")),
]
