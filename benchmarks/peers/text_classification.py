"""Text classification with the Trainer, written plainly as a user would: float32, batch 8.

    python benchmarks/peers/text_classification.py --data FOLDER --checkpoint FOLDER [--style tutorial] [--seed 0]

FOLDER holds train.parquet and test.parquet with the columns text and label. The quality is accuracy on test.
"""

import numpy as np
from datasets import Dataset
from peer import Options, tell, train
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    DataCollatorWithPadding,
    EvalPrediction,
    Trainer,
)

options = Options.parse(__doc__)
frames = {split: options.frame(split)[["text", "label"]] for split in ("train", "test")}
labels = sorted(frames["train"]["label"].unique())
tokenizer = AutoTokenizer.from_pretrained(options.checkpoint)
padding = "max_length" if options.padding == "max_length" else False


def tokenize(batch: dict[str, list[str]]) -> dict[str, list[int]]:
    encoded = tokenizer(batch["text"], padding=padding, truncation=True, max_length=options.max_length)
    return {**encoded, "labels": [labels.index(label) for label in batch["label"]]}


def accuracy(outputs: EvalPrediction) -> dict[str, float]:
    return {"accuracy": float((np.argmax(outputs.predictions, axis=-1) == outputs.label_ids).mean())}


sets = {
    split: Dataset.from_pandas(frame).map(tokenize, batched=True, remove_columns=["text", "label"])
    for split, frame in frames.items()
}
trainer = Trainer(
    model=AutoModelForSequenceClassification.from_pretrained(options.checkpoint, num_labels=len(labels)),
    args=options.arguments(),
    train_dataset=sets["train"],
    eval_dataset=sets["test"],
    data_collator=DataCollatorWithPadding(tokenizer),
    compute_metrics=accuracy,
)
seconds = train(trainer)
tell(len(sets["train"]), seconds, trainer.evaluate()["eval_accuracy"])
