"""`tuneline drift` with a model of a real registry: what it finds, what it leaves alone, and what it refuses."""

import json
import random
import shutil
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from flows import events
from tuneline import cli, drift, observations, parts, registry, scoring, tracking
from tuneline.digests import tree_digest
from tuneline.drift import DRIFT, NO_DRIFT, TOO_FEW, Report
from tuneline.errors import DataError, PipelineError, TrackingError
from tuneline.inference import Predictor
from tuneline.observations import REFERENCE_SCHEMA, text_facts
from tuneline.parquet import read_rows, write_rows
from tuneline.tasks import task_class
from tuneline.tasks.base import Answer

GOOD, BAD = ("good", "great", "lovely", "fine"), ("bad", "awful", "broken", "poor")
Texts = list[tuple[str, str]]


def texts(seed: int, rows: int, *, good: float = 0.5, tail: str = "") -> Texts:
    """Pairs of text and label of one source; good: the share of good ones."""
    chance = random.Random(seed)
    found = []
    for _ in range(rows):
        label = "good" if chance.random() < good else "bad"
        word = chance.choice(GOOD if label == "good" else BAD)
        opening = chance.choice(["the", "a", "it is a", "the very", "and it was the"])
        found.append((f"{opening} {word} {chance.choice(['kettle', 'lamp', 'phone'])}{tail}", label))
    return found


def in_rows(pairs: Texts) -> list[dict[str, str]]:
    return [{"text": text, "label": label} for text, label in pairs]


@pytest.fixture(scope="session")
def server(toy_model: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A tracking URI. Its registry holds `toys`, which is known by 200 test rows, `early`, registered before there
    were references, and `few`, known by 20 rows."""
    home = tmp_path_factory.mktemp("registry")
    predictor = Predictor.load(toy_model)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(home)
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{home / 'mlflow.db'}")
        client = tracking.connect()
        for name, held_out in (("toys", 200), ("early", 0), ("few", 20)):
            experiment = tracking.experiment_id(client, "x")
            run_id = tracking.ensure_run(client, experiment, name, {}, [])
            if held_out:
                known = observations.reference(predictor, in_rows(texts(1, 300)), in_rows(texts(2, held_out)))
                write_rows(home / "reference.parquet", known, REFERENCE_SCHEMA)
                client.log_artifact(run_id, str(home / "reference.parquet"))
            digest = tree_digest(toy_model)
            registry.ensure_version(
                client, name, run_id, toy_model, digest, registry.score_tags({"accuracy": 0.97}, "rows")
            )
            client.set_registered_model_alias(name, "champion", "1")
        return tracking.tracking_uri()


@pytest.fixture(autouse=True)
def here(server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current folder, with the registry at hand and no Prefect server."""
    for name, value in (("MLFLOW_TRACKING_URI", server), ("TUNELINE_HOME", str(tmp_path / "home")),
                        ("CUDA_VISIBLE_DEVICES", ""), ("PREFECT_HOME", str(tmp_path / "prefect"))):  # fmt: skip
        monkeypatch.setenv(name, value)
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path / "work"


def write(pairs: Texts, *, labelled: bool = False, name: str = "new.csv") -> Path:
    lines = [f"{text},{label}" if labelled else text for text, label in pairs]
    Path(name).write_text("\n".join(["text,label" if labelled else "text", *lines]) + "\n")
    return Path(name)


def compare(path: Path, model: str = "toys", **options: Any) -> Report:
    return drift.compare(model, path, **{"columns": {}, **options})


def found_by(report: Report) -> set[str]:
    return {check.of for check in report.worst}


# What is found


def test_new_text_of_the_same_source_is_no_drift() -> None:
    report = compare(write(texts(3, 300)))
    assert (report.verdict, report.rows, report.reference_rows) == (NO_DRIFT, 300, 200)
    assert [check.of for check in report.checks] == [
        "length in words", "length in characters", "unknown words", "embedding", "predicted labels", "confidence",
    ]  # fmt: skip
    assert report.new_words == []
    assert report.sentence == "toys version 1, new.csv: no drift"


def test_text_of_another_domain_is_drift_and_its_words_are_named() -> None:
    report = compare(write([(f"the plot of film {i} was a mess", "") for i in range(120)]))
    assert report.verdict == DRIFT
    assert {"unknown words", "embedding"} <= found_by(report)
    assert {"plot", "film", "mess"} <= {each.word for each in report.new_words}
    [film] = [each for each in report.new_words if each.word == "film"]
    assert (film.reference, film.new) == (0.0, 1.0)


def test_other_shares_of_labels_are_drift_and_of_the_text_nothing_else() -> None:
    report = compare(write(texts(3, 300, good=0.9)))
    assert "predicted labels" in found_by(report)
    assert not {"length in words", "unknown words"} & found_by(report)
    [check] = [check for check in report.checks if check.of == "predicted labels"]
    assert check.effect == pytest.approx(abs(check.new["good"] - check.reference["good"]))
    assert check.new["good"] > 0.8


def test_longer_texts_are_drift() -> None:
    report = compare(write(texts(3, 300, tail=" and it was not a lamp")))
    assert {"length in words", "length in characters"} <= found_by(report)
    assert report.worst == sorted(report.worst, key=lambda check: -abs(check.effect))


def test_a_difference_that_is_sure_but_small_is_no_drift() -> None:
    path = write(texts(3, 800, good=0.72))
    assert compare(path, smallest_effect=0.4).verdict == NO_DRIFT
    assert "predicted labels" in found_by(compare(path, smallest_effect=0.05))


def test_so_few_rows_say_nothing() -> None:
    report = compare(write(texts(3, 49)))
    assert (report.verdict, report.checks, report.smallest_visible) == (TOO_FEW, [], None)
    assert compare(write(texts(3, 300)), model="few").verdict == TOO_FEW
    assert compare(write(texts(3, 50))).verdict == NO_DRIFT


def test_rows_without_text_are_left_out() -> None:
    path = Path("new.parquet")
    pq.write_table(pa.table({"text": [None, " ", *(text for text, _ in texts(3, 60))]}), path)
    assert compare(path).rows == 60


def test_rows_with_gold_are_scored_beside_what_was_recorded() -> None:
    wrong = [(text, {"good": "bad", "bad": "good"}[label]) for text, label in texts(3, 60)]
    report = compare(write([*wrong, *texts(4, 180)], labelled=True))
    assert report.score
    assert report.score.rows == 240
    assert report.score.metrics["accuracy"].recorded == 0.97
    accuracy = report.score.metrics["accuracy"]
    assert accuracy.value == pytest.approx(0.75, abs=0.02)
    assert accuracy.interval
    assert 0.63 < accuracy.interval[0] < accuracy.value < accuracy.interval[1] < 0.85  # 2.58 standard errors: 0.072
    assert report.score.metrics["loss"].recorded is None


def test_gold_that_the_model_does_not_know_is_told_and_not_scored() -> None:
    report = compare(write([*texts(3, 90), ("a lamp", "so-so"), ("a lamp", "")], labelled=True))
    assert report.score
    assert (report.rows, report.score.rows, report.score.left_out) == (92, 90, 1)
    assert report.score.why == "label is 'so-so'. Known labels: bad, good."


def test_gold_may_stand_in_a_column_of_another_name() -> None:
    write(texts(3, 60), labelled=True)
    Path("new.csv").write_text(Path("new.csv").read_text().replace("text,label", "review,stars"))
    report = compare(Path("new.csv"), columns={"text": "review", "label": "stars"})
    assert report.score
    assert report.score.rows == 60


# A folder that was scored


def test_a_scored_folder_comes_to_the_same_without_the_model(monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(texts(3, 120, tail=" and it was not a lamp"))
    scoring.score_file("toys", path, Path("scored"), columns={}, rows_per_part=50)
    from_file = compare(path)
    monkeypatch.setattr(drift, "load_version", lambda _: pytest.fail("the model was loaded"))
    from_folder = compare(Path("scored"))
    assert from_folder.data == "scored"
    assert [check.of for check in from_folder.checks] == [check.of for check in from_file.checks]
    for one, other in zip(from_folder.checks, from_file.checks, strict=True):
        assert one.effect == pytest.approx(other.effect, abs=0.02)


def test_a_large_file_is_sampled_by_its_number_of_rows_alone() -> None:
    chosen = observations.sample(10_000)
    assert chosen == observations.sample(10_000)
    assert (len(chosen), len(set(chosen)), chosen == sorted(chosen)) == (2000, 2000, True)
    assert 4700 < sum(chosen) / 2000 < 5300
    assert observations.sample(7) == list(range(7))


def test_a_scoring_that_is_of_no_use_is_told() -> None:
    path = write(texts(3, 60))
    scoring.score_file("toys", path, Path("scored"), columns={}, rows_per_part=50)
    with pytest.raises(DataError, match="was scored by toys, not by few"):
        compare(Path("scored"), model="few")
    with pytest.raises(DataError, match="was scored by version 1, not by 2"):
        compare(Path("scored"), model="toys/2")
    parts.seen_file(Path("scored"), 1).unlink()
    with pytest.raises(DataError, match=r"has no _seen/00001\.parquet: an earlier tuneline scored it"):
        compare(Path("scored"))
    manifest = parts.find_manifest(Path("scored"), {})
    assert manifest
    parts.write_manifest(Path("scored"), manifest.model_copy(update={"complete": False}))
    with pytest.raises(DataError, match="its scoring was cut short"):
        compare(Path("scored"))
    shutil.rmtree("scored")
    Path("scored").mkdir()
    with pytest.raises(DataError, match=r"is a folder without _scoring\.json. Expected an output of `tuneline score`"):
        compare(Path("scored"))


# What is refused


def test_a_version_without_a_reference_is_named() -> None:
    with pytest.raises(TrackingError, match=r"early version 1: there is no reference\.parquet beside its model"):
        compare(write(texts(3, 60)), model="early")


def test_columns_that_are_not_there_are_named() -> None:
    path = write(texts(3, 60))
    with pytest.raises(DataError, match=r"new\.csv: no column 'stars'"):
        compare(path, columns={"label": "stars"})
    Path("new.csv").write_text("texts\nlamp\n")
    with pytest.raises(DataError, match=r"new\.csv: no column 'text'. Did you mean 'texts'"):
        compare(path)


def run(*arguments: str, monkeypatch: pytest.MonkeyPatch) -> int:
    """The exit code of the command."""
    monkeypatch.setattr(sys, "argv", ["tuneline", "drift", *arguments])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    return int(ended.value.code or 0)


def test_the_command_ends_with_0_whatever_it_finds_and_with_3_when_asked_to(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write(texts(3, 300))
    write(texts(3, 120, tail=" and it was not a lamp"), name="long.csv")
    assert run("toys", "long.csv", monkeypatch=monkeypatch) == 0
    out = capsys.readouterr().out
    assert "length in words" in out
    assert out.splitlines()[-1].startswith("drift: toys version 1, long.csv: drift (")
    assert run("toys", "long.csv", "--fail-on-drift", monkeypatch=monkeypatch) == 3
    capsys.readouterr()
    assert run("toys", "new.csv", "--fail-on-drift", "--json", monkeypatch=monkeypatch) == 0
    facts = json.loads(capsys.readouterr().out)
    assert (facts["verdict"], len(facts["checks"])) == (NO_DRIFT, 6)


def test_drift_is_told_to_the_server_with_the_worst_first(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[dict[str, Any]] = []
    monkeypatch.setattr(events, "drift_found", lambda model, **facts: told.append({"model": model, **facts}))
    write(texts(3, 300))
    write(texts(3, 120, tail=" and it was not a lamp"), name="long.csv")
    run("toys", "new.csv", "--emit", monkeypatch=monkeypatch)
    assert told == []
    run("toys", "long.csv", "--emit", monkeypatch=monkeypatch)
    [event] = told
    assert (event["model"], event["version"], event["data"]) == ("toys", 1, "long.csv")
    assert {"length in words", "length in characters"} <= {each["of"] for each in event["worst"]}
    assert json.loads(json.dumps(event)) == event


def test_without_a_server_drift_cannot_be_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    with pytest.raises(PipelineError, match="PREFECT_API_URL is not set, so no run starts: the drift was found"):
        events.drift_found("toys", version=1, data="new.csv", worst=[])


# What is seen of a row


def test_words_are_counted_as_they_stand_and_known_in_lower_case() -> None:
    facts = text_facts(["It's 5 o'clock — it’s the LAMP's", None, "lamp"])
    assert facts == {
        "words": 8, "characters": 37, "vocabulary": ["it's", "it’s", "lamp", "lamp's", "o'clock", "the"],
    }  # fmt: skip


@pytest.mark.parametrize(
    ("task", "prediction", "expected"),
    [
        ({"name": "text-classification"}, {"label": "bad", "score": 0.8}, Answer(["bad"], None, 0.8)),
        ({"name": "text-classification", "problem_type": "multi_label_classification"},
         {"labels": ["a", "b"], "scores": [0.5, 0.7]}, Answer(["a", "b"], None, 0.6)),
        ({"name": "text-classification", "problem_type": "multi_label_classification"},
         {"labels": [], "scores": []}, Answer(["(no label)"], None, None)),
        ({"name": "text-classification", "problem_type": "regression"}, {"value": 2.5}, Answer(None, 2.5, None)),
        ({"name": "token-classification"}, {"tags": ["B-PER", "I-PER", "O"], "scores": [0.5, 0.5, 0.8]},
         Answer(["PER", "PER", "O"], None, 0.6)),
        ({"name": "question-answering"}, {"answer": "two days", "score": 0.7, "null_score": 0.1}, Answer(None, 2, 0.7)),
        ({"name": "question-answering"}, {"answer": "", "score": 0.2, "null_score": 0.6}, Answer(None, 0, 0.6)),
        ({"name": "seq2seq", "goal": "translation"}, {"text": "ein Haus", "score": 0.4}, Answer(None, 2, 0.4)),
        ({"name": "causal-lm"}, {"perplexity": 4.0}, Answer(None, None, 0.25)),
        ({"name": "masked-lm"}, {"perplexity": None}, Answer(None, None, None)),
    ],
)  # fmt: skip
def test_each_task_says_what_of_its_predictions_compares(
    task: dict[str, Any], prediction: dict[str, Any], expected: Answer
) -> None:
    answer = task_class(task["name"]).model_validate(task).observed(prediction)
    assert (answer.labels, answer.number) == (expected.labels, expected.number)
    assert answer.confidence == (None if expected.confidence is None else pytest.approx(expected.confidence))


def test_tagged_words_are_read_as_a_text_is() -> None:
    task = task_class("token-classification").model_validate({"name": "token-classification"})
    assert task.served({"tokens": ["Ada", "wrote"], "tags": ["B-PER", "O"]}) == {"text": "Ada wrote"}


def test_a_reference_holds_the_same_bytes_for_the_same_rows(toy_model: Path) -> None:
    predictor = Predictor.load(toy_model)
    for name in ("first", "second"):
        rows = observations.reference(predictor, in_rows(texts(1, 30)), in_rows(texts(2, 30)))
        write_rows(Path(name), rows, REFERENCE_SCHEMA)
    assert Path("first").read_bytes() == Path("second").read_bytes()
    kept = read_rows(Path("first"))
    assert [row["split"] for row in kept] == ["test"] * 30 + ["train"] * 30
    assert sum(value**2 for value in kept[0]["embedding"]) == pytest.approx(1, abs=1e-2)
    assert kept[0]["labels"] == [predictor.predict([{"text": texts(2, 1)[0][0]}])[0]["label"]]
    assert (kept[-1]["labels"], kept[-1]["embedding"]) == (None, None)
