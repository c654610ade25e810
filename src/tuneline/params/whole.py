"""The seven sections together."""

from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import Annotated, Any

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    GetJsonSchemaHandler,
    SerializeAsAny,
    field_validator,
    model_validator,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from tuneline.errors import ParamsError, did_you_mean
from tuneline.params import behaviour
from tuneline.params.behaviour import EditTest
from tuneline.params.data import Data
from tuneline.params.judge import KEPT_OF_BASE, Evaluate, Register
from tuneline.params.model import Model, Tokenize
from tuneline.params.train import Train
from tuneline.parquet import schema_of
from tuneline.tasks import TASKS, task_class
from tuneline.tasks.base import LOSS_OPTIONS, Task, row_types


class _AnyTask:
    """The JSON schema of `task`: each task of the table is one branch."""

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        forms = [form for name in TASKS for form in task_class(name).forms()]
        branches = [handler(form.__pydantic_core_schema__) for form in forms]
        return branches[0] if len(branches) == 1 else {"anyOf": branches}


class Params(BaseModel):
    """The whole of params.yaml. Every section must stand there, for DVC watches each; `{}` takes its defaults."""

    model_config = ConfigDict(frozen=True, extra="forbid", title="tuneline params.yaml")

    data: Data
    task: Annotated[SerializeAsAny[Task], _AnyTask()]
    model: Model
    tokenize: Tokenize
    train: Train
    evaluate: Evaluate
    register_: Register = Field(alias="register")

    @field_validator("task", mode="before")
    @classmethod
    def _task_by_name(cls, value: Any) -> Any:
        if isinstance(value, Task):
            return value
        if not isinstance(value, Mapping) or "name" not in value:
            raise ValueError(f"must be a section with a name. Known tasks: {', '.join(TASKS)}")
        try:
            return task_class(value["name"]).model_validate(value)
        except ParamsError as error:
            raise ValueError(str(error)) from error

    @model_validator(mode="after")
    def _sections_agree(self) -> "Params":
        problems = [
            f"data.columns.{name}: the task {self.task.name} has no such column."
            f"{did_you_mean(name, self._columns())} Known columns: {', '.join(self._columns())}"
            for name in self.data.columns
            if name not in self._columns()
        ]
        in_training = dict.fromkeys((*self.task.metrics, "loss"))
        guardrails = self.register_.guardrails
        for path, metric, known in (
            ("train.metric_for_best_model", self.train.metric_for_best_model, in_training),
            ("register.metric", self.register_.metric, self.task.metrics),
            *(("register.guardrails.metrics", name, self.task.metrics) for name in guardrails.metrics),
            *(("register.guardrails.forgetting", name, KEPT_OF_BASE) for name in guardrails.forgetting),
        ):
            if metric is not None and metric not in known:
                problems.append(
                    f"{path}: unknown metric '{metric}'.{did_you_mean(metric, known)} Known metrics: {', '.join(known)}"
                )
        problems += [
            f"train.{name}: makes no sense for the task {self.task.name}, as it is set. Leave it out"
            for name in sorted(LOSS_OPTIONS - self.task.loss_options)
            if getattr(self.train, name) != Train.model_fields[name].default
        ]
        if self.train.augmentation.is_on and not self.task.edited:
            problems.append(f"train.augmentation: makes no sense for the task {self.task.name}. Leave it out")
        if guardrails.behaviour is not None and not self.evaluate.behaviour:
            problems.append(
                "register.guardrails.behaviour: there is no behavioural test. Add one to evaluate.behaviour"
            )
        if self.data.splits.test_from and "time" not in self.data.columns:
            problems.append("data.splits.test_from: needs data.columns.time, the column that holds the time")
        if self.tokenize.tokenizer and not self.model.configuration:
            problems.append(
                "tokenize.tokenizer: the weights of a checkpoint know the tokens of its own tokenizer only. Leave it "
                "out, or start from nothing: model.configuration"
            )
        if self.train.lora and self.model.configuration:
            problems.append(
                "train.lora: trains little beside weights that know something, and those of model.configuration are "
                "drawn by chance. Leave it out, or start from a checkpoint"
            )
        problems += [*self._of_kept_columns(), *self._of_slices(), *self._of_conditions()]
        problems += behaviour.problems(self.evaluate.behaviour, self.task, self.task.labels([]))
        if problems:
            raise ValueError("\n".join(problems))
        return self

    def _of_kept_columns(self) -> Iterator[str]:
        taken = {name.lower() for name in (*row_types(self.task, ()), "group", "time", "row_score")}
        for name in self.data.keep:
            if name.lower() in taken or name.startswith("predicted_"):
                yield f"data.keep: {name!r} is a name that tuneline gives itself. Rename the column in the files"

    def _of_slices(self) -> Iterator[str]:
        known = row_types(self.task, self.data.keep)
        for name in self.evaluate.slices.columns:
            if name not in known:
                yield (
                    f"evaluate.slices.columns: rows have no column {name!r}.{did_you_mean(name, known)} Known columns: "
                    f"{', '.join(known)}. Others of the files stay with the rows by data.keep"
                )

    def _of_conditions(self) -> Iterator[str]:
        given = {f"evaluate.slices.where.{name}": condition for name, condition in self.evaluate.slices.where.items()}
        given |= {
            f"evaluate.behaviour.{number}.where": test.where
            for number, test in enumerate(self.evaluate.behaviour)
            if isinstance(test, EditTest) and test.where
        }
        if given:  # DuckDB is loaded only when it comes to this
            conditions = import_module("tuneline.conditions")
            yield from conditions.problems(schema_of(row_types(self.task, self.data.keep)), given)

    def _columns(self) -> list[str]:
        return [*self.task.columns, "id", "group", "time"]


class Sections:
    """The sections of params.yaml that one stage may read. Reading another one is a slip of ours."""

    data: Data
    task: Task
    model: Model
    tokenize: Tokenize
    train: Train
    evaluate: Evaluate
    register: Register

    def __init__(self, params: Params, names: tuple[str, ...]) -> None:
        self.names = names
        for name in names:
            setattr(self, name, getattr(params, "register_" if name == "register" else name))

    def dump(self) -> dict[str, Any]:
        """The sections as plain data, defaults filled in."""
        return {name: getattr(self, name).model_dump(mode="json") for name in self.names}
