"""LoRA: what is trained, what is saved, and that it is loaded as the same model."""

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers as t

from tests.conftest import run
from tests.test_training import LABELS, TASK, Stop, split
from tuneline import layout, packaging
from tuneline.checkpoints import find_checkpoint, load_tokenizer
from tuneline.errors import CheckpointError, ParamsError
from tuneline.inference import Predictor
from tuneline.modelling import initial_model, save_model
from tuneline.params import Lora, Model, Params, Sections, Train, check_params
from tuneline.tasks.base import Head
from tuneline.training import Trained, fine_tune
from tuneline.weights import load_model

ROWS = [{"text": "good the kettle"}, {"text": "bad it is very bad"}, {"text": "the lamp was fine and good"}]
TRAIN = {"learning_rate": 0.02, "num_train_epochs": 4, "per_device_train_batch_size": 8, "threads": 1}


def train(
    checkpoint: Path, folder: Path, callbacks: list[t.TrainerCallback] | None = None, **lora: Any
) -> tuple[Trained, Train]:
    params = Train.model_validate({**TRAIN, "lora": {"r": 4, "lora_dropout": 0.1, **lora}})
    found = find_checkpoint(Model(checkpoint=str(checkpoint)))
    model = initial_model(found, TASK.head(LABELS), Model(dropout=0.1), 0, params.lora)
    trained = fine_tune(
        model, TASK, LABELS, load_tokenizer(checkpoint), params, split(checkpoint, 64), split(checkpoint, 30, 100),
        checkpoints=folder, callbacks=callbacks or [],
    )  # fmt: skip
    return trained, params


def package(trained: Trained, train: Train, checkpoint: Path, folder: Path) -> Path:
    """The whole model folder, as fine-tune writes it."""
    plain = {"data": {"name": "x"}, "task": {"name": "text-classification"}, "model": {"checkpoint": str(checkpoint)}}
    plain |= {"tokenize": {}, "evaluate": {}, "register": {"name": "x"}, "train": train.model_dump()}
    sections = Sections(Params.model_validate(plain), ("task", "model", "tokenize", "train"))
    found = find_checkpoint(sections.model)
    record = {"best": {}, "train_rows": 64, "steps": trained.steps, "inputs_digest": "d" * 64, "bf16": False}
    save_model(trained.model, folder, found)
    packaging.complete(folder, sections, trained.task, LABELS, checkpoint, found, record)
    return folder


def probabilities(predictor: Predictor) -> list[float]:
    good = LABELS.index("good")
    return [prediction["probabilities"][good] for prediction in predictor.predict(ROWS)]


@pytest.fixture(scope="module")
def checkpoint(toy_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One that a test may change."""
    return Path(shutil.copytree(toy_checkpoint, tmp_path_factory.mktemp("base") / "checkpoint"))


@pytest.fixture(scope="module")
def folders(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The same run, saved merged and as an adapter."""
    home = tmp_path_factory.mktemp("models")
    return {
        name: package(*train(checkpoint, home / f"{name}-checkpoints", merge=name == "merged"), checkpoint, home / name)
        for name in ("merged", "adapter")
    }


def test_a_merged_model_and_its_adapter_predict_the_same(folders: dict[str, Path]) -> None:
    merged, adapter = (probabilities(Predictor.load(folders[name])) for name in ("merged", "adapter"))
    assert merged == pytest.approx(adapter, abs=1e-5)
    assert merged[0] > 0.5 > merged[1]


def test_an_adapter_folder_holds_the_adapter_alone(folders: dict[str, Path]) -> None:
    assert not list(folders["adapter"].glob("model*"))
    assert not [path for path in folders["adapter"].rglob("*") if path.suffix in (".bin", ".pt", ".pkl")]
    small, whole = folders["adapter"] / "adapter_model.safetensors", folders["merged"] / "model.safetensors"
    assert small.stat().st_size < whole.stat().st_size / 2
    assert not (folders["merged"] / "adapter_config.json").exists()


def test_only_an_adapter_folder_asks_for_peft(folders: dict[str, Path]) -> None:
    needs = {name: (folder / "requirements.txt").read_text() for name, folder in folders.items()}
    assert "peft==" in needs["adapter"]
    assert (
        needs["adapter"].replace(next(x for x in needs["adapter"].splitlines(True) if "peft" in x), "")
        == (needs["merged"])
    )
    assert "base" not in json.loads((folders["merged"] / "tuneline.json").read_text())


def test_an_adapter_is_the_same_bytes_each_time(folders: dict[str, Path], checkpoint: Path, tmp_path: Path) -> None:
    again = package(*train(checkpoint, tmp_path / "c", merge=False), checkpoint, tmp_path / "again")
    for name in ("adapter_config.json", "adapter_model.safetensors", "config.json", "tuneline.json"):
        assert (again / name).read_bytes() == (folders["adapter"] / name).read_bytes(), name


@pytest.mark.parametrize("name", ["merged", "adapter"])
def test_a_folder_is_a_pyfunc_that_needs_no_tuneline(folders: dict[str, Path], name: str, tmp_path: Path) -> None:
    script = (
        "import sys; sys.modules['tuneline.params'] = None; sys.path = [p for p in sys.path if 'src' not in p]\n"
        f"import mlflow; model = mlflow.pyfunc.load_model({str(folders[name])!r})\n"
        "print('peft' in sys.modules, model.predict(['good the kettle', 'bad it is very bad'])['label'].tolist())"
    )
    told = run(sys.executable, "-c", script, cwd=tmp_path, MLFLOW_ALLOW_PICKLE_DESERIALIZATION="false", PYTHONPATH="")
    assert told.stdout.splitlines()[-1].endswith("['good', 'bad']")


def test_a_base_with_other_weights_is_refused(folders: dict[str, Path], checkpoint: Path) -> None:
    weights = checkpoint / "model.safetensors"
    before = weights.read_bytes()
    try:
        weights.write_bytes(before[:-4] + b"\0\0\0\1")
        with pytest.raises(CheckpointError, match=r"is an adapter of .* with sha256 .*, but the weights in .* have"):
            Predictor.load(folders["adapter"])
    finally:
        weights.write_bytes(before)


def test_a_base_that_is_gone_is_named(folders: dict[str, Path], tmp_path: Path) -> None:
    folder = Path(shutil.copytree(folders["adapter"], tmp_path / "model"))
    facts = json.loads((folder / "tuneline.json").read_text())
    facts["base"]["checkpoint"] = "/nowhere/base"
    (folder / "tuneline.json").write_text(json.dumps(facts))
    with pytest.raises(CheckpointError, match=r"is an adapter of /nowhere/base, .* there is no folder"):
        Predictor.load(folder)


def state(trained: Trained) -> dict[str, torch.Tensor]:
    found: dict[str, torch.Tensor] = trained.model.state_dict()
    return found


def test_a_run_that_was_cut_short_goes_on_to_the_same_weights(checkpoint: Path, tmp_path: Path) -> None:
    whole, _ = train(checkpoint, tmp_path / "whole", merge=False)
    with pytest.raises(KeyboardInterrupt):
        train(checkpoint, tmp_path / "cut", [Stop(21)], merge=False)
    resumed, _ = train(checkpoint, tmp_path / "cut", merge=False)
    assert all(torch.equal(value, state(resumed)[name]) for name, value in state(whole).items())


def test_adapter_and_head_learn_and_nothing_else(checkpoint: Path, tmp_path: Path) -> None:
    trained, _ = train(checkpoint, tmp_path / "c", merge=False)
    start = t.BertModel.from_pretrained(checkpoint).state_dict()
    now = {name.replace(".base_layer", ""): value for name, value in state(trained).items()}
    for name, value in start.items():
        assert torch.equal(value, now[f"base_model.model.bert.{name}"]), name
    assert any(value.abs().sum() > 0 for name, value in now.items() if "lora_B" in name)


SMALL: dict[str, Any] = {
    "vocab_size": 23, "hidden_size": 8, "num_attention_heads": 2, "intermediate_size": 16, "num_hidden_layers": 2,
}  # fmt: skip
GPT2: dict[str, Any] = {"vocab_size": 23, "n_embd": 8, "n_layer": 2, "n_head": 2, "bos_token_id": 2, "eos_token_id": 3}
T5: dict[str, Any] = {
    "vocab_size": 23, "d_model": 8, "d_kv": 4, "d_ff": 16, "num_heads": 2, "num_layers": 1, "num_decoder_layers": 1,
}  # fmt: skip
DISTILBERT: dict[str, Any] = {"vocab_size": 23, "dim": 8, "n_layers": 2, "n_heads": 2, "hidden_dim": 16}
CLASSES = {"num_labels": 2, "pad_token_id": 0}
# A checkpoint, the head that it gets, and the modules that are trained as a whole.
HEADS: dict[str, tuple[Any, Head, list[str]]] = {
    "roberta, pairs of classes": (
        lambda: t.RobertaModel(t.RobertaConfig(**SMALL), add_pooling_layer=False),
        Head("AutoModelForSequenceClassification", CLASSES),
        ["classifier.dense", "classifier.out_proj"],
    ),
    "bert without a pooler": (
        lambda: t.BertModel(t.BertConfig(**SMALL), add_pooling_layer=False),
        Head("AutoModelForSequenceClassification", CLASSES),
        ["bert.pooler.dense", "classifier"],
    ),
    "distilbert, spans": (
        lambda: t.DistilBertModel(t.DistilBertConfig(**DISTILBERT)),
        Head("AutoModelForQuestionAnswering", outputs=("start_logits", "end_logits")),
        ["qa_outputs"],
    ),
    "bert, a new language-model head": (
        lambda: t.BertModel(t.BertConfig(**SMALL)),
        Head("AutoModelForMaskedLM"),
        ["cls.predictions.transform.LayerNorm", "cls.predictions.transform.dense"],
    ),
    "gpt2, its own language-model head": (
        lambda: t.GPT2LMHeadModel(t.GPT2Config(**GPT2)), Head("AutoModelForCausalLM"), [],
    ),
    "gpt2, classes": (
        lambda: t.GPT2Model(t.GPT2Config(**GPT2)),
        Head("AutoModelForSequenceClassification", CLASSES),
        ["score"],
    ),
    "t5": (lambda: t.T5ForConditionalGeneration(t.T5Config(**T5)), Head("AutoModelForSeq2SeqLM"), []),
}  # fmt: skip


@pytest.mark.parametrize("name", HEADS)
@pytest.mark.parametrize("targets", [None, "all-linear"])
def test_any_architecture_can_be_adapted_saved_and_loaded(
    name: str, targets: str | None, toy_checkpoint: Path, tmp_path: Path
) -> None:
    make, head, whole = HEADS[name]
    folder = tmp_path / "checkpoint"
    torch.manual_seed(0)
    make().save_pretrained(folder)
    shutil.copy(toy_checkpoint / "tokenizer.json", folder)
    found = find_checkpoint(Model(checkpoint=str(folder)))
    model = initial_model(found, head, Model(), 0, Lora(r=2, target_modules=targets, merge=False))
    assert sorted(model.peft_config["default"].modules_to_save or []) == whole
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                torch.nn.init.normal_(parameter, std=0.3)
    saved = tmp_path / "adapter"
    save_model(model, saved, found)
    assert json.loads((saved / "adapter_config.json").read_text())["base_model_name_or_path"] == str(folder)
    facts = {"base": {"checkpoint": str(folder), "revision": None, "sha256": found.sha256}}
    again = load_model(saved, head.auto_class, facts)
    batch = {"input_ids": torch.tensor([[2, 5, 6, 7, 3]]), "attention_mask": torch.ones(1, 5).long()}
    if model.config.is_encoder_decoder:
        batch["decoder_input_ids"] = torch.tensor([[0, 5, 6]])
    with torch.no_grad():
        first, second = (each.eval()(**batch)[head.outputs[0]] for each in (model, again))
        third = model.merge_and_unload().eval()(**batch)[head.outputs[0]]
    assert torch.equal(first, second)
    assert torch.allclose(first, third, atol=1e-5)


# What makes no sense


@pytest.mark.parametrize(
    ("targets", "said"),
    [
        (
            ["value", "qery"],
            r"no layer 'qery'\. Did you mean 'query'\? Linear layers: classifier, dense, key, query, value",
        ),
        (["LayerNorm"], r"Target module LayerNorm.* is not supported\. Linear layers: classifier, dense"),
    ],
)
def test_target_modules_that_cannot_be_are_told_which_can(targets: list[str], said: str, toy_checkpoint: Path) -> None:
    found = find_checkpoint(Model(checkpoint=str(toy_checkpoint)))
    with pytest.raises(ParamsError, match=rf"(?s)train\.lora\.target_modules: .*{said}"):
        initial_model(found, TASK.head(LABELS), Model(), 0, Lora(target_modules=targets))


@pytest.mark.parametrize(
    ("train", "said"),
    [
        ({"lora": {"r": 0}}, r"train\.lora\.r: .*found 0"),
        ({"lora": {"rank": 8, "lora_alfa": 16}}, r"train\.lora\.lora_alfa: unknown key\. Did you mean 'lora_alpha'\?"),
        (
            {"lora": {}, "regularization": {"l2_sp": 1, "freeze_layers": 2}},
            r"2 problems:\n  train\.regularization\.freeze_layers: is about the weights of the checkpoint, which",
        ),
    ],
)
def test_params_that_make_no_sense_are_refused(train: dict[str, Any], said: str) -> None:
    plain = {"data": {"name": "x"}, "task": {"name": "text-classification"}, "model": {}, "tokenize": {}}
    with pytest.raises(ParamsError, match=said):
        check_params({**plain, "evaluate": {}, "register": {"name": "x"}, "train": train})


@pytest.mark.slow
def test_an_adapter_goes_the_whole_way(project: Path) -> None:
    params = (project / "params.yaml").read_text().replace("  threads: 1", "  threads: 1\n  lora: {merge: false}")
    longer = params.replace("num_train_epochs: 8", "num_train_epochs: 24").replace("patience: 8", "patience: 24")
    (project / "params.yaml").write_text(longer.replace("learning_rate: 0.005", "learning_rate: 0.02"))
    run("dvc", "repro", cwd=project)
    assert json.loads((project / layout.REGISTRATION).read_text())["version"] == 1
    assert json.loads((project / layout.EVALUATION).read_text())["metrics"]["accuracy"] == 1.0
    assert (project / layout.MODEL / "adapter_model.safetensors").is_file()
