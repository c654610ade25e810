"""The classic tutorial script, written plainly as a user would: Trainer, padding to max_length, fp32, batch 8.

    python benchmarks/peers/tutorial.py --train TRAIN.parquet --test TEST.parquet --checkpoint FOLDER --seed 0

Both files have the columns text and label. Prints one JSON line with the accuracy and the training seconds.
"""

import argparse
import json
import time

import numpy as np
import pandas as pd
from datasets import Dataset
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    EvalPrediction,
    Trainer,
    TrainingArguments,
    set_seed,
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("--train", "--test", "--checkpoint"):
        parser.add_argument(name, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--learning-rate", type=float, default=5e-5)
    parser.add_argument("--max-length", type=int, default=128)
    options = parser.parse_args()

    set_seed(options.seed)
    train, test = (pd.read_parquet(path, columns=["text", "label"]) for path in (options.train, options.test))
    labels = sorted(train["label"].unique())
    tokenizer = AutoTokenizer.from_pretrained(options.checkpoint)

    def tokenize(batch: dict[str, list[str]]) -> dict[str, list[int]]:
        encoded = tokenizer(batch["text"], padding="max_length", truncation=True, max_length=options.max_length)
        return {**encoded, "labels": [labels.index(label) for label in batch["label"]]}

    train_set, test_set = (
        Dataset.from_pandas(frame).map(tokenize, batched=True, remove_columns=["text", "label"])
        for frame in (train, test)
    )

    def accuracy(outputs: EvalPrediction) -> dict[str, float]:
        return {"accuracy": float((np.argmax(outputs.predictions, axis=-1) == outputs.label_ids).mean())}

    trainer = Trainer(
        model=AutoModelForSequenceClassification.from_pretrained(options.checkpoint, num_labels=len(labels)),
        args=TrainingArguments(
            output_dir="tutorial-out",
            learning_rate=options.learning_rate,
            per_device_train_batch_size=8,
            per_device_eval_batch_size=8,
            num_train_epochs=1,
            weight_decay=0.01,
            save_strategy="no",
            report_to=[],
            seed=options.seed,
            use_cpu=True,
        ),
        train_dataset=train_set,
        eval_dataset=test_set,
        compute_metrics=accuracy,
    )
    started = time.perf_counter()
    trainer.train()
    seconds = time.perf_counter() - started
    found = trainer.evaluate()["eval_accuracy"]
    print(json.dumps({"seed": options.seed, "accuracy": found, "train_seconds": round(seconds, 1)}))


if __name__ == "__main__":
    main()
