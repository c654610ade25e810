"""Extractive question answering with the Trainer, as run_qa of transformers' examples prepares it: float32, batch 8.

    python benchmarks/peers/question_answering.py --data FOLDER --checkpoint FOLDER [--style tutorial] [--seed 0]

FOLDER holds train.parquet and test.parquet with the columns question, context and answers (text, answer_start). The
quality is the share of test questions whose best span of at most 30 tokens is an answer, letter by letter.
"""

from typing import Any

import numpy as np
from datasets import Dataset
from peer import Options, tell, train
from transformers import AutoModelForQuestionAnswering, AutoTokenizer, DataCollatorWithPadding, Trainer

STRIDE = 128
LONGEST = 30  # tokens of an answer

options = Options.parse(__doc__)
tokenizer = AutoTokenizer.from_pretrained(options.checkpoint)


def windows(batch: dict[str, list[Any]]) -> Any:
    padding = "max_length" if options.padding == "max_length" else False
    return tokenizer(
        batch["question"], batch["context"], truncation="only_second", max_length=options.max_length,
        stride=min(STRIDE, options.max_length // 2), return_overflowing_tokens=True, return_offsets_mapping=True,
        padding=padding,
    )  # fmt: skip


def features(batch: dict[str, list[Any]]) -> dict[str, Any]:
    encoded = windows(batch)
    starts, ends = [], []
    for i, offsets in enumerate(encoded["offset_mapping"]):
        answer = batch["answers"][encoded["overflow_to_sample_mapping"][i]][0]
        begin, end = answer["answer_start"], answer["answer_start"] + len(answer["text"])
        inside = [j for j, part in enumerate(encoded.sequence_ids(i)) if part == 1]
        found = [j for j in inside if offsets[j][0] < end and offsets[j][1] > begin]
        whole = bool(found) and offsets[inside[0]][0] <= begin and offsets[inside[-1]][1] >= end
        starts.append(found[0] if whole else 0)
        ends.append(found[-1] if whole else 0)
    names = [name for name in ("input_ids", "token_type_ids", "attention_mask") if name in encoded]
    return {**{name: encoded[name] for name in names}, "start_positions": starts, "end_positions": ends}


rows = {split: options.frame(split)[["question", "context", "answers"]] for split in ("train", "test")}
sets = {
    split: Dataset.from_pandas(frame).map(features, batched=True, remove_columns=["question", "context", "answers"])
    for split, frame in rows.items()
}
trainer = Trainer(
    model=AutoModelForQuestionAnswering.from_pretrained(options.checkpoint),
    args=options.arguments(),
    train_dataset=sets["train"],
    data_collator=DataCollatorWithPadding(tokenizer),
)
seconds = train(trainer)

start_logits, end_logits = trainer.predict(sets["test"]).predictions[:2]
encoded = windows({name: rows["test"][name].tolist() for name in ("question", "context")})
best: dict[int, tuple[float, str]] = {}
for i, row in enumerate(encoded["overflow_to_sample_mapping"]):
    inside = [j for j, part in enumerate(encoded.sequence_ids(i)) if part == 1]
    spans = [(start_logits[i][a] + end_logits[i][b], a, b) for a in inside for b in inside if a <= b < a + LONGEST]
    score, first, last = max(spans)
    offsets = encoded["offset_mapping"][i]
    said = rows["test"]["context"].iloc[row][offsets[first][0] : offsets[last][1]]
    best[row] = max(best.get(row, (-np.inf, "")), (score, said))
right = [best[i][1] in {each["text"] for each in answers} for i, answers in enumerate(rows["test"]["answers"])]
tell(len(sets["train"]), seconds, float(np.mean(right)))
