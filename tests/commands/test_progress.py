"""The bar of long work: at a terminal, on one line, and gone at the end."""

from io import StringIO

import pytest

from django_krcard.management import progress
from django_krcard.management.progress import Progress


class Terminal(StringIO):
    def isatty(self):
        return True


@pytest.fixture
def second_by_second(monkeypatch):
    """Each time somebody looks at the clock, a second has passed."""
    seconds = iter(range(1_000))
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(seconds))


@pytest.fixture(autouse=True)
def wide(monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")


def drawings(terminal):
    return [line.rstrip() for line in terminal.getvalue().split("\r")]


def test_where_nobody_looks_nothing_is_written():
    nobody = StringIO()
    with Progress(3, stream=nobody) as bar:
        assert list(bar.over("abc")) == ["a", "b", "c"]
    assert (nobody.getvalue(), bar.count) == ("", 3)


@pytest.mark.usefixtures("second_by_second")
def test_it_tells_how_far_how_fast_and_how_long():
    terminal = Terminal()
    with Progress(2_000, stream=terminal) as bar:
        bar.count = 499
        bar.advance()
    assert "[#####...............]  25%  500/2,000  250/s  0:06 left" in drawings(terminal)


@pytest.mark.usefixtures("second_by_second")
def test_a_file_is_measured_in_its_own_units_and_counted_in_lines():
    terminal = Terminal()
    with Progress(1_000_000, position=lambda: 500_000, stream=terminal) as bar:
        bar.advance()
    assert "[##########..........]  50%  1  0/s  0:02 left" in drawings(terminal)


@pytest.mark.usefixtures("second_by_second")
def test_without_a_total_it_counts():
    terminal = Terminal()
    with Progress(stream=terminal) as bar:
        bar.count = 9_999
        bar.advance()
    assert "10,000  5,000/s" in drawings(terminal)


@pytest.mark.usefixtures("second_by_second")
@pytest.mark.parametrize("total", [0, 1])
def test_more_than_was_expected_is_no_more_than_all(total):
    terminal = Terminal()
    with Progress(total, stream=terminal) as bar:
        for _ in range(3):
            bar.advance()
    assert not total or "100%  3/1" in terminal.getvalue()


@pytest.mark.usefixtures("second_by_second")
def test_it_is_gone_at_the_end_and_before_anything_else_is_printed():
    terminal = Terminal()
    with Progress(2, stream=terminal) as bar:
        bar.advance()
        bar.clear()
        print("told", file=terminal)
        bar.advance()
    *_, before, told, drawn, erased, end = terminal.getvalue().split("\r")
    assert (before.strip(), told) == ("", "told\n")
    assert (len(erased), erased.strip(), end) == (len(drawn), "", "")


@pytest.mark.usefixtures("second_by_second")
def test_it_never_wraps(monkeypatch):
    monkeypatch.setenv("COLUMNS", "20")
    terminal = Terminal()
    with Progress(10, stream=terminal) as bar:
        bar.advance()
    assert max(map(len, terminal.getvalue().split("\r"))) == 19


def test_it_is_not_drawn_more_often_than_anybody_can_read(monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr(progress.time, "monotonic", lambda: 7.0)
    with Progress(10_000, stream=terminal) as bar:
        list(bar.over(range(10_000)))
    assert terminal.getvalue() == ""


@pytest.mark.parametrize(("seconds", "said"), [(0.4, "0:00"), (59.6, "1:00"), (61, "1:01"), (3_725, "1:02:05")])
def test_time_is_told_as_on_a_clock(seconds, said):
    assert progress._clock(seconds) == said
