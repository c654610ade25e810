"""What a version of the registry records, so that it can be explained, compared and built again.

    lineage/params.yaml  dvc.yaml  raw.dvc               the very files
    lineage/dvc.lock                                     the part of it about the stages that make a version
    lineage/environment.txt                              libraries and processor
    lineage/rows.parquet                                 every kept row, by the digest of its texts
    evaluation.json  predictions.parquet                 scores with intervals, and what was predicted

These are artifacts of the version's MLflow run; their digests and the rest are tags of the version.
"""

import hashlib
import json
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from tuneline import environment, git, layout
from tuneline.addresses import safe_url
from tuneline.checkpoints import TOKENIZER_FILES
from tuneline.digests import digest, file_digest
from tuneline.errors import TrackingError
from tuneline.intact import dvc_hash
from tuneline.layout import SPLITS, split_file
from tuneline.params import Sections
from tuneline.parquet import read_batches, schema_of, write_rows
from tuneline.registry import MlflowClient, ModelVersion
from tuneline.tasks.base import Row, Task

STAGES = ("validate", "tokenize", "fine-tune", "evaluate")  # what makes a version; register only looks at them
LINEAGE = "lineage"
PARAMS, PIPELINE, LOCK, RAW, ENVIRONMENT, ROWS = (
    f"{LINEAGE}/{name}"
    for name in ("params.yaml", "dvc.yaml", "dvc.lock", "raw.dvc", "environment.txt", "rows.parquet")
)
EVALUATION, PREDICTIONS = layout.EVALUATION.name, layout.PREDICTIONS.name

FILES = "tuneline.record"  # JSON: artifact → sha256
COMMIT, ORIGIN, CHANGED = "tuneline.git_commit", "tuneline.git_origin", "tuneline.git_changed"
STAGE = "tuneline.stage."  # of each stage, a digest over its deps, params and outs in dvc.lock
ENVIRONMENT_DIGEST = "tuneline.environment_digest"
RAW_SHA256, RAW_MD5, RAW_SOURCE, RAW_REVISION = (
    f"tuneline.{name}" for name in ("data_sha256", "raw_md5", "raw_source", "raw_revision")
)
TOKENIZER, CHECKPOINT, CHECKPOINT_SHA256 = (
    f"tuneline.{name}" for name in ("tokenizer_sha256", "checkpoint", "checkpoint_sha256")
)
FLOW_RUN = "tuneline.flow_run"
PARAMS_DIGEST = "tuneline.params_digest"
TAG_LENGTH = 4_500  # characters; MLflow holds 5,000

ROW_TYPES = {"split": "string", "row": "int64", "id": "string", "inputs": "binary", "gold": "string"}


def log(client: MlflowClient, run_id: str, params: Sections, training: Mapping[str, Any]) -> dict[str, str]:
    """Put the record into the run of a version that is about to be made; the tags that the version gets.

    Raises TrackingError where dvc.lock does not name what is about to be registered.
    """
    lock = _lock()
    pointer = layout.RAW / f"{params.data.name}.dvc"
    with layout.storage_errors(), tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / LINEAGE
        folder.mkdir()
        for artifact, source in (
            (PARAMS, layout.PARAMS),
            (PIPELINE, layout.PIPELINE),
            (RAW, pointer),
        ):
            if source.is_file():  # raw data may lie in git itself, and then has no .dvc file
                shutil.copyfile(source, Path(scratch) / artifact)
        YAML().dump(_about_its_making(lock), Path(scratch) / LOCK)
        surroundings = str(environment.this())
        (Path(scratch) / ENVIRONMENT).write_text(surroundings, encoding="utf-8")
        write_rows(Path(scratch) / ROWS, _rows(params.task), schema_of(ROW_TYPES))
        files = {f"{LINEAGE}/{file.name}": file for file in sorted(folder.iterdir())}
        files |= {EVALUATION: layout.EVALUATION, PREDICTIONS: layout.PREDICTIONS}
        client.log_artifacts(run_id, str(folder), LINEAGE)
        client.log_artifact(run_id, str(layout.EVALUATION))
        client.log_artifact(run_id, str(layout.PREDICTIONS))
        digests = {artifact: file_digest(file) for artifact, file in files.items()}
    return {
        FILES: json.dumps(digests),
        ORIGIN: safe_url(git.origin() or "none"),
        CHANGED: _listed(git.changed_files()),
        **{f"{STAGE}{stage}": stage_digest(lock, stage) for stage in STAGES},
        ENVIRONMENT_DIGEST: digest(surroundings),
        **raw_tags(pointer),
        TOKENIZER: tokenizer_digest(layout.VOCABULARY),
        CHECKPOINT: str(training["checkpoint"]),
    }


def _about_its_making(lock: Mapping[str, Any]) -> dict[str, Any]:
    """dvc.lock without register, of which it holds an earlier run, if any."""
    return {**lock, "stages": {stage: lock["stages"][stage] for stage in STAGES}}


def holds(version: ModelVersion, evaluation: Path) -> bool:
    """Whether a version recorded this very evaluation."""
    recorded: dict[str, str] = json.loads(version.tags.get(FILES, "{}"))
    return recorded.get(EVALUATION) == file_digest(evaluation)


def stage_digest(lock: Mapping[str, Any], stage: str) -> str:
    """sha256 over what dvc.lock holds of a stage's deps, params and outs."""
    entry = lock["stages"][stage]
    return digest({part: entry.get(part) for part in ("deps", "params", "outs")})


def tokenizer_digest(folder: Path) -> str:
    """sha256 over the tokenizer's files, in the vocabulary folder or in a model folder, which has copies of them."""
    files = [folder / name for name in TOKENIZER_FILES]
    return digest([(file.name, file_digest(file)) for file in files if file.is_file()])


def raw_tags(pointer: Path) -> dict[str, str]:
    """Hash and origin of raw data, as its .dvc file tells them; nothing where there is none."""
    if not pointer.is_file():
        return {}
    content = YAML(typ="safe").load(pointer)
    told = content.get("meta") or {}
    source = told.get("source") or next((dep["path"] for dep in content.get("deps") or []), "none")
    return {
        RAW_MD5: str(content["outs"][0]["md5"]),
        RAW_SOURCE: safe_url(str(source)),
        RAW_REVISION: str(told.get("revision") or "none"),
    }


def inputs_key(row: Row, task: Task) -> bytes:
    """16 bytes that all rows with these texts share, whatever their gold."""
    texts = [row.get(name) for name, column in task.columns.items() if not column.is_gold]
    return hashlib.blake2b(json.dumps(texts, ensure_ascii=False).encode(), digest_size=16).digest()


def _rows(task: Task) -> Iterator[dict[str, Any]]:
    """Every kept row of every split: where it is, what it says by its digest, and its gold."""
    for split in SPLITS:
        for batch in read_batches(split_file(layout.VALIDATED, split)):
            for row in batch:
                gold = json.dumps({name: row.get(name) for name in task.gold}, ensure_ascii=False)
                yield {
                    "split": split,
                    "row": row["row"],
                    "id": row["id"],
                    "inputs": inputs_key(row, task),
                    "gold": gold,
                }


def _lock() -> dict[str, Any]:
    """dvc.lock, when it names the evaluation that is here."""
    remedy = "Stages ran outside DVC, so nothing says what this model was made from. Run dvc repro."
    if not layout.LOCK.is_file():
        raise TrackingError(f"{layout.LOCK}: is missing. {remedy}")
    lock: dict[str, Any] = YAML(typ="safe").load(layout.LOCK)
    missing = [stage for stage in STAGES if stage not in lock.get("stages", {})]
    if missing:
        raise TrackingError(f"{layout.LOCK}: has no stage {missing[0]}. {remedy}")
    outs = {out["path"]: out.get("md5") for out in lock["stages"]["evaluate"]["outs"]}
    found = dvc_hash(layout.EVALUATION)
    if outs.get(layout.EVALUATION.as_posix()) != found:
        raise TrackingError(f"{layout.LOCK}: names another {layout.EVALUATION} than the one that is here. {remedy}")
    return lock


def _listed(files: Iterable[str]) -> str:
    """JSON of as many names as a tag holds, and of how many more there are."""
    names = list(files)
    shown: list[str] = []
    length = 0
    for name in names:
        length += len(json.dumps(name)) + 2
        if length > TAG_LENGTH:
            shown.append(f"and {len(names) - len(shown)} more")
            break
        shown.append(name)
    return json.dumps(shown)
