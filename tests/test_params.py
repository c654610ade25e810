"""params.yaml: what is accepted, and what a slip is told."""

from pathlib import Path

import pytest

from tuneline.errors import ParamsError
from tuneline.params import check_params, read_params

SOUND = {
    "data": {"name": "x"},
    "task": {"name": "text-classification"},
    "model": {},
    "tokenize": {},
    "train": {},
    "evaluate": {},
    "register": {"name": "x"},
}

ROOT = Path(__file__).parent.parent


def with_(**sections: object) -> dict[str, object]:
    return {**SOUND, **sections}


def test_the_defaults_are_those_of_careful_fine_tuning() -> None:
    train = check_params(SOUND).train
    assert (train.learning_rate, train.warmup_steps, train.weight_decay) == (2e-5, 0.1, 0.01)


def test_an_exponent_without_a_dot_is_a_number(tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    path.write_text((ROOT / "params.yaml").read_text().replace("1.0e-4", "2e-5"))
    assert read_params("train", path=path).train.learning_rate == 2e-5


@pytest.mark.parametrize(
    ("sections", "said"),
    [
        ({"train": {"learning_rate": 0}}, r"train\.learning_rate: input should be greater than 0, found 0"),
        ({"train": {"learning_rate": "fast"}}, r"train\.learning_rate: .*number.*found 'fast'"),
        ({"train": {"learning_rate": float("nan")}}, r"train\.learning_rate: .*finite"),
        (
            {"train": {"learningrate": 1e-5}},
            r"train\.learningrate: unknown key\. Did you mean 'learning_rate'\?",
        ),
        ({"trian": {}}, r"trian: unknown key\. Did you mean 'train'\?"),
        (
            {"task": {"name": "text-clasification"}},
            r"task\.name: unknown task .*Did you mean 'text-classification'\?",
        ),
        ({"task": {}}, "task: must be a section with a name"),
        ({"task": {"name": "text-classification", "label_names": ["a", "a"]}}, "stands in the list twice"),
        ({"data": {"name": "../x"}}, r"data\.name: .*pattern"),
        ({"data": {"name": "x", "encoding": "latin-99"}}, r"data\.encoding: unknown encoding 'latin-99'"),
        ({"data": {"name": "x", "columns": {"labl": "y"}}}, r"data\.columns\.labl: .*Did you mean 'label'\?"),
        ({"data": {"name": "x", "splits": {"validation": 0.5, "test": 0.5}}}, "leave no rows to train on"),
        ({"register": {"name": "x", "metric": "acuracy"}}, r"register\.metric: .*Did you mean 'accuracy'\?"),
        ({"data": {"name": "x", "keep": ["text"]}}, r"data\.keep: 'text' is a name that tuneline gives itself"),
        ({"data": {"name": "x", "keep": ["a", "A"]}}, r"data\.keep: stands in the list twice"),
        (
            {"data": {"name": "x", "keep": ["country"]}, "evaluate": {"slices": {"columns": ["contry"]}}},
            r"evaluate\.slices\.columns: rows have no column 'contry'\. Did you mean 'country'\?",
        ),
        (
            {"evaluate": {"slices": {"where": {"short": "lenght(text) < 9"}}}},
            r"evaluate\.slices\.where\.short: 'lenght\(text\) < 9' is no condition: .*length.* Known columns: row, id,",
        ),
        ({"evaluate": {"slices": {"where": {"a: b": "true"}}}}, "expected names without a colon, found 'a: b'"),
        (
            {"evaluate": {"behaviour": [{"name": "a", "kind": "invariance", "edti": "typos"}]}},
            r"  evaluate\.behaviour\.0\.edti: unknown key\. Did you mean 'edit'\?",
        ),
        (
            {"evaluate": {"behaviour": [{"name": "a", "kind": "invarience"}]}},
            r"evaluate\.behaviour\.0: .*'invarience'.*'invariance', 'direction', 'minimum'",
        ),
        (
            {"evaluate": {"behaviour": [{"name": "a", "kind": "invariance", "edit": "typos", "append": ["b"]}]}},
            r"evaluate\.behaviour\.0: needs one of edit, replace and append, found edit and append",
        ),
        (
            {"evaluate": {"behaviour": [{"name": "a", "kind": "direction", "edit": "typos"}]}},
            r"evaluate\.behaviour\.0: needs one of becomes, leaves and must_not, found none",
        ),
        (
            {"evaluate": {"behaviour": [{"name": "a", "kind": "invariance", "edit": "case"}] * 2}},
            r"evaluate\.behaviour\.1\.name: 'a' is the name of another test too$",
        ),
        (
            {"evaluate": {"behaviour": [{"name": "a", "kind": "invariance", "edit": "case", "where": "len = 1"}]}},
            r"evaluate\.behaviour\.0\.where: 'len = 1' is no condition",
        ),
        (
            {"evaluate": {"behaviour": [{"name": "a", "kind": "minimum", "template": "A {b}.", "expected": "c"}]}},
            r"evaluate\.behaviour\.0: slots: \{b\} of the template has no values",
        ),
        (
            {
                "task": {"name": "text-classification", "label_names": ["good", "bad"]},
                "evaluate": {"behaviour": [{"name": "a", "kind": "minimum", "template": "A", "expected": "goood"}]},
            },
            r"evaluate\.behaviour\.0\.expected: unknown label 'goood'\. Did you mean 'good'\?",
        ),
        ({"model": {"sha256": "abc"}}, r"model\.sha256: .*pattern"),
        ({"train": {"lora": {}}, "model": {"configuration": {"model_type": "bert"}}}, r"train\.lora: .*by chance"),
    ],
)
def test_a_slip_is_named_by_its_path(sections: dict[str, object], said: str) -> None:
    with pytest.raises(ParamsError, match=said):
        check_params(with_(**sections))


def test_every_problem_is_reported_at_once() -> None:
    with pytest.raises(ParamsError, match="3 problems") as caught:
        check_params(with_(train={"learning_rate": 0, "seed": -1}, model={"dropout": 2}))
    assert all(path in str(caught.value) for path in ("train.learning_rate", "train.seed", "model.dropout"))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("data: [", "line 2, column 1: not valid YAML"),
        ("", "holds no sections"),
        ("data: {name: x}\ndata: {name: y}\n", "duplicate key"),
    ],
)
def test_a_file_that_is_not_params_is_told_so(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "params.yaml").write_text(text)
    with pytest.raises(ParamsError, match=said):
        read_params(path=tmp_path / "params.yaml")


def test_a_missing_file_says_where_to_start(tmp_path: Path) -> None:
    with pytest.raises(ParamsError, match="recipes"):
        read_params(path=tmp_path / "params.yaml")


def test_a_section_that_is_left_out_can_be_written_as_empty() -> None:
    without = {name: section for name, section in SOUND.items() if name != "evaluate"}
    with pytest.raises(ParamsError, match=r"evaluate: is missing\. Write `evaluate: \{\}`"):
        check_params(without)
