"""A stand-in for Stripe that costs next to nothing, so that benchmarks measure us: `benchmarks/standin.py --help`.

It answers charges (each succeeds), their list, the objects of `story.py`, and `GET /ledger`: what it was asked, for
the benchmark to count.
It checks nothing. What should behave like Stripe is tried on the sandbox.
"""

import argparse
import asyncio
import json
import signal
import time
from collections import Counter, defaultdict
from itertools import count, islice
from urllib.parse import parse_qsl

import story

INTENTS = "/v1/payment_intents"
REASONS = {200: "OK", 400: "Bad Request", 404: "Not Found", 429: "Too Many Requests"}


class Books:
    """Everything the stand-in remembers. Ids count up, so that newer is larger."""

    def __init__(self):
        self.answers = {}  # idempotency key: (hash of the body that was sent, answer)
        self.intents = {}  # id: PaymentIntent, the oldest first
        self.of_customer = defaultdict(list)
        self.keys, self.customers, self.endpoints = Counter(), Counter(), Counter()
        self.limited = self.replayed = 0
        self.numbers = count(1)

    def create(self, key, sent):
        """The first answer under a key is the answer."""
        self.keys[key] += 1
        if key in self.answers:
            before, answer = self.answers[key]
            if before != hash(sent):
                return refusal(400, "idempotency_error", "idempotency_key_reused")
            self.replayed += 1
            return 200, answer
        answer = json.dumps(self.intent(dict(parse_qsl(sent.decode())))).encode()
        if key:
            self.answers[key] = hash(sent), answer
        return 200, answer

    def intent(self, given):
        number = next(self.numbers)
        intent = {
            "id": f"pi_standin_{number}",
            "object": "payment_intent",
            "amount": int(given["amount"]),
            "created": int(time.time()),
            "currency": given["currency"],
            "customer": given.get("customer"),
            "last_payment_error": None,
            "latest_charge": f"ch_standin_{number}",
            "livemode": False,
            "metadata": {name[9:-1]: value for name, value in given.items() if name.startswith("metadata[")},
            "next_action": None,
            "payment_method": given.get("payment_method"),
            "status": "succeeded",
        }
        self.intents[intent["id"]] = intent
        self.of_customer[intent["customer"]].append(intent)
        self.customers[intent["customer"]] += 1
        return intent

    def listed(self, query):
        """Newest first, page by page. Filters: `customer`, `created[gte]`."""
        wanted = dict(parse_qsl(query))
        pool = self.of_customer.get(wanted["customer"], []) if "customer" in wanted else self.intents.values()
        since, after, limit = (
            int(wanted.get("created[gte]", 0)),
            wanted.get("starting_after"),
            int(wanted.get("limit", 10)),
        )
        found = (intent for intent in reversed(pool) if intent["created"] >= since)
        if after:
            for intent in found:
                if intent["id"] == after:
                    break
        page = list(islice(found, limit + 1))
        return {"object": "list", "url": INTENTS, "data": page[:limit], "has_more": len(page) > limit}

    def ledger(self):
        return {
            "created": len(self.intents),
            "won": sum(intent["amount"] for intent in self.intents.values()),
            "replayed": self.replayed,
            "limited": self.limited,
            "endpoints": self.endpoints,  # requests that were let in
            "keys": self.keys,  # requests under each idempotency key
            "customers": self.customers,  # PaymentIntents of each customer
        }


class Limit:
    """A bucket of tokens for each endpoint: so many a second, and as many saved up. None: as many as come."""

    def __init__(self, per_second):
        self.per_second = per_second
        self.buckets = {}  # endpoint: (tokens, when)

    def lets_in(self, endpoint):
        if self.per_second is None:
            return True
        now = time.monotonic()
        tokens, before = self.buckets.get(endpoint, (self.per_second, now))
        tokens = min(tokens + (now - before) * self.per_second, self.per_second)
        is_in = tokens >= 1
        self.buckets[endpoint] = tokens - is_in, now
        return is_in


def refusal(status, type, code):
    return status, json.dumps({"error": {"type": type, "code": code, "message": "The stand-in says no."}}).encode()


class Connection(asyncio.Protocol):
    """HTTP/1.1 as Stripe's SDK speaks it: kept alive, bodies with a Content-Length."""

    requests = count(1)

    def __init__(self, books, limit, latency):
        self.books, self.limit, self.latency = books, limit, latency
        self.received = b""

    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        self.received += data
        while request := self.next_request():
            answer = http(*self.answer(*request))
            if self.latency:
                asyncio.get_running_loop().call_later(self.latency, self.transport.write, answer)
            else:
                self.transport.write(answer)

    def next_request(self):
        """(method, path, query, idempotency key, body), or nothing yet."""
        head, end, rest = self.received.partition(b"\r\n\r\n")
        if not end:
            return None
        first, *lines = head.decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        length = int(headers.get("content-length", 0))
        if len(rest) < length:
            return None
        self.received = rest[length:]
        method, address, _ = first.split(" ")
        path, _, query = address.partition("?")
        return method, path, query, headers.get("idempotency-key", ""), rest[:length]

    def answer(self, method, path, query, key, body):
        if (method, path) == ("GET", "/ledger"):
            return 200, json.dumps(self.books.ledger()).encode()
        id = path.removeprefix(f"{INTENTS}/")
        endpoint = f"{method} {path if id == path else INTENTS + '/{id}'}"
        if not self.limit.lets_in(endpoint):
            self.books.limited += 1
            return refusal(429, "invalid_request_error", "rate_limit")
        self.books.endpoints[endpoint] += 1
        if endpoint == f"POST {INTENTS}":
            return self.books.create(key, body)
        if endpoint == f"GET {INTENTS}":
            return 200, json.dumps(self.books.listed(query)).encode()
        if method == "GET" and id in self.books.intents:
            return 200, json.dumps(self.books.intents[id]).encode()
        if method == "GET" and (told := story.answer(path, query)):
            return 200, told
        return refusal(404, "invalid_request_error", "resource_missing")


def http(status, body):
    head = (
        f"HTTP/1.1 {status} {REASONS[status]}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\nRequest-Id: req_standin_{next(Connection.requests)}\r\n\r\n"
    )
    return head.encode() + body


async def serve(port, latency, per_second):
    loop, books, limit, stopped = asyncio.get_running_loop(), Books(), Limit(per_second), asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopped.set)
    server = await loop.create_server(lambda: Connection(books, limit, latency), "127.0.0.1", port, backlog=1024)
    print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
    await stopped.wait()
    server.close()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, default=0, help="default: any free one; the address is printed when ready")
    parser.add_argument("--latency", type=float, default=0, metavar="SECONDS", help="before each answer; default: none")
    parser.add_argument("--limit", type=float, metavar="PER_SECOND", help="429 above it, per endpoint; default: none")
    options = parser.parse_args()
    asyncio.run(serve(options.port, options.latency, options.limit))


if __name__ == "__main__":
    main()
