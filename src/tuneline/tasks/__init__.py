"""The table of tasks. One row here registers a task; its module is loaded when params name it."""

from importlib import import_module

from tuneline.errors import ParamsError, did_you_mean
from tuneline.tasks.base import Task

TASKS = {
    "text-classification": "tuneline.tasks.text_classification",
    "token-classification": "tuneline.tasks.token_classification",
    "question-answering": "tuneline.tasks.question_answering",
    "masked-lm": "tuneline.tasks.masked_lm",
    "causal-lm": "tuneline.tasks.causal_lm",
    "seq2seq": "tuneline.tasks.seq2seq",
}


def task_class(name: object) -> type[Task]:
    """The class of the task with this name, or a ParamsError that lists the known names."""
    if not isinstance(name, str) or name not in TASKS:
        raise ParamsError(
            f"task.name: unknown task {name!r}.{did_you_mean(str(name), TASKS)} Known tasks: {', '.join(TASKS)}"
        )
    module = import_module(TASKS[name])
    found: type[Task] = module.TASK
    return found
