"""One label, any number of labels, or a number of a text: as files hold them, as the model learns and says them."""

import json
import math
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from scipy import stats
from sklearn import metrics as reference

from tests.conftest import run
from tuneline import rows as row_files
from tuneline import suggest
from tuneline.baselines import BASELINES
from tuneline.checkpoints import find_checkpoint, load_tokenizer
from tuneline.errors import DataError, ParamsError
from tuneline.losses import LOSSES, Shape, balanced_decisions, terms
from tuneline.metrics import multi_label, regression
from tuneline.metrics.weighted import once
from tuneline.modelling import initial_model
from tuneline.params import Data, Model, Sections, Train, check_params
from tuneline.stages import validate
from tuneline.tasks import task_class
from tuneline.training import fine_tune


def task(problem: str = "single_label_classification", **options: Any) -> Any:
    section = {"name": "text-classification", "problem_type": problem, **options}
    return task_class("text-classification").model_validate(section)


def multi(**options: Any) -> Any:
    return task("multi_label_classification", **options)


def number(**options: Any) -> Any:
    return task("regression", **options)


# The section


def test_without_a_problem_type_each_text_has_one_label() -> None:
    plain = task_class("text-classification").model_validate({"name": "text-classification"})
    assert plain == task()


@pytest.mark.parametrize(
    ("section", "said"),
    [
        ({"problem_type": "regresion"}, "unknown 'regresion'. Did you mean 'regression'?"),
        ({"problem_type": "regression", "label_names": ["a", "b"]}, "task.label_names: unknown key"),
        ({"problem_type": "regression", "minimum": 5, "maximum": 1}, "minimum: is 5, which is not below maximum (1)"),
        ({"problem_type": "multi_label_classification", "label_names": ["a|b", "c"]}, "holds label_separator '|'"),
        ({"problem_type": "multi_label_classification", "thresholds": {"a": 1.5}}, "found a: 1.5"),
        (
            {
                "problem_type": "multi_label_classification",
                "label_names": ["lamp", "phone"],
                "thresholds": {"lmp": 0.5},
            },
            "thresholds: label is 'lmp'. Known labels: lamp, phone. Did you mean 'lamp'?",
        ),
    ],
)
def test_options_that_do_not_fit_are_refused(section: dict[str, Any], said: str) -> None:
    plain: dict[str, dict[str, Any]] = {name: {} for name in ("model", "tokenize", "train", "evaluate")}
    params = {"data": {"name": "x"}, "register": {"name": "x"}, "task": {"name": "text-classification", **section}}
    with pytest.raises(ParamsError) as refused:
        check_params({**params, **plain})
    assert said in str(refused.value)


def test_a_loss_of_numbers_has_no_class_weights() -> None:
    plain: dict[str, dict[str, Any]] = {name: {} for name in ("model", "tokenize", "evaluate")}
    params = {"data": {"name": "x"}, "register": {"name": "x"}, "train": {"class_weights": "balanced"}}
    with pytest.raises(ParamsError, match=r"train\.class_weights: makes no sense"):
        check_params({**params, **plain, "task": {"name": "text-classification", "problem_type": "regression"}})


# From files


def read(folder: Path, which: Any, **data: Any) -> list[Any]:
    batches = row_files.read_rows(folder, Data(name="x", **data), which)
    return [cell for batch in batches for cell in batch["label"].to_pylist()]


def test_labels_come_as_lists_or_as_a_string_with_separators(tmp_path: Path) -> None:
    (tmp_path / "csv").mkdir()
    (tmp_path / "csv/a.csv").write_text("text,label\nx,lamp|phone\ny,\nz, phone \nw,a||b\n")
    assert read(tmp_path / "csv", multi()) == [["lamp", "phone"], [], ["phone"], ["a", "", "b"]]
    (tmp_path / "json").mkdir()
    lines = [{"text": "x", "label": ["lamp", 3, True]}, {"text": "y", "label": "a, b"}, {"text": "z", "label": None}]
    (tmp_path / "json/a.jsonl").write_text("\n".join(map(json.dumps, lines)))
    assert read(tmp_path / "json", multi(label_separator=",")) == [["lamp", "3", "true"], ["a", "b"], None]
    (tmp_path / "parquet").mkdir()
    table = pa.table({"text": ["x", "y"], "label": pa.array([["b", "a"], []], pa.list_(pa.string()))})
    pq.write_table(table, tmp_path / "parquet/a.parquet")
    assert read(tmp_path / "parquet", multi()) == [["b", "a"], []]


def test_numbers_come_as_numbers_or_as_strings(tmp_path: Path) -> None:
    (tmp_path / "csv").mkdir()
    (tmp_path / "csv/a.csv").write_text("text,label\nx,1.5\ny,-2\nz,\nw,nan\n")
    *found, last = read(tmp_path / "csv", number())
    assert found == [1.5, -2.0, None] and math.isnan(last)
    (tmp_path / "parquet").mkdir()
    pq.write_table(
        pa.table({"text": ["x", "y"], "label": pa.array([1, None], pa.int32())}), tmp_path / "parquet/a.parquet"
    )
    assert read(tmp_path / "parquet", number()) == [1.0, None]


def test_what_is_no_number_or_no_list_is_told_with_its_row(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "x", "label": "3,5"}\n{"text": "y", "label": true}\n')
    with pytest.raises(DataError) as refused:
        read(tmp_path, number())
    assert "a.jsonl row 1: label is '3,5', a string. Expected a number, with a point before its decimals" in str(
        refused.value
    )
    assert "a.jsonl row 2: label is True, a boolean" in str(refused.value)
    (tmp_path / "a.jsonl").write_text('{"text": "x", "label": {"a": 1}}\n')
    with pytest.raises(DataError, match=r"row 1: label is \{'a': 1\}, an object. Expected a list of strings"):
        read(tmp_path, multi())


@pytest.mark.parametrize(
    ("cells", "options"),
    [
        (["good", "bad", "good"], {}),
        (["0", "1"], {}),
        ([1, 2, 5], {}),
        (["a, or b", "c"], {}),  # no part of one cell stands in another: a label with a comma
        ([["a"], []], {"problem_type": "multi_label_classification"}),
        (["a|b", "b", ""], {"problem_type": "multi_label_classification"}),
        (["a; b", "b"], {"problem_type": "multi_label_classification", "label_separator": ";"}),
        (["a,b", "a,c"], {"problem_type": "multi_label_classification", "label_separator": ","}),
        (["0.5", "3", ""], {"problem_type": "regression"}),
        ([0.5, 3, None], {"problem_type": "regression"}),
        ([float("nan"), 0.5], {}),
        ([], {}),
    ],
)
def test_the_section_that_rows_call_for_is_proposed(cells: list[Any], options: dict[str, Any]) -> None:
    found = task_class("text-classification").fitting([{"text": "x", "label": cell} for cell in cells])
    assert found == options


def test_a_new_set_of_scored_pairs_gets_its_section(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text("sentence1,sentence2,score\na plane,a bird,1.25\nx,x,5\n")
    said = suggest.suggested_params("sts", row_files.describe(tmp_path, Data(name="sts")), {})
    for line in ("text: sentence1", "text_pair: sentence2", "label: score", "problem_type: regression"):
        assert line in said


# Encoding, and what is learned


def test_a_feature_has_one_for_each_label_of_its_row(toy_checkpoint: Path) -> None:
    rows = [{"text": "a lamp", "label": ["c", "a"]}, {"text": "it", "label": []}]
    features = multi().encode(load_tokenizer(toy_checkpoint), rows, ["a", "b", "c"])
    assert [feature["labels"] for feature in features] == [[1, 0, 1], [0, 0, 0]]


def test_numbers_are_learned_with_mean_zero_and_deviation_one(toy_checkpoint: Path) -> None:
    rows = [{"text": "a", "label": value} for value in (10.0, 20.0, 60.0)]  # mean 30, deviation √(1400/3)
    informed = number().informed(rows)
    assert (informed.target_mean, informed.target_deviation) == (30, pytest.approx(math.sqrt(1400 / 3)))
    learned = [feature["labels"] for feature in informed.encode(load_tokenizer(toy_checkpoint), rows, [])]
    assert (np.mean(learned), np.std(learned)) == (pytest.approx(0), pytest.approx(1))
    again = informed.decode([np.array([value]) for value in learned], [], rows, [])
    assert [each["value"] for each in again] == pytest.approx([10, 20, 60])


def test_what_params_say_of_the_target_is_kept_and_equal_numbers_have_deviation_one() -> None:
    rows = [{"label": 4.0}, {"label": 4.0}]
    assert (number().informed(rows).target_mean, number().informed(rows).target_deviation) == (4, 1)
    assert number(target_mean=1.0, target_deviation=3.0).informed(rows) == number(target_mean=1.0, target_deviation=3.0)


def test_predicted_numbers_stay_within_the_bounds() -> None:
    outputs = [np.array([9.0]), np.array([-9.0])]
    found = number(minimum=0, maximum=5).decode(outputs, [], [{}, {}], [])
    assert [each["value"] for each in found] == [5, 0]


def test_the_loss_of_decisions_is_that_of_pytorch_and_worked_by_hand() -> None:
    logits, gold = torch.tensor([[2.0, -1.0], [0.0, 3.0]]), torch.tensor([[1, 0], [0, 1]])
    plain = LOSSES["binary_cross_entropy"](logits, gold, Shape()) / terms(gold)
    assert float(plain) == pytest.approx(float(torch.nn.BCEWithLogitsLoss()(logits, gold.float())))
    # -log σ(2) - log σ(1) - log σ(0) - log σ(3), where the ones that stand in gold count twice
    told = [math.log1p(math.exp(-x)) for x in (2, 1, 0, 3)]
    weighted = LOSSES["binary_cross_entropy"](logits, gold, Shape(weights=torch.tensor([2.0, 2.0])))
    assert float(weighted) == pytest.approx(2 * told[0] + told[1] + told[2] + 2 * told[3])
    smooth = LOSSES["binary_cross_entropy"](torch.tensor([[0.0]]), torch.tensor([[1]]), Shape(0.2))
    assert float(smooth) == pytest.approx(math.log(2))


def test_balanced_decisions_weigh_what_is_rare() -> None:
    features = [{"labels": [1, 0, 0]}] * 2 + [{"labels": [0, 1, 0]}] * 6
    assert balanced_decisions(features, 3).tolist() == pytest.approx([6 / 2, 2 / 6, 1])


def trained(
    which: Any, labels: list[str], rows: list[dict[str, Any]], checkpoint: Path, folder: Path, epochs: int = 100
) -> Any:
    tokenizer = load_tokenizer(checkpoint)
    split = (which.encode(tokenizer, rows, labels), rows)
    model = initial_model(find_checkpoint(Model(checkpoint=str(checkpoint))), which.head(labels),
                          Model(dropout=0.0, attention_dropout=0.0), 1)  # fmt: skip
    params = Train(learning_rate=0.002, num_train_epochs=epochs, per_device_train_batch_size=8, threads=1, seed=1,
                   early_stopping_patience=epochs)  # fmt: skip
    return fine_tune(model, which, labels, tokenizer, params, split, split, checkpoints=folder, callbacks=[])


WORDS = ("kettle", "lamp", "phone")


def worded_rows() -> list[dict[str, Any]]:
    """Every choice of three words, six times; the label names the words."""
    chosen = [[word for bit, word in enumerate(WORDS) if code >> bit & 1] for code in range(8)] * 6
    return [{"text": " and ".join(["it", *words]), "label": words} for words in chosen]


@pytest.mark.slow
def test_a_tiny_model_learns_several_labels(toy_checkpoint: Path, tmp_path: Path) -> None:
    found = trained(multi(), list(WORDS), worded_rows(), toy_checkpoint, tmp_path, epochs=200)
    assert found.best["subset_accuracy"] == 1.0
    assert set(found.task.thresholds) == set(WORDS)


@pytest.mark.slow
def test_a_tiny_model_learns_numbers_of_any_unit(toy_checkpoint: Path, tmp_path: Path) -> None:
    rows = [{**row, "label": 1e6 + 1e4 * len(row["label"])} for row in worded_rows()]
    found = trained(number().informed(rows), [], rows, toy_checkpoint, tmp_path)
    assert found.best["pearson"] > 0.99
    assert found.best["rmse"] < 2e3  # their deviation is 8,660


# Scores


def random_tables(seed: int, labels: int = 5) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    gold = (generator.random((300, labels)) < 0.3).astype(np.int64)
    chances = np.clip(gold * 0.3 + generator.random((300, labels)) * 0.7, 0, 1).round(2)
    return gold, (chances >= 0.5).astype(np.int64), chances


@pytest.mark.parametrize("seed", range(3))
def test_scores_of_labels_are_those_of_scikit_learn(seed: int) -> None:
    gold, predicted, chances = random_tables(seed)
    labels = list("abcde")
    rows = [{"label": [labels[i] for i in np.flatnonzero(line)]} for line in gold]
    outputs = list(np.log(np.clip(chances, 1e-9, 1 - 1e-9)) - np.log1p(-np.clip(chances, 1e-9, 1 - 1e-9)))
    found = multi().score(multi().decode(outputs, [], rows, labels), rows, labels)
    found.metrics.pop("ece")  # scikit-learn has none: tests/test_calibration.py
    assert found.metrics == pytest.approx(
        {
            "micro_f1": reference.f1_score(gold, predicted, average="micro"),
            "macro_f1": reference.f1_score(gold, predicted, average="macro"),
            "subset_accuracy": reference.accuracy_score(gold, predicted),
            "hamming_loss": reference.hamming_loss(gold, predicted),
            "micro_average_precision": reference.average_precision_score(gold, chances, average="micro"),
            "loss": np.mean([reference.log_loss(g, c, labels=[0, 1]) for g, c in zip(gold.T, chances.T, strict=True)]),
            "brier": reference.brier_score_loss(gold.ravel(), chances.ravel()),
        },
        abs=1e-6,
    )
    of_rows = [reference.jaccard_score(g, p, zero_division=1) for g, p in zip(gold, predicted, strict=True)]
    assert found.per_row == pytest.approx(of_rows)
    support = reference.precision_recall_fscore_support(gold, predicted, zero_division=0)
    table = found.details["per_label"].values()
    assert pytest.approx(np.array(support)) == np.array([list(line.values()) for line in table]).T


def test_scores_of_labels_worked_by_hand() -> None:
    gold, predicted = np.array([[1, 0, 1], [0, 0, 0]]), np.array([[1, 0, 0], [0, 0, 0]])
    assert once(multi_label.micro_f1(gold, predicted), 2) == pytest.approx(2 / 3)
    assert once(multi_label.subset_accuracy(gold, predicted), 2) == 0.5
    assert once(multi_label.hamming_loss(gold, predicted), 2) == pytest.approx(1 / 6)
    assert multi_label.jaccard(gold, predicted).tolist() == [0.5, 1]


def test_rows_that_all_have_no_label_still_have_scores() -> None:
    rows: list[dict[str, Any]] = [{"label": []}] * 2
    found = multi().score(multi().decode([np.array([-9.0, -9.0])] * 2, [], rows, ["a", "b"]), rows, ["a", "b"])
    assert found.metrics["subset_accuracy"] == 1
    assert found.metrics["micro_f1"] == 0  # as scikit-learn has it: nothing was there to find
    assert found.per_row.tolist() == [1, 1]


@pytest.mark.parametrize("seed", range(3))
def test_scores_of_numbers_are_those_of_scikit_learn_and_scipy(seed: int) -> None:
    generator = np.random.default_rng(seed)
    gold = generator.integers(0, 6, 200).astype(float)  # with ties
    predicted = gold + generator.normal(0, 1.5, 200).round(1)
    assert once(regression.rmse(gold, predicted), 200) == pytest.approx(
        reference.root_mean_squared_error(gold, predicted)
    )
    assert once(regression.mae(gold, predicted), 200) == pytest.approx(reference.mean_absolute_error(gold, predicted))
    assert once(regression.pearson(gold, predicted), 200) == pytest.approx(stats.pearsonr(gold, predicted).statistic)
    assert once(regression.spearman(gold, predicted), 200) == pytest.approx(stats.spearmanr(gold, predicted).statistic)


def test_constant_predictions_show_no_correlation() -> None:
    gold = np.array([1.0, 2.0, 3.0])
    for measure in (regression.pearson, regression.spearman):
        assert once(measure(gold, np.full(3, 0.1)), 3) == 0


def test_a_row_scores_by_its_distance_in_deviations() -> None:
    which = number(target_deviation=10.0)
    found = which.score([{"value": 30.0}, {"value": 20.0}], [{"label": 30.0}, {"label": 30.0}], [])
    assert found.per_row.tolist() == [1, 0.5]


# Thresholds


def test_a_threshold_has_the_highest_f1_of_all_that_could_be(seed: int = 4) -> None:
    gold, _, chances = random_tables(seed)
    for label, chosen in enumerate(multi_label.thresholds(gold, chances)):
        tried = np.r_[np.unique(chances[:, label]), 1.1]
        best = max(reference.f1_score(gold[:, label], chances[:, label] >= each) for each in tried)
        assert reference.f1_score(gold[:, label], chances[:, label] >= chosen) == pytest.approx(best)


def test_thresholds_worked_by_hand() -> None:
    chances = np.array([0.9, 0.8, 0.4, 0.35, 0.3, 0.2, 0.1, 0.1, 0.1, 0.1])
    gold = np.array([1, 1, 1, 1, 1, 0, 0, 0, 0, 0])
    # From 0.3 on all five are found and nothing else; the next probability is 0.2.
    assert multi_label.thresholds(gold[:, None], chances[:, None]) == [pytest.approx(0.25)]
    assert multi_label.thresholds(gold[1:, None], chances[1:, None]) == [0.5]  # four rows with the label: too few


def test_thresholds_are_chosen_on_validation_and_used(toy_checkpoint: Path) -> None:
    rows = [{"label": ["a"]}] * 5 + [{"label": []}] * 5
    outputs = [np.array([-1.0, 1.0])] * 5 + [np.array([-3.0, 1.0])] * 5
    fitted = multi().fitted(outputs, [], rows, ["a", "b"])
    low, high = 1 / (1 + math.e**3), 1 / (1 + math.e)
    assert fitted.thresholds == {"a": pytest.approx((low + high) / 2), "b": 0.5}
    assert [each["labels"] for each in fitted.decode(outputs[4:6], [], rows[4:6], ["a", "b"])] == [["a", "b"], ["b"]]
    assert multi().fits and not fitted.fits


def test_a_mistake_is_as_sure_as_its_surest_wrong_decision() -> None:
    prediction = {"labels": ["a"], "scores": [0.9], "probabilities": {"a": 0.9, "b": 0.02, "c": 0.4}}
    found = multi().mistake({"text": "x", "text_pair": "y", "label": ["b"]}, prediction)
    assert (found.text, found.gold, found.predicted, found.score) == ("x\ny", "b", "a", pytest.approx(0.98))


def test_the_largest_error_comes_first() -> None:
    rows = [{"text": "x", "label": 3.0}, {"text": "y", "label": 3.0}]
    near, far = (number().mistake(row, {"value": value}) for row, value in zip(rows, (3.5, -1.0), strict=True))
    assert (near.score, far.score) == (0.5, 4)


# Baselines


def test_baselines_learn_labels_and_numbers_from_words() -> None:
    train = worded_rows()
    found = multi().score(BASELINES["bag-of-words-per-label"](train, train, WORDS), train, list(WORDS))
    assert found.metrics["micro_f1"] > 0.9
    numbers = [{**row, "label": float(len(row["label"]))} for row in train]
    predicted = BASELINES["bag-of-words-ridge"](numbers, numbers, [])
    assert number().score(predicted, numbers, []).metrics["pearson"] > 0.9


def test_a_label_that_all_rows_have_or_none_is_no_problem_for_the_baseline() -> None:
    train = [{"text": "a kettle", "label": ["a"]}, {"text": "the lamp", "label": ["a"]}]
    found = BASELINES["bag-of-words-per-label"](train, train[:1], ["a", "b"])
    assert found == [{"labels": ["a"], "scores": [1.0], "probabilities": {"a": 1.0, "b": 0.0}}]


# The whole way

TOY = """
data:
  name: toy
  checks: {{max_near_duplicate_share: 1.0, max_duplicate_share: 1.0, max_leaked_share: 1.0}}
task: {{name: text-classification, problem_type: {problem}}}
model: {{checkpoint: checkpoint, dropout: 0.0, attention_dropout: 0.0}}
tokenize: {{max_length: 24}}
train:
  learning_rate: 0.005
  num_train_epochs: 8
  early_stopping_patience: 8
  per_device_train_batch_size: 8
  threads: 1
evaluate: {{}}
register: {{name: toy}}
"""


@pytest.mark.slow
@pytest.mark.parametrize("problem", ["multi_label_classification", "regression"])
def test_a_csv_goes_the_whole_way_to_a_served_champion(
    project: Path, monkeypatch: pytest.MonkeyPatch, problem: str
) -> None:
    is_number = problem == "regression"
    lines = ["text,text_pair,label"]
    for i, row in enumerate(worded_rows() * 3):
        gold = f"{2.5 * len(row['label'])}" if is_number else "|".join(row["label"])
        lines.append(f"{row['text']},number {i} {i * i},{gold}")
    (project / "rows.csv").write_text("\n".join(lines) + "\n")
    said = run("tuneline", "data", "add", "--force", "toy", "rows.csv", cwd=project).stdout
    assert f"task:\n  name: text-classification\n  problem_type: {problem}\n" in said
    (project / "params.yaml").write_text(TOY.format(problem=problem))
    run("dvc", "repro", cwd=project)

    evaluation = json.loads((project / "data/reports/evaluation.json").read_text())
    facts = json.loads((project / "data/model/tuneline.json").read_text())["task"]
    metrics, baseline = evaluation["metrics"], evaluation["baseline"]
    assert set(metrics) == set(baseline) == set(evaluation["intervals"]) == set(task(problem).metrics)
    assert all(low <= metrics[name] <= high for name, (low, high) in evaluation["intervals"].items())
    assert metrics["pearson"] > 0.5 if is_number else metrics["micro_f1"] > 0.5
    assert (facts["target_deviation"] if is_number else set(facts["thresholds"])) not in (None, set())
    report = (project / "data/reports/report.html").read_text()
    assert ('data-plot="scatter"' in report) == is_number
    assert ("Per label, weakest first" in report) != is_number
    assert "Confusion matrix" not in report.partition("<script")[0]

    shown = run("dvc", "plots", "show", cwd=project)
    assert "failed to load" not in shown.stderr
    picture = "scatter.svg" if is_number else "roc.svg"
    assert picture in (project / "dvc_plots/index.html").read_text()

    monkeypatch.chdir(project)
    test = pq.read_table("data/reports/predictions.parquet").to_pylist()
    served = mlflow.pyfunc.load_model("data/model").predict(pd.DataFrame(test)[["text", "text_pair"]])
    if is_number:
        assert served["value"].tolist() == pytest.approx([row["value"] for row in test], abs=1e-3)
    else:
        assert served["labels"].tolist() == [row["labels"] for row in test]
    score = run("tuneline", "score", "models:/toy@champion", "rows.csv", "scored", cwd=project)
    assert "144 rows" in score.stdout + score.stderr
    [part] = Path("scored").glob("*.parquet")
    assert ("value" if is_number else "labels") in pq.read_schema(part).names


def test_the_order_of_labels_makes_no_conflict_and_each_label_is_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "data/raw/toy"
    folder.mkdir(parents=True)
    lines = [
        f"text {i} of {name},{'lamp|phone' if i % 2 else 'lamp'}" for name in ("train", "dev", "test") for i in range(9)
    ]
    for split, start in (("train", 0), ("dev", 9), ("test", 18)):
        (folder / f"{split}.csv").write_text("text,label\n" + "\n".join(lines[start : start + 9]) + "\n")
    with (folder / "train.csv").open("a") as file:
        file.write("twice,lamp|phone\ntwice,phone|lamp\nother,lamp\nother,phone\nunknown,lmp\n")
    (tmp_path / "data/expectations.json").write_text((Path(__file__).parents[2] / "data/expectations.json").read_text())
    section = {"name": "text-classification", "problem_type": "multi_label_classification",
               "label_names": ["lamp", "phone"]}  # fmt: skip
    checks = {"max_rejected_share": 0.5, "max_duplicate_share": 1.0, "max_near_duplicate_share": 1.0,
              "near_duplicate_similarity": 1.0}  # fmt: skip
    plain: dict[str, Any] = {name: {} for name in ("model", "tokenize", "train", "evaluate")}
    params = {"data": {"name": "toy", "checks": checks}, "task": section, "register": {"name": "toy"}, **plain}
    validate.run(Sections(check_params(params), validate.SECTIONS))
    rejects = pq.read_table("data/validated/rejects.parquet").to_pylist()
    assert [(each["value"], each["reason"].partition(" in data")[0]) for each in rejects][:1] == [
        ("twice", "repeats data/raw/toy/train.csv row 11")
    ]
    reasons = [each["reason"] for each in rejects]
    assert sum("is labelled otherwise" in reason for reason in reasons) == 2
    assert "Did you mean 'lamp'?" in reasons[-1]
    counts = json.loads(Path("data/validated/validation.json").read_text())["labels"]
    assert counts["phone"] == {"train": 5, "validation": 4, "test": 4}
