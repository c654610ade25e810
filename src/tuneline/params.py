"""params.yaml, typed. One file describes a run completely; each stage sees only its own sections.

    data → task → model → tokenize → train → evaluate → register

Names that transformers has are spelled as transformers spells them and passed straight through.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    GetJsonSchemaHandler,
    SerializeAsAny,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema
from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError

from tuneline import layout
from tuneline.errors import ParamsError, did_you_mean
from tuneline.tasks import TASKS, task_class
from tuneline.tasks.base import Task

NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$"
DEFAULTED = ("model", "tokenize", "train", "evaluate")  # sections whose every key has a default


class Section(BaseModel):
    """A section of params.yaml: frozen, and strict about its keys and types."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)


class Splits(Section):
    """How rows are split where the files do not say. A stable hash of the row's key decides, so rows
    that are appended later never move the old ones."""

    validation: float = Field(0.1, ge=0, lt=1)
    """Share of the rows outside the test split. 0 trains on all of them, without early stopping."""
    test: float = Field(0.2, gt=0, lt=1)
    """Share of the rows for the test split, where no file gives one."""
    validation_from: str | None = None
    """With columns.time: rows from this time on are validation (compared as text: use ISO 8601)."""
    test_from: str | None = None
    """With columns.time: rows from this time on are test (compared as text: use ISO 8601)."""

    @model_validator(mode="after")
    def _leaves_rows_to_train_on(self) -> "Splits":
        if self.validation + self.test >= 1:
            raise ValueError("validation and test together leave no rows to train on")
        if (self.validation_from is None) != (self.test_from is None):
            raise ValueError("validation_from and test_from go together")
        return self


class MaxRows(Section):
    """At most this many rows of each split, chosen by the same stable hash. null keeps all."""

    train: int | None = Field(None, ge=1)
    """Rows of the training split."""
    validation: int | None = Field(None, ge=1)
    """Rows of the validation split."""
    test: int | None = Field(None, ge=1)
    """Rows of the test split."""


class Checks(Section):
    """What validate holds the raw rows to."""

    max_rejected_share: float = Field(0.02, ge=0, le=1)
    """Share of rows that may be refused before the pipeline stops."""
    min_length: int = Field(1, ge=0)
    """Shortest text, in characters."""
    max_length: int = Field(100_000, ge=1)
    """Longest text, in characters."""
    min_rows_per_label: int = Field(2, ge=1)
    """Fewest training rows that each label needs."""
    min_label_share: float = Field(0.0, ge=0, lt=1)
    """Smallest share of the training rows that each label needs."""
    max_control_characters: float = Field(0.0, ge=0, le=1)
    """Share of rows that may hold control characters (such rows are refused all the same)."""
    near_duplicate_similarity: float = Field(0.85, gt=0, le=1)
    """Two texts are near-duplicates from this Jaccard similarity of their word 3-grams on."""
    max_duplicate_share: float = Field(0.05, ge=0, le=1)
    """Share of training rows that may repeat an earlier row (the repeats are refused all the same)."""
    max_near_duplicate_share: float = Field(0.05, ge=0, le=1)
    """Share of training rows that may be near-duplicates of another one (they are kept)."""
    max_leaked_share: float = Field(0.05, ge=0, le=1)
    """Share of test rows whose text, or nearly, also stands in another split. The copy outside the test
    split is refused all the same."""

    @model_validator(mode="after")
    def _bounds_in_order(self) -> "Checks":
        if self.min_length > self.max_length:
            raise ValueError("min_length is above max_length")
        return self


class Data(Section):
    """The raw data and how to read it."""

    name: str = Field(pattern=NAME)
    """Name of the data set: the folder under data/raw."""
    format: Literal["csv", "tsv", "jsonl", "json", "parquet", "text", "conll", "conllu", "squad", "parallel"] | None = (
        None
    )
    """Format of the files. null tells it from their names."""
    encoding: str = "utf-8"
    """Character encoding of text files. A byte-order mark is accepted in UTF-8."""
    delimiter: str | None = Field(None, min_length=1, max_length=1)
    """Column delimiter of csv and tsv files. null takes the comma for csv and the tab for tsv."""
    header: bool = True
    """Whether csv and tsv files begin with the column names."""
    column_names: list[str] | None = None
    """Column names of files without a header, from left to right."""
    columns: dict[str, str] = {}
    """Where a column has another name in the files: ours to theirs, as in `label: category`.
    Beside the task's own columns: id, group (rows of a group stay in one split), time."""
    splits: Splits = Splits()
    max_rows: MaxRows = MaxRows()
    checks: Checks = Checks()

    @field_validator("encoding")
    @classmethod
    def _known_encoding(cls, encoding: str) -> str:
        try:
            "".encode(encoding)
        except LookupError:
            raise ValueError(f"unknown encoding {encoding!r}; utf-8, latin-1, cp1252 and utf-16 are usual") from None
        return encoding


class Model(Section):
    """The pretrained checkpoint that fine-tuning starts from."""

    checkpoint: str = Field("sentence-transformers/all-MiniLM-L6-v2", min_length=1)
    """A local folder, or ORG/NAME on the Hugging Face hub. safetensors only; remote code never runs."""
    revision: str | None = None
    """Commit of the checkpoint on the hub. Pin it: a branch moves."""
    sha256: str | None = Field(None, pattern="^[0-9a-f]{64}$")
    """sha256 of model.safetensors. When given, other weights are refused."""
    dropout: float | None = Field(None, ge=0, lt=1)
    """Dropout in the hidden layers and the head. null keeps what the checkpoint says."""
    attention_dropout: float | None = Field(None, ge=0, lt=1)
    """Dropout of attention weights. null keeps what the checkpoint says."""


class Tokenize(Section):
    """From text to token ids."""

    max_length: int = Field(128, ge=4, le=1_000_000)
    """Longest input in tokens, special tokens included. Longer ones are cut at the end, or read in overlapping
    windows where each word has its tag."""


class Train(Section):
    """Fine-tuning. The names and meanings are those of transformers.TrainingArguments, but for those at the end."""

    learning_rate: float = Field(2e-5, gt=0, lt=1)
    """Peak learning rate."""
    num_train_epochs: float = Field(3, gt=0, le=1000)
    """Passes over the training rows."""
    max_steps: int = Field(-1, ge=-1)
    """Optimizer steps; -1 leaves it to num_train_epochs."""
    per_device_train_batch_size: int = Field(16, ge=1)
    """Rows per step and device."""
    per_device_eval_batch_size: int = Field(64, ge=1)
    """Rows per evaluation batch and device."""
    gradient_accumulation_steps: int = Field(1, ge=1)
    """Batches whose gradients are summed before a step."""
    warmup_steps: float = Field(0.1, ge=0)
    """Steps of learning-rate warm-up; below 1, a share of all steps."""
    lr_scheduler_type: Literal["linear", "cosine", "constant", "constant_with_warmup", "polynomial"] = "linear"
    """Shape of the learning rate after warm-up."""
    weight_decay: float = Field(0.01, ge=0, lt=1)
    """Decoupled weight decay (not on biases and norms)."""
    max_grad_norm: float = Field(1.0, gt=0)
    """Gradient norm above which gradients are scaled down."""
    adam_beta1: float = Field(0.9, ge=0, lt=1)
    """AdamW's decay of the first moment."""
    adam_beta2: float = Field(0.999, ge=0, lt=1)
    """AdamW's decay of the second moment."""
    adam_epsilon: float = Field(1e-8, gt=0)
    """AdamW's epsilon."""
    label_smoothing_factor: float = Field(0.0, ge=0, lt=1)
    """Share of the target that is spread over all labels."""
    train_sampling_strategy: Literal["group_by_length", "random"] = "group_by_length"
    """group_by_length puts rows of like length into a batch, which saves padding."""
    bf16: bool = False
    """Compute in bfloat16, keep the weights in float32."""
    seed: int = Field(0, ge=0, le=2**32 - 1)
    """Seed of the head's weights, the order of rows and dropout."""
    logging_steps: int = Field(10, ge=1)
    """Steps between two points of the training loss."""
    metric_for_best_model: str | None = None
    """Validation metric that early stopping and the choice of the best checkpoint look at. null takes the task's."""
    early_stopping_patience: int = Field(2, ge=1)
    """Evaluations (one per epoch) without a better score before training stops."""
    early_stopping_threshold: float = Field(0.0, ge=0)
    """How much better a score must be to count (absolute)."""
    class_weights: Literal["none", "balanced"] = "none"
    """balanced weighs each label by the inverse of its frequency in the training rows."""
    threads: int | None = Field(None, ge=1)
    """CPU threads. null takes all cores. The same number gives the same bytes."""
    device: Literal["auto", "gpu", "cpu"] = "auto"
    """auto waits for a free GPU of this host, and takes the CPU where it has none; gpu refuses to do without."""

    OWN: ClassVar = frozenset(
        {"early_stopping_patience", "early_stopping_threshold", "metric_for_best_model", "class_weights", "threads",
         "device", "label_smoothing_factor"}
    )  # fmt: skip

    def training_arguments(self) -> dict[str, Any]:
        """What goes to transformers.TrainingArguments as it stands."""
        return self.model_dump(exclude=set(self.OWN))


class Evaluate(Section):
    """Scoring on the test split."""

    per_device_eval_batch_size: int = Field(64, ge=1)
    """Rows per batch and device."""
    baseline: bool = True
    """Also fit and score a simple baseline (for text classification bag of words with logistic
    regression, for token classification the tag that a word has most often)."""
    worst_errors: int = Field(20, ge=0, le=1000)
    """How many of the most confident mistakes the report lists."""


class Register(Section):
    """The model registry and the rule that moves the champion alias."""

    name: str = Field(pattern=NAME)
    """Name of the registered model."""
    metric: str | None = None
    """Test metric that decides. null takes the task's."""
    minimum_effect: float = Field(0.0, ge=0)
    """How much better than the champion a challenger must be (absolute). It must be better in any case."""


class _AnyTask:
    """The JSON schema of `task`: each task of the table is one branch."""

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        branches = [handler(task_class(name).__pydantic_core_schema__) for name in TASKS]
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
        for path, metric in (
            ("train.metric_for_best_model", self.train.metric_for_best_model),
            ("register.metric", self.register_.metric),
        ):
            if metric is not None and metric not in self.task.metrics:
                problems.append(
                    f"{path}: unknown metric '{metric}'.{did_you_mean(metric, self.task.metrics)} "
                    f"Known metrics: {', '.join(self.task.metrics)}"
                )
        problems += [
            f"train.{name}: the task {self.task.name} predicts positions, which are no classes. Leave it out"
            for name in ("class_weights", "label_smoothing_factor")
            if self.task.predicts_positions and getattr(self.train, name) != Train.model_fields[name].default
        ]
        if self.data.splits.test_from and "time" not in self.data.columns:
            problems.append("data.splits.test_from: needs data.columns.time, the column that holds the time")
        if problems:
            raise ValueError("\n".join(problems))
        return self

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


def read_params(*names: str, path: Path = layout.PARAMS) -> Sections:
    """The named sections of params.yaml. The whole file is checked, so that a slip in `train:` shows
    before a long validate. Raises ParamsError with every problem, by path."""
    return Sections(check_params(load_yaml(path), path), names)


def check_params(plain: Any, path: Path = layout.PARAMS) -> Params:
    """Typed params from plain data. Raises ParamsError with every problem, by path."""
    if not isinstance(plain, Mapping):
        raise ParamsError(f"{path}: holds no sections. Start from one of the files in recipes/.")
    try:
        return Params.model_validate(plain)
    except ValidationError as error:
        lines = [line for problem in error.errors() for line in _describe(problem)]
        raise ParamsError(f"{path} has {len(lines)} problem{'s' * (len(lines) > 1)}:\n" + "\n".join(lines)) from error


def schema() -> str:
    """JSON schema of params.yaml, for editors."""
    return json.dumps(Params.model_json_schema(by_alias=True), indent=2) + "\n"


def load_yaml(path: Path, *, round_trip: bool = False) -> Any:
    """A params file as plain data, or as a document that keeps its comments. Raises ParamsError."""
    try:
        return YAML(typ="rt" if round_trip else "safe").load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ParamsError(
            f"{path} is missing in {Path.cwd()}. Run from the root of the project, or copy a file from recipes/."
        ) from None
    except MarkedYAMLError as error:
        mark = error.problem_mark
        where = f"{path} line {mark.line + 1}, column {mark.column + 1}" if mark else str(path)
        raise ParamsError(f"{where}: not valid YAML: {error.problem or error.context}.") from error
    except UnicodeDecodeError as error:
        raise ParamsError(f"{path}: byte {error.start} is not UTF-8. Save the file as UTF-8.") from error


def _describe(problem: Any) -> list[str]:
    """One line per problem: path, what is wrong, what was found."""
    path = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "extra_forbidden":
        return [f"  {path}: unknown key.{did_you_mean(str(problem['loc'][-1]), _siblings(problem['loc']))}"]
    if problem["type"] == "missing":
        hint = f". Write `{path}: {{}}` to take the defaults" if path in DEFAULTED else ""
        return [f"  {path}: is missing{hint}"]
    message = str(problem["msg"]).removeprefix("Value error, ")
    if not path or message.startswith(f"{path}."):  # the message brings its own paths
        return [f"  {line}" for line in message.splitlines()]
    found = "" if isinstance(problem["input"], Mapping) else f", found {problem['input']!r}"
    return [f"  {path}: {message[0].lower()}{message[1:]}{found}"]


def _siblings(location: tuple[Any, ...]) -> list[str]:
    """The keys that are known beside an unknown one."""
    level: type[BaseModel] = Params
    for part in location[:-1]:
        field = level.model_fields.get("register_" if part == "register" else str(part))
        if field is None or not (isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)):
            return []
        level = field.annotation
    return [field.alias or name for name, field in level.model_fields.items()]
