"""Batch scoring with a model of a real registry: predictions, parts, resuming, and what is refused."""

import hashlib
import json
import shutil
import signal
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from threading import Thread
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from safetensors.torch import load_file, save_file

from tuneline import cli, parts, registry, scoring, tracking
from tuneline.digests import file_digest, model_digest
from tuneline.errors import DataError, PipelineError, StorageError, TrackingError
from tuneline.inference import Predictor
from tuneline.parts import Manifest

TEXTS = ["good kettle", "awful lamp", "it is a lovely phone", "very poor", "not bad"]


@pytest.fixture(scope="session")
def model(toy_model: Path) -> Path:
    return toy_model


@pytest.fixture(scope="session")
def server(model: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A tracking URI. Its registry holds `toys` (one version, the champion), `twice` (two versions, the second
    with its weights turned round) and `strange` (a folder that is no model)."""
    home = tmp_path_factory.mktemp("registry")
    turned, strange = home / "turned", home / "strange"
    shutil.copytree(model, turned)
    weights = load_file(turned / "model.safetensors")
    weights["classifier.weight"], weights["classifier.bias"] = (
        -weights["classifier.weight"],
        -weights["classifier.bias"],
    )
    save_file(weights, turned / "model.safetensors", metadata={"format": "pt"})
    strange.mkdir()
    (strange / "README.md").write_text("weights to follow")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(home)
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{home / 'mlflow.db'}")
        client = tracking.connect()
        for name, folder in (("toys", model), ("twice", model), ("twice", turned), ("strange", strange)):
            digest = model_digest(folder)
            run_id = tracking.ensure_run(client, tracking.experiment_id(client, "x"), digest, {}, [])
            registry.ensure_version(client, name, run_id, folder, digest, {})
        client.set_registered_model_alias("toys", "champion", "1")
        return tracking.tracking_uri()


@pytest.fixture(autouse=True)
def here(server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current folder, with the registry at hand."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server)
    monkeypatch.setenv("TUNELINE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path / "work"


def write_csv(name: str, rows: int) -> Path:
    """id,text rows of many lengths."""
    lines = [f"r{i},{TEXTS[i % 5]}{' the lamp is' * (i % 3)} {i}" for i in range(rows)]
    Path(name).write_text("\n".join(["id,text", *lines]) + "\n")
    return Path(name)


def score(path: Path | str, output: str = "scores", model: str = "models:/toys@champion", **asked: Any) -> Manifest:
    return scoring.score_file(model, Path(path), Path(output), **{"columns": {}, "rows_per_part": 10, **asked})


def read(output: str = "scores") -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = pq.read_table(output).to_pylist()
    return rows


def cut_short(output: str, whole: int) -> None:
    """Leave a scoring as a kill would: some parts, and a manifest that is not complete."""
    manifest = parts.find_manifest(Path(output), {})
    assert manifest
    begun = manifest.model_copy(update={"rows": None, "rows_without_text": None, "complete": False})
    parts.write_manifest(Path(output), begun)
    for part in sorted(Path(output).glob("part-*"))[whole:]:
        part.unlink()


def names(output: str) -> list[str]:
    return sorted(path.name for path in Path(output).iterdir())


def part_bytes(output: str) -> dict[str, bytes]:
    return {part.name: part.read_bytes() for part in sorted(Path(output).glob("part-*"))}


# What comes out


def test_each_row_gets_the_prediction_of_the_model(model: Path) -> None:
    score(write_csv("in.csv", 25))
    predictor = Predictor.load(model)
    rows = read()
    assert [row["id"] for row in rows] == [f"r{i}" for i in range(25)]
    for row in rows:
        [alone] = predictor.predict([{"text": row["text"]}])
        assert row["label"] == alone["label"]
        assert row["score"] == pytest.approx(alone["score"], abs=1e-5)
    assert [row["label"] for row in rows[:4]] == ["good", "bad", "good", "bad"]


def test_parts_hold_so_many_rows_each_and_read_as_one_table() -> None:
    score(write_csv("in.csv", 25))
    assert names("scores") == [
        "_scoring.json", "_seen",
        "part-00000.parquet", "part-00001.parquet", "part-00002.parquet",
    ]  # fmt: skip
    assert [pq.read_metadata(part).num_rows for part in sorted(Path("scores").glob("part-*"))] == [10, 10, 5]
    frame = pd.read_parquet("scores")
    assert list(frame.columns) == ["id", "text", "label", "score", "model_version", "input_sha256"]
    assert (len(frame), set(frame["model_version"])) == (25, {"toys/1"})


def test_the_manifest_says_what_the_parts_are_made_from(model: Path) -> None:
    path = write_csv("in.csv", 20)
    score(path)
    assert json.loads(Path("scores/_scoring.json").read_text()) == {
        "input": "in.csv", "input_file_sha256": file_digest(path), "encoding": "utf-8", "delimiter": None,
        "columns": {}, "rows_per_part": 10, "model": "toys", "version": 1, "model_digest": model_digest(model),
        "rows": 20, "rows_without_text": 0, "complete": True,
    }  # fmt: skip
    assert len(part_bytes("scores")) == 2


def test_columns_of_a_csv_file_stay_texts() -> None:
    Path("in.csv").write_bytes('\ufefftext,number,note\r\ngood,007,NA\r\n"bad, very\nbad",1e3,\r\n'.encode())
    score("in.csv")
    assert [(row["text"], row["number"], row["note"]) for row in read()] == [
        ("good", "007", "NA"),
        ("bad, very\nbad", "1e3", ""),
    ]


def test_columns_of_a_parquet_file_keep_their_types() -> None:
    table = pa.table(
        {
            "text": pa.array(TEXTS).dictionary_encode(),
            "count": pa.array(range(5), pa.int16()),
            "at": [datetime(2026, 1, day, tzinfo=UTC) for day in range(1, 6)],
            "tags": [["a"], [], None, ["b", "c"], ["d"]],
        }
    )
    pq.write_table(table, "in.parquet", row_group_size=2)
    score("in.parquet", rows_per_part=3)
    assert pq.read_table("scores").select(table.column_names).to_pylist() == table.to_pylist()
    assert pq.read_schema("scores/part-00001.parquet").field("count").type == pa.int16()


def test_text_may_stand_in_a_column_of_another_name() -> None:
    Path("in.tsv").write_text("review\ttext_pair\ngood lamp\tbad\n")
    score("in.tsv", columns={"text": "review"})
    assert list(read()[0])[:3] == ["review", "text_pair", "label"]


def test_a_tab_is_told_as_a_shell_types_it() -> None:
    Path("in.csv").write_text("id\ttext\n1\tgood, very\n")
    assert score("in.csv", delimiter=r"\t").delimiter == "\t"
    assert read()[0]["text"] == "good, very"


def test_the_second_text_of_a_pair_is_read(model: Path) -> None:
    Path("in.csv").write_text("text,text_pair\ngood lamp,awful awful awful\n")
    score("in.csv")
    [pair] = Predictor.load(model).predict([{"text": "good lamp", "text_pair": "awful awful awful"}])
    assert read()[0]["score"] == pytest.approx(pair["score"], abs=1e-6)


def test_columns_of_the_input_win_their_names() -> None:
    Path("in.csv").write_text("text,label,model_version\ngood lamp,bad,old\n")
    score("in.csv")
    [row] = read()
    assert (row["label"], row["predicted_label"]) == ("bad", "good")
    assert (row["model_version"], row["predicted_model_version"]) == ("old", "toys/1")


def test_a_row_without_text_has_no_prediction(capsys: pytest.CaptureFixture[str]) -> None:
    pq.write_table(pa.table({"text": ["good", None, "", "  ", "bad"]}), "in.parquet")
    score("in.parquet", rows_per_part=2)
    assert [row["label"] for row in read()] == ["good", None, None, None, "bad"]
    assert [row["score"] is None for row in read()] == [False, True, True, True, False]
    last = capsys.readouterr().out.splitlines()[-1]
    assert last == "score: 5 rows, 3 parts, toys version 1, 3 rows without text have no prediction"


def test_the_digest_of_a_text_is_the_same_in_every_file() -> None:
    text = 'Größe "M"\u2028\n☕'
    Path("a.csv").write_text('x,text,text_pair\n1,"' + text.replace('"', '""') + '",\n', newline="")
    pq.write_table(pa.table({"text": ["good", text]}), "b.parquet")
    score("a.csv", "a")
    score("b.parquet", "b")
    by_hand = hashlib.sha256(('{"text": "Größe \\"M\\"\u2028\\n☕"}').encode()).hexdigest()
    assert read("a")[0]["input_sha256"] == read("b")[1]["input_sha256"] == by_hand


def test_progress_is_told_part_by_part(capsys: pytest.CaptureFixture[str]) -> None:
    score(write_csv("in.csv", 25))
    assert capsys.readouterr().out.splitlines() == [
        "score: 10 rows done",
        "score: 20 rows done",
        "score: 25 rows done",
        "score: 25 rows, 3 parts, toys version 1",
    ]


# Going on


def test_a_killed_scoring_goes_on_to_the_same_bytes() -> None:
    write_csv("in.csv", 12_000)

    def command(output: str) -> list[str]:
        return [sys.executable, "-m", "tuneline", "score", "toys", "in.csv", output, "--rows-per-part", "500"]

    with subprocess.Popen(command("whole")) as undisturbed:
        with subprocess.Popen(command("cut"), stdout=subprocess.PIPE, text=True) as killed:
            assert killed.stdout
            assert killed.stdout.readline() == "score: 500 rows done\n"
            killed.send_signal(signal.SIGKILL)
        done = len(part_bytes("cut"))
        assert 1 <= done < 24
        assert not json.loads(Path("cut/_scoring.json").read_text())["complete"]
        resumed = subprocess.run(command("cut"), capture_output=True, text=True, check=True).stdout.splitlines()
    assert undisturbed.returncode == 0
    assert resumed[:2] == [f"score: {done * 500:,} rows were done before", f"score: {(done + 1) * 500:,} rows done"]
    assert resumed[-1] == "score: 12,000 rows, 24 parts, toys version 1"
    assert part_bytes("cut") == part_bytes("whole")
    assert Path("cut/_scoring.json").read_bytes() == Path("whole/_scoring.json").read_bytes()
    assert names("cut") == names("whole")


def test_a_part_that_was_lost_is_made_again_with_those_after_it() -> None:
    path = write_csv("in.csv", 45)
    score(path)
    before = part_bytes("scores")
    cut_short("scores", whole=5)
    Path("scores/part-00001.parquet").unlink()
    score(path)
    assert part_bytes("scores") == before


def test_a_complete_output_is_left_alone_even_when_the_server_is_away(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_csv("in.csv", 15)
    first = score(path)
    times = {file.name: file.stat().st_mtime_ns for file in Path("scores").iterdir()}
    assert score(path, model="models:/toys/1") == first
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    assert score(path) == first
    assert {file.name: file.stat().st_mtime_ns for file in Path("scores").iterdir()} == times
    assert capsys.readouterr().out.splitlines()[-1] == "score: scores is complete: 15 rows, 2 parts, toys version 1"


def test_an_alias_that_moved_changes_nothing_half_way(capsys: pytest.CaptureFixture[str]) -> None:
    path, client = write_csv("in.csv", 25), tracking.connect()
    client.set_registered_model_alias("twice", "champion", "1")
    score(path, model="twice")
    before = part_bytes("scores")
    cut_short("scores", whole=1)
    client.set_registered_model_alias("twice", "champion", "2")
    assert score(path, model="twice").version == 1
    assert part_bytes("scores") == before
    assert "models:/twice@champion is version 2 by now" in capsys.readouterr().err
    assert score(path, "new", model="twice").version == 2
    opposite = {"good": "bad", "bad": "good"}
    assert [row["label"] for row in read("new")] == [opposite[row["label"]] for row in read()]


def test_the_same_version_number_of_another_registry_is_refused() -> None:
    path = write_csv("in.csv", 5)
    score(path)
    manifest = json.loads(Path("scores/_scoring.json").read_text())
    Path("scores/_scoring.json").write_text(json.dumps(manifest | {"model_digest": "0" * 64}))
    with pytest.raises(PipelineError, match="is not the model that this output was begun with"):
        score(path)


def test_a_second_process_waits_for_the_first(capsys: pytest.CaptureFixture[str]) -> None:
    path = write_csv("in.csv", 5)
    with scoring._alone_in(Path("scores")):
        second = Thread(target=score, args=[path.absolute(), str(Path("scores").absolute())])
        second.start()
        second.join(timeout=1)
        assert second.is_alive()
        assert not Path("scores").exists()
    second.join()
    assert "waiting until it ends" in capsys.readouterr().out
    assert len(read()) == 5


# What is refused


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ({"rows_per_part": 5}, "rows_per_part: 10 there, 5 now"),
        ({"columns": {"text": "id"}}, "columns: {} there, {'text': 'id'} now"),
        ({"encoding": "latin-1"}, "encoding: 'utf-8' there, 'latin-1' now"),
        ({"model": "twice/2"}, "model: 'toys' there, 'twice' now"),
        ({"path": "other.csv"}, "input_file_sha256: "),
    ],
)
def test_an_output_of_another_scoring_is_refused(change: dict[str, Any], found: str) -> None:
    write_csv("other.csv", 6)
    asked: dict[str, Any] = {"path": write_csv("in.csv", 5)}
    score(**asked)
    with pytest.raises(PipelineError) as caught:
        score(**asked | change)
    assert found in str(caught.value)
    assert "Choose another OUTPUT, ask for the same as before, or remove scores" in str(caught.value)


def test_another_version_than_the_one_begun_with_is_refused() -> None:
    path = write_csv("in.csv", 5)
    score(path, model="models:/twice/1")
    with pytest.raises(PipelineError, match="version: 1 there, 2 now"):
        score(path, model="models:/twice/2")


def test_a_folder_of_something_else_is_no_output() -> None:
    path = write_csv("in.csv", 5)
    Path("scores").mkdir()
    Path("scores/.keep").touch()
    Path("scores/thesis.tex").touch()
    with pytest.raises(PipelineError, match=r"scores: holds thesis\.tex and no _scoring\.json"):
        score(path)
    Path("scores/thesis.tex").unlink()
    assert score(path).complete
    with pytest.raises(StorageError, match=r"in\.csv: is a file"):
        score(path, "in.csv")
    with pytest.raises(StorageError, match="choose another OUTPUT"):
        score(path, "in.csv/scores")


def test_a_manifest_of_somebody_else_is_refused() -> None:
    path = write_csv("in.csv", 5)
    Path("scores").mkdir()
    Path("scores/_scoring.json").write_text("{}")
    with pytest.raises(PipelineError, match="is not what `tuneline score` writes"):
        score(path)


def test_a_full_disk_leaves_whole_parts_to_go_on_from(monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_csv("in.csv", 25)
    sync, calls = parts._sync, iter(range(100))

    def full(place: Path) -> None:
        if next(calls) == 6:  # after the manifest and both files of the first part: a file and a folder each
            raise OSError(28, "No space left on device")
        sync(place)

    monkeypatch.setattr(parts, "_sync", full)
    with pytest.raises(StorageError, match="scores: no space left on the device"):
        score(path)
    assert names("scores") == ["_scoring.json", "_seen", "part-00000.parquet"]
    monkeypatch.setattr(parts, "_sync", sync)
    assert score(path).complete


def test_a_version_that_is_no_model_of_tuneline_is_refused() -> None:
    with pytest.raises(TrackingError, match=r"strange version 1 cannot be loaded: .*tuneline\.json"):
        score(write_csv("in.csv", 5), model="strange/1")
    assert not Path("scores").exists()


def test_an_input_that_takes_both_names_is_refused() -> None:
    Path("in.csv").write_text("text,label,predicted_label\ngood,a,b\n")
    with pytest.raises(DataError, match="the input has 'label' beside 'predicted_label'"):
        score("in.csv")


def refusal(*arguments: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> tuple[Any, str]:
    """Exit code and message of the command."""
    monkeypatch.setattr(sys, "argv", ["tuneline", "score", *arguments])
    with pytest.raises(SystemExit) as caught:
        cli.main()
    return caught.value.code, capsys.readouterr().err


@pytest.mark.parametrize(
    ("content", "arguments", "expected"),
    [
        (None, ["in.csv"], "in.csv: no such file"),
        (None, ["."], ".: is a folder"),
        (b"{}", ["in.jsonl"], "in.jsonl: ends in '.jsonl'. Expected .csv, .tsv, .parquet"),
        (b"", ["in.csv"], "in.csv: the file is empty"),
        (b"", ["in.parquet"], "in.parquet: the file is empty"),
        (b"PAR1 and no more", ["in.parquet"], "in.parquet: not a whole Parquet file"),
        (b"id,text\n", ["in.csv"], "in.csv: has a header and no rows"),
        (b"id,text\n1,good\n2,so,so\n", ["in.csv"], "in.csv row 3: 3 fields, expected 2 (id, text)"),
        (b"id,texts\n1,good\n", ["in.csv"], "in.csv: no column 'text'. Did you mean 'texts'? Found columns: id, texts. "
         "Name the one that holds it: --column text=THEIRS."),
        (b"text\ngood\n", ["in.csv", "--column", "text=review"], "in.csv: no column 'review'"),
        (b"text\ngood\n", ["in.csv", "--column", "txt=text"], "--column txt=text: text-classification reads no 'txt'. "
         "Did you mean 'text'?"),
        (b"id;text\n1;good\n", ["in.csv"], "The columns look separated by ';': --delimiter ';'"),
        (b"id;text\n1;so, so\n", ["in.csv"], 'set --delimiter ";"'),
        (b"text\nna\xefve\n", ["in.csv"], "in.csv row 2: byte 8 of the file is not utf-8. Likely "
         "latin-1: set --encoding latin-1, or"),
        (b"text,text\ngood,bad\n", ["in.csv"], "No header in the file? Give it one."),
        (b"text\ngood\n", ["in.csv", "--encoding", "utf-9"], "--encoding utf-9: unknown"),
        (b"text\ngood\n", ["in.csv", "--delimiter", "||"], "--delimiter ||: 2 characters. Expected one."),
        (b"text\ngood\n", ["in.csv", "--column", "text"], "expected OURS=THEIRS, each of ours once, as in text=review"),
        (b"text\ngood\n", ["in.csv", "--column", "text=a", "--column", "text=b"], "each of ours once"),
        (b"text\ngood\n", ["in.csv", "--rows-per-part", "0"], "0 is not in the range x>=1"),
    ],
)  # fmt: skip
def test_a_bad_input_is_named_without_a_traceback(
    content: bytes | None, arguments: list[str], expected: str,
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    path, *options = arguments
    if content is not None:
        Path(path).write_bytes(content)
    code, message = refusal("toys", path, "scores", *options, capsys=capsys, monkeypatch=monkeypatch)
    assert code == 2
    assert expected in message
    assert "Traceback" not in message
    assert not Path("scores").exists()


def test_numbers_are_no_texts() -> None:
    pq.write_table(pa.table({"text": [1, 2]}), "in.parquet")
    with pytest.raises(DataError, match=r"in\.parquet: column 'text' is of type int64, expected string"):
        score("in.parquet")


@pytest.mark.parametrize(
    ("named", "expected"),
    [
        ("toy", "has no model 'toy'. Did you mean 'toys'? Registered models: strange, toys, twice."),
        ("models:/toys@champ", "toys has no alias 'champ'. Did you mean 'champion'? Its aliases: champion."),
        ("models:/strange@champion", "Its aliases: none. Its versions: 1: name one, as in models:/strange/1."),
        ("models:/twice/9", "models:/twice/9: twice has no version 9. Its versions: 1, 2."),
        ("models:/toys/Production", "'models:/toys/Production' names no model. Expected models:/NAME@champion"),
    ],
)
def test_a_model_that_is_not_there_is_named_with_what_is(
    named: str, expected: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    write_csv("in.csv", 5)
    code, message = refusal(named, "in.csv", "scores", capsys=capsys, monkeypatch=monkeypatch)
    assert code == 2
    assert expected in message


def test_a_server_that_is_away_can_be_tried_again(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    write_csv("in.csv", 5)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    code, message = refusal("toys", "in.csv", "scores", capsys=capsys, monkeypatch=monkeypatch)
    assert code == 75
    assert "MLflow at http://127.0.0.1:9 does not answer" in message
    assert not Path("scores").exists()
