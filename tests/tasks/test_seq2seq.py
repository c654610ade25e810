"""Texts from texts: encoding, generation that padding does not change, references by column, the whole way."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
import pyarrow.parquet as pq
import pytest
import torch

from tests.conftest import WORDS, run
from tuneline import layout
from tuneline.batching import collator
from tuneline.checkpoints import Checkpoint, find_checkpoint, load_tokenizer
from tuneline.errors import CheckpointError, DataError, ParamsError
from tuneline.inference import Predictor
from tuneline.modelling import initial_model
from tuneline.params import Data, Model, Sections, Train, check_params
from tuneline.rows import describe, read_rows
from tuneline.serving import TunelineModel
from tuneline.stages import validate
from tuneline.suggest import suggested_params
from tuneline.tasks import task_class
from tuneline.tokenizing import Lengths, check_lengths, encode, limits_of
from tuneline.training import Trained, fine_tune

EIGHT = [
    {"source": f"{word} {thing}", "target": [f"the {thing} is {('', 'not ', 'not very ')[i % 3]}{word}"]}
    for i, (word, thing) in enumerate(zip(WORDS[:8], ["kettle", "lamp", "phone", "kettle"] * 2, strict=True))
]


def task(**options: Any) -> Any:
    return task_class("seq2seq").model_validate(
        {"name": "seq2seq", "goal": "translation", "max_target_length": 10} | options
    )


def toy_bart() -> Any:
    from transformers import BartConfig, BartForConditionalGeneration  # noqa: PLC0415

    config = BartConfig(
        vocab_size=len(WORDS) + 4, d_model=32, encoder_layers=1, decoder_layers=1, encoder_attention_heads=2,
        decoder_attention_heads=2, encoder_ffn_dim=64, decoder_ffn_dim=64, max_position_embeddings=64,
        pad_token_id=0, bos_token_id=2, eos_token_id=3, decoder_start_token_id=3, forced_eos_token_id=3,
    )  # fmt: skip
    return BartForConditionalGeneration(config)


def toy_t5() -> Any:
    from transformers import T5Config, T5ForConditionalGeneration  # noqa: PLC0415

    config = T5Config(  # type: ignore[call-arg]  # any option of generation is taken, and this one is not declared
        vocab_size=len(WORDS) + 4, d_model=32, d_kv=16, d_ff=64, num_layers=1, num_heads=2,
        pad_token_id=0, eos_token_id=3, decoder_start_token_id=0,
    )  # fmt: skip
    return T5ForConditionalGeneration(config)


@pytest.fixture(scope="session")
def toy_checkpoints(toy_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """An encoder, and one-layer encoder-decoders with its tokenizer."""
    found = {"bert": toy_checkpoint}
    for name, make in (("bart", toy_bart), ("t5", toy_t5)):
        found[name] = tmp_path_factory.mktemp(name)
        for file in ("tokenizer.json", "tokenizer_config.json"):
            shutil.copy(toy_checkpoint / file, found[name])
        torch.manual_seed(0)
        make().save_pretrained(found[name])
    return found


@pytest.fixture(params=["bert", "bart", "t5"])
def checkpoint(request: pytest.FixtureRequest, toy_checkpoints: dict[str, Path]) -> Path:
    return toy_checkpoints[request.param]


def start(checkpoint: Path, seq2seq: Any) -> Any:
    found = find_checkpoint(Model(checkpoint=str(checkpoint)))
    return initial_model(found, seq2seq.head([]), Model(dropout=0.0, attention_dropout=0.0), seed=0)


# Encoding


def test_sources_and_targets_are_cut_at_lengths_of_their_own(toy_checkpoint: Path) -> None:
    tokenizer, seq2seq = load_tokenizer(toy_checkpoint), task(max_target_length=4, prefix="it is ")
    row = {"source": "a very good lamp", "target": ["the lamp was very good", "fine"]}

    def words(ids: list[int]) -> list[str | None]:
        return [tokenizer.id_to_token(i) for i in ids]

    [whole] = seq2seq.encode(tokenizer, [row], [])
    assert words(whole["input_ids"]) == ["[CLS]", "it", "is", "a", "very", "good", "lamp", "[SEP]"]
    assert words(whole["labels"]) == ["[CLS]", "the", "lamp", "was", "very", "good", "[SEP]"]
    for max_length in (6, 3):
        seq2seq.limit(tokenizer, max_length)
        [feature] = seq2seq.encode(tokenizer, [row], [])
        assert len(feature["input_ids"]) == max_length
        assert words(feature["labels"]) == ["[CLS]", "the", "lamp", "[SEP]"]


def test_what_targets_lose_is_measured(toy_checkpoint: Path) -> None:
    seq2seq = task(max_target_length=4)
    rows = [
        {"source": "a lamp", "target": ["the lamp was very good"]},  # 7 tokens with [CLS] and [SEP]
        {"source": "a very good lamp it is", "target": ["good"]},
    ]
    lengths = Lengths(8, limits_of(seq2seq))
    found = encode(seq2seq, load_tokenizer(toy_checkpoint), rows, [], 8, lengths)
    assert [len(feature["labels"]) for [feature] in found] == [4, 3]
    report = lengths.report()
    assert (report["rows_truncated"], report["labels"]["rows_truncated"]) == (0, 1)
    assert report["labels"]["tokens_dropped_share"] == pytest.approx(3 / 10)


def test_a_target_longer_than_the_positions_of_the_checkpoint_is_refused() -> None:
    with pytest.raises(CheckpointError, match=r"task\.max_target_length: is 600, but this checkpoint has 512"):
        check_lengths({"tokenize.max_length": 512, "task.max_target_length": 600},
                      {"max_position_embeddings": 512, "model_type": "bert"})  # fmt: skip


def test_the_decoder_reads_the_gold_one_position_late(checkpoint: Path) -> None:
    seq2seq = task()
    model = start(checkpoint, seq2seq)
    features = seq2seq.encode(load_tokenizer(checkpoint), EIGHT[:3], [])
    batch = collator(model, seq2seq.head([]))(features)
    assert batch["decoder_input_ids"][:, 0].tolist() == [model.config.decoder_start_token_id] * 3
    labels = batch["labels"][:, :-1].masked_fill(batch["labels"][:, :-1] == -100, model.config.pad_token_id)
    assert torch.equal(batch["decoder_input_ids"][:, 1:], labels)
    assert {len(row) for row in batch["labels"].tolist()} == {max(len(f["labels"]) for f in features)}


# Learning and generating


def learned(checkpoint: Path, seq2seq: Any, folder: Path, **params: Any) -> Trained:
    tokenizer = load_tokenizer(checkpoint)
    split = (seq2seq.encode(tokenizer, EIGHT, []), EIGHT)
    told = {"learning_rate": 0.01, "early_stopping_patience": 100, "per_device_train_batch_size": 8, "threads": 1}
    return fine_tune(
        start(checkpoint, seq2seq), seq2seq, [], tokenizer, Train.model_validate(told | params), split, split,
        checkpoints=folder / "checkpoints", callbacks=[],
    )  # fmt: skip


def test_a_score_chooses_the_weights_where_params_say_so(toy_checkpoint: Path, tmp_path: Path) -> None:
    trained = learned(toy_checkpoint, task(), tmp_path, num_train_epochs=2, metric_for_best_model="chrf")
    assert set(trained.best) == {"loss", "bleu", "chrf"}
    assert sum("eval_chrf" in point for point in trained.history) == 2


@pytest.mark.parametrize(("checkpoint", "num_beams"), [("bert", 1), ("bart", 3), ("t5", 3)], indirect=["checkpoint"])
def test_a_tiny_model_learns_eight_rows_and_writes_the_same_when_loaded(
    checkpoint: Path, tmp_path: Path, num_beams: int
) -> None:
    seq2seq, tokenizer = task(num_beams=num_beams), load_tokenizer(checkpoint)
    trained = learned(checkpoint, seq2seq, tmp_path, num_train_epochs=100)
    assert set(trained.best) == {"loss"}
    predictor = Predictor(seq2seq, [], trained.model, tokenizer)
    said = predictor.predict(EIGHT)
    assert seq2seq.score(said, EIGHT, []).metrics == {"bleu": 1.0, "chrf": 1.0}
    assert all(0 < prediction["score"] <= 1 for prediction in said)

    model = tmp_path / "model"
    trained.model.save_pretrained(model)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(checkpoint / name, model)
    facts = {"task": seq2seq.model_dump(mode="json"), "labels": [], "max_length": 16}
    (model / "tuneline.json").write_text(json.dumps(facts))
    again = Predictor.load(model).predict(EIGHT)
    assert [p["text"] for p in again] == [p["text"] for p in said]
    assert [p["score"] for p in again] == pytest.approx([p["score"] for p in said], rel=1e-4)
    assert TunelineModel(model).predict([row["source"] for row in EIGHT])["text"].tolist() == [p["text"] for p in said]


@pytest.mark.parametrize("num_beams", [1, 3])
def test_one_batch_or_many_write_the_same(checkpoint: Path, num_beams: int) -> None:
    seq2seq, tokenizer = task(num_beams=num_beams), load_tokenizer(checkpoint)
    rows = [{"source": " ".join(WORDS[: 1 + 3 * i])} for i in range(6)]
    predictor = Predictor(seq2seq, [], start(checkpoint, seq2seq), tokenizer)
    together = predictor.predict(rows)
    alone = [predictor.predict([row])[0] for row in rows]
    assert [p["text"] for p in together] == [p["text"] for p in alone]
    assert [p["score"] for p in together] == pytest.approx([p["score"] for p in alone], rel=1e-4)


NARROW = {"d_model": 32, "encoder_layers": 1, "decoder_layers": 1, "encoder_attention_heads": 2,
          "decoder_attention_heads": 2, "encoder_ffn_dim": 64, "decoder_ffn_dim": 64, "max_position_embeddings": 64,
          "dropout": 0.0}  # fmt: skip
CONFIGURATIONS = {
    "t5": {"d_model": 32, "d_kv": 16, "d_ff": 64, "num_layers": 1, "num_heads": 2, "dropout_rate": 0.0},
    "bart": NARROW,
    "mbart": NARROW,
    # Embeddings as drawn by default are small beside the sinusoids of the positions.
    "marian": NARROW | {"scale_embedding": True, "init_std": 0.2},
    "pegasus": NARROW | {"scale_embedding": True, "init_std": 0.2},
}


def from_nothing(folder: Path, configuration: dict[str, Any]) -> Any:
    tokenizer = Checkpoint("a configuration", folder, "configuration", "none")
    return initial_model(tokenizer, task().head([]), Model(configuration=configuration), seed=0)


@pytest.mark.parametrize("kind", CONFIGURATIONS)
def test_a_configuration_learns_eight_rows_with_the_tokens_of_the_tokenizer(
    kind: str, toy_checkpoint: Path, tmp_path: Path
) -> None:
    model = from_nothing(toy_checkpoint, {"model_type": kind, **CONFIGURATIONS[kind]})
    for config in (model.config, model.generation_config):
        names = ("pad", "bos", "eos", "decoder_start")
        assert [getattr(config, f"{name}_token_id", None) for name in names] == [0, 2, 3, 3]
    assert model.generation_config.forced_eos_token_id in (None, 3)
    assert model.get_input_embeddings().num_embeddings == len(WORDS) + 5
    tokenizer, seq2seq = load_tokenizer(toy_checkpoint), task(num_beams=2)
    split = (seq2seq.encode(tokenizer, EIGHT, []), EIGHT)
    params = Train(learning_rate=0.01, num_train_epochs=100, per_device_train_batch_size=8, threads=1)
    trained = fine_tune(model, seq2seq, [], tokenizer, params, split, ([], []), checkpoints=tmp_path, callbacks=[])
    said = Predictor(seq2seq, [], trained.model, tokenizer).predict(EIGHT)
    assert [each["text"] for each in said] == [row["target"][0] for row in EIGHT]


def test_another_token_may_begin_what_the_decoder_writes(toy_checkpoint: Path) -> None:
    t5 = {"model_type": "t5", **CONFIGURATIONS["t5"]}
    model = from_nothing(toy_checkpoint, t5 | {"decoder_start_token_id": 0})
    assert (model.config.decoder_start_token_id, model.generation_config.decoder_start_token_id) == (0, 0)
    with pytest.raises(CheckpointError, match=r"decoder_start_token_id: is 58100, but the tokenizer has 24 tokens"):
        from_nothing(toy_checkpoint, t5 | {"decoder_start_token_id": 58100})


def test_a_configuration_whose_tokenizer_names_no_end_is_refused(toy_checkpoint: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(toy_checkpoint, tmp_path / "unnamed"))
    (folder / "tokenizer_config.json").write_text('{"cls_token": "[CLS]", "pad_token": "[PAD]"}')
    with pytest.raises(CheckpointError, match="names no eos_token or sep_token, which a decoder"):
        from_nothing(folder, {"model_type": "t5", **CONFIGURATIONS["t5"]})


def test_an_encoder_starts_both_halves(toy_checkpoint: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from transformers import BertModel  # noqa: PLC0415

    model = start(toy_checkpoint, task())
    pretrained = BertModel.from_pretrained(toy_checkpoint).encoder.layer[0].attention.self.query.weight
    assert torch.equal(model.encoder.encoder.layer[0].attention.self.query.weight, pretrained)
    assert torch.equal(model.decoder.bert.encoder.layer[0].attention.self.query.weight, pretrained)
    assert not torch.equal(model.decoder.bert.encoder.layer[0].crossattention.self.query.weight, pretrained)
    ids = [getattr(model.config, f"{name}_token_id") for name in ("pad", "decoder_start", "eos")]
    assert ids == [0, 2, 3]  # [PAD], [CLS], [SEP]
    assert "is an encoder: its weights start a decoder too" in capsys.readouterr().out


def test_an_encoder_whose_tokenizer_names_no_end_is_refused(toy_checkpoint: Path, tmp_path: Path) -> None:
    folder = tmp_path / "unnamed"
    shutil.copytree(toy_checkpoint, folder)
    (folder / "tokenizer_config.json").write_text('{"cls_token": "[CLS]", "pad_token": "[PAD]"}')
    with pytest.raises(CheckpointError, match="names no sep_token"):
        start(folder, task())


def test_an_encoder_that_cannot_decode_is_refused(toy_checkpoint: Path, tmp_path: Path) -> None:
    from transformers import DistilBertConfig, DistilBertModel  # noqa: PLC0415

    shutil.copytree(toy_checkpoint, tmp_path / "distil")
    config = DistilBertConfig(vocab_size=len(WORDS) + 4, dim=32, n_layers=1, n_heads=2, hidden_dim=64)
    DistilBertModel(config).save_pretrained(tmp_path / "distil")
    with pytest.raises(CheckpointError, match="is a distilbert, neither an encoder-decoder nor an encoder of which"):
        start(tmp_path / "distil", task())


def test_prediction_needs_neither_rouge_score_nor_sacrebleu() -> None:
    script = (
        "import sys; from tuneline import serving; from tuneline.tasks import task_class; task_class('seq2seq')\n"
        "print([m for m in ('rouge_score', 'sacrebleu', 'nltk') if m in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout == "[]\n"


# Params


def params(**sections: Any) -> dict[str, Any]:
    rest: dict[str, dict[str, Any]] = {name: {} for name in ("model", "tokenize", "train", "evaluate")}
    return {"data": {"name": "toy"}, "task": {"name": "seq2seq", "goal": "translation"}, **rest,
            "register": {"name": "toy"}, **sections}  # fmt: skip


def test_the_goal_must_be_said() -> None:
    with pytest.raises(ParamsError, match=r"task\.goal"):
        check_params(params(task={"name": "seq2seq"}))


def test_the_metrics_follow_the_goal() -> None:
    assert list(task().metrics) == ["bleu", "chrf"]
    assert task(goal="summarization").default_metric == "rougeLsum"
    with pytest.raises(ParamsError, match=r"register\.metric: unknown metric 'rouge1'\. Known metrics: bleu, chrf"):
        check_params(params(register={"name": "toy", "metric": "rouge1"}))
    check_params(params(train={"metric_for_best_model": "loss"}))
    with pytest.raises(ParamsError, match=r"register\.metric: unknown metric 'loss'"):
        check_params(params(register={"name": "toy", "metric": "loss"}))


def test_classes_are_not_weighed_where_there_are_none() -> None:
    with pytest.raises(ParamsError, match=r"train\.class_weights: makes no sense"):
        check_params(params(train={"class_weights": "balanced", "label_smoothing_factor": 0.1}))


# Rows


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    found = layout.RAW / "toy"
    found.mkdir(parents=True)
    return found


def write(folder: Path, name: str, *rows: dict[str, Any]) -> None:
    (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def targets(**columns: str) -> list[Any]:
    data = Data(name="toy", columns=columns)
    return [target for batch in read_rows(layout.RAW / "toy", data, task()) for target in batch["target"].to_pylist()]


def test_references_stand_in_one_column_or_in_several(folder: Path) -> None:
    write(
        folder,
        "test",
        {"source": "a", "summary1": "b", "summary2": "c"},
        {"source": "a", "summary1": "b", "summary2": ""},
    )
    write(folder, "train", {"source": "d", "summary": "e"}, {"source": "d", "summary": ["f", "g"]})
    assert targets(target="summary*") == [["b", "c"], ["b"], ["e"], ["f", "g"]]
    with pytest.raises(DataError, match=r"train\.jsonl: no column 'summary1'"):
        targets(target="summary1")


def test_a_target_that_is_no_text_is_told(folder: Path) -> None:
    write(folder, "train", {"source": "a", "target": 3}, {"source": "a", "target": ["b", 3]})
    with pytest.raises(DataError) as caught:
        targets()
    assert "row 1: target is 3, a number. Expected a string, or a list of strings" in str(caught.value)
    assert "row 2: target holds 3, a number" in str(caught.value)


def test_csv_has_one_target_a_column(folder: Path) -> None:
    (folder / "all.csv").write_text("source,target\na b,c d\nx,\n")
    assert targets() == [["c d"], [""]]


def test_validate_refuses_what_no_model_can_learn_from(folder: Path) -> None:
    shutil.copy(Path(__file__).parents[2] / "data/expectations.json", layout.RAW.parent)
    write(
        folder,
        "train",
        {"source": "a man in a hat", "target": "ein Mann mit Hut"},
        {"source": "a man in a hat", "target": "ein Mann, der einen Hut trägt"},  # another translation of the same
        {"source": "a man in a hat", "target": "ein Mann mit Hut"},
        {"source": "three dogs", "target": "drei\u0000 Hunde"},
        {"source": "two cats", "target": "two cats"},
        {"source": "a lake at night", "target": " "},
        {"source": "it is a bear", "target": "es ist ein BÃ¤r"},
        {"source": "a blue door", "target": "eine blaue Tür"},
        {"source": "a window", "target": None},
    )
    write(folder, "test", {"source": "a blue door", "target": "eine blaue Tür"})
    write(folder, "dev", {"source": "a long road", "target": "eine lange Straße"})
    checks = {f"max_{name}_share": 1.0 for name in ("rejected", "duplicate", "near_duplicate", "leaked")}
    checks["max_control_characters"] = 1.0
    plain = params(data={"name": "toy", "checks": checks})
    validate.run(Sections(check_params(plain), validate.SECTIONS))
    rejects = pq.read_table(layout.VALIDATED / "rejects.parquet").to_pylist()
    told = {(row["row"], row["column"]): row["reason"] for row in rejects}
    assert told == {
        (3, "source"): "repeats data/raw/toy/train.jsonl row 1",
        (4, "target"): "target holds the control character U+0000",
        (5, "target"): "target is the same as source. Expected its translation",
        (6, "target"): "target is blank",
        (7, "target"): "target holds 'Ã¤': read in another encoding than it was written in",
        (8, "source"): "the same text stands in the test split: data/raw/toy/test.jsonl row 1",
        (9, "target"): "target is missing",
    }


@pytest.mark.parametrize(("goal", "expected"), [("translation", "translation"), ("summarization", "summary")])
def test_a_target_that_is_its_source_is_no_answer(goal: str, expected: str) -> None:
    row = {"source": " two cats sat there", "target": ["two cats", "two cats sat there "]}
    assert task(goal=goal).problem(row) == f"target is the same as source. Expected its {expected}"


def suggested(folder: Path) -> str:
    return suggested_params("toy", describe(folder, Data(name="toy")), {})


def test_params_are_suggested_with_goal_and_references(folder: Path) -> None:
    dialogue = "#Person1#: Hi! " * 20
    write(folder, "test", {"dialogue": dialogue, "summary1": "They greet.", "summary2": "Hi."})
    write(folder, "train", {"dialogue": dialogue, "summary": "They greet."})
    said = suggested(folder)
    assert "source: dialogue\n    target: summary*" in said
    assert "name: seq2seq\n  goal: summarization" in said


def test_the_direction_of_parallel_text_is_suggested(folder: Path) -> None:
    for language, text in (("en", "a hat"), ("de", "ein Hut")):
        (folder / f"train.{language}").write_text(text + "\n")
    said = suggested(folder)
    assert "source: de\n    target: en" in said
    assert "goal: translation" in said
    assert targets(source="en", target="de") == [["ein Hut"]]


# The whole way

TOY = """
data:
  name: toy
  columns: {source: en, target: xx}
  checks: {max_near_duplicate_share: 1.0, max_duplicate_share: 1.0, max_leaked_share: 1.0}
task: {name: seq2seq, goal: translation, max_target_length: 10, num_beams: 2}
model: {checkpoint: checkpoint, dropout: 0.0}
tokenize: {max_length: 12}
train:
  learning_rate: 0.01
  num_train_epochs: 12
  early_stopping_patience: 12
  per_device_train_batch_size: 8
  threads: 1
evaluate: {}
register: {name: toy}
"""


def write_toy_translations(folder: Path, rows: int = 120) -> None:
    """A language that says the thing first, and whose words are those of English."""
    pairs = [
        (f"{word} {thing} number {i}", f"the {thing} is very {word}")
        for i in range(rows)
        for word, thing in [(WORDS[i % 8], ("kettle", "lamp", "phone")[i % 3])]
    ]
    folder.mkdir(parents=True)
    for column, language in enumerate(("en", "xx")):
        (folder / f"all.{language}").write_text("".join(pair[column] + "\n" for pair in pairs))


@pytest.mark.slow
def test_parallel_text_goes_the_whole_way_to_a_served_champion(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_toy_translations(project / "data/sample/pairs")
    said = run("tuneline", "data", "add", "--force", "toy", "data/sample/pairs", cwd=project).stdout
    assert "columns:\n    source: en\n    target: xx" in said
    (project / "params.yaml").write_text(TOY)
    run("dvc", "repro", cwd=project)
    evaluation = json.loads((project / "data/reports/evaluation.json").read_text())
    assert evaluation["metrics"]["chrf"] > max(0.7, evaluation["baseline"]["chrf"])
    assert "13a" in evaluation["signatures"]["bleu"]
    report = (project / "data/reports/report.html").read_text()
    assert "Words of the reference and of the generated text" in report
    assert "Of what is to be written" in report

    monkeypatch.chdir(project)
    test = pq.read_table(project / "data/reports/predictions.parquet").to_pylist()
    model = mlflow.pyfunc.load_model(str(project / "data/model"))
    sources = [row["source"] for row in test]
    for given in (sources, pd.DataFrame({"source": sources})):
        served = model.predict(given)
        assert served["text"].tolist() == [row["text"] for row in test]
        assert served["score"].tolist() == pytest.approx([row["score"] for row in test], rel=1e-4)
    pd.DataFrame({"source": sources[:3]}).to_csv("new.csv", index=False)
    run("tuneline", "score", "toy", "new.csv", "scored", cwd=project)
    [part] = sorted(Path("scored").glob("*.parquet"))
    assert pq.read_table(part)["text"].to_pylist() == [row["text"] for row in test[:3]]
