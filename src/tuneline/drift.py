"""`tuneline drift`: new text beside the rows that a registered model is known by. Is it other text than these?

looked at        reference    new          effect  p (Holm)
length in words  median 14    median 21      0.31   < 0.001  drift
unknown words    3.1%         28.4%          0.25   < 0.001  drift
confidence       median 0.98  median 0.97    0.06     0.411
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tuneline import devices, parts, registry, tracking
from tuneline.drift_checks import FEWEST_ROWS, Check, NewWord, checked, new_words
from tuneline.errors import DataError, TrackingError
from tuneline.inference import Predictor
from tuneline.inputs import InputFile, Texts, has_text, texts_of
from tuneline.metrics.resampling import intervals
from tuneline.metrics.two_samples import smallest_visible
from tuneline.observations import HELD_OUT, TRAINED_ON, Observation, observe, sample
from tuneline.parquet import read_rows
from tuneline.registry import REFERENCE_ROWS, ModelVersion, Reference
from tuneline.rescoring import kept_file, load_version, score_rows
from tuneline.tasks.base import Row, Task

DRIFT, NO_DRIFT, TOO_FEW = "drift", "no drift", "too few rows to say"
CONFIDENCE, SMALLEST_EFFECT = 0.99, 0.1
RESAMPLES = 2_000  # of labelled rows, for the interval of their score


@dataclass(frozen=True)
class Measured:
    """A metric on the new rows, and as it was recorded of the version."""

    value: float
    interval: tuple[float, float] | None  # at the confidence of the comparison
    recorded: float | None


@dataclass(frozen=True)
class Labelled:
    """The score on new rows with gold."""

    rows: int
    left_out: int  # rows whose gold the model cannot give
    why: str | None  # of one of these
    metrics: dict[str, Measured]


@dataclass(frozen=True)
class Report:
    """What came of a comparison."""

    verdict: str
    model: str
    version: int
    data: str
    rows: int  # looked at, of those with text
    reference_rows: int
    confidence: float
    smallest_effect: float
    smallest_visible: float | None  # Kolmogorov-Smirnov distance from which on so many rows differ by more than chance
    checks: list[Check]
    new_words: list[NewWord]
    score: Labelled | None

    @property
    def sentence(self) -> str:
        """`reviews version 3, march.csv: drift (unknown words 0.25, length in words 0.31)`"""
        named = ", ".join(f"{check.of} {check.effect:.2f}" for check in self.worst)
        return f"{self.model} version {self.version}, {self.data}: {self.verdict}{f' ({named})' if named else ''}"

    @property
    def worst(self) -> list[Check]:
        """The checks that found drift, the largest effect first."""
        return sorted((check for check in self.checks if check.drifted), key=lambda check: -abs(check.effect))

    def event(self) -> dict[str, Any]:
        """What the event of a drift carries."""
        worst = [{"of": check.of, "effect": check.effect, "p_value": check.adjusted_p} for check in self.worst]
        return {"model": self.model, "version": self.version, "data": self.data, "worst": worst}


@dataclass(frozen=True)
class _New:
    """Rows to compare: what is seen of them, by which version, and their score where they have gold."""

    version: ModelVersion
    reference: list[Observation]
    seen: list[Observation]
    score: Labelled | None = None


@tracking.answering()
def compare(
    model: str, data: Path, *, columns: Mapping[str, str], encoding: str = "utf-8", delimiter: str | None = None,
    confidence: float = CONFIDENCE, smallest_effect: float = SMALLEST_EFFECT,
) -> Report:  # fmt: skip
    """Compare a file, or a folder of `tuneline score`, with what a version is known by.

    model: models:/NAME@ALIAS, models:/NAME/VERSION or NAME. columns: ours to theirs, where names differ. Raises
    DataError about the data, TrackingError about the model.
    """
    named = Reference.parse(model)
    if data.is_dir():
        found = _scored_before(named, data)
    else:
        found = _predicted_now(named, InputFile.at(data, encoding, delimiter), columns, confidence)
    held_out = [row for row in found.reference if row["split"] == HELD_OUT]
    trained_on = [row for row in found.reference if row["split"] == TRAINED_ON]
    enough = min(len(found.seen), len(held_out)) >= FEWEST_ROWS
    known = frozenset(word for row in trained_on for word in row["vocabulary"])
    checks = []
    if enough:
        checks = checked(held_out, found.seen, known, confidence=confidence, smallest_effect=smallest_effect)
    drifted = any(check.drifted for check in checks)
    level = (1 - confidence) / max(len(checks), 1)
    return Report(
        verdict=(DRIFT if drifted else NO_DRIFT) if enough else TOO_FEW,
        model=found.version.name,
        version=int(found.version.version),
        data=data.as_posix(),
        rows=len(found.seen),
        reference_rows=len(held_out),
        confidence=confidence,
        smallest_effect=smallest_effect,
        smallest_visible=smallest_visible(len(held_out), len(found.seen), level) if enough else None,
        checks=checks,
        new_words=new_words(found.reference, found.seen, confidence=confidence),
        score=found.score,
    )


# The two sides


def _predicted_now(named: Reference, file: InputFile, columns: Mapping[str, str], confidence: float) -> _New:
    """A sample of the rows of a file, predicted by the version that is meant."""
    client = tracking.connect()
    version = registry.referenced_version(client, named)
    reference = _reference(client, version)
    devices.lease("drift", "auto")
    predictor = load_version(version)
    rows = _sampled(file, predictor.task, columns)
    texts = [each for each, _ in rows]
    seen = observe(predictor, texts, predictor.predict(texts)) if rows else []
    labelled = [row for _, row in rows if row is not None]
    return _New(version, reference, seen, _score(predictor, labelled, version, confidence))


def _sampled(file: InputFile, task: Task, columns: Mapping[str, str]) -> list[tuple[Texts, Row | None]]:
    """ROWS at most of those with text: their texts, and the row of a data set where the file has its columns, gold
    included. The file is read twice and never held."""
    schema = next(file.batches()).schema
    gold = file.gold_columns(schema, task, columns)
    theirs = {} if gold else file.text_columns(schema, task, {k: v for k, v in columns.items() if k not in task.gold})

    def read() -> Iterator[tuple[Texts, Row | None]]:
        if gold is None:
            for batch in file.batches(theirs.values()):
                yield from ((texts, None) for texts in texts_of(batch, theirs) if has_text(texts, task))
            return
        for row in chain.from_iterable(file.rows(gold)):
            if _has_inputs(row, task) and has_text(texts := dict(task.served(row)), task):
                yield texts, row

    chosen = frozenset(sample(sum(1 for _ in read())))
    return [each for i, each in enumerate(read()) if i in chosen]


def _has_inputs(row: Row, task: Task) -> bool:
    return all(row[name] is not None for name, column in task.columns.items() if column.required and not column.is_gold)


def _scored_before(named: Reference, folder: Path) -> _New:
    """What `tuneline score` saw of its input. Nothing is predicted, and the model is not loaded."""
    manifest = _manifest(folder)
    if manifest.model != named.name:
        raise DataError(f"{folder}: was scored by {manifest.model}, not by {named.name}.")
    if named.version not in (None, manifest.version):
        raise DataError(f"{folder}: was scored by version {manifest.version}, not by {named.version}.")
    client = tracking.connect()
    version = registry.referenced_version(client, Reference(manifest.model, version=manifest.version))
    if version.tags.get(registry.MODEL_DIGEST) != manifest.model_digest:
        raise TrackingError(
            f"{manifest.model} version {manifest.version} at {tracking.safe_uri()} is not the model that scored "
            f"{folder}. Set MLFLOW_TRACKING_URI to the registry it came from."
        )
    files = [parts.seen_file(folder, number) for number in range(parts.whole_parts(folder))]
    missing = [file.relative_to(folder) for file in files if not file.is_file()]
    if missing:
        raise DataError(
            f"{folder}: has no {missing[0]}: an earlier tuneline scored it, which kept nothing for this. Score the "
            f"file into a new folder, or compare the file itself: tuneline drift {named.name} {manifest.input}."
        )
    return _New(version, _reference(client, version), [row for file in files for row in read_rows(file)])


def _manifest(folder: Path) -> parts.Manifest:
    if not (folder / parts.MANIFEST).is_file():
        raise DataError(
            f"{folder}: is a folder without {parts.MANIFEST}. Expected an output of `tuneline score`, or a .csv, .tsv "
            "or .parquet file."
        )
    manifest = parts.find_manifest(folder, {})
    if manifest is None or not manifest.complete:
        raise DataError(f"{folder}: its scoring was cut short. Run the same `tuneline score` again, then this.")
    return manifest


def _reference(client: Any, version: ModelVersion) -> list[Observation]:
    """The rows that a version is known by. TrackingError when it has none."""
    with TemporaryDirectory() as scratch:
        file = kept_file(client, version, REFERENCE_ROWS, Path(scratch))
        if file is None:
            raise TrackingError(
                f"{version.name} version {version.version}: there is no {REFERENCE_ROWS} beside its model, so there is "
                "nothing to compare with: an earlier tuneline registered it. Train and register it again (dvc repro)."
            )
        return read_rows(file)


def _score(predictor: Predictor, rows: Sequence[Row], version: ModelVersion, confidence: float) -> Labelled | None:
    """The score on those of the rows whose gold is sound and known to the model; None where there are none."""
    task, known = predictor.task, set(predictor.labels)
    labelled = [row for row in rows if all(row[name] is not None for name in task.gold)]
    problems = [task.problem(row) or _unknown(task.labels([row]), known) for row in labelled]
    scored = [row for row, problem in zip(labelled, problems, strict=True) if problem is None]
    if not scored:
        return None
    recorded = registry.recorded_scores(version, version.tags.get(registry.TEST_DIGEST, "")) or {}
    score = score_rows(predictor, scored)
    between = intervals(score.measures, len(scored), confidence=confidence, resamples=RESAMPLES)
    told = next((problem for problem in problems if problem is not None), None)
    measured = {name: Measured(value, between.get(name), recorded.get(name)) for name, value in score.metrics.items()}
    return Labelled(len(scored), len(labelled) - len(scored), told, measured)


def _unknown(labels: Sequence[str], known: Collection[str]) -> str | None:
    strange = [label for label in labels if label not in known]
    return f"the model has no label {strange[0]!r}" if strange else None
