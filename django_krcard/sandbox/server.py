"""The door for every other SDK: the sandbox behind a port of this machine."""

import base64
import binascii
import ipaddress
import logging
import socket
from collections.abc import Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

from django.core.exceptions import ImproperlyConfigured
from django.db import connections

from .api import Response, handle
from .errors import ApiError, Timeout

logger = logging.getLogger(__name__)

# More than any request of Stripe's API needs.
MAX_BODY = 10 * 1024 * 1024
FORM = "application/x-www-form-urlencoded"


class SandboxServer(ThreadingHTTPServer):
    """`with SandboxServer("127.0.0.1", 12111) as server: server.serve_forever()`. Port 0: any free one."""

    # Who stops the server waits for the answers that are on their way.
    daemon_threads = False

    def __init__(self, host: str, port: int) -> None:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        self.address_family, *_, address = found[0]
        super().__init__(address[:2], SandboxHandler)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """The client hung up: nobody is left to tell."""
        logger.info("%s hung up", client_address[0], exc_info=True)

    @property
    def address(self) -> str:
        host, port = self.server_address[:2]
        return f"http://[{host}]:{port}" if ":" in str(host) else f"http://{host}:{port}"

    @property
    def is_loopback(self) -> bool:
        return ipaddress.ip_address(str(self.server_address[0])).is_loopback


class SandboxHandler(BaseHTTPRequestHandler):
    """One connection, one request, one answer."""

    protocol_version = "HTTP/1.1"
    server_version, sys_version = "krcard_sandbox", ""
    # Who connects and says nothing does not keep the server from stopping.
    timeout = 10

    def answer(self) -> None:
        try:
            response = self.ask()
        except Timeout:
            self.close_connection = True
            return
        self.send(response.status, response.content, response.headers)

    do_GET = do_POST = do_DELETE = answer

    def ask(self) -> Response:
        address = urlsplit(self.path)
        headers = dict(self.headers.items())
        headers["Authorization"] = as_bearer(self.headers.get("Authorization", ""))
        try:
            body = self.body()
            return handle(self.command, address.path, body if self.command == "POST" else address.query, headers)
        except ApiError as refusal:
            return refused(refusal)
        except ImproperlyConfigured as refusal:
            # A live key, or no page to send the customer to: said to the one who called, too.
            logger.error("%s", refusal)
            return refused(ApiError(400, str(refusal)))
        except Timeout:
            raise
        except Exception as broken:
            logger.exception("The sandbox failed on %s %s", self.command, self.path)
            return refused(ApiError(500, f"The sandbox failed: {broken!r}", type="api_error"))
        finally:
            connections.close_all()

    def body(self) -> str:
        length = self.headers.get("Content-Length", "0")
        if "Transfer-Encoding" in self.headers or not length.isdecimal():
            raise ApiError(411, "Send the body with its Content-Length.")
        if int(length) > MAX_BODY:
            raise ApiError(413, f"The body is longer than {MAX_BODY} bytes.")
        sent = self.rfile.read(int(length))
        if sent and self.headers.get_content_type() != FORM:
            raise ApiError(400, f"Invalid request (check that your POST content type is {FORM}).")
        try:
            return sent.decode()
        except UnicodeDecodeError:
            raise ApiError(400, "Invalid request: the body is not UTF-8.") from None

    def send(self, status: int, content: bytes, headers: Mapping[str, str]) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(content)), "Connection": "close"}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """What is not HTTP, or no method of Stripe's, is refused in Stripe's form, too."""
        response = refused(ApiError(code, message or HTTPStatus(code).phrase))
        self.send(response.status, response.content, response.headers)

    def log_message(self, format: str, *args: Any) -> None:
        logger.info(format, *args)


def refused(error: ApiError) -> Response:
    return Response(error.status, error.body, {"Content-Type": "application/json"})


def as_bearer(authorization: str) -> str:
    """`curl -u sk_test_…:`, as Stripe's examples have it, sends the key as a user name."""
    scheme, _, encoded = authorization.partition(" ")
    if scheme.lower() != "basic":
        return authorization
    try:
        key, _, _ = base64.b64decode(encoded).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return authorization
    return f"Bearer {key}"
