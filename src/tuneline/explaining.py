"""`tuneline explain`: the path from a name in the registry to the bytes it was made from, each link looked at.

    models:/reviews@champion
    ├── version       reviews 2, model folder 5c1f0b…                       present
    ├── git commit    b41a…, in this repository                              present
    └── raw data      data/raw/reviews, md5 e159…, from data/sample/reviews  missing
                      → dvc push it from a checkout that has it

present, missing and changed are what a look found. "none" is said of what a version need not have (a Prefect run),
"not asked" of a server that the environment does not name.
"""

import json
import os
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import httpx
from mlflow.exceptions import MlflowException
from rich.console import Console
from rich.markup import escape
from rich.text import Text
from rich.tree import Tree

from tuneline import environment, raw_places, record, recorded, registry, tracking
from tuneline.addresses import safe_url
from tuneline.checkpoints import NO_WEIGHTS, REGISTRY, find_checkpoint
from tuneline.digests import digest, model_digest
from tuneline.errors import CheckpointError, ServerAway, TrackingError
from tuneline.gate import TAG
from tuneline.ledger import FAILED, Content, Entry, Ledger
from tuneline.recorded import CHANGED, MISSING, PRESENT, Recorded
from tuneline.registry import Reference

NONE, NOT_ASKED = "none", "not asked"
COLORS = {PRESENT: "green", MISSING: "red", CHANGED: "yellow"}
SHOWN = 6  # differences of an environment, or of params, in the tree; --json has them all
PREFECT_SECONDS = 10.0


@dataclass(frozen=True)
class Link:
    """One step from a name to its bytes."""

    name: str
    value: str
    state: str
    advice: str = ""  # what a state other than present means, and what to do
    details: list[str] = field(default_factory=list)

    @property
    def is_broken(self) -> bool:
        return self.state in (MISSING, CHANGED)


@dataclass(frozen=True)
class Wanted:
    """A checkpoint by its name; the digest is compared here, not demanded."""

    checkpoint: str
    revision: str | None
    sha256: None = None


def explain(text: str) -> tuple[str, list[Link]]:
    """The version's name, and every link. TrackingError when there is no such version."""
    reference = Reference.parse(text)
    with recorded.opened(text) as version:
        looks: list[Callable[[Recorded], Link]] = [
            _version, _decision, _metrics, _mlflow_run, _flow_run, _commit, _params, _stages, _tokenizer, _checkpoint,
            _raw, _environment,
        ]  # fmt: skip
        return str(version), [_alias(version, reference), *(_looked(look, version) for look in looks)]


@tracking.answering()
def show(console: Console, text: str, *, as_json: bool) -> int:
    """Print the links of a version. 2 when one of them is missing or changed, else 0."""
    name, links = explain(text)
    if as_json:
        console.print_json(data={"model": name, "links": [asdict(link) for link in links]})
    else:
        console.print(_tree(name, links))
    return 2 if any(link.is_broken for link in links) else 0


def _tree(name: str, links: list[Link]) -> Tree:
    tree, width = Tree(f"[bold]{escape(name)}[/]"), max(len(link.name) for link in links) + 2
    for link in links:
        line = Text.assemble(
            (link.name.ljust(width), "bold"), (link.state, COLORS.get(link.state, "dim")), "  ", link.value
        )
        branch = tree.add(line)
        for detail in link.details[:SHOWN]:
            branch.add(Text(detail, style="dim"))
        if len(link.details) > SHOWN:
            branch.add(Text(f"and {len(link.details) - SHOWN} more (--json has all)", style="dim"))
        if link.advice:
            branch.add(Text(f"→ {link.advice}", style=COLORS.get(link.state, "dim")))
    return tree


def _looked(look: Callable[[Recorded], Link], version: Recorded) -> Link:
    """What a look found. An artifact it needs that is not as it was recorded is what it found then."""
    try:
        with tracking.answering():
            return look(version)
    except ServerAway:
        raise
    except TrackingError as error:
        name = look.__name__.strip("_").replace("_", " ")
        return Link(NAMES.get(name, name), "its record cannot be read", MISSING, str(error))


NAMES = {"mlflow run": "MLflow run", "flow run": "Prefect flow run", "commit": "git commit", "raw": "raw data",
         "checkpoint": "base checkpoint", "stages": "stage hashes"}  # fmt: skip


# The registry


def _alias(version: Recorded, reference: Reference) -> Link:
    held = _aliases(version)
    if reference.version is None:
        return Link("alias", f"{reference.alias} → version {version.version.version}", PRESENT)
    return Link("alias", ", ".join(held) or "no alias points to it", PRESENT if held else NONE)


def _aliases(version: Recorded) -> list[str]:
    """Those that point to it now: what an alias led to does not tell them."""
    held: list[str] = version.client.get_model_version(version.version.name, version.version.version).aliases
    return held


def _version(version: Recorded) -> Link:
    """Its model folder, by the digest of the artifacts as they are now."""
    wanted = version.tag(registry.MODEL_DIGEST) or ""
    value = f"{version.version.name} {version.version.version}, model folder sha256 {wanted[:12]}"
    try:
        with tracking.answering():
            folder = registry.download(version.client, version.version, str(version.scratch / "model"))
    except ServerAway:
        raise
    except TrackingError as error:
        return Link("version", value, MISSING, str(error))
    if model_digest(folder) == wanted:
        return Link("version", value, PRESENT)
    advice = f"the files at {version.version.source} are not those that were registered. Bring them back from a copy, "
    return Link("version", value, CHANGED, f"{advice}or tuneline rebuild {version}")


def _decision(version: Recorded) -> Link:
    """What made it the champion, by the ledger, where it is that now; else what register decided, by its tags."""
    told = {name.removeprefix(TAG): value for name, value in sorted(version.version.tags.items())
            if name.startswith(TAG)}  # fmt: skip
    judged = f"{told['outcome']}: {told.get('reason', '')}" if "outcome" in told else None
    grounds = [f"{name} {value}" for name, value in told.items() if name not in ("outcome", "reason")]
    if registry.CHAMPION in _aliases(version):
        return _champion(version, judged, grounds)
    if judged is None:
        advice = "register was cut short after it made the version. Run dvc repro with this model in place"
        return Link("decision", "none is recorded", MISSING, advice)
    return Link("decision", judged, PRESENT, "", grounds)


def _champion(version: Recorded, judged: str | None, grounds: list[str]) -> Link:
    name, number = version.version.name, int(version.version.version)
    details = [f"register decided {judged or 'nothing: it was cut short'}", *grounds]
    made = made_champion(Ledger(version.client, name).read(), number)
    if made is None:
        advice = "the alias was moved by other means than tuneline's. The next promotion or rollback records it"
        return Link("decision", "champion, by no entry of the ledger", MISSING, advice, details)
    value = f"{made.action} by {made.who}, {made.when[:19]}: {made.reason}"
    same = judged == f"{made.action}: {made.reason}"
    return Link("decision", value, PRESENT, "", grounds if same else details)


def made_champion(entries: Sequence[Entry], version: int) -> Content | None:
    """What the ledger says of how a version became the champion that it is now. None where it ends with another."""
    told = [entry.content for entry in entries if entry.status != FAILED]
    if not told or told[-1].champion_after != version:
        return None
    return next((each for each in reversed(told) if each.champion_before != version), None)


def _metrics(version: Recorded) -> Link:
    tags = version.version.tags
    scores = {name.removeprefix(registry.SCORE): json.loads(value) for name, value in tags.items()
              if name.startswith(registry.SCORE)}  # fmt: skip
    evaluation = version.evaluation()
    intervals = evaluation.get("intervals", {})
    details = [_with_interval(name, value, intervals.get(name)) for name, value in evaluation["metrics"].items()]
    value = f"{len(scores)} on {evaluation['test_rows']:,} test rows (sha256 {evaluation['test_sha256'][:12]})"
    if scores == evaluation["metrics"]:
        return Link("metrics", value, PRESENT, "", details)
    return Link("metrics", value, CHANGED, "the version's tags and its evaluation.json have other numbers", details)


def _with_interval(name: str, value: float, interval: Any) -> str:
    return f"{name} {value:.4f}" + (f" [{interval[0]:.4f}, {interval[1]:.4f}]" if interval else "")


def _mlflow_run(version: Recorded) -> Link:
    run_id = str(version.version.run_id)
    try:
        run = version.client.get_run(run_id)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        return Link("MLflow run", run_id, MISSING, f"{error.message} Bring the tracking database back from a copy")
    if run.info.lifecycle_stage != "active":
        return Link("MLflow run", run_id, MISSING, f"it was deleted: mlflow runs restore --run-id {run_id}")
    files = json.loads(version.tag(record.FILES) or "{}")
    states = {artifact: version.state(artifact) for artifact in files}
    bad = [f"{artifact}: {state}" for artifact, state in states.items() if state != PRESENT]
    value = f"{run.info.run_name} ({run_id}), {len(states) - len(bad)} of {len(files)} files of the record"
    if not files:
        return Link("MLflow run", value, MISSING, "the version was made before tuneline recorded its lineage")
    if bad:
        state = CHANGED if CHANGED in states.values() else MISSING
        return Link("MLflow run", value, state, "bring these artifacts back from a copy of the artifact store", bad)
    return Link("MLflow run", value, PRESENT)


def _flow_run(version: Recorded) -> Link:
    run_id, server = version.tag(record.FLOW_RUN), os.environ.get("PREFECT_API_URL")
    if run_id is None:
        return Link("Prefect flow run", "made by dvc repro, not by a flow", NONE)
    if not server:
        return Link("Prefect flow run", run_id, NOT_ASKED, "set PREFECT_API_URL to look it up")
    try:
        answer = httpx.get(f"{server}/flow_runs/{run_id}", auth=_prefect_login(), timeout=PREFECT_SECONDS)
    except httpx.HTTPError as error:
        return Link("Prefect flow run", run_id, NOT_ASKED, f"{safe_url(server)} does not answer: {error}")
    if answer.status_code == httpx.codes.OK:
        found = answer.json()
        return Link("Prefect flow run", f"{found['name']} ({run_id}), {found['state_name']}", PRESENT)
    if answer.status_code in (httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN):
        advice = (
            f"{safe_url(server)} asks for a login: set PREFECT_API_AUTH_STRING=USER:PASSWORD, as for Prefect itself"
        )
        return Link("Prefect flow run", run_id, NOT_ASKED, advice)
    advice = f"{safe_url(server)} says {answer.status_code}: it was deleted, or it is on another server"
    return Link("Prefect flow run", run_id, MISSING, advice)


def _prefect_login() -> tuple[str, str] | None:
    """User and password, as Prefect itself reads them from the environment. None leaves those of the URL, if any."""
    user, colon, password = os.environ.get("PREFECT_API_AUTH_STRING", "").partition(":")
    return (user, password) if colon else None


# What it was made from


def _commit(version: Recorded) -> Link:
    commit, name = version.commit, "git commit"
    if commit is None:
        return Link(name, "none", MISSING, "the version was made outside git: its code cannot be told")
    holder = recorded.holder(version)
    if holder is None:
        return Link(name, commit, MISSING, f"{recorded.not_held(version)} Push it there from a clone that has it")
    place = "in this repository" if holder == str(Path.cwd()) else f"at {safe_url(holder)}"
    own = sorted(set(json.loads(version.tag(record.CHANGED) or "[]")) - set(version.changed_files))
    details = [f"differed and is recorded: {file}" for file in own]
    if version.changed_files:
        details += [f"differed from it: {file}" for file in version.changed_files]
        advice = "the commit is not the whole truth: these files are in no commit. Commit before you train"
        return Link(name, f"{commit}, {place}", CHANGED, advice, details)
    return Link(name, f"{commit}, {place}", PRESENT, "", details)


def _params(version: Recorded) -> Link:
    params = version.params()
    value = f"params.yaml, digest {digest(params)[:12]}"
    if digest(params) != version.tag(record.PARAMS_DIGEST):
        value += " (read with other defaults than then)"
    number = version.tag(f"{TAG}champion_version")
    if number in (None, "None", str(version.version.version)):
        return Link("params", value, PRESENT, "", ["no champion came before it"])
    try:
        with recorded.opened(f"models:/{version.version.name}/{number}") as champion:
            changes = recorded.param_changes(champion, version)
    except ServerAway:
        raise
    except TrackingError:
        gone = f"those of the champion of then, version {number}, are gone or were not recorded"
        return Link("params", value, PRESENT, "", [gone])
    details = [f"{name}: {then} → {now}" for name, (then, now) in changes.items()]
    return Link("params", value, PRESENT, "", [f"against the champion of then, version {number}:", *details] if details
                else [f"the same as of the champion of then, version {number}"])  # fmt: skip


def _stages(version: Recorded) -> Link:
    lock = {"stages": version.lock()}
    hashes = {stage: record.stage_digest(lock, stage) for stage in record.STAGES}
    details = [f"{stage} {found[:12]}" for stage, found in hashes.items()]
    other = [stage for stage, found in hashes.items() if found != version.tag(f"{record.STAGE}{stage}")]
    value = "deps, params and outs of every stage, in dvc.lock"
    if other:
        return Link("stage hashes", value, CHANGED, f"dvc.lock says other of {', '.join(other)} than the tags", details)
    return Link("stage hashes", value, PRESENT, "", details)


def _tokenizer(version: Recorded) -> Link:
    wanted, folder = version.tag(record.TOKENIZER), version.scratch / "model"
    value = f"sha256 {(wanted or 'none')[:12]}"
    folders = [path.parent for path in folder.rglob("tokenizer.json")] if folder.is_dir() else []
    if wanted is None or not folders:
        return Link("tokenizer", value, MISSING, "it is a part of the model folder: see version")
    if record.tokenizer_digest(folders[0]) == wanted:
        return Link("tokenizer", value, PRESENT)
    return Link("tokenizer", value, CHANGED, "its files in the model folder are others than those of tokenize")


def _checkpoint(version: Recorded) -> Link:
    name, sha256 = version.tag(record.CHECKPOINT), version.tag(record.CHECKPOINT_SHA256) or "none"
    value = f"{name}, sha256 {sha256[:12]}"
    if sha256 == NO_WEIGHTS:
        return Link("base checkpoint", f"{name}: no weights", PRESENT)
    if name is None:
        return Link("base checkpoint", value, MISSING, "the version was made before tuneline recorded its name")
    revision = None if name.startswith(REGISTRY) else version.params()["model"].get("revision")
    try:
        found = find_checkpoint(Wanted(name, revision))
    except CheckpointError as error:
        return Link("base checkpoint", value, MISSING, str(error))
    if found.sha256 == sha256:
        return Link("base checkpoint", f"{value} ({found.origin})", PRESENT)
    advice = f"the {found.origin} has other weights under this name: sha256 {found.sha256}. Bring back those of then"
    return Link("base checkpoint", value, CHANGED, advice)


def _raw(version: Recorded) -> Link:
    raw = recorded.raw_of(version)
    source = version.tag(record.RAW_SOURCE) or "no .dvc file"
    revision = version.tag(record.RAW_REVISION)
    value = f"data/raw/{raw.name}, sha256 {raw.sha256[:12]}, from {source}"
    value += f", revision {revision[:12]}" if revision and revision != "none" else ""
    with tempfile.TemporaryDirectory() as scratch:
        found = raw_places.find(raw, Path(scratch), fetch=False)
    if found.place:
        return Link("raw data", f"{value} (in {found.place})", PRESENT)
    return Link("raw data", value, CHANGED if found.others else MISSING, raw_places.missing(raw, found))


def _environment(version: Recorded) -> Link:
    then = environment.read(version.need(record.ENVIRONMENT).read_text(encoding="utf-8"))
    changes = environment.differences(then, environment.this())
    value = f"{len(then.packages)} distributions, {then.facts.get('Python')}, {then.facts.get('CPU')}"
    if not changes:
        return Link("environment", value, PRESENT)
    advice = "a model built here may have other bytes. Install what lineage/environment.txt of its run lists"
    return Link("environment", value, CHANGED, advice, changes)
