"""How a run's params file comes about."""

from pathlib import Path

import pytest
from prefect.utilities.callables import parameter_schema
from prefect.utilities.schema_tools import validate
from prefect.utilities.schema_tools.validation import ValidationError

from flows.fine_tune import fine_tune
from flows.parameters import RECIPES, choose, choose_for_data, choose_for_model, deployed_params, dotted_schemas
from tests.conftest import ROOT
from tuneline.errors import ParamsError
from tuneline.params import Params, read_params
from tuneline.tasks import TASKS


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A workspace of the deployed commit."""
    (tmp_path / RECIPES).mkdir()
    for recipe in (ROOT / RECIPES).glob("*.yaml"):
        (tmp_path / RECIPES / recipe.name).write_text(recipe.read_text())
    (tmp_path / "params.yaml").write_text((ROOT / "params.yaml").read_text())
    return tmp_path


def edited(section: str, **values: object) -> Params:
    """The form as deployed, with some fields of one section changed."""
    deployed = deployed_params()
    return deployed.model_copy(update={section: getattr(deployed, section).model_copy(update=values)})


def test_a_form_that_nobody_touched_gives_the_very_file(folder: Path) -> None:
    chosen = choose(folder, form=deployed_params(), recipe=None, overrides={})
    assert chosen.text == (folder / "params.yaml").read_text()
    assert chosen.changes == []


def test_only_what_differs_is_edited_and_comments_stay(folder: Path) -> None:
    chosen = choose(folder, form=edited("train", seed=3), recipe=None, overrides={"data.splits.test": 0.3})
    before, after = (folder / "params.yaml").read_text().splitlines(), chosen.text.splitlines()
    assert [line for line in before if line not in after] == []
    assert [(change.name, change.before, change.after) for change in chosen.changes] == [
        ("train.seed", None, 3), ("data.splits.test", None, 0.3),
    ]  # fmt: skip
    (folder / "params.yaml").write_text(chosen.text)
    assert read_params("train", path=folder / "params.yaml").train.seed == 3


def test_an_override_wins_over_the_form(folder: Path) -> None:
    chosen = choose(folder, form=edited("train", seed=3), recipe=None, overrides={"train.seed": 4})
    assert chosen.params.train.seed == 4


def test_a_recipe_takes_the_place_of_params_and_keeps_what_the_form_changed(folder: Path) -> None:
    chosen = choose(folder, form=edited("train", seed=3), recipe="banking77", overrides={})
    assert (chosen.params.register_.name, chosen.params.train.seed) == ("banking77", 3)
    assert chosen.source == RECIPES / "banking77.yaml"


def test_another_revision_keeps_its_own_file(folder: Path) -> None:
    text = (folder / "params.yaml").read_text().replace("num_train_epochs: 4", "num_train_epochs: 9")
    (folder / "params.yaml").write_text(text)
    assert choose(folder, form=deployed_params(), recipe=None, overrides={}).text == text


def test_an_unknown_recipe_is_told_with_the_known_ones(folder: Path) -> None:
    with pytest.raises(ParamsError, match=r"Did you mean 'banking77'.*imdb"):
        choose(folder, form=deployed_params(), recipe="banking7", overrides={})


def test_sections_that_disagree_are_told_by_their_path(folder: Path) -> None:
    with pytest.raises(ParamsError, match=r"data\.checks: min_length is above max_length"):
        choose(folder, form=deployed_params(), recipe=None, overrides={"data.checks.min_length": 200_000})


def test_data_finds_the_params_file_that_uses_it(folder: Path) -> None:
    assert choose_for_data(folder, data="reviews").source == Path("params.yaml")
    assert choose_for_data(folder, data="imdb").source == RECIPES / "imdb.yaml"
    with pytest.raises(ParamsError, match=r"data\.name: nowhere"):
        choose_for_data(folder, data="nowhere")


def test_a_model_finds_the_params_file_that_registers_it(folder: Path) -> None:
    assert choose_for_model(folder, model="reviews").source == Path("params.yaml")
    assert choose_for_model(folder, model="imdb").source == RECIPES / "imdb.yaml"
    with pytest.raises(ParamsError, match=r"register\.name: nowhere"):
        choose_for_model(folder, model="nowhere")


def test_the_form_shows_every_field_with_its_description_bounds_and_default() -> None:
    schema = parameter_schema(fine_tune).model_dump()
    train = schema["definitions"]["Train"]["properties"]
    assert train["learning_rate"]["exclusiveMaximum"] == 1
    assert train["lr_scheduler_type"]["enum"][0] == "linear"
    described = [
        f"{name}.{field}"
        for name in ("Data", "Model", "Tokenize", "Train", "Evaluate", "Register")
        for field, facts in schema["definitions"][name]["properties"].items()
        if not facts.get("description") and "$ref" not in facts
    ]
    assert described == []
    assert schema["properties"]["params"]["default"]["train"]["num_train_epochs"] == 4
    assert all(facts["description"] for facts in schema["properties"].values())


def test_overrides_take_each_dotted_name_and_no_other() -> None:
    names = set(dotted_schemas())
    assert {
        "train.learning_rate",
        "data.splits.test",
        "task.label_names",
        "task.scheme",
        "register.minimum_effect",
    } <= names
    schema = parameter_schema(fine_tune).model_dump()
    validate({"overrides": {"train.learning_rate": 0.1, "data.columns": {"label": "category"}}}, schema)
    validate({"overrides": {"task.scheme": "IOB1"}}, schema)
    for name in TASKS:
        validate({"overrides": {"task.name": name}}, schema, raise_on_error=True)
    for wrong in ({"train": {"seed": 1}}, {"train.seed": -1}, {"train.sead": 1}, {"task.scheme": "BIOO"}):
        with pytest.raises(ValidationError):
            validate({"overrides": wrong}, schema, raise_on_error=True)
