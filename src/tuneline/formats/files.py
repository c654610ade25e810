"""Which files of a folder are data, in which format, of which split.

data/raw/reviews/{README.md, train.csv, dev.csv}  →  csv: train.csv (train), dev.csv (validation)
"""

import re
from pathlib import Path

from tuneline.errors import DataError
from tuneline.formats.base import Source
from tuneline.params import Data

ENDINGS = {
    ".csv": "csv",
    ".tsv": "tsv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "json",
    ".parquet": "parquet",
    ".txt": "text",
    ".conll": "conll",
    ".bio": "conll",
    ".iob": "conll",
    ".conllu": "conllu",
}
LANGUAGE = re.compile(r"\.[a-z]{2,3}([_-][A-Za-z]{2,4})?")  # the ending of parallel text, as in train.pt_BR
NOT_DATA = re.compile(r"(?i)\.|(readme|licen[cs]e|notice|citation|changelog)\b")
SPLIT = re.compile(
    r"(?i)((?P<train>train(ing)?)|(?P<validation>val(id|idation)?|dev(el|elopment)?)|(?P<test>test(ing)?))"
    r"(sets?|data|splits?)?(?![a-z])"
)


def find_files(folder: Path, data: Data) -> tuple[str, list[Source], list[str]]:
    """The format of a set, its files by name, and what else lies there and is not read."""
    if folder.is_file():
        files, others = [folder], []
    else:
        _check_folder(folder, data)
        entries = sorted(path for path in folder.iterdir() if not NOT_DATA.match(path.name))
        files = [path for path in entries if path.is_file()]
        others = [path for path in entries if not path.is_file()]
    by_format = _by_format(files, data)
    if len(by_format) > 1:
        found = "; ".join(f"{name}: {', '.join(p.name for p in paths)}" for name, paths in by_format.items())
        raise DataError(
            f"{folder.as_posix()}: holds more than one format ({found}). Expected one: set data.format to "
            "the one to read, or take the other files away."
        )
    if not by_format:
        held = ", ".join([p.name for p in files] + [f"{p.name}/" for p in others]) or "nothing"
        raise DataError(
            f"{folder.as_posix()}: no file that can be read. Found: {held}. Expected files that end in "
            f"{' '.join(ENDINGS)}, or pairs such as train.en and train.de, directly in the folder. "
            "Unpack archives, or set data.format."
        )
    format_, chosen = next(iter(by_format.items()))
    not_read = [p.name for p in files if p not in chosen] + [f"{p.name}/" for p in others]
    if format_ == "parallel":
        return format_, _parallel(folder, chosen, data), not_read
    return format_, [Source((path,), path.as_posix(), split_of(path.name)) for path in chosen], not_read


def split_of(name: str) -> str | None:
    """The split that a file name tells: train, validation (val, dev) or test, or None.

    The word must end there: testimonials.csv is no test split.
    """
    match = SPLIT.match(name)
    return next(split for split, found in match.groupdict().items() if found) if match else None


def _check_folder(folder: Path, data: Data) -> None:
    if not folder.is_dir():
        raise DataError(
            f"{folder.as_posix()}: no such folder. Bring the data in with `tuneline data add {data.name} "
            f"SOURCE`, or fetch what was added before with `dvc pull {folder.as_posix()}.dvc`."
        )


def _by_format(files: list[Path], data: Data) -> dict[str, list[Path]]:
    """Files by format. data.format keeps its own endings, or every file where none has them."""
    known: dict[str, list[Path]] = {}
    for path in files:
        if path.suffix.lower() in ENDINGS:
            known.setdefault(ENDINGS[path.suffix.lower()], []).append(path)
    languages = [path for path in files if LANGUAGE.fullmatch(path.suffix) and path.suffix not in ENDINGS]
    stems = [path.stem for path in languages]
    pairs = [path for path in languages if stems.count(path.stem) > 1]
    if data.format is None:
        return known | ({"parallel": pairs} if pairs else {})
    if data.format == "parallel":
        chosen = languages
    else:
        chosen = known.get("json" if data.format == "squad" else data.format, files)
    return {data.format: chosen} if chosen else {}


def _parallel(folder: Path, files: list[Path], data: Data) -> list[Source]:
    """Pairs of files with equal stems, the language of the source first."""
    languages = sorted({path.suffix[1:] for path in files})
    told = [data.columns.get("source", ""), data.columns.get("target", "")]
    if set(told) <= set(languages) and told[0] != told[1]:
        languages = told
    if len(languages) != 2:
        raise DataError(
            f"{folder.as_posix()}: parallel text in {', '.join(languages)}. Expected two languages: say "
            "which with data.columns, as in {source: en, target: de}."
        )
    sources, alone = [], []
    for stem in sorted({path.stem for path in files}):
        pair = tuple(folder / f"{stem}.{language}" for language in languages)
        if all(path in files for path in pair):
            shown = (folder / f"{stem}.{{{','.join(languages)}}}").as_posix()
            sources.append(Source(pair, shown, split_of(stem)))
        else:
            alone += [path for path in pair if path in files]
    if alone:
        raise DataError(
            f"{folder.as_posix()}: without the other language: {', '.join(path.name for path in alone)}. "
            f"Expected each file in {' and '.join(languages)}. Add the missing one, or take this one away."
        )
    return sources
