"""How fast tuneline trains on a GPU, beside the tutorial's script: both with the Trainer, on rows of the same kind.

    python benchmarks/gpu.py [--only NAME] [--device cuda]

Needs torch, transformers, accelerate, peft, pydantic, pyarrow and ruamel.yaml, and this repository's src/ beside it; no
data and no network: weights and tokens are drawn by chance, lengths as those of film reviews. Encoders of 22 million
weights and of BERT-base's size, a decoder of GPT-2's. First logits and gradients without padding are held against those
with it. Then each is trained for an epoch that is not counted, and for one that is, of 4 steps for the tutorial's and
24 for the others:

    tutorial     float32, every row padded to 512 tokens
    tuneline     its fine-tune stage as params.yaml has it, in bfloat16
    + compile    the same with train.torch_compile

Prints examples and tokens a second, the ratio, and the share of the bfloat16 matrix rate that this card was measured
at: 6 FLOPs for each weight and token and 12 for each layer, hidden unit and pair of tokens, of the whole model, though
tuneline computes the last layer in part. `--device cpu` runs small models, and compiles none: to try the script.
"""

import argparse
import json
import math
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent / "src"))

import numpy as np
import torch
import transformers
from tokenizers import Tokenizer, models
from transformers import Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from tuneline.batching import PadBatch
from tuneline.padding_free import freed
from tuneline.params import Train
from tuneline.precision import computing
from tuneline.tasks import task_class
from tuneline.tasks.base import IGNORED_LABEL, Feature, Head
from tuneline.training import fine_tune

LONGEST = 512
CLASSIFIES, WRITES = "text-classification", "causal-lm"
HEADS = {
    CLASSIFIES: Head("AutoModelForSequenceClassification"),
    WRITES: Head("AutoModelForCausalLM", answers="nats"),
}
TUTORIAL, TUNELINE, COMPILED = "tutorial", "tuneline", "tuneline + compile"
STEPS = {TUTORIAL: 4, TUNELINE: 24, COMPILED: 24}  # of an epoch; those of the tutorial are all of one length


@dataclass(frozen=True)
class Contender:
    """full: every row has LONGEST tokens, which a decoder's have in any case."""

    name: str
    task: str
    config: dict[str, Any]
    batch_size: int
    full: bool = False

    def model(self) -> Any:
        torch.manual_seed(0)
        config = transformers.AutoConfig.for_model("bert" if self.task == CLASSIFIES else "gpt2", **self.config)
        return getattr(transformers, HEADS[self.task].auto_class).from_config(config)

    def features(self, steps: int) -> list[Feature]:
        """Rows as long as film reviews are: 230 tokens in the middle, one in nine cut at LONGEST."""
        random, count = np.random.default_rng(0), steps * self.batch_size
        lengths = np.minimum(random.lognormal(np.log(230), 0.65, count).astype(int) + 16, LONGEST)
        if self.full or self.task == WRITES:
            lengths[:] = LONGEST
        rows = (random.integers(5, self.config["vocab_size"], length).tolist() for length in lengths)
        return [{"input_ids": ids, "labels": ids if self.task == WRITES else ids[1] % 2} for ids in rows]

    def flops(self, features: list[Feature]) -> float:
        """Of training on these."""
        config = self.model().config
        layers, hidden = config.num_hidden_layers, config.hidden_size
        weights = 12 * layers * hidden**2 + (hidden * config.vocab_size if self.task == WRITES else 0)
        lengths = np.array([len(feature["input_ids"]) for feature in features], dtype=float)
        seen = 0.5 if self.task == WRITES else 1.0
        return float(6 * weights * lengths.sum() + 12 * layers * hidden * seen * (lengths**2).sum())


def encoder(hidden: int, layers: int) -> dict[str, Any]:
    return {
        "vocab_size": 30522, "hidden_size": hidden, "num_hidden_layers": layers, "num_attention_heads": 12,
        "intermediate_size": 4 * hidden, "max_position_embeddings": LONGEST, "num_labels": 2,
    }  # fmt: skip


def decoder(hidden: int, layers: int) -> dict[str, Any]:
    return {"vocab_size": 50257, "n_embd": hidden, "n_layer": layers, "n_head": 12, "n_positions": LONGEST}


LARGE = (
    Contender("encoder, BERT-base", CLASSIFIES, encoder(768, 12), 128),
    Contender("encoder, BERT-base, all rows full", CLASSIFIES, encoder(768, 12), 128, full=True),
    Contender("encoder, 22M", CLASSIFIES, encoder(384, 6), 512),
    Contender("decoder, GPT-2", WRITES, decoder(768, 12), 64),
)
SMALL = (
    Contender("encoder, small", CLASSIFIES, encoder(96, 2), 4),
    Contender("decoder, small", WRITES, decoder(96, 2), 2),
)


class SecondEpoch(TrainerCallback):
    """Takes the time of the second epoch, from its first step to the end of its last one."""

    def __init__(self, wait: Callable[[], None]) -> None:
        self.wait, self.started, self.seconds = wait, 0.0, 0.0

    def on_epoch_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        self.wait()
        self.started = time.perf_counter()

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        if state.global_step == state.max_steps:
            self.wait()
            self.seconds = time.perf_counter() - self.started


def padded_to_longest(features: list[Feature]) -> dict[str, torch.Tensor]:
    batch = PadBatch(0)(features)
    missing = LONGEST - batch["input_ids"].shape[1]
    fill = {"labels": IGNORED_LABEL}
    return {
        name: torch.nn.functional.pad(each, (0, missing), value=fill.get(name, 0)) if each.dim() == 2 else each
        for name, each in batch.items()
    }


def trained(contender: Contender, way: str, features: list[Feature], clock: SecondEpoch, cpu: bool) -> None:
    with tempfile.TemporaryDirectory() as folder:
        if way == TUTORIAL:
            arguments = TrainingArguments(
                output_dir=folder, per_device_train_batch_size=contender.batch_size, num_train_epochs=2,
                save_strategy="no", report_to=[], use_cpu=cpu, remove_unused_columns=False,
            )  # fmt: skip
            Trainer(
                model=contender.model(), args=arguments, train_dataset=features, data_collator=padded_to_longest,
                callbacks=[clock],
            ).train()  # fmt: skip
            return
        params = Train(
            per_device_train_batch_size=contender.batch_size, num_train_epochs=2, bf16=True,
            torch_compile=way == COMPILED,
        )  # fmt: skip
        task = task_class(contender.task).model_validate({"name": contender.task})
        tokenizer = Tokenizer(models.WordLevel({"?": 0}, unk_token="?"))
        rows = [{"text": "", "label": ""}] * len(features)
        fine_tune(
            contender.model(), task, ["no", "yes"], tokenizer, params, (features, rows), ([], []),
            checkpoints=Path(folder) / "checkpoints", callbacks=[clock],
        )  # fmt: skip


def measured(contender: Contender, way: str, device: str) -> dict[str, float]:
    features = contender.features(STEPS[way])
    if device == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    clock = SecondEpoch(torch.cuda.synchronize if device == "cuda" else lambda: None)
    started = time.perf_counter()
    trained(contender, way, features, clock, device == "cpu")
    spent = clock.seconds
    facts = {
        "examples/s": len(features) / spent,
        "tokens/s": sum(len(feature["input_ids"]) for feature in features) / spent,
        "flop/s": contender.flops(features) / spent,
        "seconds before the second epoch": clock.started - started,
    }
    if device == "cuda":
        facts["GB"] = torch.cuda.max_memory_allocated() / 1e9
    return facts


def off(contender: Contender, device: str, *, bf16: bool) -> dict[str, float]:
    """How far logits and gradients are from those of float32 with padding, with and without padding: the norm of the
    difference, in that of the true ones."""
    model, batch = contender.model().to(device).eval(), PadBatch(0)(contender.features(1)[:8])
    batch = {name: each.to(device) for name, each in batch.items() if name != "labels"}
    own = slice(None) if contender.task == CLASSIFIES else batch["attention_mask"].bool()

    def answered(in_bf16: bool) -> tuple[torch.Tensor, torch.Tensor]:
        model.zero_grad()
        with computing(in_bf16, torch.device(device)):
            logits = model(**batch).logits[own].float()
        torch.nn.functional.softplus(logits).mean().backward()
        return logits.detach(), torch.cat([each.grad.flatten() for each in model.parameters() if each.grad is not None])

    truth, padded = answered(False), answered(bf16)
    with freed(model, HEADS[contender.task]) as why_not:
        assert why_not is None, why_not
        found = answered(bf16)
    names = ("logits", "gradients")
    distances = {
        f"{name}, {way}": float((each - true).norm() / true.norm())
        for way, answers in (("padded", padded), ("without padding", found))
        for name, each, true in zip(names, answers, truth, strict=True)
    }
    for name in names:
        assert distances[f"{name}, without padding"] < 2 * distances[f"{name}, padded"] + 1e-3, distances
    return distances


def matrix_rate(device: str) -> float:
    """FLOP/s of bfloat16 products of large matrices."""
    size, times = (8192, 30) if device == "cuda" else (512, 30)
    matrix = torch.randn(size, size, device=device, dtype=torch.bfloat16)
    wait: Callable[[], None] = torch.cuda.synchronize if device == "cuda" else lambda: None
    for _ in range(3):
        matrix @ matrix
    wait()
    started = time.perf_counter()
    for _ in range(times):
        matrix @ matrix
    wait()
    return 2 * size**3 * times / (time.perf_counter() - started)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--only", choices=[each.name for each in (*LARGE, *SMALL)])
    options = parser.parse_args()
    device = options.device
    name = torch.cuda.get_device_name() if device == "cuda" else "CPU"
    rate = matrix_rate(device)
    print(f"{name}, torch {torch.__version__}: {rate / 1e12:.2f} TFLOP/s in bfloat16 products", flush=True)
    for contender in LARGE if device == "cuda" else SMALL:
        if options.only not in (None, contender.name):
            continue
        for bf16 in (False, True):
            distances = {key: float(f"{value:.2g}") for key, value in off(contender, device, bf16=bf16).items()}
            print(json.dumps({"model": contender.name, "bf16": bf16, **distances}), flush=True)
        tutorial = math.nan  # examples a second
        for way in (TUTORIAL, TUNELINE, COMPILED) if device == "cuda" else (TUTORIAL, TUNELINE):
            try:
                facts = measured(contender, way, device)
            except Exception as error:  # what compile cannot do is told, and the rest goes on
                print(json.dumps({"model": contender.name, "way": way, "error": str(error)[:300]}), flush=True)
                continue
            tutorial = facts["examples/s"] if way == TUTORIAL else tutorial
            told = {name: round(value, 1) for name, value in facts.items() if name != "flop/s"}
            told |= {"ratio": round(facts["examples/s"] / tutorial, 2), "share": round(facts["flop/s"] / rate, 3)}
            print(json.dumps({"model": contender.name, "way": way, **told}), flush=True)


if __name__ == "__main__":
    main()
