"""Every request, its answer, and what is read of the answer: as it happens between our gateway and the sandbox."""

import json
import sys
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from django_krcard import gateway
from django_krcard.gateway import client
from django_krcard.sandbox.http import SandboxHTTPClient

GATEWAY = str(Path(gateway.__file__).parent)


@dataclass
class Exchange:
    method: str
    address: str
    sent: str
    asked_by: frozenset[str]
    status: int = 0
    answer: dict = field(default_factory=dict)
    read: set[tuple[str, ...]] = field(default_factory=set)


class Read(dict):
    """A part of an answer that writes down what is asked of it, whether it is there or not."""

    def __init__(self, data, read, path=()):
        super().__init__((name, watched(value, read, (*path, name))) for name, value in data.items())
        self._note = lambda name: read.add((*path, name))

    def __getitem__(self, name):
        self._note(name)
        return super().__getitem__(name)

    def get(self, name, default=None):
        self._note(name)
        return super().get(name, default)


def watched(value, read, path):
    if isinstance(value, dict):
        return Read(value, read, path)
    if isinstance(value, list):
        return [watched(one, read, (*path, "[]")) for one in value]
    return value


@contextmanager
def listening():
    """All exchanges that happen inside, in their order."""
    heard: list[Exchange] = []
    # The messages of an act are delivered before its own answer, and their handlers ask, too.
    answered: list[Exchange] = []
    request, read_answer = SandboxHTTPClient.request, client._read

    def listen(self, method, url, headers, post_data=None, **kwargs):
        address = urlsplit(url)
        sent = address.query if method.upper() in ("GET", "DELETE") else post_data or ""
        exchange = Exchange(method.upper(), address.path, sent, who_asks())
        heard.append(exchange)
        answer = request(self, method, url, headers, post_data, **kwargs)
        exchange.answer, exchange.status = json.loads(answer[0]), answer[1]
        answered.append(exchange)
        return answer

    def read(answer, reader):
        watching = Watching(answer.to_dict(), answered[-1].read)
        # Read later, and not by the gateway: the message's own object of an event, say.
        return watching.to_dict() if reader is dict else read_answer(watching, reader)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SandboxHTTPClient, "request", listen)
        patch.setattr(client, "_read", read)
        yield heard


class Watching:
    """In place of the SDK's object."""

    def __init__(self, data, read):
        self.data, self.read = data, read

    def to_dict(self):
        return Read(self.data, self.read)


def who_asks():
    """The gateway's functions that this request is made in."""
    names, frame = set(), sys._getframe()
    while frame:
        if frame.f_code.co_filename.startswith(GATEWAY):
            names.add(frame.f_code.co_name)
        frame = frame.f_back
    return frozenset(names)
