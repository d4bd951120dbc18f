"""A file of charges, read line by line."""

import tracemalloc
from datetime import UTC, datetime, timedelta
from io import BytesIO
from uuid import UUID

import pytest

from django_krcard.management import orders
from django_krcard.management.orders import BadFile, BadLine, Order

HEADER = "mandate,amount,reference,due_at,description"


def read(text, *, header=HEADER):
    return list(orders.read(BytesIO(f"{header}\n{text}".encode())))


def read_one(line, *, header=HEADER):
    [(number, order)] = read(line, header=header)
    assert number == 2
    return order


def problem(line, *, header=HEADER):
    order = read_one(line, header=header)
    assert isinstance(order, BadLine)
    return str(order)


def test_a_line_is_an_order():
    order = read_one("KR-ABCD-2345,12900,2026-12,2026-12-01T09:30:00Z,12월 이용료")
    assert order == Order("KR-ABCD-2345", 12_900, "2026-12", datetime(2026, 12, 1, 9, 30, tzinfo=UTC), "12월 이용료")


def test_columns_may_stand_in_any_order_and_two_may_be_missing():
    assert read_one("r,100,kr-abcd-2345", header="reference, amount ,mandate") == Order("KR-ABCD-2345", 100, "r")


def test_a_mandate_is_also_named_by_its_public_id():
    public_id = "0b1f8d0e-6a0c-4f3e-9d4e-4d3e5a3f9b11"
    assert read_one(f"{public_id},100,r,,").mandate == UUID(public_id)


@pytest.mark.parametrize(
    ("text", "hours"),
    [
        ("2026-12-01T09:00", 0),
        ("2026-12-01 09:00:00", 0),
        ("2026-12-01", -9),
        ("2026-12-01T09:00Z", 9),
        ("2026-12-01T09:00+08:00", 1),
    ],
)
def test_a_time_without_a_zone_is_one_of_seoul(text, hours):
    due_at = read_one(f"KR-ABCD-2345,100,r,{text},").due_at
    assert due_at - datetime(2026, 12, 1, 0, 0, tzinfo=UTC) == timedelta(hours=hours)


def test_a_byte_order_mark_carriage_returns_quotes_and_empty_lines_are_no_trouble():
    text = '\ufeffmandate,amount,reference\r\n\r\n"KR-ABCD-2345","100","a ""b"", c"\r\n   \nKR-ABCD-2345,200,last'
    assert list(orders.read(BytesIO(text.encode()))) == [
        (3, Order("KR-ABCD-2345", 100, 'a "b", c')),
        (5, Order("KR-ABCD-2345", 200, "last")),
    ]


NO_WHOLE_WON = ['"12,900"', "12900.0", "-12900", "+12900", "12_900", "₩12900", "12900원", "1e4", "0x64", "true"]
OTHER_DIGITS = ["１２９００", "٣٤٥", "²²²"]
TOO_LITTLE_OR_TOO_MUCH = ["0", "99", "100000000", "9" * 5_000]


@pytest.mark.parametrize("amount", NO_WHOLE_WON + OTHER_DIGITS + TOO_LITTLE_OR_TOO_MUCH)
def test_what_is_not_whole_won_is_not_guessed(amount):
    said = problem(f"KR-ABCD-2345,{amount},r,,")
    assert said.startswith("has the amount")
    assert "12900" in said


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (",100,r,,", "has no mandate"),
        ("KR-ABCD-2345,,r,,", "has no amount"),
        ("KR-ABCD-2345,100,,,", "has no reference"),
        ("KR-ABCD-2345,100,   ,,", "has no reference"),
        ("KR-ABCD-2345,100,r", "has 3 columns, and the header has 5"),
        ("KR-ABCD-2345,12,900,r,,", "has 6 columns, and the header has 5"),
        (f"KR-ABCD-2345,100,{'r' * 192},,", "a reference of more than 191"),
        (f"KR-ABCD-2345,100,r,,{'d' * 501}", "a description of more than 500"),
        ("KR-ABCD-2345,100,r\0,,", "NUL"),
        ('KR-ABCD-2345,100,"r,,', "is not CSV"),
        ('KR-ABCD-2345,100,"r"x,,', "is not CSV"),
        ("KR-ABCD-2345,100,r\rKR-ABCD-2345,100,s,,", "is not CSV"),
        (f"KR-ABCD-2345,100,{'r' * 20_000},,", "is longer than 16,384 bytes"),
        *[
            (f"KR-ABCD-2345,100,r,{due_at},", "has the due_at")
            for due_at in (
                "tomorrow",
                "01.12.2026",
                "2026-13-01",
                "09:00",
                "1795478400",
                "２０２６-12-01",
                "0001-01-01",
            )
        ],
        ("KR-ABCD-2345,100,r,9999-12-31T23:59:59-23:59,", "too far away"),
    ],
)
def test_a_bad_line_says_what_is_wrong(line, says):
    assert says in problem(line)


@pytest.mark.parametrize("bad", [b"\xc7\xd1\xb1\xdb", b'"', b"\0", b"x" * 100_000, b",,,,,,,", b"\xff\xfe\xff"])
def test_a_bad_line_does_not_spoil_the_next(bad):
    good = b"KR-ABCD-2345,100,r,,"
    lines = BytesIO(b"\n".join([HEADER.encode(), good, bad, good, bad]))
    found = list(orders.read(lines))
    assert [number for number, _ in found] == [2, 3, 4, 5]
    assert [isinstance(order, BadLine) for _, order in found] == [False, True, False, True]


@pytest.mark.parametrize(
    "header",
    [
        "",
        "KR-ABCD-2345,12900,2026-12",
        "mandate,amount",
        "mandate,amount,reference,due",
        "mandate,amount,reference,amount",
        "mandate;amount;reference",
        "mandate,amount,reference,",
        '"mandate,amount,reference',
        "x" * 50_000,
    ],
)
def test_without_our_header_nothing_is_read(header):
    with pytest.raises(BadFile, match="first line"):
        read("KR-ABCD-2345,12900,2026-12", header=header)


def test_an_empty_file_has_no_header():
    with pytest.raises(BadFile, match="first line"):
        list(orders.read(BytesIO(b"")))


class Endless:
    """As many lines as one wants, and no file behind them."""

    def __init__(self, count):
        self.lines = (f"KR-ABCD-2345,12900,order-{number}\n".encode() for number in range(count))
        self.first = b"mandate,amount,reference\n"

    def readline(self, size):
        line, self.first = self.first, b""
        return line or next(self.lines, b"")


def test_a_long_file_takes_no_more_memory_than_a_short_one():
    tracemalloc.start()
    try:
        assert sum(1 for _ in orders.read(Endless(20_000))) == 20_000
        _now, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 200_000
