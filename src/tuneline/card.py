"""The model card of a registered model: README.md of its folder, in the format of the Hugging Face hub.

    facts of the report + what only a person knows (register.card) + lineage → YAML metadata and Markdown

fine-tune writes a short card, which travels with the weights; register writes this one, when the model is evaluated. So
a new sentence here costs no training. The numbers are those of the report, in the same spelling.

https://github.com/huggingface/hub-docs/blob/main/modelcard.md
"""

import io
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from ruamel.yaml import YAML

from tuneline import layout
from tuneline.checkpoints import REGISTRY
from tuneline.digests import model_digest
from tuneline.display import cell, confidence, dotted, interval, number, percent, plain, sentence, size, table
from tuneline.params import Card, Sections, Train
from tuneline.report_facts import ReportFacts, why_not_judged

TEMPLATE = "card.md.jinja"
HUB = "hf://datasets/"
ALWAYS_SHOWN = ("learning_rate", "num_train_epochs", "per_device_train_batch_size", "seed")  # of train
SHOWN_LABELS = 100
SHOWN_SLICES = 20
SHOWN_DIGITS = 12  # of the digests of stages
# The tags of a version that say what it was made of. Scores, speed and decisions are tags too, and stand elsewhere.
LINEAGE = (
    "git_commit", "git_origin", "experiment", "data_sha256", "raw_md5", "raw_source", "raw_revision", "params_digest",
    "inputs_digest", "checkpoint_sha256", "tokenizer_sha256", "environment_digest", "test_sha256", "model_digest",
)  # fmt: skip
STAGE = "stage."


@dataclass(frozen=True)
class CardFacts:
    """All that the card says."""

    name: str  # of the registered model
    pipeline_tag: str
    said: Card
    report: ReportFacts
    training: Mapping[str, Any]  # training.json
    base_on_hub: bool
    origin: Mapping[str, Any]  # source and revision of the raw data, as data add recorded them
    lineage: Mapping[str, str]  # tags of the version
    labels: list[str] = field(default_factory=list)
    performance: Mapping[str, Any] = field(default_factory=dict)


def complete(
    params: Sections, report: ReportFacts, training: Mapping[str, Any], lineage: Mapping[str, str],
    performance: Mapping[str, Any] | None = None,
) -> str:  # fmt: skip
    """The card of the model in data/model. lineage: the tags of its version."""
    base = training["checkpoint"]
    facts = CardFacts(
        name=params.register.name,
        pipeline_tag=params.task.pipeline_tag,
        said=params.register.card,
        report=report,
        training=training,
        base_on_hub="/" in base and not base.startswith(REGISTRY) and not Path(base).expanduser().exists(),
        origin=_origin(params.data.name),
        lineage={
            **{name.removeprefix("tuneline."): value for name, value in lineage.items()},
            "model_digest": model_digest(layout.MODEL),
        },
        labels=json.loads((layout.MODEL / "tuneline.json").read_text(encoding="utf-8"))["labels"],
        performance=performance or {},
    )
    return render(facts)


def render(facts: CardFacts) -> str:
    """The whole file."""
    body = (
        _environment()
        .get_template(TEMPLATE)
        .render(
            facts=facts,
            report=facts.report,
            train=shown_params(facts.report.params),
            metrics=_metrics_table(facts.report),
            seeds=_seeds_table(facts.report),
            splits=_splits_table(facts.report.validation),
            slices=_slices_table(facts.report),
            calibration=_calibration_table(facts.report),
            behaviour=_behaviour_table(facts.report),
            limits=limits(facts),
            lineage=table(("what", "digest or name"), _lineage(facts)),
            labels=facts.labels[:SHOWN_LABELS],
        )
    )
    return f"---\n{_yaml(metadata(facts))}---\n\n{body}"


def metadata(facts: CardFacts) -> dict[str, Any]:
    """The YAML block that the hub reads. What is not known is left out."""
    report, data = facts.report, facts.origin.get("source", "")
    dataset = data.removeprefix(HUB).partition("@")[0] if data.startswith(HUB) else None
    found = {
        "language": facts.said.language or None,
        "license": facts.said.license,
        "library_name": "peft" if _is_adapter(report) else "transformers",
        "base_model": facts.training["checkpoint"] if facts.base_on_hub else None,
        "pipeline_tag": facts.pipeline_tag,
        "tags": ["tuneline", report.task_name],
        "datasets": [dataset] if dataset else None,
        "metrics": list(report.metrics),
        "model-index": [{"name": facts.name, "results": [_result(facts, dataset or report.title)]}],
    }
    return {name: value for name, value in found.items() if value is not None}


def _result(facts: CardFacts, dataset: str) -> dict[str, Any]:
    """The scores, as papers with code reads them."""
    return {
        "task": {"type": facts.pipeline_tag},
        "dataset": {"name": facts.report.title, "type": dataset, "split": "test"},
        "metrics": [
            {"type": name, "value": value, "name": name.replace("_", " ")}
            for name, value in facts.report.metrics.items()
        ],
    }


def limits(facts: CardFacts) -> list[str]:
    """What the checks did not show, one sentence each."""
    report = facts.report
    small = [cell(each["name"]) for each in report.slices if not each["judged"] and each["value"] is not None]
    failed = [each for each in report.behaviour if each["passed"] < each["rows"]]
    found = [
        _weakest(report),
        f"Too small to judge: {', '.join(small)}." if small else None,
        *(
            f"{cell(each['name'])}: {percent(each['pass_rate'])} of {number(each['rows'])} rows pass."
            for each in failed
        ),
        None if report.behaviour else "No behavioural check was run: what a typo or another name changes is not known.",
        None if report.intervals else "The scores have no intervals.",
        None if report.is_calibrated else "Confidence was not calibrated: read it as an order, not as a probability.",
        *(f"Not measured: {cell(reason)}" for reason in report.forgetting.get("not_measured", [])),
        None if facts.said.language else "The languages of the texts are not recorded.",
        "The scores hold for texts like the test rows. Texts change: `tuneline drift` compares new ones with these.",
    ]
    return [each for each in found if each]


def _weakest(report: ReportFacts) -> str:
    worst = report.worst_slice()
    if worst is None:
        return "No slice of the test rows was judged by itself."
    score = f"{report.metric} {number(worst['value'])} on {number(worst['rows'])} rows"
    return f"Weakest slice: {cell(worst['name'])}, {score}."


def shown_params(params: Mapping[str, Any]) -> dict[str, Any]:
    """The params of training that say most, and those that are not left at their defaults."""
    train, default = dotted(params.get("train", {})), dotted(Train().model_dump(mode="json"))
    changed = {name: value for name, value in train.items() if value != default.get(name)}
    always = {name: train[name] for name in ALWAYS_SHOWN if name in train}
    return {**always, **changed}


def _metrics_table(report: ReportFacts) -> str:
    header = ["metric", "test", f"{confidence(report.confidence)} interval" if report.confidence else "interval"]
    rows = [
        [name, number(value), interval(report.intervals.get(name)) or "–"] for name, value in report.metrics.items()
    ]
    if report.baseline is not None:
        header.append(report.baseline_name or "baseline")
        rows = [[*row, number(report.baseline.get(row[0]))] for row in rows]
    return table(header, rows)


def _seeds_table(report: ReportFacts) -> str:
    metrics = list(report.seeds.get("mean", {}))
    rows = [(seed, *(number(scores[name]) for name in metrics)) for seed, scores in report.seed_scores().items()]
    return table(("seed", *metrics), rows) if rows else ""


def _splits_table(validation: Mapping[str, Any]) -> str:
    splits = validation.get("splits", {})
    rows = [("rows", *(number(count) for count in splits.values()))]
    rows += [
        (f"label {label}", *(number(counts.get(split)) for split in splits))
        for label, counts in list(validation.get("labels", {}).items())[:SHOWN_LABELS]
    ]
    return table(("", *splits), rows) if splits else ""


def _slices_table(report: ReportFacts) -> str:
    rows = [
        (each["name"], number(each["rows"]), number(each["value"]), interval(each["interval"]) or "–",
         why_not_judged(each))
        for each in report.worst_first()[:SHOWN_SLICES]
    ]  # fmt: skip
    return table(("slice", "rows", report.metric, "interval", ""), rows) if rows else ""


def _calibration_table(report: ReportFacts) -> str:
    rows = [(name, number(before), number(after)) for name, (before, after) in report.before_and_after().items()]
    return table(("", "as trained", "with temperature"), rows)


def _behaviour_table(report: ReportFacts) -> str:
    rows = [
        (
            each["name"],
            each["kind"],
            number(each["rows"]),
            "–" if each["pass_rate"] is None else percent(each["pass_rate"]),
        )
        for each in report.weakest_checks()
    ]
    return table(("check", "kind", "rows", "pass rate"), rows) if rows else ""


def _lineage(facts: CardFacts) -> list[tuple[str, str]]:
    """What the model was made of, by name."""
    told = facts.lineage
    named = [(name.replace("_", " "), told[name]) for name in LINEAGE if name in told]
    stages = [(name.replace(".", " "), told[name][:SHOWN_DIGITS]) for name in told if name.startswith(STAGE)]
    return [("base checkpoint", facts.training["checkpoint"]), *named, *stages]


def _is_adapter(report: ReportFacts) -> bool:
    lora = report.params.get("train", {}).get("lora")
    return bool(lora) and not lora.get("merge", True)


def _origin(name: str) -> dict[str, Any]:
    """What `tuneline data add` recorded of the raw data."""
    pointer = layout.RAW / f"{name}.dvc"
    if not pointer.is_file():
        return {}
    meta = YAML(typ="safe").load(pointer.read_text(encoding="utf-8")).get("meta")
    return dict(meta or {})


def _yaml(value: Any) -> str:
    yaml, text = YAML(), io.StringIO()
    yaml.default_flow_style = False
    yaml.dump(value, text)
    return text.getvalue()


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=False,  # noqa: S701  Markdown: texts of rows and params pass `cell`
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
        keep_trailing_newline=True,
    )
    environment.filters |= {"number": number, "cell": cell, "plain": plain, "size": size, "sentence": sentence}
    return environment
