"""What the pipeline file promises about the code, and the code about itself."""

import json
import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import grimp
import pytest
from ruamel.yaml import YAML

from tuneline import params
from tuneline.cli import STAGES
from tuneline.closure import closure
from tuneline.digests import file_digest

ROOT = Path(__file__).parent.parent
PIPELINE = YAML(typ="safe").load((ROOT / "dvc.yaml").read_text())["stages"]
HEAVY = (
    "torch",
    "transformers",
    "mlflow",
    "prefect",
    "great_expectations",
    "duckdb",
    "sklearn",
    "pandas",
    "pydantic",
)


@pytest.mark.parametrize("stage", STAGES)
def test_deps_cover_the_files_a_stage_imports(stage: str) -> None:
    listed = {dep for dep in PIPELINE[stage]["deps"] if dep.startswith("src/")}
    needed = {path.relative_to(ROOT).as_posix() for path in closure(STAGES[stage])}
    python = {dep for dep in listed if dep.endswith(".py")}
    assert python == needed, f"missing: {sorted(needed - python)}, too much: {sorted(python - needed)}"


@pytest.mark.parametrize("stage", STAGES)
def test_deps_cover_the_package_data_a_stage_reads(stage: str) -> None:
    data = [p for p in (ROOT / "src/tuneline").rglob("*") if p.suffix in (".jinja", ".css", ".json", ".js", ".txt")]
    read = {
        item.relative_to(ROOT).as_posix()
        for item in data
        for source in closure(STAGES[stage])
        if item.name in source.read_text()
    }
    assert read <= set(PIPELINE[stage]["deps"]), f"missing: {sorted(read - set(PIPELINE[stage]['deps']))}"


def test_the_import_closure_sees_what_python_loads() -> None:
    script = (
        "import sys, tuneline.stages.evaluate; print('\\n'.join(m for m in sys.modules if m.startswith('tuneline')))"
    )
    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.split()
    files = {Path(str(import_module(name).__file__)) for name in loaded if name != "tuneline.stages"}
    assert files <= set(closure("tuneline.stages.evaluate"))


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_reads_the_params_sections_that_dvc_watches(stage: str) -> None:
    assert list(import_module(STAGES[stage]).SECTIONS) == PIPELINE[stage]["params"]


def test_a_section_that_a_stage_did_not_name_cannot_be_read() -> None:
    sections = params.read_params("data", path=ROOT / "params.yaml")
    with pytest.raises(AttributeError, match="train"):
        _ = sections.train


def test_each_heavy_library_has_one_home() -> None:
    graph = grimp.build_graph("tuneline", include_external_packages=True)
    homes = {name: graph.find_modules_that_directly_import(name) for name in HEAVY[:6] if name in graph.modules}
    mlflow = (
        "tracking registry ledger transaction promotion listings packaging rescoring stages.register explaining "
        "evidence old_rows"
    )
    assert homes["mlflow"] == {f"tuneline.{home}" for home in mlflow.split()}
    assert homes["great_expectations"] == {"tuneline.expectations"}
    assert homes["duckdb"] == {"tuneline.conditions"}
    assert "prefect" not in homes


@pytest.mark.parametrize(
    "command",
    [
        ["--help"],
        ["stage", "--help"],
        ["data", "add", "--help"],
        ["score", "--help"],
        ["drift", "--help"],
        ["up", "--help"],
        ["rebuild", "--help"],
    ],
)
def test_help_loads_no_heavy_library(command: list[str]) -> None:
    script = (
        "import sys; from tuneline.cli import cli\n"
        f"try: cli({command!r})\nexcept SystemExit: pass\n"
        f"print('loaded:', [m for m in {HEAVY!r} if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert out.endswith("loaded: []\n"), out


def test_the_schema_file_is_in_step_with_the_params_model() -> None:
    assert (ROOT / "params.schema.json").read_text() == params.schema(), "run: tuneline schema"


def named_in(schema: dict[str, Any], definitions: dict[str, Any]) -> set[str]:
    """Every key that a section may hold, at any depth."""
    if "$ref" in schema:
        return named_in(definitions[schema["$ref"].rpartition("/")[2]], definitions)
    inside = [*schema.get("properties", {}).values(), *schema.get("anyOf", []), *schema.get("oneOf", [])]
    inside += [schema[name] for name in ("items", "additionalProperties") if isinstance(schema.get(name), dict)]
    return set(schema.get("properties", {})).union(*(named_in(each, definitions) for each in inside))


def test_the_docs_name_every_parameter_and_no_other() -> None:
    schema = json.loads(params.schema())
    _, *parts = re.split(r"^## (\w+)$", (ROOT / "docs/params.md").read_text(encoding="utf-8"), flags=re.MULTILINE)
    told = {name: text for name, text in zip(parts[::2], parts[1::2], strict=True) if name in schema["properties"]}
    assert told.keys() == schema["properties"].keys()
    for name, text in told.items():
        tables = re.findall(r"^\| `([a-z_0-9]+)` \|", text, flags=re.MULTILINE)
        groups = re.findall(rf"^`{name}\.(?:\w+\.)*(\w+)`", text, flags=re.MULTILINE)
        assert {*tables, *groups} == named_in(schema["properties"][name], schema["$defs"])


def test_the_lock_file_is_in_step_with_the_code_and_params() -> None:
    import hashlib  # noqa: PLC0415

    lock = YAML(typ="safe").load((ROOT / "dvc.lock").read_text())["stages"]
    stale = {
        dep["path"]
        for stage in lock.values()
        for dep in stage["deps"]
        if (ROOT / dep["path"]).is_file()
        and dep["path"].startswith(("src/", "data/expectations"))
        and dep["md5"] != hashlib.md5((ROOT / dep["path"]).read_bytes(), usedforsecurity=False).hexdigest()
    }
    assert not stale, f"run dvc repro and commit dvc.lock; changed since: {sorted(stale)}"
    listed = {name: {dep.partition("$")[0] for dep in stage["deps"]} for name, stage in PIPELINE.items()}
    assert set(lock) == set(listed)


def test_constraints_pin_every_installed_package() -> None:
    pinned = {line.partition("==")[0].lower() for line in (ROOT / "constraints.txt").read_text().splitlines()}
    needed = {
        "torch",
        "transformers",
        "mlflow",
        "dvc",
        "prefect",
        "great-expectations",
        "fastapi",
        "pytest",
        "ruff",
    }
    assert needed <= {name.replace("_", "-") for name in pinned}
    assert all("==" in line for line in (ROOT / "constraints.txt").read_text().splitlines())


@pytest.mark.parametrize("recipe", sorted((ROOT / "recipes").glob("*.yaml")), ids=lambda path: path.stem)
def test_each_recipe_is_a_complete_params_file(recipe: Path) -> None:
    assert params.read_params("task", "register", path=recipe).register.name == recipe.stem


def test_the_packaged_sample_is_what_its_generator_writes() -> None:
    command = [sys.executable, str(ROOT / "data/sample/generate_reviews.py"), "--check"]
    assert subprocess.run(command, check=False).returncode == 0
    assert file_digest(ROOT / "data/sample/reviews/reviews.csv")
