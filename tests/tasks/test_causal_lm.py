"""The next token: what is read and predicted, that nothing looks ahead, and models that start from nothing."""

import json
import math
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from tokenizers import Tokenizer, models

from tests.conftest import run
from tuneline import layout
from tuneline.checkpoints import Checkpoint, find_checkpoint, load_tokenizer
from tuneline.errors import CheckpointError, ParamsError
from tuneline.inference import Predictor
from tuneline.modelling import initial_model
from tuneline.params import Model, Sections, TrainedTokenizer, check_params
from tuneline.stages import tokenize
from tuneline.tasks import task_class
from tuneline.tokenizing import check_fills_a_block
from tuneline.vocabulary import save, trained

TEXTS = [
    "the kettle was very good and the lamp was not",
    "a lamp",
    "it is the phone and it is broken",
    "not a lovely lamp",
]
GPT2 = {"model_type": "gpt2", "n_positions": 32, "n_embd": 16, "n_layer": 2, "n_head": 2}


def task(**options: Any) -> Any:
    return task_class("causal-lm").model_validate({"name": "causal-lm"} | options)


@pytest.fixture
def vocabulary(toy_checkpoint: Path) -> Checkpoint:
    """The toy checkpoint as the tokenizer of a model that starts from nothing."""
    return Checkpoint("a configuration", toy_checkpoint, "configuration", "none")


@pytest.fixture(params=["bert, made a decoder", "gpt2"])
def predictor(request: pytest.FixtureRequest, toy_checkpoint: Path, vocabulary: Checkpoint) -> Predictor:
    head, tokenizer = task().head([]), load_tokenizer(toy_checkpoint)
    if request.param == "gpt2":
        model = initial_model(vocabulary, head, Model(configuration=GPT2), seed=0)
    else:
        model = initial_model(find_checkpoint(Model(checkpoint=str(toy_checkpoint))), head, Model(), seed=0)
    return Predictor(task(), [], model, tokenizer, 16)


def nats(predictor: Predictor, texts: list[str], *, together: bool = True) -> list[np.ndarray]:
    """The loss of each token of each text."""
    features = predictor.encode([{"text": text} for text in texts])
    return [each[:, 0] for each in predictor.outputs(features, together=together)]


# What is read and predicted


def test_a_text_is_read_from_the_end_token_on_and_predicted_up_to_it(toy_checkpoint: Path) -> None:
    tokenizer = load_tokenizer(toy_checkpoint)
    end, lamp, good = (tokenizer.token_to_id(word) for word in ("[SEP]", "lamp", "good"))
    [feature] = task().encode(tokenizer, [{"text": "lamp good"}], [])
    assert feature == {"input_ids": [end, lamp, good], "labels": [lamp, good, end], "bytes": 9}


def test_every_token_is_predicted_once_whatever_the_blocks(predictor: Predictor) -> None:
    counts = [len(text.split()) + 1 for text in TEXTS]
    for length in (4, 7, 16):
        predictor.max_length = length
        assert [len(each) for each in nats(predictor, TEXTS)] == counts
        assert [len(each) for each in nats(predictor, TEXTS, together=False)] == counts


def test_a_later_word_changes_nothing_before_it(predictor: Predictor) -> None:
    [before] = nats(predictor, ["the kettle was very good"])
    [after] = nats(predictor, ["the kettle was very bad"])
    assert after[:4] == pytest.approx(before[:4], abs=1e-6)
    assert after[4] != pytest.approx(before[4], abs=1e-6)
    assert after[5] != pytest.approx(before[5], abs=1e-6)


def test_what_is_served_does_not_depend_on_its_company(predictor: Predictor) -> None:
    rows = [{"text": text} for text in TEXTS]
    alone = [predictor.predict([row])[0]["nats"] for row in rows]
    assert [each["nats"] for each in predictor.predict(rows)] == pytest.approx(alone, rel=1e-5)


def test_a_uniform_model_has_the_perplexity_of_its_vocabulary(predictor: Predictor) -> None:
    for parameter in predictor.model.parameters():
        parameter.data.zero_()
    rows = [{"text": text} for text in TEXTS]
    scores = task().score(predictor.predict(rows), rows, []).metrics
    size = predictor.model.config.vocab_size
    tokens, length = sum(len(text.split()) + 1 for text in TEXTS), sum(len(text) for text in TEXTS)
    assert scores["perplexity"] == pytest.approx(size)
    assert scores["bits_per_byte"] == pytest.approx(tokens * math.log2(size) / length)


def test_scores_by_hand() -> None:
    # two texts of 4 and 2 bytes: probabilities 1/2 and 1/8, then 1/4; the first token is the likeliest one
    outputs = [np.array([[math.log(2), 7, 0], [math.log(8), 1, 0]]), np.array([[math.log(4), 1, 0]])]
    features = [{"labels": [7, 5], "bytes": 4}, {"labels": [5], "bytes": 2}]
    rows = [{"text": "abcd"}, {"text": "ab"}]
    score = task().score(task().decode(outputs, features, rows, []), rows, [])
    assert score.metrics == pytest.approx({"perplexity": 4, "loss": math.log(4), "accuracy": 1 / 3, "bits_per_byte": 1})
    assert score.per_row == pytest.approx([1 / 4, 1 / 4])


# Continuations


def test_a_continuation_is_the_likeliest_token_each_time(toy_checkpoint: Path, vocabulary: Checkpoint) -> None:
    lm, tokenizer = task(max_new_tokens=3), load_tokenizer(toy_checkpoint)
    model = initial_model(vocabulary, lm.head([]), Model(configuration=GPT2), seed=3)
    predictor = Predictor(lm, [], model, tokenizer, 16)
    [found] = predictor.predict([{"text": "the lamp"}])
    ids = lm.encode(tokenizer, [{"text": "the lamp"}], [])[0]["input_ids"]
    expected: list[int] = []
    for _ in range(3):
        expected.append(int(model(torch.tensor([ids + expected])).logits[0, -1].argmax()))
        if expected[-1] == ids[0]:
            break
    assert found["continuation"] == tokenizer.decode(expected)
    assert found == predictor.predict([{"text": "a phone"}, {"text": "the lamp"}])[1]


# From nothing


def test_slips_in_a_configuration_are_all_told(vocabulary: Checkpoint) -> None:
    slips = {"model_type": "gpt2", "n_heads": 2, "n_layers": 1}
    with pytest.raises(
        CheckpointError, match=r"(?s)n_heads.*Did you mean 'n_head'\?.*n_layers.*Did you mean 'n_layer'\?"
    ):
        initial_model(vocabulary, task().head([]), Model(configuration=slips), seed=0)
    with pytest.raises(CheckpointError, match=r"knows no 'gtp2'. Did you mean 'gpt2'\?"):
        initial_model(vocabulary, task().head([]), Model(configuration={"model_type": "gtp2"}), seed=0)
    with pytest.raises(CheckpointError, match="makes no gpt2 for AutoModelForCausalLM"):
        initial_model(vocabulary, task().head([]), Model(configuration=GPT2 | {"n_head": 3}), seed=0)


def test_a_configuration_takes_vocabulary_and_special_tokens_of_the_tokenizer(
    vocabulary: Checkpoint, toy_checkpoint: Path
) -> None:
    config = initial_model(vocabulary, task().head([]), Model(configuration=GPT2), seed=0).config
    assert (config.vocab_size, config.pad_token_id) == (load_tokenizer(toy_checkpoint).get_vocab_size(), 0)


def test_a_configuration_serves_every_task(vocabulary: Checkpoint) -> None:
    head = task_class("text-classification").model_validate({"name": "text-classification"}).head(["bad", "good"])
    bert = {"model_type": "bert", "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    model = initial_model(vocabulary, head, Model(configuration=bert, dropout=0.3), seed=0)
    assert (model.config.num_labels, model.config.hidden_size, model.config.hidden_dropout_prob) == (2, 16, 0.3)


@pytest.mark.parametrize("type_", ["wordpiece", "bpe"])
def test_the_same_texts_give_the_same_tokenizer(type_: str, tmp_path: Path) -> None:
    texts = [f"{text} number {i * 37 % 101} of {i}x, é" for i, text in enumerate(TEXTS * 30)]
    params = TrainedTokenizer(type=type_, vocab_size={"bpe": 310, "wordpiece": 120}[type_], lowercase=True)
    found = [trained(params, texts).to_str() for _ in range(2)]
    assert found[0] == found[1]
    save(trained(params, texts), tmp_path)
    again = load_tokenizer(tmp_path)
    assert again.encode("the lamp").tokens[0] == "[CLS]"
    assert again.get_vocab_size() == params.vocab_size
    assert [again.token_to_id(token) for token in ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")] == [0, 1, 2, 3, 4]
    assert again.decode(again.encode("The LAMP was é").ids) == "the lamp was é"


def test_more_tokens_than_the_corpus_gives_are_refused() -> None:
    with pytest.raises(ParamsError, match=r"vocab_size: is 9,000, but the training texts give \d+ pieces. Set it to"):
        trained(TrainedTokenizer(type="wordpiece", vocab_size=9000), TEXTS)


def test_a_trained_tokenizer_needs_weights_that_start_from_nothing() -> None:
    plain = {
        "data": {"name": "toy"}, "task": {"name": "causal-lm"}, "model": {}, "train": {}, "evaluate": {},
        "tokenize": {"tokenizer": {"type": "bpe"}}, "register": {"name": "toy"},
    }  # fmt: skip
    with pytest.raises(ParamsError, match=r"tokenize\.tokenizer: the weights of a checkpoint know"):
        check_params(plain)


# Bad input


def test_a_corpus_shorter_than_a_block_is_refused() -> None:
    with pytest.raises(ParamsError, match="blocks have 512 tokens, but all training texts together have 91"):
        check_fills_a_block(91, 512)


def test_tokenize_refuses_a_corpus_that_fills_no_block(
    toy_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    layout.VALIDATED.mkdir(parents=True)
    for split, texts in zip(layout.SPLITS, (["the lamp was good", "it is bad"], [], []), strict=True):
        table = pa.table({"row": pa.array(range(len(texts)), pa.int64()), "text": pa.array(texts, pa.string())})
        pq.write_table(table, layout.split_file(layout.VALIDATED, split))
    plain = {"data": {"name": "toy"}, "task": {"name": "causal-lm"}, "model": {"checkpoint": str(toy_checkpoint)},
             "train": {}, "evaluate": {}, "register": {"name": "toy"}}  # fmt: skip

    def tokenize_in_blocks_of(max_length: int) -> None:
        tokenize.run(Sections(check_params({**plain, "tokenize": {"max_length": max_length}}), tokenize.SECTIONS))

    # Each text with the end token before it: 5 and 4 tokens.
    with pytest.raises(ParamsError, match="blocks have 10 tokens, but all training texts together have 9"):
        tokenize_in_blocks_of(10)
    assert not layout.TOKENIZED.exists()
    tokenize_in_blocks_of(9)


def test_a_tokenizer_without_end_token_is_told_which_option_names_one() -> None:
    plain = Tokenizer(models.WordLevel({"a": 0, "<stop>": 1}, unk_token="a"))
    with pytest.raises(ParamsError, match=r"no token <\|endoftext\|> or .* task.end_token"):
        task().limit(plain, 128)
    task(end_token="<stop>").limit(plain, 128)


# The whole way


PARAMS = """
data:
  name: stories
  splits: {{validation: 0.2, test: 0.2}}
  checks: {{max_near_duplicate_share: 1.0, max_leaked_share: 1.0, near_duplicate_similarity: 1.0}}
task: {{name: causal-lm, max_new_tokens: 4}}
model: {model}
tokenize: {tokenize}
train: {{learning_rate: 0.01, num_train_epochs: 4, per_device_train_batch_size: 4, threads: 1}}
evaluate: {{}}
register: {{name: stories}}
"""


@pytest.mark.slow
def test_from_plain_lines_to_a_registered_model_that_continues_a_text(project: Path) -> None:
    """And on to a training that starts from what the registry holds."""
    lines = [
        f"the {a} was {b} and the {c} was {d}"
        for a in ("kettle", "lamp")
        for b in ("good", "bad", "fine")
        for c in ("phone", "pot")
        for d in ("great", "poor", "awful", "lovely", "broken")
    ]
    (project / "lines").mkdir()
    (project / "lines/all.txt").write_text("\n".join(lines) + "\n")
    assert "name: masked-lm" in run("tuneline", "data", "add", "stories", "lines", cwd=project).stdout
    nothing = "{configuration: {model_type: gpt2, n_positions: 32, n_embd: 32, n_layer: 1, n_head: 2}}"
    own = "{max_length: 16, tokenizer: {type: bpe, vocab_size: 300}}"
    (project / "params.yaml").write_text(PARAMS.format(model=nothing, tokenize=own))
    run("dvc", "repro", cwd=project)
    evaluation = json.loads((project / layout.EVALUATION).read_text())
    assert "started from no weights" in evaluation["forgetting"]["not_measured"][0]
    scores = evaluation["metrics"]
    assert scores["perplexity"] < 300 / 2  # of a uniform model
    answer = mlflow.pyfunc.load_model(str(project / layout.MODEL)).predict([lines[0]]).iloc[0]
    assert answer["tokens"] > 1
    assert isinstance(answer["continuation"], str)
    first = json.loads((project / layout.TRAINING).read_text())
    assert (first["checkpoint"], first["checkpoint_sha256"]) == ("a gpt2 configuration", "none")

    (project / "texts.csv").write_text("text\nthe lamp was good\n")
    run("tuneline", "score", "models:/stories@champion", "texts.csv", "scored", cwd=project)
    scored = pq.read_table(project / "scored").to_pylist()
    assert scored[0]["perplexity"] == pytest.approx(math.exp(scored[0]["nats"] / scored[0]["tokens"]))

    registered = "{checkpoint: 'models:/stories@champion'}"
    (project / "params.yaml").write_text(PARAMS.format(model=registered, tokenize="{max_length: 16}"))
    for stage in ("tokenize", "fine-tune"):
        run("dvc", "repro", "--single-item", stage, cwd=project)
    second = json.loads((project / layout.TRAINING).read_text())
    assert second["checkpoint"] == "models:/stories/1"
    assert second["best"]["perplexity"] < 1.2 * first["best"]["perplexity"]
