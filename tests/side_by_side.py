"""Many at a time with the sandbox, which lives in this thread and in its database connection."""

from concurrent.futures import Future
from contextlib import contextmanager

import pytest

from django_krcard.conf import Conf
from django_krcard.services import acts


class ThisThread:
    """In place of the threads: each question is asked here, at once."""

    def __init__(self, *args, **kwargs):
        pass

    def __enter__(self):
        return self

    def __exit__(self, *args):
        pass

    def submit(self, question):
        answer = Future()
        try:
            answer.set_result(question())
        except Exception as error:
            answer.set_exception(error)
        return answer


@contextmanager
def side_by_side(in_flight):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(acts, "ThreadPoolExecutor", ThisThread)
        patch.setattr(Conf, "IN_FLIGHT", in_flight)
        yield
