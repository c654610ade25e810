"""JSON Lines, lists of JSON objects, and SQuAD.

{"text": "It broke, twice.", "label": "negative"}
"""

import json
from collections.abc import Iterator
from typing import Any

from tuneline.errors import DataError
from tuneline.formats.base import Chunk, Problems, Reading, Source, by_key, gather
from tuneline.formats.encodings import text_lines


def read_jsonl(source: Source, reading: Reading) -> Iterator[Chunk]:
    """One JSON object a line; blank lines are skipped. A key that a row lacks is null."""
    problems = Problems(source.shown, 'Each line holds one object, as in {"text": "...", "label": "..."}.')
    yield from gather(_json_objects(source, reading, problems), problems, by_key(reading))


def _json_objects(source: Source, reading: Reading, problems: Problems) -> Iterator[tuple[int, dict[str, Any], int]]:
    for number, line in enumerate(text_lines(source.paths[0], source.shown, reading.encoding), start=1):
        if line.isspace():
            continue
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            problems.add(number, f"not JSON: {error.msg} at column {error.colno}")
        except (RecursionError, ValueError) as error:
            problems.add(number, _unreadable_json(error))
        else:
            if isinstance(row, dict):
                yield number, row, len(line)
            else:
                hint = " (a JSON list as a whole? Set data.format: json)" if isinstance(row, list) else ""
                problems.add(number, f"a JSON {json_type(row)}, expected an object{hint}")


def _unreadable_json(error: Exception) -> str:
    return "JSON nested too deep to read" if isinstance(error, RecursionError) else f"not readable as JSON: {error}"


def json_type(value: object) -> str:
    """What JSON calls a value: string, number, true or false, null, list, object."""
    names = {str: "string", bool: "boolean", int: "number", float: "number", list: "list", dict: "object"}
    return names.get(type(value), "null" if value is None else type(value).__name__)


def read_json(source: Source, reading: Reading) -> Iterator[Chunk]:
    """A list of objects, or {"data": [...]}; with paragraphs inside it is SQuAD. Read as a whole."""
    document = _json_document(source, reading)
    items = document.get("data") if isinstance(document, dict) else document
    if not isinstance(items, list):
        keys = f" with the keys {', '.join(list(document)[:10])}" if isinstance(document, dict) else ""
        raise DataError(
            f"{source.shown}: holds a JSON {json_type(document)}{keys}, expected a list of objects or "
            '{"data": [...]}. Write the rows as a list, or one object a line as .jsonl.'
        )
    problems = Problems(source.shown)
    if any(isinstance(item, dict) and "paragraphs" in item for item in items[:10]):
        yield from gather(_questions(items, problems), problems, by_key(reading))
        return

    def objects() -> Iterator[tuple[int, dict[str, Any], int]]:
        for number, item in enumerate(items, start=1):
            if isinstance(item, dict):
                yield number, item, 0
            else:
                problems.add(number, f"a JSON {json_type(item)}, expected an object")

    yield from gather(objects(), problems, by_key(reading))


def _json_document(source: Source, reading: Reading) -> Any:
    text = "".join(text_lines(source.paths[0], source.shown, reading.encoding))
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        lines = error.msg == "Extra data" and text.lstrip().startswith("{")
        advice = "One object a line? Set data.format: jsonl." if lines else "Mend the file, or write it again."
        raise DataError(
            f"{source.shown} row {error.lineno}: not JSON: {error.msg} at column {error.colno}. {advice}"
        ) from error
    except (RecursionError, ValueError) as error:
        raise DataError(f"{source.shown}: {_unreadable_json(error)}. Write the rows as flat objects.") from error


def _questions(articles: list[Any], problems: Problems) -> Iterator[tuple[int, dict[str, Any], int]]:
    """The questions of a SQuAD file, numbered through the file."""
    number = 0
    for a, article in enumerate(articles):
        for p, paragraph in enumerate(_list_in(article, "paragraphs", f"data[{a}]", number + 1, problems)):
            where = f"data[{a}].paragraphs[{p}]"
            for q, question in enumerate(_list_in(paragraph, "qas", where, number + 1, problems)):
                number += 1
                row = _question(paragraph, question, f"{where}.qas[{q}]", number, problems)
                if row:
                    row["title"] = article.get("title")
                    yield number, row, 0


def _list_in(holder: Any, key: str, where: str, number: int, problems: Problems) -> list[Any]:
    found = holder.get(key) if isinstance(holder, dict) else None
    if isinstance(found, list):
        return found
    problems.add(number, f"{where} has no list of {key}, found {json_type(found)}")
    return []


def _question(
    paragraph: dict[str, Any], question: Any, where: str, number: int, problems: Problems
) -> dict[str, Any] | None:
    """One row, or None when something is missing (which is noted)."""
    fields = question if isinstance(question, dict) else {}
    row = {
        "id": fields.get("id"),
        "context": paragraph.get("context"),
        "question": fields.get("question"),
        "answers": fields.get("answers"),
    }
    wrong = [f"{key} is {json_type(row[key])}" for key in ("context", "question") if not isinstance(row[key], str)]
    answers = row["answers"]
    if not isinstance(answers, list):
        wrong.append(f"answers is {json_type(answers)}, expected a list")
    elif not all(
        isinstance(answer, dict) and isinstance(answer.get("text"), str) and type(answer.get("answer_start")) is int
        for answer in answers
    ):
        wrong.append("an answer lacks its text (string) or answer_start (number)")
    if wrong:
        problems.add(number, f"{where}: {'; '.join(wrong)}")
        return None
    row["answers"] = [{key: answer[key] for key in ("text", "answer_start")} for answer in answers or []]
    return row
