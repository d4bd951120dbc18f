"""What can be done to a message that Stripe signed so that it is Stripe's no longer: one function for each kind.

A kind gets a genuine message and a `random.Random`, and gives back a forged one. `is_genuine` is the judge: written
from Stripe's own description, without the SDK and without the package, so that a kind that leaves the message rightly
signed is found out. https://docs.stripe.com/webhooks/signatures
"""

import base64
import gzip
import hashlib
import hmac
import json
import os
import random
import re
import secrets
import string
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from io import BytesIO
from typing import Any

from django.conf import settings

SEED = "KRCARD_TEST_SEED"

#: By the clock of these tests, which stands still.
NOW = 1_795_000_000
TOLERANCE = 300
MAX_BODY = 512 * 1024
MAX_HEADER = 8 * 1024

NEW_SECRET, OLD_SECRET = "whsec_krcard_new", "whsec_krcard_old"
REMOVED_SECRET = "whsec_krcard_removed"
#: A site in the middle of a roll, whose list came out of an environment file with gaps.
CONFIGURED = ["", NEW_SECRET, "   ", OLD_SECRET]

#: In every body. Whatever is logged or answered must not have it.
MARK = "krcard-body-mark"


def new_seed() -> int:
    return int(os.environ.get(SEED) or secrets.randbits(32))


# --- a genuine message ----------------------------------------------------------------------------


def mac(body: bytes, secret: str = NEW_SECRET, at: int | str = NOW, algorithm: str = "sha256") -> str:
    return hmac.new(secret.encode(), f"{at}.".encode() + body, algorithm).hexdigest()


def signed(body: bytes, secret: str = NEW_SECRET, at: int | str = NOW) -> str:
    return f"t={at},v1={mac(body, secret, at)}"


@dataclass(frozen=True)
class Message:
    """A request as it comes in: its bytes, its signature, the length it says it has, other headers."""

    body: bytes
    header: str | None
    length: str | None
    more: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, body: bytes, secret: str = NEW_SECRET) -> "Message":
        return cls(body, signed(body, secret), str(len(body)))

    @property
    def signature(self) -> str:
        return self.header.partition("v1=")[2]

    def with_body(self, body: bytes, **more: str) -> "Message":
        return replace(self, body=body, length=str(len(body)), more=self.more | more)

    def with_header(self, header: str | None) -> "Message":
        return replace(self, header=header)

    def with_length(self, length: str | None) -> "Message":
        return replace(self, length=length)

    def told(self) -> str:
        return f"header={str(self.header)[:200]!r} length={str(self.length)[:30]!r} body={self.body[:100]!r}"

    def environ(self, path: str) -> dict[str, Any]:
        given = {"HTTP_STRIPE_SIGNATURE": self.header, "CONTENT_LENGTH": self.length}
        return {
            "REQUEST_METHOD": "POST",
            "PATH_INFO": path,
            "SERVER_NAME": "testserver",
            "SERVER_PORT": "443",
            "SERVER_PROTOCOL": "HTTP/1.1",
            "REMOTE_ADDR": "198.51.100.7",
            "CONTENT_TYPE": "application/json; charset=utf-8",
            "wsgi.url_scheme": "https",
            "wsgi.input": BytesIO(self.body),
            **{name: value for name, value in given.items() if value is not None},
            **self.more,
        }


HEADER = re.compile(r"t=([0-9]{1,12})((?:,v[0-9]+=[^,=]*)+)")


def is_genuine(message: Message) -> bool:
    """Whether the site could take this for Stripe's, by the letter."""
    if not re.fullmatch("[0-9]{1,9}", message.length or "") or int(message.length) > MAX_BODY:
        return False
    header = HEADER.fullmatch(message.header or "")
    if header is None or len(message.header) > MAX_HEADER or abs(NOW - int(header[1])) > TOLERANCE:
        return False
    body = message.body[: int(message.length)]
    signatures = re.findall(r",v1=([^,]*)", header[2])
    return any(mac(body, secret, header[1]) in signatures for secret in (NEW_SECRET, OLD_SECRET))


TYPES = [
    "checkout.session.completed",
    "setup_intent.succeeded",
    "payment_method.detached",
    "mandate.updated",
    "payment_intent.succeeded",
    "charge.refunded",
    "charge.dispute.created",
    "customer.updated",
]


def genuine_body(rng: random.Random) -> bytes:
    """An event as Stripe writes it, with something of everything that a re-encoding would change."""
    type = rng.choice(TYPES)
    event = {
        "id": f"evt_{token(rng)}",
        "object": "event",
        "api_version": "2026-10-28.endive",
        "created": NOW - rng.randrange(60),
        "data": {
            "object": {
                "id": f"obj_{token(rng)}",
                "object": type.rpartition(".")[0],
                "amount": rng.randrange(100, 99_999_999),
                "description": f"{MARK} 한강 멤버십 café <{token(rng)}>",
                "metadata": {"krcard_reference": f"주문-{rng.randrange(10_000)}"},
            }
        },
        "livemode": False,
        "pending_webhooks": 1,
        "request": {"id": None, "idempotency_key": None},
        "type": type,
    }
    return json.dumps(event, indent=rng.choice([2, 4]), ensure_ascii=False).encode()


def token(rng: random.Random) -> str:
    return "".join(rng.choices(string.ascii_letters + string.digits, k=24))


# --- the kinds ------------------------------------------------------------------------------------

Kind = Callable[[Message, random.Random], Message]
KINDS: dict[str, Kind] = {}
#: The few that are answered otherwise than with 400.
TOO_LARGE: set[str] = set()


def kind(function: Kind) -> Kind:
    KINDS[function.__name__] = function
    return function


def too_large(function: Kind) -> Kind:
    TOO_LARGE.add(function.__name__)
    return kind(function)


# Other bytes under the same signature.


@kind
def bit_of_body_flipped(message, rng):
    body = bytearray(message.body)
    body[rng.randrange(len(body))] ^= 1 << rng.randrange(8)
    return message.with_body(bytes(body))


@kind
def byte_of_body_removed(message, rng):
    at = rng.randrange(len(message.body))
    return message.with_body(message.body[:at] + message.body[at + 1 :])


@kind
def byte_put_into_body(message, rng):
    at = rng.randrange(len(message.body) + 1)
    return message.with_body(message.body[:at] + bytes([rng.randrange(256)]) + message.body[at:])


@kind
def body_cut_short(message, rng):
    return message.with_body(message.body[: rng.randrange(len(message.body))])


@kind
def body_cut_at_the_front(message, rng):
    return message.with_body(message.body[rng.randrange(1, len(message.body)) :])


@kind
def body_empty(message, rng):
    return message.with_body(b"")


@kind
def body_twice(message, rng):
    return message.with_body(message.body * 2)


@kind
def white_space_after_body(message, rng):
    return message.with_body(message.body + rng.choice([b"\n", b"\r\n", b" ", b"\t", b"\n\n"]))


@kind
def white_space_before_body(message, rng):
    return message.with_body(rng.choice([b"\n", b"\r\n", b" ", b"\t"]) + message.body)


@kind
def byte_order_mark_before_body(message, rng):
    return message.with_body(rng.choice([b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff"]) + message.body)


@kind
def nul_at_an_end_of_body(message, rng):
    return message.with_body(rng.choice([b"\0" + message.body, message.body + b"\0"]))


@kind
def other_line_ends(message, rng):
    return message.with_body(message.body.replace(b"\n", rng.choice([b"\r\n", b"\r", b""])))


@kind
def body_written_anew(message, rng):
    style = rng.choice([{"separators": (",", ":")}, {"indent": 1}, {"sort_keys": True}, {"ensure_ascii": True}])
    return message.with_body(json.dumps(json.loads(message.body), **({"ensure_ascii": False} | style)).encode())


@kind
def body_in_another_encoding(message, rng):
    encoding = rng.choice(["latin-1", "cp949", "utf-16", "utf-16-le", "utf-32", "utf-7", "ascii"])
    return message.with_body(message.body.decode().encode(encoding, "replace"))


@kind
def body_read_as_latin_1_and_written_as_utf_8(message, rng):
    return message.with_body(message.body.decode("latin-1").encode())


@kind
def korean_in_pieces(message, rng):
    return message.with_body(unicodedata.normalize(rng.choice(["NFD", "NFKD"]), message.body.decode()).encode())


@kind
def bytes_that_are_no_utf_8(message, rng):
    at = rng.randrange(len(message.body))
    junk = rng.choice([b"\xff", b"\xed\xa0\x80", b"\xc0\xaf", b"\xf4\x90\x80\x80", b"\xe2\x82"])
    return message.with_body(message.body[:at] + junk + message.body[at:])


@kind
def body_packed(message, rng):
    pack = rng.choice(
        [gzip.compress, base64.b64encode, base64.b16encode, lambda body: json.dumps(body.decode()).encode()]
    )
    return message.with_body(pack(message.body), HTTP_CONTENT_ENCODING="gzip")


@kind
def body_in_a_form(message, rng):
    boundary = "krcard"
    form = f'--{boundary}\r\nContent-Disposition: form-data; name="payload"\r\n\r\n'.encode()
    form += message.body + f"\r\n--{boundary}--\r\n".encode()
    return message.with_body(form, CONTENT_TYPE=f"multipart/form-data; boundary={boundary}")


@kind
def body_wrapped(message, rng):
    before, after = rng.choice(
        [(b"[", b"]"), (b'{"data": ', b"}"), (b'{"detail": ', b"}"), (b"/* */", b""), (b"(", b")")]
    )
    return message.with_body(before + message.body + after)


@kind
def another_amount(message, rng):
    event = json.loads(message.body)
    event["data"]["object"]["amount"] += rng.choice([1, -1, 1000])
    return message.with_body(json.dumps(event, indent=2, ensure_ascii=False).encode())


@kind
def another_id(message, rng):
    return message.with_body(re.sub(rb"obj_\w+", f"obj_{token(rng)}".encode(), message.body))


@kind
def key_given_twice(message, rng):
    return message.with_body(message.body.replace(b"{", b'{"id": "evt_other",', 1))


@kind
def letters_of_other_case(message, rng):
    return message.with_body(message.body.swapcase())


@kind
def another_body(message, rng):
    return message.with_body(genuine_body(rng))


# The right bytes with a signature over something else.


def signing(make):
    """A kind whose header signs `make(body, rng)` in place of the body."""

    def forge(message, rng):
        return message.with_header(signed(make(message.body, rng)))

    forge.__name__ = make.__name__
    return kind(forge)


@signing
def signature_of_another_body(body, rng):
    return genuine_body(rng)


@signing
def signature_of_body_with_byte_order_mark(body, rng):
    return b"\xef\xbb\xbf" + body


@signing
def signature_of_body_and_new_line(body, rng):
    return body + rng.choice([b"\n", b"\r\n"])


@signing
def signature_of_body_without_white_space(body, rng):
    return re.sub(rb"\s", b"", body)


@signing
def signature_of_body_written_anew(body, rng):
    return json.dumps(json.loads(body)).encode()


@signing
def signature_of_body_in_another_encoding(body, rng):
    return body.decode().encode(rng.choice(["utf-16", "cp949", "utf-8-sig"]), "replace")


@signing
def signature_of_packed_body(body, rng):
    return gzip.compress(body)


@signing
def signature_of_nothing(body, rng):
    return b""


@signing
def signature_of_a_digest(body, rng):
    return hashlib.sha256(body).hexdigest().encode()


@kind
def signature_without_time(message, rng):
    digest = hmac.new(NEW_SECRET.encode(), message.body, "sha256").hexdigest()
    return message.with_header(f"t={NOW},v1={digest}")


@kind
def time_and_body_joined_otherwise(message, rng):
    join = rng.choice(["", ":", ",", "..", " ", ".\n", "\0"])
    digest = hmac.new(NEW_SECRET.encode(), f"{NOW}{join}".encode() + message.body, "sha256").hexdigest()
    return message.with_header(f"t={NOW},v1={digest}")


@kind
def another_algorithm(message, rng):
    algorithm = rng.choice(["sha1", "sha384", "sha512", "md5", "sha3_256", "blake2s"])
    return message.with_header(f"t={NOW},v1={mac(message.body, algorithm=algorithm)}")


@kind
def digest_without_a_key(message, rng):
    digest = hashlib.sha256(rng.choice([b"", f"{NOW}.".encode(), NEW_SECRET.encode()]) + message.body).hexdigest()
    return message.with_header(f"t={NOW},v1={digest}")


# Somebody else's secret.


def by_secret(choose):
    def forge(message, rng):
        return message.with_header(signed(message.body, choose(rng)))

    forge.__name__ = choose.__name__
    return kind(forge)


@by_secret
def secret_of_somebody_else(rng):
    return f"whsec_{token(rng)}"


@by_secret
def secret_that_was_removed(rng):
    return REMOVED_SECRET


@by_secret
def empty_secret(rng):
    return ""


@by_secret
def blank_secret(rng):
    return rng.choice([" ", "   ", "\t", "\n", "\u3000"])


@by_secret
def secret_nearly_right(rng):
    right = rng.choice([NEW_SECRET, OLD_SECRET])
    return rng.choice([f" {right}", f"{right}\n", right.upper(), right[:-1], right.removeprefix("whsec_")])


@by_secret
def both_secrets_as_one(rng):
    return rng.choice([NEW_SECRET + OLD_SECRET, ",".join(CONFIGURED), str(CONFIGURED)])


@by_secret
def other_key_of_the_site(rng):
    return rng.choice([settings.SECRET_KEY, settings.STRIPE_SECRET_KEY])


@by_secret
def secret_none(rng):
    return rng.choice(["None", "null", "whsec_", "[]", "False"])


# The time.


@kind
def signed_too_long_ago(message, rng):
    at = NOW - TOLERANCE - rng.choice([1, 2, 60, 3600, 86_400, rng.randrange(1, NOW - TOLERANCE)])
    return message.with_header(signed(message.body, at=at))


@kind
def signed_too_far_in_the_future(message, rng):
    at = NOW + TOLERANCE + rng.choice([1, 2, 60, 3600, 86_400, rng.randrange(1, 10**11)])
    return message.with_header(signed(message.body, at=at))


@kind
def signed_in_the_future_with_a_second_time(message, rng):
    """The time that is signed is written so that one reader sees it, and another the harmless one after it."""
    at = NOW + TOLERANCE + rng.randrange(1, 10**6)
    first = rng.choice([f" {at}", f"+{at}", f"{at} ", f"{at}=", f"{at:_}", str(at), f"\t{at}", f"000000{at}"])
    return message.with_header(f"t={first},t={NOW},v1={mac(message.body, at=at)}")


@kind
def signed_long_ago_with_a_second_time(message, rng):
    at = NOW - TOLERANCE - rng.randrange(1, 10**6)
    times = [f"t={at}", f"t={NOW}"]
    rng.shuffle(times)
    return message.with_header(f"{','.join(times)},v1={mac(message.body, at=at)}")


@kind
def time_changed_after_signing(message, rng):
    at = NOW + rng.choice([-TOLERANCE, -1, 1, TOLERANCE, rng.randrange(1, TOLERANCE)])
    return message.with_header(f"t={at},v1={message.signature}")


def timed(write):
    """A kind whose time is written as `write` says, and which is signed with the time as written."""

    def forge(message, rng):
        at = write(rng)
        return message.with_header(signed(message.body, at=at))

    forge.__name__ = write.__name__
    return kind(forge)


@timed
def time_empty(rng):
    return rng.choice(["", " ", "\t"])


@timed
def time_huge(rng):
    return "9" * rng.choice([13, 20, 309, 4301, 7000])


@timed
def time_negative(rng):
    return f"-{NOW}"


@timed
def time_with_a_fraction(rng):
    return rng.choice([f"{NOW}.0", f"{NOW}.5", f"{NOW},0", f"{NOW / 10**9}e9"])


@timed
def time_in_milliseconds(rng):
    return f"{NOW}{rng.randrange(1000):03}"


@timed
def time_in_other_words(rng):
    return rng.choice([hex(NOW), "now", "NaN", "inf", "None", "1e9", "2026-11-18T00:00:00Z", "0", "null"])


@kind
def time_as_python_would_read_it(message, rng):
    """Python's int() takes all of these for the very second that was signed."""
    loose = rng.choice([f"{NOW:_}", f"+{NOW}", f" {NOW}", f"{NOW} ", f"\n{NOW}", f"\v{NOW}", f"{NOW}=", f"\x1f{NOW}"])
    return message.with_header(f"t={loose},v1={message.signature}")


@kind
def time_in_other_digits(message, rng):
    zero = rng.choice(["٠", "०", "０", "𝟎"])
    digits = "".join(chr(ord(zero) + int(digit)) for digit in str(NOW))
    return message.with_header(f"t={digits},v1={message.signature}")


@kind
def time_twice(message, rng):
    second = rng.choice([NOW, NOW - 1, NOW + 1, 0, "", "x"])
    return message.with_header(rng.choice([f"t={second},{message.header}", f"{message.header},t={second}"]))


@kind
def time_missing(message, rng):
    return message.with_header(f"v1={message.signature}")


# The header.


@kind
def header_missing(message, rng):
    return message.with_header(None)


@kind
def header_blank(message, rng):
    return message.with_header(rng.choice(["", " ", "\t", ",", "=", ",,,", "=,=", "t", "v1", "t=,v1=", "t=v1="]))


@kind
def header_of_junk(message, rng):
    return message.with_header("".join(chr(rng.randrange(256)) for _ in range(rng.randrange(1, 200))))


@kind
def header_cut_short(message, rng):
    return message.with_header(message.header[: rng.randrange(len(message.header))])


@kind
def letter_of_header_changed(message, rng):
    at = rng.randrange(len(message.header))
    other = chr(ord(message.header[at]) ^ (1 << rng.randrange(8)))
    return message.with_header(message.header[:at] + other + message.header[at + 1 :])


@kind
def two_digits_of_signature_swapped(message, rng):
    digits = list(message.signature)
    one = rng.randrange(len(digits))
    two = rng.choice([at for at, digit in enumerate(digits) if digit != digits[one]])
    digits[one], digits[two] = digits[two], digits[one]
    return message.with_header(f"t={NOW},v1={''.join(digits)}")


@kind
def signature_in_capitals(message, rng):
    return message.with_header(f"t={NOW},v1={message.signature.upper()}")


@kind
def signature_longer(message, rng):
    longer = rng.choice(
        [message.signature + "0", "0" + message.signature, message.signature * 2, f'"{message.signature}"']
    )
    return message.with_header(f"t={NOW},v1={longer}")


@kind
def signature_in_base64(message, rng):
    digest = base64.b64encode(bytes.fromhex(message.signature)).decode()
    return message.with_header(f"t={NOW},v1={digest}")


@kind
def signature_empty(message, rng):
    return message.with_header(f"t={NOW},v1={rng.choice(['', ' ', '0', '0' * 64, 'None', 'v1'])}")


@kind
def signature_with_more_in_it(message, rng):
    digits, at = message.signature, rng.randrange(65)
    more = rng.choice([" ", "\t", "\0", "\x7f", "-", "\u200b", "é", "٣", "\ud800"])
    return message.with_header(f"t={NOW},v1={digits[:at]}{more}{digits[at:]}")


@kind
def signature_of_another_scheme(message, rng):
    scheme = rng.choice(["v0", "v2", "V1", "v01", "v", "1", "", " v1", "v1 ", "s", "v1_", "v1[]"])
    return message.with_header(f"t={NOW},{scheme}={message.signature}")


@kind
def signature_missing(message, rng):
    return message.with_header(rng.choice([f"t={NOW}", f"t={NOW},", f"t={NOW},v1", f"t={NOW},{message.signature}"]))


@kind
def names_swapped(message, rng):
    return message.with_header(f"t={message.signature},v1={NOW}")


@kind
def header_in_another_grammar(message, rng):
    at, digits = NOW, message.signature
    return message.with_header(
        rng.choice(
            [
                f"t={at};v1={digits}",
                f"t:{at},v1:{digits}",
                f"t={at}&v1={digits}",
                f"t={at} v1={digits}",
                f"t={at}\nv1={digits}",
                f"t={at}，v1={digits}",
                f"t＝{at},v1＝{digits}",
                f"T={at},v1={digits}",
                json.dumps({"t": at, "v1": digits}),
                f"t%3D{at}%2Cv1%3D{digits}",
                f"Bearer {message.header}",
                f"sha256={digits}",
                digits,
            ]
        )
    )


@kind
def white_space_in_header(message, rng):
    space = rng.choice([" ", "\t", "\u00a0", "\x0b"])
    at, digits = NOW, message.signature
    spaced = [f"{space}t={at},v1={digits}", f"t={at},{space}v1={digits}", f"t={at},v1={space}{digits}"]
    return message.with_header(rng.choice([*spaced, f"t{space}={at},v1={digits}", f"t={at},v1={digits}{space}"]))


@kind
def control_character_in_header(message, rng):
    at = rng.randrange(len(message.header) + 1)
    odd = rng.choice(["\0", "\r\n", "\n", "\r", "\x1b[2J", "\x7f", "\x85"])
    return message.with_header(message.header[:at] + odd + message.header[at:])


@kind
def letters_beyond_ascii_in_header(message, rng):
    # As WSGI hands over the bytes: é in Latin-1, 한 in UTF-8, and what no server would.
    odd = rng.choice(["é", "í\x95\x9c", "\xff", "한", "\ud800", "\U0001f4b3", "\u200b", "ｖ１"])
    at = rng.randrange(len(message.header) + 1)
    return message.with_header(message.header[:at] + odd + message.header[at:])


@kind
def header_twice(message, rng):
    """A server joins headers of the same name with a comma."""
    other = rng.choice([message.header, signed(message.body, OLD_SECRET), signed(b"{}"), "t=1,v1=00"])
    return message.with_header(rng.choice([",", ", "]).join(rng.sample([message.header, other], 2)))


@kind
def header_huge(message, rng):
    padding = rng.choice([",v1=00", ",v0=" + "0" * 64, ",x=" + "y" * 1000, ",é=", ",t=1", ","])
    return message.with_header(message.header + padding * (MAX_HEADER // len(padding) + 1))


@kind
def very_many_signatures(message, rng):
    guesses = ",".join(f"v1={rng.randbytes(32).hex()}" for _ in range(rng.randrange(2, 110)))
    return message.with_header(f"t={NOW},{guesses}")


# The length.


@kind
def length_missing(message, rng):
    return message.with_length(None)


@kind
def length_missing_and_chunked(message, rng):
    return replace(message, length=None, more={"HTTP_TRANSFER_ENCODING": "chunked"})


@kind
def length_too_small(message, rng):
    return message.with_length(str(rng.randrange(len(message.body))))


@kind
def length_negative(message, rng):
    return message.with_length(rng.choice(["-1", "-0", f"-{len(message.body)}", str(-(2**31))]))


@kind
def length_not_a_number(message, rng):
    right = len(message.body)
    return message.with_length(
        rng.choice(["", "x", "None", "NaN", "inf", hex(right), f"{right}.0", f"{right};", f"{right}, {right}", "\0"])
    )


@kind
def length_as_python_would_read_it(message, rng):
    right = len(message.body)
    return message.with_length(
        rng.choice([f"+{right}", f" {right}", f"{right}\n", f"{right:_}" if right > 999 else "1_0"])
    )


@kind
def length_in_other_digits(message, rng):
    zero = rng.choice(["٠", "०", "０"])
    digits = "".join(chr(ord(zero) + int(digit)) for digit in str(len(message.body)))
    return message.with_length(rng.choice([digits, "²", "½", "①"]))


@too_large
def length_too_large(message, rng):
    return message.with_length(str(MAX_BODY + rng.choice([1, 2, 1000, 10**6, 10**8])))


@too_large
def length_enormous(message, rng):
    return message.with_length("9" * rng.choice([10, 19, 20, 100, 4301]))
