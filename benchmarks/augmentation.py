"""What augmentation costs, and what it brings.

    python benchmarks/augmentation.py cost
    python benchmarks/augmentation.py effect TRAIN.tsv TEST.tsv [--rows 400] [--test-rows 400] [--seeds 3]

cost reads rows of three tasks, made of the packaged sample, as training does: as they are on disk, and edited and
encoded anew. It prints microseconds of processor time a row: the median over rounds, and their range.

effect fine-tunes all-MiniLM-L6-v2 on a few rows of a two-column file (text, tab, label; no header), plain and with each
kind of augmentation, and scores the same test rows as they are and with typos. Each seed draws its own rows. It
prints accuracies, and how much each kind gained over plain with the same seed.
"""

import argparse
import csv
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np

from tuneline.augmentation import Editor
from tuneline.checkpoints import find_checkpoint, load_tokenizer
from tuneline.examples import Examples, Split
from tuneline.inference import Predictor
from tuneline.modelling import initial_model
from tuneline.params import Augmentation, Model, Train
from tuneline.tasks import task_class
from tuneline.tasks.base import Row, Task
from tuneline.training import fine_tune

SAMPLE = Path(__file__).parent.parent / "data/sample/reviews/reviews.csv"
CHECKPOINT = Model(checkpoint="sentence-transformers/all-MiniLM-L6-v2")
EVERYTHING = Augmentation(probability=1, word_dropout=0.1, word_swap=0.1, masking=0.1, case=0.1, typos=0.1)
KINDS = {
    "plain": Augmentation(),
    "typos": Augmentation(probability=0.5, typos=0.3),
    "dropout and swap": Augmentation(probability=0.5, word_dropout=0.1, word_swap=0.1),
}
TYPOS = 0.3  # share of the words of a test row that get one
TEST_SEED = 1234


def task(name: str) -> Task:
    return task_class(name).model_validate({"name": name})


def cost(rounds: int) -> None:
    tokenizer = load_tokenizer(find_checkpoint(CHECKPOINT).folder)
    for name, rows in sample_rows().items():
        chosen = task(name)
        labels = chosen.labels(rows)
        chosen.limit(tokenizer, 384)
        split = chosen.encode(tokenizer, rows, labels), rows
        tokens = sum(len(feature["input_ids"]) for feature in split[0]) / len(rows)
        for kind, edits in (("off", Augmentation()), ("on", EVERYTHING)):
            examples = Examples(split, chosen, labels, tokenizer, edits, seed=0)
            times = [read_all(examples) for _ in range(rounds)]
            print(f"{name}, {tokens:.0f} tokens a row, {kind}: {statistics.median(times):.0f} µs a row "
                  f"({min(times):.0f} to {max(times):.0f})")  # fmt: skip


def read_all(examples: Examples) -> float:
    """Microseconds of processor time to read one example."""
    began = time.process_time()
    for index in range(len(examples)):
        _ = examples[index]
    return (time.process_time() - began) * 1e6 / len(examples)


def sample_rows() -> dict[str, list[Row]]:
    with SAMPLE.open(newline="", encoding="utf-8") as file:
        reviews = list(csv.DictReader(file))[:500]
    contexts = [" ".join(review["text"] for review in reviews[i : i + 8]) for i in range(0, 400, 4)]
    answers = [" ".join(context.split()[40:43]) for context in contexts]
    return {
        "text-classification": [{"text": review["text"], "label": review["label"]} for review in reviews],
        "token-classification": [
            {"tokens": words, "tags": ["B-THING"] + ["O"] * (len(words) - 1)}
            for words in (review["text"].split() for review in reviews)
        ],
        "question-answering": [
            {"question": "what did they say", "context": context,
             "answers": [{"text": answer, "answer_start": context.index(answer)}]}
            for context, answer in zip(contexts, answers, strict=True)
        ],
    }  # fmt: skip


def effect(train: Path, test: Path, rows: int, test_rows: int, epochs: int, seeds: int) -> None:
    clean = drawn(read(test), test_rows, TEST_SEED)
    noisy = with_typos(clean)
    found: dict[str, list[tuple[float, float]]] = {kind: [] for kind in KINDS}
    for seed in range(seeds):
        for kind, edits in KINDS.items():
            began = time.perf_counter()
            predictor = fine_tuned(drawn(read(train), rows, seed), edits, epochs, seed)
            scores = accuracy(predictor, clean), accuracy(predictor, noisy)
            found[kind].append(scores)
            seconds = time.perf_counter() - began
            print(f"seed {seed}, {kind}: clean {scores[0]:.4f}, typos {scores[1]:.4f} ({seconds:.0f} s)", flush=True)
    for kind, pairs in found.items():
        for place, name in enumerate(("clean", "typos")):
            values = [pair[place] for pair in pairs]
            gains = [pair[place] - plain[place] for pair, plain in zip(pairs, found["plain"], strict=True)]
            told = f"{statistics.mean(gains):+.4f} ({', '.join(f'{gain:+.4f}' for gain in gains)})"
            print(f"{kind}, {name} rows: mean {statistics.mean(values):.4f}, over plain {told}")


def read(path: Path) -> list[Row]:
    lines = path.read_text(encoding="utf-8").splitlines()
    return [dict(zip(("text", "label"), line.rsplit("\t", 1), strict=True)) for line in lines if line]


def drawn(rows: list[Row], count: int, seed: int) -> list[Row]:
    return [rows[i] for i in np.random.default_rng(seed).permutation(len(rows))[:count]]


def with_typos(rows: list[Row]) -> list[Row]:
    edit = Editor(Augmentation(typos=TYPOS), "", np.random.default_rng(TEST_SEED))
    return [{**row, "text": edit.text(row["text"])} for row in rows]


def fine_tuned(rows: list[Row], edits: Augmentation, epochs: int, seed: int) -> Predictor:
    checkpoint, chosen = find_checkpoint(CHECKPOINT), task("text-classification")
    labels, tokenizer = chosen.labels(rows), load_tokenizer(checkpoint.folder)
    chosen.limit(tokenizer, 128)
    split: Split = chosen.encode(tokenizer, rows, labels), rows
    params = Train(learning_rate=1e-4, num_train_epochs=epochs, per_device_train_batch_size=16, seed=seed, threads=1,
                   augmentation=edits)  # fmt: skip
    model = initial_model(checkpoint, chosen.head(labels), CHECKPOINT, seed)
    with tempfile.TemporaryDirectory() as folder:
        trained = fine_tune(model, chosen, labels, tokenizer, params, split, ([], []),
                            checkpoints=Path(folder) / "checkpoints", callbacks=[])  # fmt: skip
    return Predictor(trained.task, labels, trained.model, tokenizer)


def accuracy(predictor: Predictor, rows: list[Row]) -> float:
    return predictor.task.score(predictor.predict(rows), rows, predictor.labels).metrics["accuracy"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("cost").add_argument("--rounds", type=int, default=7)
    measured = commands.add_parser("effect")
    measured.add_argument("train", type=Path)
    measured.add_argument("test", type=Path)
    for name, value in (("--rows", 400), ("--test-rows", 400), ("--epochs", 3), ("--seeds", 3)):
        measured.add_argument(name, type=int, default=value)
    options = vars(parser.parse_args())
    {"cost": cost, "effect": effect}[options.pop("command")](**options)


if __name__ == "__main__":
    main()
