"""`tuneline rebuild`: a registered version, built again from its commit and its data, and held to what was recorded.

    clone at the commit → recorded params.yaml, dvc.yaml, .dvc → raw data by its hash → four stages without any cache

The verdict, best first: identical bytes, identical predictions, metrics within the recorded intervals, not reproduced.
The registry and its runs are only read.
"""

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from ruamel.yaml import YAML

from tuneline import clones, environment, host, layout, predictions, raw_places, record, recorded, registry, tracking
from tuneline.addresses import safe_url
from tuneline.checkpoints import REGISTRY
from tuneline.digests import file_digest, model_digest, tree_digest
from tuneline.errors import DataError, TrackingError
from tuneline.recorded import Recorded
from tuneline.tasks.base import Prediction

BYTES, PREDICTIONS, METRICS, NOT = (
    "identical bytes", "identical predictions", "metrics within the recorded intervals", "not reproduced",
)  # fmt: skip
Say = Callable[[str], None]


@dataclass(frozen=True)
class StageChange:
    """What of a stage came out otherwise than dvc.lock recorded it."""

    stage: str
    deps: list[str]  # those that no earlier stage writes: code, data, a checkpoint
    outs: list[str]


@dataclass(frozen=True)
class Verdict:
    """What a rebuild came to."""

    model: str
    commit: str
    verdict: str
    why: list[str]  # for anything less than identical bytes: where it first differed, and what may have caused it
    stages: list[StageChange]  # that differ
    metrics: dict[str, dict[str, Any]]  # name → recorded, rebuilt, interval
    environment: list[str]  # differences
    notes: list[str] = field(default_factory=list)
    workspace: str | None = None

    @property
    def reproduced(self) -> bool:
        return self.verdict != NOT


@tracking.answering()
def show(console: Console, text: str, *, keep: bool, as_json: bool) -> int:
    """Rebuild a version and print the verdict. 0 when it was reproduced, else 2. What is under way goes to stderr."""
    progress = Console(stderr=True)
    verdict = rebuild(text, keep=keep, say=lambda line: progress.print(line, highlight=False, markup=False))
    if as_json:
        console.print_json(data=asdict(verdict) | {"reproduced": verdict.reproduced})
    else:
        print_verdict(console, verdict)
    return 0 if verdict.reproduced else 2


def rebuild(text: str, *, keep: bool = False, say: Say = print) -> Verdict:
    """Build a version again. TrackingError when its record is not whole, DataError when no place has its data,
    WorkspaceError when nobody has its commit."""
    with recorded.opened(text) as version:
        commit = version.commit
        if commit is None:
            raise TrackingError(f"{version}: was made outside git, so there is no commit to build it from.")
        source = recorded.holder(version)
        if source is None:
            raise clones.WorkspaceError(
                f"{version}: {recorded.not_held(version)} Push it there from a clone that has it, or run this command "
                "in such a clone."
            )
        name = f"rebuild-{version.version.name}-{version.version.version}"
        with clones.reserved(name) as folder:
            try:
                say(f"clone        {safe_url(source)} at {commit[:12]}")
                clones.clone(folder, source, commit)
                notes = _prepare(version, folder, say)
                differing = _compare_environment(version, say)
                failed = _run_stages(version, folder, say)
                verdict = judge(version, folder, failed, differing, notes)
            except BaseException:
                if not keep:
                    host.remove(folder)
                raise
            if keep:
                return Verdict(**{**vars(verdict), "workspace": str(folder)})
            host.remove(folder)
            return verdict


# Before


def _prepare(version: Recorded, folder: Path, say: Say) -> list[str]:
    """Put in place what the version recorded; what a person should know of it."""
    notes = []
    raw = recorded.raw_of(version, folder)
    for artifact, target in ((record.PARAMS, layout.PARAMS), (record.PIPELINE, layout.PIPELINE)):
        shutil.copyfile(version.need(artifact), folder / target)
    (folder / layout.LOCK).unlink(missing_ok=True)  # all stages run, whatever the commit says they came to
    if raw.pointer:
        (folder / layout.RAW).mkdir(parents=True, exist_ok=True)
        shutil.copyfile(version.need(record.RAW), folder / layout.RAW / f"{raw.name}.dvc")
    if version.changed_files:
        notes.append(
            f"The commit is not the whole truth: {', '.join(version.changed_files)} differed from it when the version "
            "was made. It is tried all the same."
        )
    target = folder / layout.RAW / raw.name
    if not (target.is_dir() and tree_digest(target) == raw.sha256):  # where git itself has it, it is there already
        host.remove(target)
        say(f"raw data     from {raw_places.put(raw, target)}")
    link_ignored(version.params(), folder)
    return notes


def link_ignored(params: Mapping[str, Any], folder: Path) -> None:
    """The base checkpoint and the texts that params name by a path in this checkout are not in the clone where git
    ignores them: link them there. DataError where a text is neither here nor there as params pin it."""
    checkpoint = Path(str(params["model"].get("checkpoint") or ""))
    if checkpoint.is_dir() and not (folder / checkpoint).exists():
        _link(checkpoint, folder)
    texts = pinned_texts(params)
    for path in [path for path, sha256 in texts.items() if not _has(folder / path, sha256)]:
        if not _has(path, texts[path]):
            raise DataError(
                f"{path}: params pin it with sha256 {texts[path]}, and neither the commit nor this checkout has such a "
                "file. Bring it back here, then run the same command again."
            )
        _link(path, folder)


def pinned_texts(params: Mapping[str, Any]) -> dict[Path, str]:
    """The text files that params name, each with the sha256 beside it: {"text": "general.txt", "sha256": "..."}."""
    flat = tracking.flatten(params)
    pins = {name: flat.get(f"{name.removesuffix('text')}sha256") for name in flat if name.endswith(".text")}
    return {Path(flat[name]): sha256 for name, sha256 in pins.items() if sha256}


def _has(path: Path, sha256: str) -> bool:
    return path.is_file() and file_digest(path) == sha256


def _link(path: Path, folder: Path) -> None:
    """What an absolute path names is the same in the clone."""
    if path.is_absolute():
        return
    (folder / path).parent.mkdir(parents=True, exist_ok=True)
    (folder / path).unlink(missing_ok=True)
    (folder / path).symlink_to(path.absolute())


def _compare_environment(version: Recorded, say: Say) -> list[str]:
    then = environment.read(version.need(record.ENVIRONMENT).read_text(encoding="utf-8"))
    differing = environment.differences(then, environment.this())
    say("environment  " + (f"differs: {'; '.join(differing)}" if differing else "as it was recorded"))
    return differing


# The stages


def _run_stages(version: Recorded, folder: Path, say: Say) -> str | None:
    """Run them all from the start, without any cache; what the one said that failed, or None."""
    env = clones.variables(folder) | tracking_of(version.params(), folder)
    for stage in record.STAGES:
        say(f"{stage} ...")
        try:
            clones.run(
                "dvc", "repro", "--quiet", "--force", "--single-item", "--no-run-cache", "--no-commit", stage,
                folder=folder, env=env,
            )  # fmt: skip
        except clones.WorkspaceError as error:
            return f"{stage} failed: {error}"
    return None


def tracking_of(params: Mapping[str, Any], folder: Path) -> dict[str, str]:
    """A tracking database of the clone; the registry, where the base is one of its models. Neither is written to."""
    checkpoint = str(params["model"].get("checkpoint") or "")
    own = f"sqlite:///{folder / layout.STATE / layout.STORE}"
    uri = tracking.tracking_uri() if checkpoint.startswith(REGISTRY) else own
    return {"MLFLOW_TRACKING_URI": uri, tracking.READ_ONLY: "yes"}


def stages_of(folder: Path) -> dict[str, Any]:
    """The stages in the dvc.lock of a workspace."""
    lock = folder / layout.LOCK
    stages: dict[str, Any] = YAML(typ="safe").load(lock)["stages"] if lock.is_file() else {}
    return stages


def stage_changes(then: Mapping[str, Any], now: Mapping[str, Any]) -> list[StageChange]:
    """The stages, in order, whose outs or own deps have other hashes than were recorded."""
    made = {out["path"] for stage in record.STAGES for out in then[stage]["outs"]}
    changes = []
    for stage in record.STAGES:
        deps, outs = (_other(then[stage].get(part, []), now.get(stage, {}).get(part, [])) for part in ("deps", "outs"))
        own = [path for path in deps if path not in made]
        if own or outs:
            changes.append(StageChange(stage, own, outs))
    return changes


def _other(then: list[dict[str, Any]], now: list[dict[str, Any]]) -> list[str]:
    before, after = ({each["path"]: each.get("md5") for each in entries} for entries in (then, now))
    return sorted(path for path in before.keys() | after.keys() if before.get(path) != after.get(path))


# The verdict


def judge(version: Recorded, folder: Path, failed: str | None, differing: list[str], notes: list[str]) -> Verdict:
    """What the workspace holds, against what was recorded. failed: what a stage said that ended with an error."""
    commit, changes = str(version.commit), stage_changes(version.lock(), stages_of(folder))
    if failed:
        return Verdict(str(version), commit, NOT, [failed, *causes(changes, differing)], changes, {}, differing, notes)
    evaluation = version.evaluation()
    rebuilt = json.loads((folder / layout.EVALUATION).read_text(encoding="utf-8"))["metrics"]
    metrics = {
        name: {"recorded": value, "rebuilt": rebuilt.get(name), "interval": evaluation.get("intervals", {}).get(name)}
        for name, value in evaluation["metrics"].items()
    }
    task, _ = version.task()
    same_model = model_digest(folder / layout.MODEL) == version.tag(registry.MODEL_DIGEST)
    if same_model and not any(change.outs for change in changes):
        found, why = BYTES, []
    elif same_answers(
        predictions.read(version.need(record.PREDICTIONS), task), predictions.read(folder / layout.PREDICTIONS, task)
    ):
        found, why = PREDICTIONS, causes(changes, differing)
    elif within(metrics):
        found, why = METRICS, causes(changes, differing)
    else:
        found, why = NOT, [*_outside(metrics), *causes(changes, differing)]
    return Verdict(str(version), commit, found, why, changes, metrics, differing, notes)


def same_answers(then: Sequence[Prediction], now: Sequence[Prediction]) -> bool:
    """Whether two lists of predictions answer alike, row by row: in words, tags and labels. Where a task predicts
    nothing but numbers, these are compared."""
    parts = list(then[0]) if then else []
    words = [part for part in parts if not any(_has_floats(prediction[part]) for prediction in then)]
    compared = words or parts
    return [[each.get(part) for part in compared] for each in then] == [
        [each.get(part) for part in compared] for each in now
    ]


def _has_floats(value: Any) -> bool:
    if isinstance(value, dict | list):
        return any(map(_has_floats, value.values() if isinstance(value, dict) else value))
    return isinstance(value, float)


def within(metrics: Mapping[str, Mapping[str, Any]]) -> bool:
    """Whether every metric that has an interval came out within it, and there is one at all."""
    judged = [each for each in metrics.values() if each["interval"]]
    return bool(judged) and not _outside(metrics)


def _outside(metrics: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """The metrics that came out beyond what was recorded, a sentence each."""
    sentences = []
    for name, each in metrics.items():
        if not each["interval"]:
            continue
        low, high = each["interval"]
        if each["rebuilt"] is None or not low <= each["rebuilt"] <= high:
            shown = "is not defined" if each["rebuilt"] is None else f"{each['rebuilt']:.4f}"
            sentences.append(f"{name} {shown}, recorded {each['recorded']:.4f} [{low:.4f}, {high:.4f}]")
    return sentences


def causes(changes: list[StageChange], differing: list[str]) -> list[str]:
    """Which stage first differed, and why it may."""
    if not changes:
        return []
    first = next((change for change in changes if change.outs), changes[0])
    sentences = [f"{first.stage} first differed: {', '.join(first.outs) or 'its inputs'}"]
    inputs = sorted({path for change in changes[: changes.index(first) + 1] for path in change.deps})
    if inputs:
        sentences.append(f"its inputs are not those of then: {', '.join(inputs)}")
    if differing:
        sentences.append(f"the environment is not that of then: {'; '.join(differing)}")
    if not inputs and not differing:
        sentences.append(
            "inputs and environment are those of then: an operation without a deterministic form (a GPU), or other "
            "circumstances that are not recorded"
        )
    return sentences


def print_verdict(console: Console, verdict: Verdict) -> None:
    """The verdict, what may have caused anything less than identical bytes, and the metrics side by side."""
    color = {BYTES: "green", PREDICTIONS: "green", METRICS: "yellow", NOT: "red"}[verdict.verdict]
    for note in verdict.notes:
        console.print(f"[yellow]note[/]  {escape(note)}", highlight=False)
    console.print(
        f"[bold]{escape(verdict.model)}[/] at {verdict.commit[:12]}: [bold {color}]{verdict.verdict}[/]",
        highlight=False,
    )
    for sentence in verdict.why:
        console.print(f"  {sentence}", markup=False, highlight=False)
    for name, each in verdict.metrics.items():
        rebuilt = "not defined" if each["rebuilt"] is None else f"{each['rebuilt']:.4f}"
        interval = " [{:.4f}, {:.4f}]".format(*each["interval"]) if each["interval"] else ""
        console.print(f"  {name:<16} {each['recorded']:.4f}{interval} → {rebuilt}", markup=False, highlight=False)
    if verdict.workspace:
        console.print(f"The workspace is kept: {verdict.workspace}", markup=False, highlight=False, soft_wrap=True)
