"""What params.yaml likely needs to say about a set that was just brought in.

text,category        →    data: {name: banking77, columns: {label: category}}
Where is my card?,…       task: {name: text-classification}
"""

import csv
import io
import re
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from tuneline.formats.base import Source
from tuneline.formats.delimited import DELIMITERS, other_delimiter
from tuneline.formats.encodings import likely_encoding, text_lines
from tuneline.formats.files import find_files
from tuneline.params import Data
from tuneline.rows import Description
from tuneline.tasks import TASKS, task_class

# Names that columns have in public data sets, ours first.
SYNONYMS = {
    "text": (
        "text",
        "sentence",
        "sentence1",
        "premise",
        "content",
        "review",
        "comment",
        "body",
        "message",
        "utterance",
        "query",
        "tweet",
    ),
    "text_pair": ("text_pair", "sentence2", "hypothesis"),
    "label": (
        "label",
        "labels",
        "category",
        "class",
        "sentiment",
        "intent",
        "target",
        "topic",
        "rating",
        "stars",
        "tags",
        "score",
        "similarity",
    ),
    "source": ("source", "src", "document", "article", "dialogue", "dialog", "text", "content", "body"),
    "target": ("target", "tgt", "summary", "highlights", "abstract", "translation", "reference"),
    "tokens": ("tokens", "words"),
    "tags": ("tags", "ner_tags", "upos", "pos_tags", "labels"),
    "id": ("id", "guid", "uid", "uuid"),
}
LONGEST_NAME = 50  # characters; a longer cell of a first line is no column name


def guess_reading(folder: Path, name: str, told: Mapping[str, Any]) -> dict[str, Any]:
    """The keys of `data:` without which the files cannot be read: those told, and those the files show."""
    format_, sources, _ = find_files(folder, Data(name=name, **told))
    options = dict(told)
    if format_ == "parquet":
        return options
    encodings = {likely_encoding(path) for source in sources for path in source.paths}
    if "encoding" not in told and len(encodings) == 1 and encodings != {"utf-8"}:
        options["encoding"] = encodings.pop()
    if format_ in DELIMITERS:
        options |= _guess_table(sources[0], DELIMITERS[format_], options)
    return options


def _guess_table(source: Source, delimiter: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Delimiter and column names, as the first line of a file shows them."""
    line = next(text_lines(source.paths[0], source.shown, options.get("encoding", "utf-8")))
    found: dict[str, Any] = {}
    delimiter = options.get("delimiter") or delimiter
    cells = next(csv.reader([line], delimiter=delimiter), [])
    other = None if options.get("delimiter") else other_delimiter(cells)
    if other:
        found["delimiter"] = other
        cells = next(csv.reader([line], delimiter=other), [])
    if "header" not in options and "column_names" not in options and _looks_like_a_row(cells):
        found |= {"header": False, "column_names": _column_names(cells)}
    return found


def _looks_like_a_row(cells: Sequence[str]) -> bool:
    known = {synonym for synonyms in SYNONYMS.values() for synonym in synonyms}
    if any(cell.strip().lower() in known for cell in cells):
        return False
    return any(len(cell) > LONGEST_NAME or cell.strip().lstrip("-").isdigit() for cell in cells)


def _column_names(cells: Sequence[str]) -> list[str]:
    """text for the longest cell, label for the other one of two, and numbers for more."""
    longest = max(range(len(cells)), key=lambda i: len(cells[i]))
    other = "label" if len(cells) == 2 else "column_{}"
    return ["text" if i == longest else other.format(i + 1) for i in range(len(cells))]


def suggested_params(name: str, description: Description, options: Mapping[str, Any]) -> str:
    """`data:` and `task:` sections for params.yaml, for the first task whose columns are there."""
    data: dict[str, Any] = {"name": name, **options}
    for task_name in TASKS:
        columns = _match(task_name, description)
        if columns is None:
            continue
        renamed = {ours: theirs for ours, theirs in columns.items() if ours != theirs or ours == "id"}
        rows = [
            {
                ours: value
                for ours, theirs in columns.items()
                for name, value in row.items()
                if fnmatchcase(name, theirs)
            }
            for row in description.sample
        ]
        task = {"name": task_name, **task_class(task_name).fitting(rows)}
        return _yaml({"data": data | ({"columns": renamed} if renamed else {}), "task": task})
    note = f"# No task finds its columns among {', '.join(description.columns)}: name them under data.columns,\n"
    return note + "# ours to theirs, as in {text: body, label: category}, and choose a task.\n" + _yaml({"data": data})


def _match(task_name: str, description: Description) -> dict[str, str] | None:
    """Ours to theirs, or None when a required column has no likely name among those found."""
    columns = task_class(task_name).columns
    found = description.columns
    if description.format == "parallel" and columns.keys() == {"source", "target"}:
        languages = [name for name in found if name not in columns]
        return dict(zip(columns, languages, strict=True))  # the direction shows, and is turned round with ease
    if not any(column.is_gold for column in columns.values()) and set(found) - {*columns, *SYNONYMS["id"]}:
        return None  # any text would do for it; more likely a column of gold has a name that is not known here
    lowered = {name.lower(): name for name in reversed(found)}
    matched = {}
    for ours in [*columns, "id"]:
        synonyms = SYNONYMS.get(ours, (ours,))
        theirs = next((lowered[n] for n in synonyms if n in lowered), None)
        if theirs is None and ours != "id" and columns[ours].kind == "references":
            theirs = next((f"{n}*" for n in synonyms if _numbered(n, description)), None)
        if theirs:
            matched[ours] = theirs
        elif ours != "id" and columns[ours].required:
            return None
    return matched


def _numbered(name: str, description: Description) -> bool:
    """Whether every file has columns of this name, with a number or without: one reference here, three there."""
    return all(any(re.fullmatch(rf"{name}_?\d*", each) for each in file.columns) for file in description.files)


def _yaml(content: Mapping[str, Any]) -> str:
    text = io.StringIO()
    yaml = YAML()
    yaml.default_flow_style = False
    yaml.dump(content, text)
    return text.getvalue()
