"""POST ``webhook/``: where Stripe knocks."""

import logging

from django.contrib.auth.decorators import login_not_required
from django.http import HttpResponse, RawPostDataException, UnreadablePostError
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST

from django_krcard import tasks
from django_krcard.conf import MAX_MESSAGE, conf
from django_krcard.exceptions import InvalidSignature
from django_krcard.models import Event
from django_krcard.transactions import never_atomic
from django_krcard.webhooks import inbox
from django_krcard.webhooks.signature import verify

logger = logging.getLogger(__name__)


# Not inside the site's ATOMIC_REQUESTS: the message must stay stored when working it off fails, and working it off
# asks Stripe, which is never done while a transaction is open.
@never_atomic
@csrf_exempt
@login_not_required
@never_cache
@require_POST
def webhook(request):
    # Whoever declares no length could send any amount: under ASGI all of it would be read.
    length = request.META.get("CONTENT_LENGTH") or ""
    if not (length.isascii() and length.isdecimal()):
        return HttpResponse(status=400)
    if len(length) > 9 or int(length) > MAX_MESSAGE:
        return HttpResponse(status=413)
    try:
        body = request.body
        verify(body, request.headers.get("Stripe-Signature", ""))
    except (InvalidSignature, UnreadablePostError, RawPostDataException) as refused:
        # Stripe sees the 400 in its dashboard. Of the message itself nothing is logged or kept.
        reason = getattr(refused, "reason", "unreadable")
        level = logging.ERROR if reason == "no_secret" else logging.WARNING
        logger.log(level, "Webhook refused: %s (from %s)", reason, request.META.get("REMOTE_ADDR"))
        return HttpResponse(status=400)
    if conf.TASK_BACKEND:
        # Once it is stored and queued, nothing is left that Stripe could help with.
        tasks.keep_event(body)
        return HttpResponse(status=200)
    event = inbox.receive(body)
    # Stripe knocks again for three days: that is the retry of sites that run no command.
    # Also while another worker has it: should that one die, nobody else would ask again.
    return HttpResponse(status=500 if event.status in Event.OPEN else 200)
