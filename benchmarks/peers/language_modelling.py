"""Language modelling with the Trainer, as run_mlm and run_clm of transformers' examples do it: float32, batch 8.

    python benchmarks/peers/language_modelling.py --data FOLDER --checkpoint FOLDER --objective masked [--seed 0]

FOLDER holds train.parquet and test.parquet with the column text; the texts are cut into blocks of --max-length. The
quality is the loss on test in nats, of tokens masked by chance (masked) or of all (causal). An example is a block.
"""

import sys
from itertools import chain
from typing import Any

from datasets import Dataset
from peer import Options, tell, train
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    AutoTokenizer,
    DataCollatorForLanguageModeling,
    Trainer,
    set_seed,
)

causal = "causal" in sys.argv[-1]
sys.argv = sys.argv[:-2]  # --objective comes last
options = Options.parse(__doc__)
tokenizer = AutoTokenizer.from_pretrained(options.checkpoint)


def blocks(batch: dict[str, list[str]]) -> dict[str, Any]:
    encoded = tokenizer(batch["text"], return_special_tokens_mask=True)
    streams = {name: list(chain.from_iterable(values)) for name, values in encoded.items()}
    end = len(streams["input_ids"]) // options.max_length * options.max_length
    starts = range(0, end, options.max_length)
    return {name: [stream[i : i + options.max_length] for i in starts] for name, stream in streams.items()}


sets = {
    split: Dataset.from_pandas(options.frame(split)[["text"]]).map(
        blocks, batched=True, batch_size=None, remove_columns=["text"]
    )
    for split in ("train", "test")
}
model: Any
if causal:
    config = AutoConfig.for_model(
        "gpt2", vocab_size=len(tokenizer), n_embd=384, n_layer=6, n_head=12, n_positions=options.max_length,
        bos_token_id=tokenizer.cls_token_id, eos_token_id=tokenizer.sep_token_id,
    )  # fmt: skip
    model = AutoModelForCausalLM.from_config(config)
else:
    model = AutoModelForMaskedLM.from_pretrained(options.checkpoint)
trainer = Trainer(
    model=model,
    args=options.arguments(),
    train_dataset=sets["train"],
    eval_dataset=sets["test"],
    data_collator=DataCollatorForLanguageModeling(tokenizer, mlm=not causal),
)
seconds = train(trainer)
set_seed(0)  # the same tokens are masked for all
tell(len(sets["train"]), seconds, trainer.evaluate()["eval_loss"])
