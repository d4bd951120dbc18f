"""What all customer pages share."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Any
from urllib.parse import urljoin, urlsplit

from django.http import HttpRequest
from django.utils.cache import add_never_cache_headers
from django.views.generic.base import ContextMixin, TemplateResponseMixin, View

from django_krcard.conf import conf
from django_krcard.models import Customer
from django_krcard.standing import payer_of
from django_krcard.transactions import never_atomic


def is_safe(address: str) -> bool:
    """Whether a customer may be sent there: Stripe speaks https, and only what stands in for it may do otherwise."""
    scheme = urlsplit(address).scheme
    return scheme == "https" or (scheme == "http" and bool(conf.SANDBOX or conf.STRIPE_API_BASE))


class PageView(TemplateResponseMixin, ContextMixin, View):
    """A page about somebody's money: in no cache, in no search engine, in no Referer.

    Never inside a transaction of the site's (ATOMIC_REQUESTS), because it may ask Stripe.
    """

    @classmethod
    def as_view(cls, **initkwargs):
        # Marked here and not on dispatch(): a mixin's dispatch() would hide the mark.
        return never_atomic(super().as_view(**initkwargs))

    def get_context_data(self, **kwargs):
        return super().get_context_data(
            krcard_base_template=conf.BASE_TEMPLATE,
            krcard_sandbox=conf.SANDBOX,
            merchant_name=conf.MERCHANT_NAME,
            **kwargs,
        )

    def dispatch(self, request, *args, **kwargs):
        response = super().dispatch(request, *args, **kwargs)
        if not response.has_header("Cache-Control"):
            add_never_cache_headers(response)
        # Same-origin, not no-referrer: Django's CSRF check needs the header on https.
        response.headers["Referrer-Policy"] = "same-origin"
        response.headers["X-Robots-Tag"] = "noindex"
        return response

    def get_customer(self, request: HttpRequest) -> Customer | None:
        """Who pays, if it is not the signed-in user: an organisation of theirs, say. Every page asks here.

        ``KRCARD_GET_CUSTOMER`` answers for all of them at once.
        """
        return payer_of(request)

    def theirs(self, request: HttpRequest, path: str = "customer") -> dict[str, Any]:
        """The filter for what the visitor may see and end. ``path`` leads to the customer."""
        customer = self.get_customer(request)
        return {path: customer} if customer else {f"{path}__user": request.user}

    def is_theirs(self, request: HttpRequest, customer: Customer) -> bool:
        if not request.user.is_authenticated:
            return False
        payer = self.get_customer(request)
        return customer == payer if payer else customer.user_id == request.user.pk

    def show(self, *, status: int = 200, template: str | None = None, **context):
        names = [template] if template else self.get_template_names()
        return self.response_class(
            request=self.request,
            template=names,
            context=self.get_context_data(**context),
            using=self.template_engine,
            status=status,
        )


def absolute(request: HttpRequest, path: str) -> str:
    """The address of ``path`` that Stripe sends the customer back to."""
    return urljoin(conf.BASE_URL, path) if conf.BASE_URL else request.build_absolute_uri(path)


def client_ip(request: HttpRequest) -> str | None:
    """The customer's address, believing exactly as many proxies as the site says it has."""
    hops = conf.TRUSTED_PROXY_COUNT
    if hops:
        forwarded = [hop.strip() for hop in request.headers.get("X-Forwarded-For", "").split(",")]
        if len(forwarded) >= hops and (address := _valid_ip(forwarded[-hops])):
            return address
    return _valid_ip(request.META.get("REMOTE_ADDR", ""))


def _valid_ip(address: str) -> str | None:
    try:
        parsed = ip_address(address.partition("%")[0])
    except ValueError:
        # A Unix socket has no address, and a header can say anything.
        return None
    return str(getattr(parsed, "ipv4_mapped", None) or parsed)
