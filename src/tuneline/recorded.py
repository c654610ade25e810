"""What a version of the registry recorded (record.py), read back, each file held to the digest in its tags."""

import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from tuneline import git, record, registry, tracking
from tuneline.addresses import safe_url
from tuneline.comparable import FACTS, Facts, facts_of
from tuneline.digests import file_digest
from tuneline.errors import ParamsError, ServerAway, TrackingError
from tuneline.params import load_yaml, read_params
from tuneline.raw_places import Raw
from tuneline.registry import MlflowClient, ModelVersion, Reference

PRESENT, MISSING, CHANGED = "present", "missing", "changed"
OWN_COPIES = ("params.yaml", "dvc.yaml", "dvc.lock")  # of which the record holds the very file, as of data/raw/NAME.dvc
SECTIONS = ("data", "task", "model", "tokenize", "train", "evaluate", "register")


@dataclass(frozen=True)
class Recorded:
    """A version of the registry and the files beside its model."""

    client: MlflowClient
    version: ModelVersion
    scratch: Path

    def __str__(self) -> str:
        return f"models:/{self.version.name}/{self.version.version}"

    def tag(self, name: str) -> str | None:
        """A tag of the version, or None."""
        value = self.version.tags.get(name)
        return None if value is None else str(value)

    @property
    def commit(self) -> str | None:
        """The commit it was made at; None where git had no say."""
        told = (self.tag(record.COMMIT) or "none").removesuffix("-dirty")
        return None if told == "none" else told

    @property
    def changed_files(self) -> list[str]:
        """Files that differed from the commit when it was made, but for those that the version itself records."""
        listed: list[str] = json.loads(self.tag(record.CHANGED) or "[]")
        return [name for name in listed if name not in OWN_COPIES and not name.startswith("data/raw/")]

    def file(self, artifact: str) -> Path | None:
        """An artifact of its MLflow run as a file here, or None where that is gone. ServerAway while it cannot be
        told."""
        place = self.scratch / artifact
        if not place.is_file():
            place.parent.mkdir(parents=True, exist_ok=True)
            try:
                with tracking.answering():
                    self.client.download_artifacts(str(self.version.run_id), artifact, str(place.parent))
            except ServerAway:
                raise
            except Exception:  # MLflow and each artifact store have their own
                return None
        return place if place.is_file() else None

    def state(self, artifact: str) -> str:
        """Whether an artifact is there, with the bytes that were recorded."""
        file, digests = self.file(artifact), json.loads(self.tag(record.FILES) or "{}")
        if file is None:
            return MISSING
        return PRESENT if file_digest(file) == digests.get(artifact) else CHANGED

    def need(self, artifact: str) -> Path:
        """An artifact as it was recorded. TrackingError, with what that means, where it is not."""
        state = self.state(artifact)
        if state != PRESENT:
            raise TrackingError(
                f"{self}: {artifact} in MLflow run {self.version.run_id} is {state}. "
                + ("Versions made before tuneline recorded it have none. " if not self.tag(record.FILES) else "")
                + "Bring the run's artifacts back from a copy, or name another version."
            )
        return self.scratch / artifact

    def params(self) -> Any:
        """Its params.yaml as plain data, with the defaults of today where the file is silent. One that an earlier
        version wrote and this one cannot read comes as it stands."""
        path = self.need(record.PARAMS)
        try:
            return read_params(*SECTIONS, path=path).dump()
        except ParamsError:
            return load_yaml(path)

    def lock(self) -> Any:
        """The stages of its dvc.lock."""
        return YAML(typ="safe").load(self.need(record.LOCK))["stages"]

    def task(self) -> Facts:
        """Its task, with what was fitted, and its labels. TrackingError where its model folder is gone."""
        file = self.file(f"model/{FACTS}")
        if file is None:
            raise TrackingError(f"{self}: its model folder is gone. tuneline rebuild {self} may make it again.")
        return facts_of(file.parent)

    def evaluation(self) -> Any:
        """Its evaluation.json."""
        return json.loads(self.need(record.EVALUATION).read_text(encoding="utf-8"))


def holder(version: Recorded) -> str | None:
    """A repository that has its commit: this one as a path, or the address of an origin; None when nobody has it."""
    commit = str(version.commit)
    if git.holds(commit):
        return str(Path.cwd())
    return next((address for address in _origins(version) if git.origin_holds(commit, address)), None)


def not_held(version: Recorded) -> str:
    """That nobody has its commit, in a sentence."""
    known = ", ".join(dict.fromkeys(safe_url(address) for address in _origins(version))) or "there is none"
    return f"commit {version.commit} is neither in this repository nor at its origin ({known})."


def _origins(version: Recorded) -> list[str]:
    """Of this checkout, whose address may carry a login, then the one that was recorded."""
    return [address for address in (git.origin(), version.tag(record.ORIGIN)) if address and address != "none"]


def raw_of(version: Recorded, repository: Path = Path()) -> Raw:
    """Its raw data. TrackingError where its params are gone."""
    pointer = YAML(typ="safe").load(version.need(record.RAW)) if version.tag(record.RAW_MD5) else {}
    name, sha256 = version.params()["data"]["name"], version.tag(record.RAW_SHA256)
    return Raw(name, str(sha256), pointer, version.commit, repository)


def param_changes(then: Recorded, now: Recorded) -> dict[str, tuple[Any, Any]]:
    """The params that two versions do not share, by dotted name: (then, now)."""
    before, after = (tracking.flatten(version.params()) for version in (then, now))
    names = [*before, *(name for name in after if name not in before)]
    pairs = {name: (before.get(name), after.get(name)) for name in names}
    return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}


@contextmanager
def opened(text: str) -> Iterator[Recorded]:
    """The version that a text names, as models:/NAME@champion, NAME@3 or NAME. TrackingError where there is none."""
    client = tracking.connect()
    version = registry.referenced_version(client, Reference.parse(text))
    with tempfile.TemporaryDirectory() as scratch:
        yield Recorded(client, version, Path(scratch))
