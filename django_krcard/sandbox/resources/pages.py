"""Where the pages are that Stripe, or the card processor, would show to the customer."""

from urllib.parse import urlsplit

from django.core.exceptions import ImproperlyConfigured
from django.urls import NoReverseMatch, reverse

from ..store import Act


def hosted_page(act: Act, back_to: str, name: str, *args: str) -> str:
    """The address of the page with this URL name, for a customer who goes `back_to` the shop afterwards."""
    # Unless told otherwise, the site to return to is the site that serves the sandbox, on whatever port.
    site = urlsplit(act.state.pages_at or back_to)
    try:
        path = reverse(f"krcard_sandbox:{name}", args=args)
    except NoReverseMatch as missing:
        how = 'path("stripe-sandbox/", include("django_krcard.sandbox.urls"))'
        raise ImproperlyConfigured(f"The sandbox has no hosted page. Add {how} to the URLs.") from missing
    return f"{site.scheme}://{site.netloc}{path}"
