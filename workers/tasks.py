"""The Celery task, a thin shell: everything else is plain Python in `workers.pipeline`."""

from collections.abc import Callable

from celery import shared_task

from core.errors import FramewatchError
from workers.bell import TASK_NAME

_answer: Callable[[str], None] | None = None


def answer_bells_with(answer: Callable[[str], None] | None) -> None:
    """Sets what this process does when the bell of a model rings; None: nothing any more."""
    global _answer
    _answer = answer


@shared_task(name=TASK_NAME)  # type: ignore[untyped-decorator]  # Celery has no types
def detect(model: str) -> None:
    """Drains the waiting frames of `model` for about a second."""
    if _answer is None:
        raise FramewatchError("expected a running worker, got a bell before its detector was loaded")
    _answer(model)
