"""How numbers, params and tables are shown to people: in the report, the model card and Prefect alike."""

import html
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any


def number(value: float | int | None) -> str:
    """Three or four digits of a measurement, counts in full, an en dash for none."""
    if value is None:
        return "–"
    if isinstance(value, int) or not math.isfinite(value):
        return f"{value:,}"
    if value and abs(value) < 0.001:
        return f"{value:.2e}"
    whole = len(str(int(abs(value)))) if abs(value) >= 1 else 0
    return f"{value:,.{max(4 - whole, 0)}f}"


def difference(value: float) -> str:
    """A number with its sign."""
    return ("+" if value > 0 else "−" if value < 0 else "±") + number(abs(value))


def interval(bounds: Sequence[float | None] | None, *, signed: bool = False) -> str:
    """`[0.9012, 0.9345]`, or nothing where there is none."""
    if not bounds or any(bound is None for bound in bounds):
        return ""
    return "[" + ", ".join((difference if signed else number)(bound) for bound in bounds) + "]"  # type: ignore[arg-type]


def p_value(value: float | None) -> str:
    """`p = 0.012`, or nothing where there is none."""
    if value is None:
        return ""
    return "p < 0.001" if value < 0.001 else f"p = {value:.3f}"


def percent(share: float) -> str:
    """Never 100% of what is not whole, nor 0% of what is there."""
    shown = f"{share:.1%}"
    if share < 1 and shown == "100.0%":
        return "> 99.9%"
    return "< 0.1%" if share > 0 and shown == "0.0%" else shown


def confidence(share: float) -> str:
    """`95%`"""
    return f"{share * 100:g}%"


def size(count: float) -> str:
    """Bytes as a person reads them, in powers of ten."""
    for unit in ("bytes", "kB", "MB"):
        if count < 1000:
            return f"{number(count)} {unit}"
        count = count / 1000
    return f"{number(count)} GB"


def sentence(text: str) -> str:
    """`there was no champion` → `There was no champion.`"""
    return text[:1].upper() + text[1:] + ("" if text.endswith((".", "!", "?")) else ".")


def plain(value: Any) -> str:
    """A parameter or a finding as YAML would spell it; never rounded."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, list | tuple):
        return ", ".join(plain(item) for item in value) or "none"
    if isinstance(value, Mapping):
        return ", ".join(f"{key}: {plain(item)}" for key, item in value.items()) or "none"
    return str(value)


def finding(value: Any) -> str:
    """A finding of the data checks: measurements with a few digits, the rest as it stands."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return number(value) if is_number else plain(value)


def dotted(section: Mapping[str, Any]) -> dict[str, Any]:
    """`{"checks": {"min_length": 1}}` → `{"checks.min_length": 1}`"""
    flat: dict[str, Any] = {}
    for name, value in section.items():
        if isinstance(value, Mapping) and value:
            flat |= {f"{name}.{inner}": item for inner, item in dotted(value).items()}
        else:
            flat[name] = value
    return flat


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table. Cells are text, never markup."""
    lines = [header, ["---"] * len(header), *([cell(value) for value in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def cell(value: str) -> str:
    """Text that Markdown shows as it stands, in one line."""
    escaped = html.escape(value).replace("\n", " ")
    for sign in "\\|`*_[]<>":
        escaped = escaped.replace(sign, f"\\{sign}")
    return escaped
