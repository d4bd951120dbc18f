"""The door is right whatever stands before it: middleware, settings, servers, and clients that go away."""

import asyncio
import json
import random
from contextlib import contextmanager

import pytest
from django.conf.urls.i18n import i18n_patterns
from django.core.handlers.asgi import ASGIHandler
from django.db import connection
from django.http import UnreadablePostError
from django.test.client import ClientHandler
from django.urls import clear_url_caches, include, path, reverse

from django_krcard.models import Event
from django_krcard.testing import sign
from tests.webhooks import mutations
from tests.webhooks.mutations import Message

pytestmark = pytest.mark.django_db(transaction=True)

NEW, OLD = "whsec_new", "whsec_old"
MAX_BODY = 512 * 1024


def body_of(**changes):
    event = {"id": "evt_1", "object": "event", "type": "price.created", "livemode": False}
    return json.dumps(event | {"data": {"object": {"id": "price_1"}}} | changes).encode()


def message(secret=NEW, body=None, **more):
    body = body or body_of()
    return Message(body, sign(body, secret), str(len(body)), more)


@pytest.fixture(autouse=True)
def secret(settings):
    settings.STRIPE_WEBHOOK_SECRET = NEW


@pytest.fixture
def knock():
    """Through all middleware, with CSRF protection on, as the settings of the test are at that moment."""

    def send(message, at=None):
        return ClientHandler(enforce_csrf_checks=True)(message.environ(at or reverse("krcard:webhook")))

    return send


def is_kept():
    return Event.objects.filter(stripe_id="evt_1").exists()


# --- the middleware of the site -------------------------------------------------------------------


def reads_the_form(get_response):
    """As many do that let a form say which method it means."""

    def middleware(request):
        request.POST.get("_method")
        return get_response(request)

    return middleware


def reads_the_body(get_response):
    def middleware(request):
        assert isinstance(request.body, bytes)
        return get_response(request)

    return middleware


MIDDLEWARE = {
    "csrf": "django.middleware.csrf.CsrfViewMiddleware",
    "login": "django.contrib.auth.middleware.LoginRequiredMiddleware",
    "locale": "django.middleware.locale.LocaleMiddleware",
    "common": "django.middleware.common.CommonMiddleware",
    "gzip": "django.middleware.gzip.GZipMiddleware",
    "conditional get": "django.middleware.http.ConditionalGetMiddleware",
    "clickjacking": "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "reads the form": f"{__name__}.reads_the_form",
    "reads the body": f"{__name__}.reads_the_body",
}
CACHES = ["django.middleware.cache.UpdateCacheMiddleware", "django.middleware.cache.FetchFromCacheMiddleware"]


@pytest.mark.parametrize("middleware", MIDDLEWARE.values(), ids=MIDDLEWARE)
def test_any_middleware_lets_stripe_in_and_nobody_else(knock, settings, middleware):
    sessions = "django.contrib.sessions.middleware.SessionMiddleware"
    users = "django.contrib.auth.middleware.AuthenticationMiddleware"
    settings.MIDDLEWARE = [sessions, users, middleware]

    assert knock(message(secret="whsec_other")).status_code == 400
    assert not is_kept()
    assert knock(message()).status_code == 200
    assert is_kept()


def test_all_of_it_at_once(knock, settings):
    settings.MIDDLEWARE = list(dict.fromkeys([CACHES[0], *settings.MIDDLEWARE, *MIDDLEWARE.values(), CACHES[1]]))

    assert knock(message(secret="whsec_other")).status_code == 400
    assert knock(message()).status_code == 200
    assert is_kept()


@pytest.mark.parametrize("secret", [NEW, "whsec_other"])
def test_a_form_that_a_middleware_has_read_is_refused(knock, settings, secret):
    """Stripe sends JSON. Of anything else a middleware may have taken the bytes, and nothing is left to be proved."""
    settings.MIDDLEWARE = [*settings.MIDDLEWARE, MIDDLEWARE["reads the form"]]

    response = knock(message(secret, CONTENT_TYPE="multipart/form-data; boundary=krcard"))

    assert response.status_code == 400
    assert not is_kept()


@pytest.mark.parametrize("content_type", ["", "text/plain", "application/json; charset=x-none", "multipart/form-data"])
def test_what_the_bytes_are_called_does_not_matter(knock, content_type):
    assert knock(message(CONTENT_TYPE=content_type)).status_code == 200
    assert is_kept()


def test_the_answer_is_for_nobodys_cache(knock):
    for answer in (knock(message()), knock(message(secret="whsec_other")), knock(message(REQUEST_METHOD="GET"))):
        assert {"no-store", "no-cache", "private"} <= set(answer["Cache-Control"].split(", "))
        assert not answer.cookies


@pytest.mark.parametrize("atomic", [True, False])
def test_with_and_without_atomic_requests(knock, monkeypatch, atomic):
    monkeypatch.setitem(connection.settings_dict, "ATOMIC_REQUESTS", atomic)

    assert knock(message(secret="whsec_other")).status_code == 400
    assert knock(message()).status_code == 200
    assert is_kept()


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "BREW"])
def test_stripe_posts_and_nobody_else_does(knock, method, django_assert_num_queries):
    with django_assert_num_queries(0):
        answer = knock(message(REQUEST_METHOD=method))

    assert (answer.status_code, answer["Allow"]) == (405, "POST")
    assert not is_kept()


# --- the address ----------------------------------------------------------------------------------


@pytest.mark.parametrize("append_slash", [True, False])
@pytest.mark.parametrize("debug", [True, False])
def test_without_its_slash_the_address_is_no_address(knock, settings, append_slash, debug):
    """Nothing gets lost in silence: Stripe follows no redirect, takes it for a failure, shows it in the dashboard and
    sends the message again for days. https://docs.stripe.com/webhooks#resolve-webhook-problems
    """
    settings.APPEND_SLASH, settings.DEBUG = append_slash, debug

    answer = knock(message(), at=reverse("krcard:webhook").removesuffix("/"))

    assert answer.status_code >= 300
    assert not is_kept()


def test_the_address_has_its_slash():
    assert reverse("krcard:webhook").endswith("/webhook/")


@contextmanager
def addresses(settings, *urlpatterns):
    module = type("urls", (), {"urlpatterns": urlpatterns})
    settings.ROOT_URLCONF = module
    clear_url_caches()
    try:
        yield
    finally:
        clear_url_caches()


def in_languages(**options):
    return i18n_patterns(path("krcard/", include("django_krcard.urls")), **options)


@pytest.mark.parametrize("prefix_default_language", [True, False])
@pytest.mark.parametrize("accepted", ["", "en", "ko", "fr;q=0.9"])
def test_under_the_addresses_of_a_language(knock, settings, prefix_default_language, accepted):
    with addresses(settings, *in_languages(prefix_default_language=prefix_default_language)):
        assert knock(message(HTTP_ACCEPT_LANGUAGE=accepted), at="/en/krcard/webhook/").status_code == 200
    assert is_kept()


def test_an_address_without_its_language_is_not_answered_with_success(knock, settings):
    with addresses(settings, *in_languages()):
        answer = knock(message(), at="/krcard/webhook/")

    assert answer.status_code >= 300
    assert not is_kept()


# --- https ----------------------------------------------------------------------------------------


def test_with_ssl_redirect_stripe_comes_in_by_https(knock, settings):
    settings.SECURE_SSL_REDIRECT = True

    assert knock(message()).status_code == 200
    assert is_kept()


def test_behind_a_proxy_that_is_not_declared_ssl_redirect_sends_stripe_away(knock, settings):
    """The site's own settings: SECURE_PROXY_SSL_HEADER is missing. Stripe does not follow, and says so."""
    settings.SECURE_SSL_REDIRECT = True
    plain = {"wsgi.url_scheme": "http", "HTTP_X_FORWARDED_PROTO": "https"}

    assert knock(message(**plain)).status_code == 301
    assert not is_kept()

    settings.SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
    assert knock(message(**plain)).status_code == 200
    assert is_kept()


def test_a_host_that_is_not_the_sites_is_refused(knock):
    assert knock(message(HTTP_HOST="evil.example")).status_code == 400
    assert not is_kept()


# --- the size of the body -------------------------------------------------------------------------


class Broken:
    """What a server hands over as the body, when reading it fails."""

    def __init__(self, error):
        self.error = error

    def read(self, *args):
        raise self.error

    readline = read


def of_size(size):
    body = body_of()
    return message(body=body + b" " * (size - len(body)))


def test_a_body_of_the_largest_size_is_taken_and_one_byte_more_is_not_read(knock):
    assert knock(of_size(MAX_BODY)).status_code == 200
    assert is_kept()

    assert (
        knock(
            message(**{"CONTENT_LENGTH": str(MAX_BODY + 1), "wsgi.input": Broken(AssertionError("It was read."))})
        ).status_code
        == 413
    )


@pytest.mark.parametrize("secret", [NEW, "whsec_other"])
def test_a_body_above_the_sites_own_limit_is_refused(knock, settings, secret):
    settings.DATA_UPLOAD_MAX_MEMORY_SIZE = 100

    assert knock(message(secret)).status_code in (400, 413)
    assert not is_kept()


# --- the wire -------------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [OSError("gone"), ConnectionResetError(), TimeoutError(), UnreadablePostError()])
def test_a_client_that_hangs_up_is_no_error_of_ours(knock, caplog, error):
    answer = knock(message(**{"wsgi.input": Broken(error)}))

    assert answer.status_code == 400
    assert not [record for record in caplog.records if record.levelname in ("ERROR", "CRITICAL")]
    assert not is_kept()


def test_half_a_body_is_refused(knock):
    whole = message()
    assert knock(Message(whole.body[:40], whole.header, whole.length)).status_code == 400


def ask(more, *chunks):
    """Through Django's ASGI handler, as Uvicorn and Daphne call it."""
    answers = []
    parts = [{"type": "http.request", "body": chunk, "more_body": True} for chunk in chunks]
    parts += [{"type": "http.request", "body": b"", "more_body": False}]
    headers = {"stripe-signature": sign(b"".join(chunks), NEW), "host": "testserver"} | more
    scope = {
        "type": "http",
        "method": "POST",
        "path": reverse("krcard:webhook"),
        "query_string": b"",
        "headers": [(name.encode(), value.encode("latin-1")) for name, value in headers.items()],
    }

    async def receive():
        return parts.pop(0) if parts else await asyncio.sleep(60)

    async def send(event):
        answers.append(event)

    asyncio.run(ASGIHandler()(scope, receive, send))
    return answers[0]["status"]


def test_by_asgi():
    body = body_of()
    assert ask({"content-length": str(len(body))}, body[:10], body[10:]) == 200
    assert is_kept()


def test_by_asgi_a_body_of_unknown_length_is_refused():
    """In chunks a body has no declared length, and no limit: it is not read into memory to find out."""
    assert ask({"transfer-encoding": "chunked"}, body_of()) == 400
    assert not is_kept()


# --- the secrets ----------------------------------------------------------------------------------


@pytest.mark.parametrize("configured", [[NEW, OLD], [OLD, NEW], ("", OLD, None, "  ", NEW), [OLD, NEW, NEW]])
def test_both_secrets_count_during_a_roll(knock, settings, configured):
    settings.STRIPE_WEBHOOK_SECRET = configured

    for number, secret in enumerate([NEW, OLD]):
        assert knock(message(secret, body_of(id=f"evt_{number}"))).status_code == 200
    assert Event.objects.count() == 2


@pytest.mark.parametrize("configured", [NEW, [NEW], ["", NEW], [NEW, "   "], [None, NEW]])
def test_the_old_secret_does_not_count_any_more(knock, settings, configured):
    settings.STRIPE_WEBHOOK_SECRET = configured

    assert knock(message(OLD)).status_code == 400
    assert knock(message("")).status_code == 400
    assert knock(message("   ")).status_code == 400
    assert not is_kept()
    assert knock(message(NEW)).status_code == 200


def test_with_both_secrets_at_stripe_one_that_we_know_is_enough(knock):
    """During a roll Stripe signs with both."""
    body = body_of()
    both = f"{sign(body, OLD)},v1={sign(body, NEW).partition('v1=')[2]}"

    assert knock(message().with_header(both)).status_code == 200


@pytest.mark.parametrize("configured", [None, "", "  ", [], ["", "  ", None], {}])
def test_without_a_secret_nobody_gets_in_and_somebody_hears_of_it(knock, settings, configured, caplog):
    settings.STRIPE_WEBHOOK_SECRET = configured

    assert [knock(message(secret)).status_code for secret in ("", "  ", "None", NEW)] == [400] * 4
    assert not is_kept()
    assert any(record.levelname == "ERROR" and "no_secret" in record.getMessage() for record in caplog.records)


def test_not_even_with_debug(knock, settings):
    settings.DEBUG = True

    assert knock(message("whsec_other")).status_code == 400
    settings.STRIPE_WEBHOOK_SECRET = ""
    assert knock(message("")).status_code == 400
    assert not is_kept()


def test_the_log_says_why_and_from_where_in_one_line(knock, caplog):
    body = mutations.genuine_body(random.Random(3))

    knock(message(body=body).with_header("t=1,v1=\r\nERROR everything is lost"))

    lines = [record.getMessage() for record in caplog.records if record.name.startswith("django_krcard")]
    assert lines == ["Webhook refused: mismatch (from 198.51.100.7)"]
    assert mutations.MARK not in caplog.text
