"""Whatever is said while somebody attacks."""

import logging
import traceback
from contextlib import contextmanager


class Ears(logging.Handler):
    """Hears whatever is logged, by whomever."""

    def __init__(self):
        super().__init__(level=logging.NOTSET)
        self.heard = []

    def emit(self, record):
        # Everything of the record: error reporters send along what no format shows.
        told = [record.getMessage(), repr(record.args), repr(record.__dict__.get("request"))]
        if record.exc_info:
            told += traceback.format_exception(*record.exc_info)
        self.heard.append("\n".join(told))


@contextmanager
def all_ears():
    """In place of pytest's own handlers: a failure is told in a few lines, not in forty thousand."""
    ears, root = Ears(), logging.getLogger()
    others, root.handlers = root.handlers, [ears]
    try:
        yield ears
    finally:
        root.handlers = others
