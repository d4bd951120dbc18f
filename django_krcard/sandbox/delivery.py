"""The postman: signs what was written down and brings it to the site's webhook view."""

import hashlib
import hmac
import logging
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from io import BytesIO
from typing import Any

from django.conf import settings
from django.core.exceptions import PermissionDenied, SuspiciousOperation
from django.core.handlers.wsgi import WSGIRequest
from django.db.models import F, Q
from django.http import Http404
from django.urls import NoReverseMatch, resolve, reverse
from django.utils import timezone

from .models import Event, State
from .store import Act, writing

logger = logging.getLogger(__name__)

CLAIM = timedelta(seconds=60)


@contextmanager
def acting() -> Iterator[Act]:
    """A change that no request asked for: committed first, told to the site afterwards."""
    with writing() as act:
        yield act
    deliver_new(act)


def deliver_new(act: Act) -> None:
    """Sends what one act wrote, when the sandbox delivers at once. Call it after the commit."""
    if act.state.delivery == State.Delivery.NOW:
        deliver(event.pk for event in act.events)


def deliver(keys: Iterable[int]) -> int:
    """Sends these events one after another and says how many the site took. A key that comes again is a duplicate."""
    sent: set[int] = set()
    taken = 0
    for key in keys:
        taken += deliver_one(key, again=key in sent)
        sent.add(key)
    return taken


def deliver_one(key: int, *, again: bool = False) -> bool:
    # The webhook view may call Stripe, which is us again: whoever claims an event first sends it.
    now = timezone.now()
    free = Q(claimed_until=None) | Q(claimed_until__lt=now)
    event = Event.objects.filter(free, pk=key)
    if not again:
        event = event.filter(state=Event.State.WAITING)
    if not event.update(claimed_until=now + CLAIM):
        return False
    message = Event.objects.get(pk=key)
    status = post(message)
    taken = status is not None and 200 <= status < 300
    if not taken:
        logger.warning("Webhook %s was not taken: %s", message, status or "nowhere to send it")
    Event.objects.filter(pk=key).update(
        state=Event.State.DELIVERED if taken else message.state,
        attempts=F("attempts") + int(status is not None),
        last_status=status,
        claimed_until=None,
    )
    return taken


def post(event: Event) -> int | None:
    """Calls the site's webhook view with the signed bytes. None: there is no such view, or no secret."""
    secret = webhook_secret()
    try:
        path = reverse("krcard:webhook")
    except NoReverseMatch:
        return None
    if not secret:
        return None
    view = resolve(path)
    try:
        response = view.func(webhook_request(path, event.raw, secret), *view.args, **view.kwargs)
    except Http404:
        return 404
    except PermissionDenied:
        return 403
    except SuspiciousOperation:
        return 400
    except Exception:
        logger.warning("The webhook view failed on %s", event, exc_info=True)
        return 500
    return int(response.status_code)


def webhook_request(path: str, body: bytes, secret: str) -> WSGIRequest:
    environ: dict[str, Any] = {
        "REQUEST_METHOD": "POST",
        "PATH_INFO": path,
        "SERVER_NAME": "localhost",
        "SERVER_PORT": "80",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "REMOTE_ADDR": "127.0.0.1",
        "CONTENT_TYPE": "application/json",
        "CONTENT_LENGTH": str(len(body)),
        "HTTP_STRIPE_SIGNATURE": signature(body, secret),
        "wsgi.url_scheme": "http",
        "wsgi.input": BytesIO(body),
    }
    return WSGIRequest(environ)


def signature(body: bytes, secret: str) -> str:
    # By the real clock, not the sandbox's: the site judges a signature's age by its own.
    signed_at = int(time.time())
    digest = hmac.new(secret.encode(), b"%d." % signed_at + body, hashlib.sha256).hexdigest()
    return f"t={signed_at},v1={digest}"


def webhook_secret() -> str:
    configured = getattr(settings, "STRIPE_WEBHOOK_SECRET", "") or ""
    secrets = [configured] if isinstance(configured, str) else configured
    return next((secret for secret in secrets if secret.strip()), "")
