"""Small real things that tests share: a toy checkpoint and a project of its own."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
os.environ.update(HF_HUB_OFFLINE="1", DVC_NO_ANALYTICS="1", MLFLOW_DISABLE_TELEMETRY="true", OMP_WAIT_POLICY="passive")
os.environ.pop("MLFLOW_TRACKING_URI", None)

WORDS = [
    "good",
    "bad",
    "great",
    "awful",
    "fine",
    "poor",
    "lovely",
    "broken",
    "kettle",
    "lamp",
    "phone",
    "it",
    "is",
    "was",
    "not",
    "very",
    "the",
    "a",
    "and",
]


@pytest.fixture(autouse=True)
def own_path(monkeypatch: pytest.MonkeyPatch) -> None:
    """MLflow puts the `code` folder of each model that it loads on the path. There it would stay, and processes that a
    later test starts would import that in place of this source tree."""
    monkeypatch.setattr(sys, "path", list(sys.path))


@pytest.fixture(autouse=True)
def own_registry() -> Iterator[None]:
    """MLflow leaves the address that it was given last in the environment, and processes that a later test starts would
    take it for their registry."""
    yield
    os.environ.pop("MLFLOW_TRACKING_URI", None)


@pytest.fixture(scope="session")
def toy_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A one-layer BERT of a few thousand weights with a word-level tokenizer."""
    import torch  # noqa: PLC0415  only the tests that ask for it pay for it
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors  # noqa: PLC0415
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast  # noqa: PLC0415

    folder = tmp_path_factory.mktemp("toy")
    vocabulary = {word: i for i, word in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", *WORDS, "[MASK]"])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
    )
    tokenizer.enable_truncation(5)  # as all-MiniLM carries them: they must be switched off
    tokenizer.enable_padding(length=5)
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
    ).save_pretrained(folder)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(vocabulary), hidden_size=32, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=64, max_position_embeddings=64,
    )  # fmt: skip
    BertModel(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sqlite tracking store with its tables and nothing in them, to copy: to make one takes MLflow seconds."""
    from mlflow import MlflowClient  # noqa: PLC0415  only the tests that ask for it pay for it

    path = tmp_path_factory.mktemp("store") / "mlflow.db"
    MlflowClient(f"sqlite:///{path}").search_experiments()
    return path


PARAMS = """
data:
  name: toy
  columns: {{id: id}}
  checks: {{max_near_duplicate_share: 1.0, max_duplicate_share: 1.0}}
task:
  name: text-classification
  label_names: [bad, good]
model:
  checkpoint: {checkpoint}
  dropout: 0.0
tokenize:
  max_length: 16
train:
  learning_rate: 0.005
  num_train_epochs: 8
  early_stopping_patience: 8
  per_device_train_batch_size: 8
  threads: 1
  bf16: false
  logging_steps: 4
evaluate: {{}}
register:
  name: toy
"""


@pytest.fixture(scope="session")
def toy_model(toy_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder, trained until it tells good words from bad ones."""
    from tuneline import packaging  # noqa: PLC0415  only the tests that ask for it pay for it
    from tuneline.checkpoints import find_checkpoint, load_tokenizer  # noqa: PLC0415
    from tuneline.modelling import initial_model  # noqa: PLC0415
    from tuneline.params import read_params  # noqa: PLC0415
    from tuneline.training import fine_tune  # noqa: PLC0415

    labels = ["bad", "good"]
    home = tmp_path_factory.mktemp("model")
    (home / "params.yaml").write_text(PARAMS.format(checkpoint=toy_checkpoint))
    params = read_params("task", "model", "tokenize", "train", path=home / "params.yaml")
    checkpoint = find_checkpoint(params.model)
    words = {"good": ["good", "great", "lovely", "fine"], "bad": ["bad", "awful", "broken", "poor"]}
    rows = [
        {"text": f"{thing} {word}", "label": label}
        for label, opinions in words.items()
        for word in opinions
        for thing in ("kettle", "lamp", "phone", "", "it is a", "the lamp is very", "was not") * 3
    ]
    classifier = initial_model(checkpoint, params.task.head(labels), params.model, seed=0)
    vocabulary = home / "vocabulary"
    shutil.copytree(toy_checkpoint, vocabulary)
    features = params.task.encode(load_tokenizer(toy_checkpoint), rows, labels)
    trained = fine_tune(
        classifier, params.task, labels, load_tokenizer(toy_checkpoint), params.train, (features, rows), ([], []),
        checkpoints=home / "checkpoints", callbacks=[],
    )  # fmt: skip
    trained.model.save_pretrained(home / "model")
    record = {"best": {}, "train_rows": len(rows), "steps": trained.steps, "inputs_digest": "d" * 64, "bf16": False}
    packaging.complete(home / "model", params, params.task, labels, vocabulary, checkpoint, record)
    return home / "model"


def write_toy_rows(path: Path, rows: int = 80) -> None:
    """Rows whose label is said by one word, all texts different."""
    lines = ["id,text,label"]
    for i in range(rows):
        good = i % 2 == 0
        word = (
            ("good", "great", "lovely", "fine")[i // 2 % 4] if good else ("bad", "awful", "broken", "poor")[i // 2 % 4]
        )
        lines.append(f"{i},{word} {['kettle', 'lamp', 'phone'][i % 3]} number {i},{'good' if good else 'bad'}")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n")


def run(*command: str, cwd: Path, check: bool = True, **env: str) -> subprocess.CompletedProcess[str]:
    """Run a command in a project, as a person would."""
    done = subprocess.run(
        command, cwd=cwd, capture_output=True, text=True, check=False, env={**os.environ, **env}, timeout=600
    )
    assert not check or done.returncode == 0, done.stdout + done.stderr
    return done


def change(path: Path, old: str, new: str) -> None:
    """Put another text in the place of one that is there."""
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def make_project(root: Path, checkpoint: Path) -> Path:
    """A committed project with this source tree, 80 toy rows in data/raw/toy and the toy checkpoint."""
    for folder in ("src", "flows", "recipes"):
        shutil.copytree(ROOT / folder, root / folder, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    for name in ("dvc.yaml", "prefect.yaml", ".gitignore", ".dvcignore"):
        shutil.copy(ROOT / name, root)
    shutil.copytree(checkpoint, root / "checkpoint")
    (root / "params.yaml").write_text(PARAMS.format(checkpoint="checkpoint"))
    (root / "README.md").write_text("a project\n")
    write_toy_rows(root / "data/sample/toy/rows.csv")
    shutil.copy(ROOT / "data/expectations.json", root / "data")
    run("git", "init", "-q", "-b", "main", cwd=root)
    run("git", "config", "user.email", "test@example.org", cwd=root)
    run("git", "config", "user.name", "test", cwd=root)
    run("dvc", "init", "-q", cwd=root)
    run("tuneline", "data", "add", "toy", "data/sample/toy", cwd=root)
    run("git", "add", "-A", cwd=root)
    run("git", "commit", "-qm", "a project", cwd=root)
    return root


@pytest.fixture
def project(tmp_path: Path, toy_checkpoint: Path) -> Path:
    """A project of its own, see make_project."""
    return make_project(tmp_path / "project", toy_checkpoint)


@pytest.fixture
def in_project(project: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The same, as the current folder of this process."""
    monkeypatch.chdir(project)
    return project


def real_data(name: str) -> Path:
    """A folder of public data, beside the checkout or in TUNELINE_DATA. Skips the test where it is not there."""
    folder = Path(os.environ.get("TUNELINE_DATA", ROOT.parent / "shared/data")) / name
    if not folder.is_dir():
        pytest.skip(f"there is no folder {folder}; TUNELINE_DATA names the one that holds {name}")
    return folder


Runner = Callable[..., subprocess.CompletedProcess[str]]
