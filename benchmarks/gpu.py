"""What tuneline's fast path gives on a GPU: checked against padding, then measured beside the tutorial's step.

    python benchmarks/gpu.py [--seconds 15] [--device cuda]

Needs torch, transformers, numpy and pydantic, and this repository's src/ beside it; no data and no network: weights are
drawn by chance, lengths as those of film reviews. Encoders of 22M and of BERT-base's size, a decoder of GPT-2's.
First the packed path must give the logits of the padded one in float32. Then each is trained for some seconds:

    tutorial     float32, every row padded to 512 tokens
    tuneline     bfloat16, no padding, attention by torch's fused kernels, fused AdamW
    + compile    the same under torch.compile, after its warm-up

Prints examples and tokens a second, the ratio, and the share of the bfloat16 matrix rate that this card was measured at
(model FLOPs: 6 for each weight and token, and those of attention). `--device cpu` runs small models, to try the script.
"""

import argparse
import json
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent / "src"))

import numpy as np
import torch
import transformers
from torch.nn import functional

from tuneline.padding_free import freed
from tuneline.precision import computing
from tuneline.tasks.base import Head

LONGEST = 512
CLASSIFIES = Head("AutoModelForSequenceClassification")
WRITES = Head("AutoModelForCausalLM", answers="nats")
TUTORIAL, TUNELINE, COMPILED = "tutorial", "tuneline", "tuneline + compile"


@dataclass(frozen=True)
class Contender:
    name: str
    head: Head
    kind: str
    config: dict[str, Any]
    batch_size: int

    def model(self, device: str) -> Any:
        torch.manual_seed(0)
        config = transformers.AutoConfig.for_model(self.kind, **self.config)
        return getattr(transformers, self.head.auto_class).from_config(config).to(device)


def encoder(hidden: int, layers: int) -> dict[str, Any]:
    return {
        "vocab_size": 30522, "hidden_size": hidden, "num_hidden_layers": layers, "num_attention_heads": 12,
        "intermediate_size": 4 * hidden, "max_position_embeddings": LONGEST, "num_labels": 2,
    }  # fmt: skip


def decoder(hidden: int, layers: int) -> dict[str, Any]:
    return {"vocab_size": 50257, "n_embd": hidden, "n_layer": layers, "n_head": 12, "n_positions": LONGEST}


LARGE = (
    Contender("encoder, 22M", CLASSIFIES, "bert", encoder(384, 6), 64),
    Contender("encoder, BERT-base", CLASSIFIES, "bert", encoder(768, 12), 32),
    Contender("decoder, GPT-2", WRITES, "gpt2", decoder(768, 12), 16),
)
SMALL = (
    Contender("encoder, small", CLASSIFIES, "bert", encoder(96, 2), 8),
    Contender("decoder, small", WRITES, "gpt2", decoder(96, 2), 8),
)


def batches(contender: Contender, device: str, *, padded: bool) -> Iterator[dict[str, torch.Tensor]]:
    """Batches of rows as long as film reviews are: 230 tokens in the middle, one in seven cut at LONGEST. A decoder
    reads whole blocks."""
    random = np.random.default_rng(0)
    while True:
        lengths = np.minimum(random.lognormal(np.log(230), 0.65, contender.batch_size).astype(int) + 16, LONGEST)
        if contender.head is WRITES:
            lengths[:] = LONGEST
        width = LONGEST if padded else int(lengths.max())
        mask = torch.from_numpy((np.arange(width) < lengths[:, None]).astype(np.int64))
        shape = (contender.batch_size, width)
        ids = torch.from_numpy(random.integers(5, contender.config["vocab_size"], shape)) * mask
        yield {"input_ids": ids.to(device, non_blocking=True), "attention_mask": mask.to(device, non_blocking=True)}


def loss_of(contender: Contender, logits: torch.Tensor, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    if contender.head is CLASSIFIES:
        return functional.cross_entropy(logits.float(), batch["input_ids"][:, 1] % 2)
    return functional.cross_entropy(logits[:, :-1].float().flatten(0, 1), batch["input_ids"][:, 1:].flatten())


def trained(contender: Contender, device: str, seconds: float, way: str) -> tuple[float, float]:
    """Examples and tokens a second. Compilation and the first steps are not counted."""
    model, fast = contender.model(device).train(), way != TUTORIAL
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-5, fused=True)
    source = batches(contender, device, padded=not fast)
    called = torch.compile(model, dynamic=True) if way == COMPILED else model

    def step() -> tuple[int, torch.Tensor]:
        batch = next(source)
        with computing(fast, torch.device(device)):
            logits = called(**batch).logits
        loss_of(contender, logits, batch).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        return len(batch["input_ids"]), batch["attention_mask"].sum()

    def measured() -> tuple[float, float]:
        for _ in range(5):
            step()
        wait(device)
        done = []
        started = time.perf_counter()
        while time.perf_counter() - started < seconds:
            done.append(step())
        wait(device)
        spent = time.perf_counter() - started
        return sum(rows for rows, _ in done) / spent, float(sum(tokens for _, tokens in done)) / spent

    if not fast:
        return measured()
    with freed(model, contender.head) as why_not:
        assert why_not is None, why_not
        return measured()


def wait(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


@torch.no_grad()
def checked(contender: Contender, device: str) -> float:
    """How far the logits without padding are from those with it, in float32, in units of their spread."""
    model, batch = contender.model(device).eval(), next(batches(contender, device, padded=True))
    own = slice(None) if contender.head is CLASSIFIES else batch["attention_mask"].bool()
    expected = model(**batch).logits[own]
    with freed(model, contender.head) as why_not:
        assert why_not is None, why_not
        found = model(**batch).logits[own]
    off = float((found - expected).abs().max() / expected.std())
    assert off < 1e-2, f"{contender.name}: logits without padding are off by {off} of their spread"
    return off


def matrix_rate(device: str) -> float:
    """FLOP/s of bfloat16 products of large matrices."""
    size, times = (8192, 30) if device == "cuda" else (1024, 30)
    matrix = torch.randn(size, size, device=device, dtype=torch.bfloat16)
    for _ in range(3):
        matrix @ matrix
    wait(device)
    started = time.perf_counter()
    for _ in range(times):
        matrix @ matrix
    wait(device)
    return 2 * size**3 * times / (time.perf_counter() - started)


def flops_a_token(contender: Contender, mean_length: float) -> float:
    """6 for each weight that a token is multiplied with, and 12 for each layer, hidden unit and token it attends to."""
    config = transformers.AutoConfig.for_model(contender.kind, **contender.config)
    layers, hidden = config.num_hidden_layers, config.hidden_size
    head = hidden * config.vocab_size if contender.head is WRITES else 0
    attended = mean_length / 2 if contender.head is WRITES else mean_length
    return float(6 * (12 * layers * hidden**2 + head) + 12 * layers * hidden * attended)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=15)
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda" if torch.cuda.is_available() else "cpu")
    options = parser.parse_args()
    name = torch.cuda.get_device_name() if options.device == "cuda" else "CPU"
    rate = matrix_rate(options.device)
    print(f"{name}, torch {torch.__version__}: {rate / 1e12:.2f} TFLOP/s in bfloat16 products")
    for contender in LARGE if options.device == "cuda" else SMALL:
        off, slowest = checked(contender, options.device), None
        for way in (TUTORIAL, TUNELINE, COMPILED):
            facts: dict[str, Any] = {"model": contender.name, "way": way}
            try:
                examples, tokens = trained(contender, options.device, options.seconds, way)
            except Exception as error:  # what compile cannot do is told, and the rest goes on
                print(json.dumps({**facts, "error": str(error).strip().partition("\n")[0][:200]}), flush=True)
                continue
            slowest = slowest or examples
            use = tokens * flops_a_token(contender, tokens / examples) / rate
            facts |= {
                "examples/s": round(examples, 1),
                "tokens/s": round(tokens),
                "ratio": round(examples / slowest, 2),
            }
            print(json.dumps({**facts, "share of matrix rate": round(use, 3), "logits off": off}), flush=True)


if __name__ == "__main__":
    main()
