"""How the account at Stripe is set up, compared with what this site needs. Asks, and changes nothing.

In English only: ``krcard_doctor`` alone shows it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from datetime import timedelta
from importlib.metadata import version

from django.conf import settings
from django.utils import timezone

from django_krcard import gateway
from django_krcard.conf import conf
from django_krcard.exceptions import GatewayError, StripeRefusedKey, StripeRefusedRequest
from django_krcard.models import Event
from django_krcard.services import endpoints
from django_krcard.services.findings import ERROR, WARNING, Finding, age

#: All is well; or it cannot be known, and a person should.
OK, NOTE = "ok", "note"

#: Where a business may be that takes Korean cards. https://docs.stripe.com/payments/countries/korea
COUNTRIES = "AT BE CY DE DK EE ES FI FR GB GR HK HR HU IE IT JP LT LU LV MT NL PT SE SG SI SK US"

#: The first and the first no longer supported version of Stripe's SDK, as in the package's metadata.
SDK_FROM, SDK_BELOW = (15, 6), (17,)

#: A signature may be five minutes old.
CLOCK_IS_OFF, CLOCK_IS_WRONG = timedelta(minutes=1), timedelta(minutes=5)

#: Messages come within seconds.
SHOULD_BE_HERE = timedelta(minutes=15)

KEYS = {
    "rk_test_": "a restricted test key",
    "rk_live_": "a restricted live key",
    "sk_test_": "a secret test key",
    "sk_live_": "a secret live key",
}

Findings = Iterator[Finding]


def examine(events: Collection[str]) -> list[Finding]:
    """Everything that can be known of it, what is well included. ``events`` are the types that this site handles."""
    found = [*_key(), *_sdk(), *_secrets()]
    try:
        account = gateway.retrieve_account()
    except GatewayError as error:
        refusal = _why_not(error)
        found.append(refusal)
        if refusal.level == ERROR:
            return found
    else:
        found += [*_account(account), *_clock(account)]
    found += _asked("payment_methods", _configurations)
    found += _asked("webhook", lambda: _webhook(events))
    found += _asked("last_event", lambda: _last_event(events))
    found += _asked("permissions", _permissions)
    return found


def _asked(code: str, check: Callable[[], Findings]) -> Findings:
    """One thing that may not be looked at, or is not answered, stops no other."""
    try:
        yield from check()
    except StripeRefusedKey:
        hint = "Allow the key to read it, see docs/go-live.md, or look in Stripe's dashboard."
        yield Finding(NOTE, code, "This key may not look at it.", hint)
    except StripeRefusedRequest as error:
        yield Finding(NOTE, code, f"Stripe does not answer this question ({error}).", "Look in Stripe's dashboard.")
    except GatewayError as error:
        yield Finding(WARNING, code, f"Stripe was asked in vain: {error}.", "Run it again later.")


# --- the key, the software ------------------------------------------------------------------------------


def _key() -> Findings:
    if conf.SANDBOX:
        yield Finding(OK, "key", "The sandbox takes any test key. Stripe itself is not asked.", "")
        return
    kind = KEYS.get(conf.STRIPE_SECRET_KEY[:8])
    if kind is None:
        hint = "Copy a restricted key (rk_…) or a secret key (sk_…) from Stripe's dashboard."
        yield Finding(ERROR, "key", "STRIPE_SECRET_KEY is no secret or restricted key of Stripe's.", hint)
    elif conf.LIVEMODE and settings.DEBUG:
        yield Finding(ERROR, "key", f"It is {kind}, and DEBUG is on.", "Use a test key while you develop.")
    elif kind == "a secret live key":
        hint = "Make a restricted key that may do only what is needed, see docs/go-live.md."
        yield Finding(WARNING, "key", f"It is {kind}: whoever gets hold of it may do anything.", hint)
    else:
        yield Finding(OK, "key", f"It is {kind}.", "")


def _sdk() -> Findings:
    installed = version("stripe")
    numbers = tuple(int(part) for part in installed.split(".")[:2] if part.isdecimal())
    if SDK_FROM <= numbers < SDK_BELOW:
        yield Finding(OK, "sdk", f"stripe {installed} is supported.", "")
    else:
        hint = f'Install "stripe>={_dotted(SDK_FROM)},<{_dotted(SDK_BELOW)}".'
        yield Finding(ERROR, "sdk", f"stripe {installed} is not supported.", hint)


def _secrets() -> Findings:
    secrets = conf.STRIPE_WEBHOOK_SECRETS
    if not secrets:
        hint = "Set it to the endpoint's signing secret (whsec_…). Until then every message is refused."
        yield Finding(ERROR, "webhook_secret", "STRIPE_WEBHOOK_SECRET is not set.", hint)
    elif len(secrets) > 1:
        hint = "Take out the old ones once Stripe has stopped using them."
        yield Finding(NOTE, "webhook_secret", f"{len(secrets)} signing secrets are believed.", hint)
    else:
        yield Finding(OK, "webhook_secret", "A signing secret is set.", "")


def _dotted(numbers: tuple[int, ...]) -> str:
    return ".".join(map(str, numbers))


# --- the account ----------------------------------------------------------------------------------------


def _why_not(error: GatewayError) -> Finding:
    """The first question was not answered, and that says something of all."""
    if isinstance(error, StripeRefusedKey) and error.http_status == 403:
        if conf.STRIPE_ACCOUNT:
            hint = "Is KRCARD_STRIPE_ACCOUNT right, and connected to the account of the key?"
            return Finding(ERROR, "account", f"The key may not act for {conf.STRIPE_ACCOUNT}.", hint)
        hint = "Look in the dashboard whether Korean cards are active there."
        return Finding(NOTE, "account", "This key may not look at its account.", hint)
    if isinstance(error, StripeRefusedKey):
        hint = "It is revoked, expired or mistyped: copy another one from Stripe's dashboard."
        return Finding(ERROR, "key", "Stripe does not know STRIPE_SECRET_KEY.", hint)
    if isinstance(error, StripeRefusedRequest):
        hint = f"Leave KRCARD_STRIPE_API_VERSION out; it is {conf.STRIPE_API_VERSION!r}."
        return Finding(ERROR, "api_version", f"Stripe does not answer in this version of its API ({error}).", hint)
    hint = "Does this machine reach api.stripe.com? Run it again later."
    return Finding(ERROR, "stripe", f"Stripe was asked in vain: {error}.", hint)


def _account(account) -> Findings:
    yield Finding(OK, "api_version", f"Stripe answers in version {conf.STRIPE_API_VERSION}.", "")
    where = f"Account {account.id} is in {account.country or 'an unknown country'}"
    if account.country not in COUNTRIES.split():
        hint = f"Korean cards can be taken from {COUNTRIES}."
        yield Finding(ERROR if account.country else NOTE, "country", f"{where}.", hint)
    else:
        yield Finding(OK, "country", f"{where}, where Korean cards can be taken.", "")
    if account.charges_enabled is False:
        hint = "Stripe wants something first: the dashboard says what."
        yield Finding(ERROR, "charges_enabled", "The account cannot charge anybody yet.", hint)
    if "kr_card" in conf.PAYMENT_METHOD_TYPES:
        yield _capability(account.kr_card)


def _capability(status: str) -> Finding:
    hint = "Switch South Korean cards on in the dashboard: Settings, Payment methods."
    match status:
        case "active":
            return Finding(OK, "capability", "Korean cards are active (kr_card_payments).", "")
        case "pending":
            return Finding(WARNING, "capability", "Korean cards are being activated (kr_card_payments).", "Wait.")
        case "":
            return Finding(NOTE, "capability", "Stripe does not say whether kr_card_payments is active.", hint)
    return Finding(ERROR, "capability", f"Korean cards are {status} (kr_card_payments).", hint)


def _clock(account) -> Findings:
    if account.asked is None:
        yield Finding(NOTE, "clock", "Stripe's clock was not told.", "Keep this machine's clock by NTP.")
        return
    off = abs(timezone.now() - account.asked)
    hint = "Keep this machine's clock by NTP: messages are refused when the clocks are five minutes apart."
    if off >= CLOCK_IS_OFF:
        level = ERROR if off >= CLOCK_IS_WRONG else WARNING
        yield Finding(level, "clock", f"This clock and Stripe's are {age(off.total_seconds())} apart.", hint)
    else:
        yield Finding(OK, "clock", "This clock and Stripe's agree.", "")


def _configurations() -> Findings:
    """A session with a list of types goes by the capability; still it tells what somebody has switched off."""
    off = [each.id for each in gateway.payment_method_configurations() if each.active and each.kr_card is False]
    if off and "kr_card" in conf.PAYMENT_METHOD_TYPES:
        hint = "Payment pages of other integrations go by these settings; switch it on there if you want them to."
        yield Finding(NOTE, "payment_methods", f"Korean cards are off in {', '.join(off)}.", hint)
    else:
        yield Finding(OK, "payment_methods", "Korean cards are on in every payment method configuration.", "")


# --- messages -------------------------------------------------------------------------------------------


def _webhook(events: Collection[str]) -> Findings:
    snapshots = [each for each in gateway.webhook_endpoints() if endpoints.is_ours(each.url)]
    thin = _thin()
    where = endpoints.our_url() or f"a path {endpoints.our_path()}"
    if not conf.BASE_URL:
        hint = 'Set KRCARD_BASE_URL, for example "https://shop.example": then the whole address is compared.'
        yield Finding(NOTE, "webhook_address", f"Only the path of an endpoint is compared: {where}.", hint)
    enabled = [each for each in snapshots if each.enabled]
    for each in snapshots:
        if not each.enabled:
            hint = "Enable it in the dashboard, or run krcard_create_webhook_endpoint with --update."
            yield Finding(WARNING if enabled else ERROR, "webhook_disabled", f"Endpoint {each.id} is disabled.", hint)
    if not snapshots and not any(each.enabled for each in thin):
        yield _no_endpoint(where)
    if len(enabled) > 1:
        hint = "Delete all but one: each message comes more than once, and each endpoint has a secret of its own."
        names = ", ".join(each.id for each in enabled)
        yield Finding(WARNING, "webhook_double", f"{len(enabled)} endpoints have this address: {names}.", hint)
    for each in enabled:
        yield from _events(each, set(events))
        yield _version(each)
    for each in thin:
        if each.enabled:
            yield from _events(each, {f"v1.{event}" for event in events})


def _thin() -> list[gateway.WebhookEndpoint]:
    try:
        return [each for each in gateway.thin_destinations() if endpoints.is_ours(each.url)]
    except (StripeRefusedKey, StripeRefusedRequest):
        # Not every key may read API v2. What it would tell is one of two ways to get messages.
        return []


def _no_endpoint(where: str) -> Finding:
    if conf.SANDBOX:
        return Finding(OK, "webhook", "The sandbox brings its messages without an endpoint.", "")
    hint = f"Run krcard_create_webhook_endpoint {endpoints.our_url() or 'https://…' + endpoints.our_path()}."
    return Finding(ERROR, "webhook_missing", f"No endpoint of this account has the address {where}.", hint)


def _events(endpoint: gateway.WebhookEndpoint, needed: set[str]) -> Findings:
    hint = "Run krcard_create_webhook_endpoint with --update, or set them in the dashboard."
    missing, extra = sorted(needed - endpoint.events), sorted(endpoint.events - needed)
    if "*" in endpoint.events:
        missing, extra = [], ["*"]
    if missing:
        yield Finding(ERROR, "webhook_events", f"{endpoint.id} does not get {', '.join(missing)}.", hint)
    if extra:
        text = f"{endpoint.id} gets {', '.join(extra)}, which nobody here handles."
        yield Finding(WARNING, "webhook_extra", text, hint)
    if not missing and not extra:
        yield Finding(OK, "webhook_events", f"{endpoint.id} gets the {len(needed)} events that are handled.", "")


def _version(endpoint: gateway.WebhookEndpoint) -> Finding:
    if endpoint.api_version == conf.STRIPE_API_VERSION:
        return Finding(OK, "webhook_version", f"{endpoint.id} speaks {endpoint.api_version}.", "")
    spoken = endpoint.api_version or "the account's own version"
    hint = f"Make another endpoint with {conf.STRIPE_API_VERSION}, and delete this one: it cannot be changed."
    return Finding(WARNING, "webhook_version", f"{endpoint.id} speaks {spoken}.", hint)


def _last_event(events: Collection[str]) -> Findings:
    newest = gateway.newest_event(events)
    if newest is None:
        yield Finding(NOTE, "last_event", "Nothing has happened at Stripe in 30 days that would be told.", "")
        return
    told = f"{newest.type} ({newest.id}), {age((timezone.now() - newest.created).total_seconds())} ago"
    if Event.objects.filter(stripe_id=newest.id).exists():
        yield Finding(OK, "last_event", f"Stripe's last event is here: {told}.", "")
    elif timezone.now() - newest.created < SHOULD_BE_HERE:
        yield Finding(NOTE, "last_event", f"Stripe's last event is on its way: {told}.", "")
    else:
        hint = "krcard_reconcile reads what never came. The dashboard shows at the endpoint what this site answered."
        yield Finding(WARNING, "last_event", f"Stripe's last event never came: {told}.", hint)


# --- what the key may do --------------------------------------------------------------------------------


def _permissions() -> Findings:
    if conf.SANDBOX or not conf.STRIPE_SECRET_KEY.startswith("rk_"):
        return
    may_not = [permission for permission in gateway.PERMISSIONS if not gateway.may_read(permission)]
    for permission in may_not:
        hint = f"Allow {permission.level} for it in the dashboard: it {permission.why}."
        level = NOTE if permission.optional else ERROR
        yield Finding(level, "permission", f"The key may not read {permission.resource}.", hint)
    if not may_not:
        yield Finding(OK, "permission", "The key may read all that is needed.", "")
    written = ", ".join(each.resource for each in gateway.PERMISSIONS if each.level == gateway.WRITE)
    hint = "Compare with the table in docs/go-live.md, and save a test card."
    yield Finding(NOTE, "permission_write", f"Only a real call shows whether it may write: {written}.", hint)
