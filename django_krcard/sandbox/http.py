"""The door for stripe-python: `StripeClient(key, http_client=SandboxHTTPClient())`."""

from collections.abc import Mapping
from typing import Any, NoReturn
from urllib.parse import urlsplit

import stripe
from requests.structures import CaseInsensitiveDict

from .api import handle
from .errors import Timeout


class SandboxHTTPClient(stripe.HTTPClient):
    """Answers in this process, from the sandbox's tables. No socket is opened."""

    name = "krcard_sandbox"

    def request(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str] | None,
        post_data: Any = None,
        **kwargs: Any,
    ) -> tuple[str, int, Mapping[str, str]]:
        address = urlsplit(url)
        sent = address.query if method.upper() in ("GET", "DELETE") else post_data
        try:
            response = handle(method, address.path, sent or "", headers or {})
        except Timeout as lost:
            message = "The sandbox was asked to lose this answer."
            raise stripe.APIConnectionError(message, should_retry=True) from lost  # type: ignore[no-untyped-call]
        return response.content.decode(), response.status, CaseInsensitiveDict(response.headers)

    def request_stream(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise NotImplementedError("The sandbox does not stream answers.")

    async def request_async(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise NotImplementedError("The sandbox has no async door. Call the sync client in a thread.")

    async def request_stream_async(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise NotImplementedError("The sandbox does not stream answers.")

    def close(self) -> None:
        pass

    async def close_async(self) -> None:
        pass
