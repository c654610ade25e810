"""Parquet, with the types that its columns have."""

from collections import Counter
from collections.abc import Iterator

import pyarrow as pa
import pyarrow.parquet as pq

from tuneline.errors import DataError
from tuneline.formats.base import CHUNK_CHARACTERS, CHUNK_ROWS, Chunk, Reading, Source


def read_parquet(source: Source, reading: Reading) -> Iterator[Chunk]:
    """Parquet, row group by row group; columns are Arrow arrays of the type they have in the file."""
    path = source.paths[0]
    if not path.stat().st_size:
        raise DataError(f"{source.shown}: the file is empty. Write it again.")
    try:
        with pq.ParquetFile(path, pre_buffer=False) as file:  # a buffer would keep all that was read
            names = file.schema_arrow.names
            twice = sorted(name for name, count in Counter(names).items() if count > 1)
            if twice:
                raise DataError(
                    f"{source.shown}: more than one column is named {', '.join(map(repr, twice))}. "
                    f"Found columns: {', '.join(names)}. Rename one."
                )
            wanted = [name for name in names if reading.wanted is None or name in reading.wanted]
            before = 0
            for batch in file.iter_batches(CHUNK_ROWS, columns=wanted):
                batch.validate(full=True)  # text that is not UTF-8 shows here
                for part in _parts(batch):
                    yield Chunk(
                        range(before + 1, before + 1 + len(part)),
                        dict(zip(wanted, part.columns, strict=True)),
                    )
                    before += len(part)
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:  # the last: of the name of a column
        raise DataError(
            f"{source.shown}: not a whole Parquet file ({str(error).splitlines()[0][:200]}). "
            "Was it cut short on its way? Fetch or write it again."
        ) from error


def _parts(batch: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
    step = max(1, len(batch) * CHUNK_CHARACTERS // max(batch.nbytes, CHUNK_CHARACTERS))
    for start in range(0, len(batch), step):
        yield batch.slice(start, step)
