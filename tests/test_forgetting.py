"""What a model kept of its base: all of it when nothing changed, less when its weights did."""

import json
import math
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer
from transformers import BertConfig, BertForMaskedLM, GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

from tuneline import forgetting
from tuneline.checkpoints import NO_WEIGHTS, find_checkpoint, load_tokenizer
from tuneline.digests import file_digest
from tuneline.errors import ParamsError
from tuneline.inference import Predictor
from tuneline.modelling import initial_model
from tuneline.params import Forgetting, Model
from tuneline.tasks.base import Head
from tuneline.tasks.text_classification.single_label import SingleLabelClassification

LABELS = ["bad", "good"]
TASK = SingleLabelClassification.model_validate({"name": "text-classification"})
WHOLE = {"similarity_agreement": 1.0, "cka_mean": 1.0, "cka_last": 1.0}


class CausalLm(SingleLabelClassification):
    def head(self, labels: Any) -> Head:
        return Head("AutoModelForCausalLM")


class MaskedLm(SingleLabelClassification):
    def head(self, labels: Any) -> Head:
        return Head("AutoModelForMaskedLM")


def kept(model: Any, base: Path, task: SingleLabelClassification = TASK, sha256: str = "recorded") -> dict[str, Any]:
    params = Model(checkpoint=str(base))
    recorded = find_checkpoint(params).sha256 if sha256 == "recorded" else sha256
    return forgetting.measure(Predictor(task, LABELS, model, None), base, params, recorded, Forgetting(), 32)


def classifier(checkpoint: Path) -> Any:
    params = Model(checkpoint=str(checkpoint))
    return initial_model(find_checkpoint(params), TASK.head(LABELS), params, seed=0)


def shaken(model: Any) -> Any:
    """The model with each matrix shuffled: the same numbers at other places."""
    torch.manual_seed(0)
    with torch.no_grad():
        for weights in model.parameters():
            weights.copy_(weights.flatten()[torch.randperm(weights.numel())].view_as(weights))
    return model


@pytest.fixture
def with_mask(toy_checkpoint: Path, tmp_path: Path) -> Path:
    """The toy tokenizer with a mask token, without weights."""
    tokenizer = Tokenizer.from_file(str(toy_checkpoint / "tokenizer.json"))
    tokenizer.add_special_tokens(["[MASK]"])
    folder = tmp_path / "base"
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]",
        mask_token="[MASK]",
    ).save_pretrained(folder)  # fmt: skip
    return folder


def small_bert(folder: Path) -> BertForMaskedLM:
    size = load_tokenizer(folder).get_vocab_size()
    return BertForMaskedLM(
        BertConfig(vocab_size=size, hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=64)
    )


def test_a_model_that_was_not_trained_kept_all(toy_checkpoint: Path) -> None:
    found = kept(classifier(toy_checkpoint), toy_checkpoint)
    assert found["metrics"] == WHOLE
    assert found["cka"] == [1.0, 1.0]  # the embeddings, the one layer
    assert found["not_measured"] == []


def test_a_model_with_shuffled_weights_kept_less(toy_checkpoint: Path) -> None:
    found = kept(shaken(classifier(toy_checkpoint)), toy_checkpoint)["metrics"]
    assert found["similarity_agreement"] < 0.9
    assert found["cka_last"] < 0.9


def test_padding_changes_nothing(toy_checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = classifier(toy_checkpoint).eval()
    sentences = forgetting.general_sentences(Forgetting())[:20]
    together = forgetting.Reader(model, toy_checkpoint, sentences, 32).states()
    monkeypatch.setattr(forgetting, "BATCH_SIZE", 1)
    alone = forgetting.Reader(model, toy_checkpoint, sentences, 32).states()
    assert together.shape == (20, 2, 32)
    assert abs(together - alone).max() < 1e-5


def test_a_causal_model_that_knows_nothing_needs_the_logarithm_of_its_vocabulary(
    toy_checkpoint: Path, tmp_path: Path
) -> None:
    size = load_tokenizer(toy_checkpoint).get_vocab_size()
    base = tmp_path / "base"
    shutil.copytree(toy_checkpoint, base)
    config = GPT2Config(vocab_size=size, n_embd=32, n_layer=2, n_head=2, n_positions=64, pad_token_id=0)
    GPT2LMHeadModel(config).save_pretrained(base)
    blank = GPT2LMHeadModel(config)
    with torch.no_grad():
        for weights in blank.parameters():
            weights.zero_()
    found = kept(blank, base, CausalLm(name="text-classification"))
    assert found["metrics"]["nats_after"] == pytest.approx(math.log(size), abs=1e-5)
    assert found["metrics"]["nats_before"] != found["metrics"]["nats_after"]
    assert found["metrics"]["similarity_agreement"] == 0.0
    assert len(found["cka"]) == 3


def test_a_masked_model_is_asked_for_each_token_once(with_mask: Path) -> None:
    base = small_bert(with_mask)
    base.save_pretrained(with_mask)
    found = kept(base, with_mask, MaskedLm(name="text-classification"))
    assert found["metrics"]["nats_before"] == found["metrics"]["nats_after"]
    assert found["metrics"].items() >= WHOLE.items()
    reader = forgetting.Reader(base, with_mask, ["the kettle is good", "a lamp"], 32)
    features = forgetting.hidden_tokens(reader)
    asked = sorted(label for feature in features for label in feature["labels"] if label >= 0)
    tokens = [e for f in reader.features for e in f["input_ids"][1:-1]]
    assert asked == sorted(tokens)
    mask = load_tokenizer(with_mask).token_to_id("[MASK]")
    assert all((i == mask) == (k >= 0) for f in features for i, k in zip(f["input_ids"], f["labels"], strict=True))


def test_a_base_without_a_language_model_head_has_no_loss_before(with_mask: Path) -> None:
    model = small_bert(with_mask)
    model.bert.save_pretrained(with_mask)
    found = kept(model, with_mask, MaskedLm(name="text-classification"))
    assert found["metrics"] == WHOLE
    assert "the base has no language-model head" in found["not_measured"][0]


def test_a_tokenizer_without_a_mask_token_is_said(toy_checkpoint: Path, tmp_path: Path) -> None:
    base = tmp_path / "base"
    shutil.copytree(toy_checkpoint, base)
    config = json.loads((base / "tokenizer_config.json").read_text())
    del config["mask_token"]
    (base / "tokenizer_config.json").write_text(json.dumps(config))
    model = small_bert(base)
    model.save_pretrained(base)
    assert "no mask token" in kept(model, base, MaskedLm(name="text-classification"))["not_measured"][0]


def test_without_the_base_it_is_said_why(toy_checkpoint: Path) -> None:
    model = classifier(toy_checkpoint)
    for sha256, reason in ((NO_WEIGHTS, "started from no weights"), ("0" * 64, "holds other weights")):
        found = kept(model, toy_checkpoint, sha256=sha256)
        assert found["metrics"] == {}
        assert reason in found["not_measured"][0]


def test_the_general_text_is_varied_and_has_no_line_twice() -> None:
    sentences = forgetting.general_sentences(Forgetting())
    assert 200 <= len(sentences) == len(set(sentences))


def test_a_text_of_ones_own_is_read_when_it_is_the_one_that_was_pinned(tmp_path: Path) -> None:
    text = tmp_path / "own.txt"
    text.write_text("".join(f"sentence {i}\n\n" for i in range(60)), encoding="utf-8")
    options = Forgetting(text=str(text), sha256=file_digest(text))
    assert len(forgetting.general_sentences(options)) == 60
    text.write_text("another\n", encoding="utf-8")
    with pytest.raises(ParamsError, match=r"evaluate\.forgetting\.sha256"):
        forgetting.general_sentences(options)
    with pytest.raises(ParamsError, match="has 1 sentences"):
        forgetting.general_sentences(Forgetting(text=str(text), sha256=file_digest(text)))
    text.unlink()
    with pytest.raises(ParamsError, match="there is no file"):
        forgetting.general_sentences(options)


def test_a_text_without_its_digest_is_refused() -> None:
    with pytest.raises(ValueError, match="text and sha256 go together"):
        Forgetting(text="general.txt")
