"""What a model scores before it has learned anything: the floor that a recipe's figures stand on.

    python benchmarks/untrained_start.py [--seeds 0 1 2]

Run it from the root of a project whose rows are tokenized. It takes the task, the checkpoint and the test rows of
params.yaml, as fine-tune and evaluate do, and prints the scores of each seed's start.
"""

import argparse
import json

from tuneline import layout
from tuneline.checkpoints import find_checkpoint, load_tokenizer
from tuneline.inference import Predictor
from tuneline.layout import split_file
from tuneline.modelling import initial_model
from tuneline.params import read_params
from tuneline.parquet import read_rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    params = read_params("task", "model", "evaluate")
    labels = json.loads((layout.VOCABULARY / "labels.json").read_text(encoding="utf-8"))
    features = read_rows(split_file(layout.TOKENIZED, "test"))
    rows = read_rows(split_file(layout.VALIDATED, "test"))
    tokenizer, checkpoint = load_tokenizer(layout.VOCABULARY), find_checkpoint(params.model)
    for seed in parser.parse_args().seeds:
        model = initial_model(checkpoint, params.task.head(labels), params.model, seed)
        predictor = Predictor(params.task, labels, model, tokenizer)
        predictions = predictor.predict_features(features, rows, params.evaluate.per_device_eval_batch_size)
        scores = params.task.score(predictions, rows, labels).metrics
        print(f"seed {seed}: " + ", ".join(f"{name} {value:.4f}" for name, value in scores.items()), flush=True)


if __name__ == "__main__":
    main()
