"""A file of texts and a model of the registry → a folder of Parquet parts, with a prediction in every row.

    id  text            label     score  model_version  input_sha256
    r1  Broke at once.  negative  0.987  reviews/3      5d1c…
    r2                                   reviews/3      4413…

The input streams, some thousand rows at a time. A scoring that was cut short goes on after its last whole part,
and ends with the same bytes as one that was not.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from itertools import groupby
from operator import itemgetter
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from filelock import FileLock, Timeout

from tuneline import devices, host, layout, parts, registry, tracking
from tuneline.digests import digest
from tuneline.errors import DataError, PipelineError, TrackingError
from tuneline.inference import Predictor
from tuneline.inputs import InputFile, Texts, has_text, texts_digest, texts_of
from tuneline.log import report, warn
from tuneline.memory import keep_memory
from tuneline.observations import SCHEMA, Observation, observe, sample
from tuneline.parquet import BATCH_ROWS, schema_of, write_rows
from tuneline.parts import Manifest
from tuneline.registry import ModelVersion, Reference
from tuneline.rescoring import load_version
from tuneline.tasks.base import Prediction, Task


@tracking.answering()
def score_file(
    model: str, path: Path, output: Path, *, columns: Mapping[str, str], rows_per_part: int,
    encoding: str = "utf-8", delimiter: str | None = None,
) -> Manifest:  # fmt: skip
    """Predict every row of a file into the parts of a folder, or go on where that was cut short.

    model: models:/NAME@ALIAS, models:/NAME/VERSION or NAME. columns: ours to theirs, where names differ.
    Raises DataError about the file, TrackingError about the model, StorageError about the disk, and PipelineError
    when output holds anything but parts of this same scoring.
    """
    reference = Reference.parse(model)
    file = InputFile.at(path, encoding, delimiter)
    asked = {
        "input_file_sha256": file.sha256(), "encoding": encoding, "delimiter": file.reading.delimiter,
        "columns": dict(columns), "rows_per_part": rows_per_part, "model": reference.name,
        **({} if reference.version is None else {"version": reference.version}),
    }  # fmt: skip
    with layout.storage_errors(output), _alone_in(output):
        begun = parts.find_manifest(output, asked)
        if begun and begun.complete:
            with suppress(TrackingError):  # the server is asked for news only
                _version(reference, begun)
            report("score", f"{output} is complete: {_numbers(begun)}")
            return begun
        version = _version(reference, begun)
        manifest = begun or Manifest(
            **asked | {"version": int(version.version), "input": file.source.shown,
                       "model_digest": version.tags.get(registry.MODEL_DIGEST)}
        )  # fmt: skip
        done = _score(version, file, output, manifest)
        report("score", _numbers(done))
        return done


def _score(version: ModelVersion, file: InputFile, output: Path, manifest: Manifest) -> Manifest:
    """Write the parts that are not there yet. The input is read to its end before the first prediction, so that
    what is broken in it shows at once."""
    devices.lease("score", "auto")
    keep_memory()
    predictor = load_version(version)
    schema = next(file.batches()).schema
    columns = file.text_columns(schema, predictor.task, manifest.columns)
    scorer = _Scorer(predictor, columns, schema, f"{version.name}/{version.version}")
    count, without_text = _count(file, columns, predictor.task)
    sampled = frozenset(sample(count))
    parts.write_manifest(output, manifest)
    whole = parts.whole_parts(output)
    if whole:
        report("score", f"{min(whole * manifest.rows_per_part, count):,} rows were done before")
    for number, pieces in groupby(_pieces(file.batches(), manifest.rows_per_part), key=itemgetter(0)):
        if number >= whole:
            _write_part(output, number, scorer, ((at, piece) for _, at, piece in pieces), sampled)
            report("score", f"{min((number + 1) * manifest.rows_per_part, count):,} rows done")
    done = manifest.model_copy(update={"rows": count, "rows_without_text": without_text, "complete": True})
    parts.write_manifest(output, done)
    return done


def _count(file: InputFile, columns: Mapping[str, str], task: Task) -> tuple[int, int]:
    """How many rows there are, and how many of them have no text to predict from."""
    count = without_text = 0
    for batch in file.batches(columns.values()):
        texts = texts_of(batch, columns)
        count += len(texts)
        without_text += sum(not has_text(each, task) for each in texts)
    return count, without_text


def _pieces(batches: Iterable[pa.RecordBatch], rows_per_part: int) -> Iterator[tuple[int, int, pa.RecordBatch]]:
    """The number of a part, and some of its rows, after how many they stand in the file.

    The cuts depend on the input alone, never on where a process began: in other company rows are padded to other
    lengths, and their scores differ in the last digits.
    """
    at = 0
    for batch in batches:
        start = 0
        while start < len(batch):
            number, within = divmod(at, rows_per_part)
            piece = batch.slice(start, min(BATCH_ROWS, rows_per_part - within))
            yield number, at, piece
            start += len(piece)
            at += len(piece)


def _write_part(
    output: Path, number: int, scorer: "_Scorer", pieces: Iterable[tuple[int, pa.RecordBatch]], sampled: frozenset[int]
) -> None:
    """Write the rows of a part with their predictions, and beside it what drift looks at in those that are sampled."""
    seen: list[Observation] = []
    with parts.new_part(output, number) as (part, seen_place):
        with pq.ParquetWriter(part, scorer.schema, compression="zstd") as writer:
            for at, piece in pieces:
                texts = texts_of(piece, scorer.columns)
                predictions = scorer.predict(texts)
                writer.write_batch(scorer.batch(piece, texts, predictions))
                looked_at = [i for i, each in enumerate(predictions) if each and at + i in sampled]
                seen += observe(scorer.predictor, [texts[i] for i in looked_at], [predictions[i] for i in looked_at])
        write_rows(seen_place, seen, SCHEMA)


class _Scorer:
    """Puts predictions beside rows.

    schema: the columns of the input, then those of a prediction (`label`, `score`), model_version and
    input_sha256. One whose name the input has already is called predicted_NAME.
    """

    def __init__(self, predictor: Predictor, columns: Mapping[str, str], schema: pa.Schema, model_version: str) -> None:
        self.predictor, self.columns, self.model_version = predictor, columns, model_version
        added = {**predictor.task.answer_types, "model_version": "string", "input_sha256": "string"}
        named = {f"predicted_{name}" if name in schema.names else name: type_ for name, type_ in added.items()}
        _check_free(named, schema)
        self.answers = schema_of(predictor.task.answer_types)
        self.schema = pa.schema([*schema, *schema_of(named)])

    def predict(self, texts: Sequence[Texts]) -> list[Prediction]:
        """A prediction of each row, empty where there is no text."""
        predictable = [i for i, each in enumerate(texts) if has_text(each, self.predictor.task)]
        predictions: list[Prediction] = [{}] * len(texts)
        for i, prediction in zip(predictable, self.predictor.predict([texts[i] for i in predictable]), strict=True):
            predictions[i] = prediction
        return predictions

    def batch(self, rows: pa.RecordBatch, texts: Sequence[Texts], predictions: Sequence[Prediction]) -> pa.RecordBatch:
        """The rows with their predictions; null where there is none."""
        predicted = [pa.array([p.get(field.name) for p in predictions], field.type) for field in self.answers]
        versions = pa.repeat(self.model_version, len(texts))
        digests = pa.array([texts_digest(each) for each in texts])
        return pa.RecordBatch.from_arrays([*rows.columns, *predicted, versions, digests], schema=self.schema)


def _check_free(added: Iterable[str], schema: pa.Schema) -> None:
    """DataError when the input has NAME and predicted_NAME too, which leaves no name for what is added."""
    taken = [name for name in added if name in schema.names]
    if taken:
        both = " and ".join(f"{name.removeprefix('predicted_')!r} beside {name!r}" for name in taken)
        raise DataError(f"the input has {both}. A prediction needs one name of the two: rename or drop a column.")


def _version(reference: Reference, begun: Manifest | None) -> ModelVersion:
    """The version that an output was begun with, else the one that is meant now."""
    client = tracking.connect()
    version = registry.referenced_version(client, reference)
    if begun is None:
        return version
    if int(version.version) != begun.version:
        warn(
            "score",
            f"{reference} is version {version.version} by now. This output was begun with version {begun.version} "
            "and stays with it. For the new one choose another OUTPUT.",
        )
        version = registry.referenced_version(client, Reference(begun.model, version=begun.version))
    if version.tags.get(registry.MODEL_DIGEST) != begun.model_digest:
        raise PipelineError(
            f"{begun.model} version {begun.version} at {tracking.safe_uri()} is not the model that this output was "
            "begun with. Set MLFLOW_TRACKING_URI to the registry it came from, or choose another OUTPUT."
        )
    return version


@contextmanager
def _alone_in(output: Path) -> Iterator[None]:
    """Hold a folder for this process. While another one on this host writes there, wait."""
    lock = FileLock(host.lock_file("score", digest(str(output.resolve()))[:32]))
    try:
        held = lock.acquire(timeout=0)
    except Timeout:
        report("score", f"another process is writing {output}; waiting until it ends")
        held = lock.acquire()
    with held:
        yield


def _numbers(done: Manifest) -> str:
    """`120,000 rows, 12 parts, reviews version 3`"""
    rows, without_text = done.rows or 0, done.rows_without_text or 0
    count = -(-rows // done.rows_per_part)
    silent = f", {without_text:,} rows without text have no prediction" if without_text else ""
    return f"{rows:,} rows, {count:,} parts, {done.model} version {done.version}{silent}"
