"""Tagging with the Trainer, as run_ner of transformers' examples does it: float32, batch 8.

    python benchmarks/peers/token_classification.py --data FOLDER --checkpoint FOLDER [--style tutorial] [--seed 0]

FOLDER holds train.parquet and test.parquet with the columns tokens and tags. The quality is strict entity F1 on test.
"""

from typing import Any

import numpy as np
from datasets import Dataset
from peer import Options, tell, train
from seqeval.metrics import f1_score
from seqeval.scheme import IOB2
from transformers import (
    AutoModelForTokenClassification,
    AutoTokenizer,
    DataCollatorForTokenClassification,
    EvalPrediction,
    Trainer,
)

IGNORED = -100

options = Options.parse(__doc__)
frames = {split: options.frame(split)[["tokens", "tags"]] for split in ("train", "test")}
labels = sorted({tag for tags in frames["train"]["tags"] for tag in tags})
tokenizer = AutoTokenizer.from_pretrained(options.checkpoint)


def tokenize(batch: dict[str, list[Any]]) -> dict[str, Any]:
    padding = "max_length" if options.padding == "max_length" else False
    encoded = tokenizer(
        batch["tokens"], is_split_into_words=True, padding=padding, truncation=True, max_length=options.max_length
    )
    gold = []
    for i, tags in enumerate(batch["tags"]):
        words = encoded.word_ids(i)
        first = [word is not None and (j == 0 or words[j - 1] != word) for j, word in enumerate(words)]
        known = [labels.index(tags[word]) if begins else IGNORED for word, begins in zip(words, first, strict=True)]
        gold.append(known)
    return {**encoded, "labels": gold}


def f1(outputs: EvalPrediction) -> dict[str, float]:
    guesses = np.argmax(outputs.predictions, axis=-1)
    said, right = (
        [[labels[code] for code in row[gold != IGNORED]] for row, gold in zip(side, outputs.label_ids, strict=True)]
        for side in (guesses, outputs.label_ids)
    )
    return {"f1": float(f1_score(right, said, mode="strict", scheme=IOB2))}


sets = {
    split: Dataset.from_pandas(frame).map(tokenize, batched=True, remove_columns=["tokens", "tags"])
    for split, frame in frames.items()
}
trainer = Trainer(
    model=AutoModelForTokenClassification.from_pretrained(options.checkpoint, num_labels=len(labels)),
    args=options.arguments(),
    train_dataset=sets["train"],
    eval_dataset=sets["test"],
    data_collator=DataCollatorForTokenClassification(tokenizer),
    compute_metrics=f1,
)
seconds = train(trainer)
tell(len(sets["train"]), seconds, trainer.evaluate()["eval_f1"])
