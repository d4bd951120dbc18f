"""Connections to Stripe: one pool for each thread, as Stripe's SDK keeps them, without what requests does each time.

For every request the library looks through the environment for proxies, and for a ``.netrc`` whose password it would
send in place of the site's key. The first is a quarter of what a call costs and stays the same while the process runs;
the second nobody wants.
"""

from __future__ import annotations

import threading
from functools import cache
from typing import Any
from urllib.parse import urlsplit

import requests
from requests.utils import get_environ_proxies


class Session(requests.Session):
    """Asks the environment once for each host, and for nothing but proxies."""

    def __init__(self) -> None:
        super().__init__()
        self.trust_env = False

    def merge_environment_settings(self, url: str, proxies: Any, *rest: Any) -> dict[str, Any]:
        parts = urlsplit(url)
        return super().merge_environment_settings(url, proxies or proxies_for(parts.scheme, parts.netloc), *rest)


@cache
def proxies_for(scheme: str, netloc: str) -> dict[str, str]:
    """From ``HTTPS_PROXY``, ``NO_PROXY`` and the like, as they are when the host is asked for the first time."""
    return get_environ_proxies(f"{scheme}://{netloc}")


class SessionOfThisThread(threading.local):
    """What Stripe's client is given: it takes one session, and they are not made to be shared."""

    def __init__(self) -> None:
        self.session = Session()

    def request(self, *args: Any, **options: Any) -> requests.Response:
        return self.session.request(*args, **options)

    def close(self) -> None:
        self.session.close()
