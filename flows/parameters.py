"""The form of a run: params.yaml, a recipe in its place, and overrides on top.

    params.yaml or recipes/NAME.yaml  →  what the form changed  →  overrides  →  params.yaml of the workspace

Only what the form says otherwise than the deployed params.yaml is edited. So a run that changes nothing has the
very file of its commit, and DVC finds what `dvc repro` has already done.
"""

import io
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, Field, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema
from ruamel.yaml import YAML

from flows import ROOT
from tuneline import layout
from tuneline.errors import ParamsError, did_you_mean
from tuneline.params import Params, check_params, load_yaml

RECIPES = Path("recipes")


def deployed_params() -> Params:
    """params.yaml of the commit that these flows were loaded from."""
    path = ROOT / layout.PARAMS
    return check_params(load_yaml(path), path)


def recipe_names(root: Path = ROOT) -> list[str]:
    return sorted(path.stem for path in (root / RECIPES).glob("*.yaml"))


class _DottedNames:
    """The JSON schema of overrides: each dotted name of params.yaml, with the bounds of its field."""

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        fields = {f"^{re.escape(name)}$": bounds for name, bounds in dotted_schemas().items()}
        return {**handler(schema), "patternProperties": fields, "additionalProperties": False}


Recipe = Annotated[str, Field(json_schema_extra={"enum": list(recipe_names())})]
Overrides = Annotated[dict[str, Any], _DottedNames()]


def dotted_schemas() -> dict[str, JsonSchemaValue]:
    """`train.learning_rate` → its JSON schema, for every field of every section.

    A field that several tasks have takes what one of them allows.
    """
    whole = Params.model_json_schema(by_alias=True)
    found: dict[str, list[JsonSchemaValue]] = {}
    for name, leaf in _leaves(whole, whole["$defs"]):
        found.setdefault(name, []).append(_inlined(leaf, whole["$defs"]))
    return {name: leaves[0] if len(leaves) == 1 else {"anyOf": leaves} for name, leaves in found.items()}


def _leaves(schema: JsonSchemaValue, defs: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, JsonSchemaValue]]:
    for name, field in schema["properties"].items():
        found = _target(field, defs)
        branches = [branch for branch in found.get("anyOf", [found]) if "properties" in _target(branch, defs)]
        for branch in branches:
            yield from _leaves(_target(branch, defs), defs, f"{prefix}{name}.")
        if not branches:
            yield f"{prefix}{name}", found


def _target(field: JsonSchemaValue, defs: dict[str, Any]) -> JsonSchemaValue:
    return defs[field["$ref"].rpartition("/")[2]] if "$ref" in field else field


def _inlined(field: Any, defs: dict[str, Any]) -> Any:
    if isinstance(field, list):
        return [_inlined(item, defs) for item in field]
    if not isinstance(field, dict):
        return field
    if "$ref" in field:
        return _inlined(_target(field, defs), defs)
    return {key: _inlined(value, defs) for key, value in field.items()}


@dataclass(frozen=True)
class Change:
    """One value of params.yaml that a run sets."""

    name: str  # dotted
    before: Any
    after: Any


@dataclass(frozen=True)
class Chosen:
    """The params of a run: the file's text, what is typed in it, and what differs from its source."""

    source: Path  # in the repository
    text: str
    params: Params
    changes: list[Change]


def choose(folder: Path, *, form: Params, recipe: str | None, overrides: Mapping[str, Any]) -> Chosen:
    """Settle the params of a run in a workspace: the recipe or params.yaml of its commit, with what the form
    says otherwise than the deployed file, and the overrides. Raises ParamsError that names every problem."""
    source = _recipe(folder, recipe) if recipe else layout.PARAMS
    return _settle(folder, source, {**dict(_differences(deployed_params(), form)), **overrides})


def choose_for_data(folder: Path, *, data: str) -> Chosen:
    """The params file of a workspace that uses a data set."""
    return _choose_by(folder, "data", data)


def choose_for_model(folder: Path, *, model: str) -> Chosen:
    """The params file of a workspace that registers a model."""
    return _choose_by(folder, "register", model)


def _choose_by(folder: Path, section: str, name: str) -> Chosen:
    """The params file whose section has this name: params.yaml first, then the recipes."""
    for source in (layout.PARAMS, *(RECIPES / f"{each}.yaml" for each in recipe_names(folder))):
        if load_yaml(folder / source)[section]["name"] == name:
            return _settle(folder, source, {})
    raise ParamsError(f"{section}: neither params.yaml nor a recipe of this commit has {section}.name: {name}.")


def _settle(folder: Path, source: Path, values: Mapping[str, Any]) -> Chosen:
    document = load_yaml(folder / source, round_trip=True)
    changes = [_set(document, name, value) for name, value in values.items()]
    params = check_params(document, Path(f"{source} with the run's changes") if changes else source)
    changes = [change for change in changes if change.before != change.after]
    text = _text(document) if changes else (folder / source).read_text(encoding="utf-8")
    return Chosen(source, text, params, changes)


def _recipe(folder: Path, recipe: str) -> Path:
    known = recipe_names(folder)
    if recipe not in known:
        raise ParamsError(
            f"recipe: there is no recipe '{recipe}'.{did_you_mean(recipe, known)} Known recipes: {', '.join(known)}"
        )
    return RECIPES / f"{recipe}.yaml"


def _differences(base: BaseModel, wanted: BaseModel, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """(dotted name, value) of each field in which `wanted` differs."""
    for name, field in type(wanted).model_fields.items():
        dotted = f"{prefix}{field.alias or name}"
        before, after = getattr(base, name, None), getattr(wanted, name)
        if isinstance(after, BaseModel) and isinstance(before, type(after)):
            yield from _differences(before, after, f"{dotted}.")
        elif before != after:
            yield dotted, after.model_dump(mode="json") if isinstance(after, BaseModel) else after


def _set(document: Any, name: str, value: Any) -> Change:
    """Put a value into the YAML document, in place; the change with what stood there before."""
    *sections, last = name.split(".")
    for section in sections:
        if not isinstance(document.get(section), Mapping):
            document[section] = {}
        document = document[section]
    before = document.get(last)
    document[last] = value
    return Change(name, before, value)


def _text(document: Any) -> str:
    with io.StringIO() as file:
        yaml = YAML()
        yaml.width = 4096
        yaml.indent(mapping=2, sequence=4, offset=2)  # as the files of this project are written
        yaml.dump(document, file)
        return file.getvalue()
