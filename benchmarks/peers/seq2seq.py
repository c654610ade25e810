"""Translation with the Seq2SeqTrainer, as run_translation of transformers' examples does it: float32, batch 8.

    python benchmarks/peers/seq2seq.py --data FOLDER --checkpoint FOLDER [--style tutorial] [--seed 0]

FOLDER holds train.parquet and test.parquet with the columns source and target. The checkpoint is an encoder, of which
encoder and decoder are made. The quality is the loss on test in nats a token.
"""

from typing import Any

from datasets import Dataset
from peer import Options, tell, train
from transformers import (
    AutoTokenizer,
    DataCollatorForSeq2Seq,
    EncoderDecoderModel,
    Seq2SeqTrainer,
    Seq2SeqTrainingArguments,
)

TARGET_TOKENS = 64

options = Options.parse(__doc__)
tokenizer = AutoTokenizer.from_pretrained(options.checkpoint)


def tokenize(batch: dict[str, list[Any]]) -> dict[str, Any]:
    padding = "max_length" if options.padding == "max_length" else False
    targets = [target if isinstance(target, str) else target[0] for target in batch["target"]]
    encoded = tokenizer(batch["source"], truncation=True, max_length=options.max_length, padding=padding)
    gold = tokenizer(targets, truncation=True, max_length=TARGET_TOKENS, padding=padding)["input_ids"]
    hidden = [[-100 if token == tokenizer.pad_token_id else token for token in tokens] for tokens in gold]
    return {**encoded, "labels": hidden}


sets = {
    split: Dataset.from_pandas(options.frame(split)[["source", "target"]]).map(
        tokenize, batched=True, remove_columns=["source", "target"]
    )
    for split in ("train", "test")
}
model = EncoderDecoderModel.from_encoder_decoder_pretrained(options.checkpoint, options.checkpoint)
model.config.decoder_start_token_id = tokenizer.cls_token_id
model.config.pad_token_id = tokenizer.pad_token_id
model.config.vocab_size = model.config.encoder.vocab_size
trainer = Seq2SeqTrainer(
    model=model,
    args=options.arguments(Seq2SeqTrainingArguments),
    train_dataset=sets["train"],
    eval_dataset=sets["test"],
    data_collator=DataCollatorForSeq2Seq(tokenizer, model=model),
)
seconds = train(trainer)
tell(len(sets["train"]), seconds, trainer.evaluate()["eval_loss"])
