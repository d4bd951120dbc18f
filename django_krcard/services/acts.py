"""An act that needs Stripe, in three phases: write and commit, ask, write down the answer.

An act is a generator. What stands between its yields works with the database; each yield hands out one question, a
function that calls Stripe, and gets the answer back. So the phases cannot be mixed up, and one thread with one
database connection can keep many calls on their way.

A question may also be one to the database, ``Together``: when many acts have come to the same point, it is asked once
for all of them.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from functools import partial
from typing import Any, NamedTuple, TypeVar

from django_krcard.transactions import refuse_inside_transaction

logger = logging.getLogger(__name__)

Question = Callable[[], Any]
Result = TypeVar("Result")
Act = Generator[Question, Any, Result]

#: Seconds. Answers that come so shortly after another are written down with it.
GATHER = 0.05


class Together(NamedTuple):
    """Work with the database for one ``item`` that can be done for many at a time.

    ``work`` gets the items of all acts that wait for it and gives as many answers, in their order. It does all of it
    or, when it raises, nothing: then it is called again with each item by itself, so that only the broken one fails.
    """

    work: Callable[[list[Any]], list[Any]]
    item: Any

    def __call__(self) -> Any:
        (answer,) = self.work([self.item])
        return answer


def finish(act: Act[Result], *handed_out: Question) -> Result:
    """Run one act to its end in this thread, from its beginning, or from the question that it has handed out."""
    go_on = _after(act, *handed_out) if handed_out else partial(next, act)
    while True:
        try:
            question = go_on()
        except StopIteration as end:
            return end.value
        go_on = _after(act, question)


def finish_all(acts: Iterable[Act[Result]], *, in_flight: int) -> Iterator[Result | Exception]:
    """Run many acts and give what each returned or raised, as they end.

    ``in_flight`` questions are on their way at a time, in threads of their own; with one there is no other thread.
    ``acts`` is read as there is room, so it may be long.
    """
    return _one_by_one(acts) if in_flight == 1 else _side_by_side(iter(acts), in_flight)


def _one_by_one(acts: Iterable[Act[Result]]) -> Iterator[Result | Exception]:
    for act in acts:
        try:
            result = finish(act)
        except Exception as error:
            result = error
        yield result


def _side_by_side(acts: Iterator[Act[Result]], in_flight: int) -> Iterator[Result | Exception]:
    asked: dict[Future, Act[Result]] = {}
    waiting: list[tuple[Act[Result], Together]] = []
    more = True
    with ThreadPoolExecutor(in_flight, thread_name_prefix="krcard") as pool:

        def go_on(act: Act[Result], resume: Callable[[], Question]) -> Iterator[Result | Exception]:
            try:
                question = resume()
                refuse_inside_transaction()
            except StopIteration as end:
                yield end.value
            except Exception as error:
                act.close()
                yield error
            else:
                if isinstance(question, Together):
                    waiting.append((act, question))
                else:
                    asked[pool.submit(question)] = act

        def go_on_together() -> Iterator[Result | Exception]:
            while waiting:
                work = waiting[0][1].work
                those = [one for one in waiting if one[1].work == work]
                waiting[:] = [one for one in waiting if one[1].work != work]
                for act, resume in _after_together(work, those):
                    yield from go_on(act, resume)

        while more or asked:
            while more and len(asked) + len(waiting) < in_flight:
                act = next(acts, None)
                more = act is not None
                if more:
                    yield from go_on(act, partial(next, act))
            yield from go_on_together()
            for answer in _answered(asked):
                act = asked.pop(answer)
                yield from go_on(act, _after(act, answer.result))
            yield from go_on_together()


def _answered(asked: Iterable[Future]) -> set[Future]:
    """The next answer, and those that come shortly after it."""
    wait(asked, return_when=FIRST_COMPLETED)
    return wait(asked, timeout=GATHER).done


def _after(act: Act, question: Question) -> Callable[[], Question]:
    """Ask, and say how the act goes on."""
    try:
        refuse_inside_transaction()
        return partial(act.send, question())
    except Exception as error:
        # The act knows what to do with Stripe's errors. Any other it lets through.
        return partial(act.throw, error)


def _after_together(
    work: Callable[[list[Any]], list[Any]], those: list[tuple[Act, Together]]
) -> Iterator[tuple[Act, Callable[[], Question]]]:
    """Do the work of many acts at once, and say how each goes on."""
    if len(those) > 1:
        try:
            answers = work([question.item for _act, question in those])
        except Exception as error:
            # One of them is broken, and nothing was done. By itself each has its own error.
            logger.warning("%d at once failed (%s): one by one", len(those), type(error).__name__)
        else:
            yield from (
                (act, partial(act.send, answer)) for (act, _question), answer in zip(those, answers, strict=True)
            )
            return
    for act, question in those:
        yield act, _after(act, question)
