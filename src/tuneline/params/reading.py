"""params.yaml as it is read: from YAML to typed sections, with every problem told at once."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError
from ruamel.yaml.events import CollectionEndEvent, CollectionStartEvent
from ruamel.yaml.reader import ReaderError

from tuneline import layout
from tuneline.errors import ParamsError, did_you_mean
from tuneline.params.whole import Params, Sections

DEFAULTED = ("model", "tokenize", "train", "evaluate")  # sections whose every key has a default
DEEPEST = 100  # levels of lists and mappings


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
    """A params file as plain data, or as a document that keeps its comments and quotes. Raises ParamsError."""
    yaml = YAML(typ="rt" if round_trip else "safe")
    yaml.preserve_quotes = True
    try:
        text = path.read_text(encoding="utf-8")
        _refuse_deep(text, path)
        return yaml.load(text)
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
    except ReaderError as error:
        raise ParamsError(
            f"{path}: character {error.position + 1} is U+{error.character:04X}, which YAML does not allow. Remove it."
        ) from error
    except ValueError as error:  # of a value that says what it is, such as a date or !!int
        raise ParamsError(f"{path}: a value is not what it looks like: {error}. Put it in quotes.") from error
    except TypeError as error:  # a mapping or a list has no hash
        raise ParamsError(f"{path}: a key is a mapping or a list, expected a word. Look for `{{` and `[`.") from error


def _refuse_deep(text: str, path: Path) -> None:
    """ParamsError where lists and mappings stand in one another by the hundred: to load them would end the process."""
    depth = 0
    for event in YAML(typ="safe").parse(text):
        depth += isinstance(event, CollectionStartEvent) - isinstance(event, CollectionEndEvent)
        if depth > DEEPEST:
            line = event.start_mark.line + 1
            raise ParamsError(f"{path} line {line}: nests more than {DEEPEST} deep. Sections nest a few levels.")


def _describe(problem: Any) -> list[str]:
    """One line per problem: path, what is wrong, what was found."""
    parts, siblings = _resolved(problem["loc"])
    path = ".".join(parts)
    if problem["type"] == "extra_forbidden":
        return [f"  {path}: unknown key.{did_you_mean(parts[-1], siblings)}"]
    if problem["type"] == "missing":
        hint = f". Write `{path}: {{}}` to take the defaults" if path in DEFAULTED else ""
        return [f"  {path}: is missing{hint}"]
    message = str(problem["msg"]).removeprefix("Value error, ")
    if not path or message.startswith(f"{path}."):  # the message brings its own paths
        return [f"  {line}" for line in message.splitlines()]
    found = "" if isinstance(problem["input"], Mapping) else f", found {problem['input']!r}"
    return [f"  {path}: {message[0].lower()}{message[1:]}{found}"]


def _resolved(location: tuple[Any, ...]) -> tuple[list[str], list[str]]:
    """The parts of a location as they stand in the file, and the keys that are known beside the last one.

    Where sections of several kinds may stand, pydantic names the kind in the location, as if it were a key.
    """
    parts: list[str] = []
    sections: list[type[BaseModel]] = [Params]
    siblings: list[str] = []
    for part in location:
        of_kind = [each for each in sections if len(sections) > 1 and part in _kinds(each)]
        if of_kind:
            sections = of_kind
            continue
        parts.append(str(part))
        siblings = [field.alias or name for each in sections for name, field in each.model_fields.items()]
        if not isinstance(part, int):  # the item of a list is one of its sections
            field = sections[0].model_fields.get("register_" if part == "register" else part) if sections else None
            sections = [] if field is None else _sections(field.annotation)
    return parts, siblings


def _kinds(section: type[BaseModel]) -> tuple[Any, ...]:
    field = section.model_fields.get("kind")
    return () if field is None else get_args(field.annotation)


def _sections(annotation: Any) -> list[type[BaseModel]]:
    """The sections that a field may hold, by itself, in a union or in a list."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [section for part in get_args(annotation) for section in _sections(part)]
