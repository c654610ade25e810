"""Vega-Lite plots of what a model learned and where it errs: for the report, and as SVG files.

learning curve, confusion matrix, ROC, precision and recall, reliability, predicted against gold, scores with their
intervals, slices, drift from the base, lengths in tokens
"""

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import vl_convert

Spec = dict[str, Any]

FRAME = {"width": "container", "autosize": {"type": "fit-x", "contains": "padding"}}
SHOWN_POINTS = 2_000  # each weighs some 60 bytes of the page
SHOWN_CURVES = 8  # more lines in one plot cannot be told apart
WRITTEN_CELLS = 10  # on a phone, a confusion matrix of more labels has no room for numbers
SHOWN_SLICES = 40  # with more, the plot is a wall; the table has them all
NAMED_COLUMNS = 25  # nor of more labels for names above its columns
DRAWING = {  # a picture stands on any page, so it brings its own ground
    "background": "white",
    "style": {
        "on-weak": {"color": "#1b1f24"},
        "on-strong": {"color": "white"},
        "dot": {"color": "#4c78a8"},
        "hollow": {"fill": "white", "stroke": "#4c78a8"},
        "cut": {"color": "#b42318", "strokeDash": [4, 3]},
    },
}


def svg(spec: Spec, *, width: int = 640) -> str:
    """The plot as an SVG picture, `width` pixels wide. Same spec, same bytes."""
    drawing: str = vl_convert.vegalite_to_svg({**spec, "width": width, "config": DRAWING})
    return drawing


def over_steps(curve: Sequence[Mapping[str, Any]], names: Sequence[str], title: str) -> Spec | None:
    """One line for each name, over training steps."""
    values = [
        {"step": point["step"], "epoch": point.get("epoch"), "series": words(name), "value": point[name]}
        for name in names
        for point in curve
        if point.get(name) is not None and math.isfinite(point[name])
    ]
    if not values:
        return None
    hidden = {
        "test": "datum.series === 'train loss'",
        "value": 0,
    }  # too many points to draw, enough to point at
    encoding = {
        "x": {"field": "step", "type": "quantitative", "scale": {"zero": True, "nice": False}},
        "y": {"field": "value", "type": "quantitative", "title": words(title), "scale": {"zero": False}},
        "color": {
            "field": "series",
            "type": "nominal",
            "title": None,
            "sort": None,
            "legend": {"orient": "top"} if len(names) > 1 else None,
        },
    }
    points = {
        "mark": {"type": "point", "filled": True, "size": 40},
        "encoding": {
            "opacity": {"condition": hidden, "value": 1},
            "tooltip": _tooltip("series", "step", "epoch", "value"),
        },
    }
    return {
        "data": {"values": values},
        **FRAME,
        "height": 240,
        "encoding": encoding,
        "layer": [{"mark": "line"}, points],
    }


def matrix_cells(labels: Sequence[str], matrix: Sequence[Sequence[int]]) -> list[dict[str, Any]]:
    """The cells of a confusion matrix; share is that of the gold label's rows."""
    return [
        {"gold": gold, "predicted": predicted, "rows": rows, "share": round(rows / (sum(line) or 1), 4)}
        for gold, line in zip(labels, matrix, strict=False)
        for predicted, rows in zip(labels, line, strict=True)
    ]


def confusion_matrix(labels: Sequence[str], matrix: Sequence[Sequence[int]], compared: str = "rows") -> Spec | None:
    """Gold down, predicted across. Colour is the share of a gold label's rows, so that rare labels show.

    compared: what the matrix counts.
    """
    cells = matrix_cells(labels, matrix)
    if not cells:
        return None
    few, named = len(labels) <= WRITTEN_CELLS, len(labels) <= NAMED_COLUMNS
    axes = {
        "x": {
            "field": "predicted",
            "type": "nominal",
            "scale": {"domain": list(labels)},
            "title": "predicted" if named else "predicted, in the same order",
            "axis": {
                "orient": "top",
                "labels": named,
                "ticks": named,
                "labelAngle": 0 if len(labels) < 4 else -60,
            },
        },
        "y": {"field": "gold", "type": "nominal", "scale": {"domain": list(labels)}, "title": "gold"},
    }
    color = {"field": "share", "type": "quantitative", "scale": {"domain": [0, 1]}, "legend": None}
    tooltip = _tooltip("gold", "predicted", rows=compared, share="share")
    squares = {"mark": "rect", "encoding": {"color": color, "tooltip": tooltip}}
    numbers = [
        {
            "transform": [{"filter": f"datum.share {comparison} 0.5"}],
            "mark": {"type": "text", "style": style},
            "encoding": {
                "text": {"field": "rows", "type": "quantitative", "format": ",d"},
                "tooltip": tooltip,
            },
        }
        for comparison, style in (("<", "on-weak"), (">=", "on-strong"))
    ]
    return {
        "data": {"values": cells if few else [cell for cell in cells if cell["rows"]]},
        **FRAME,
        "height": len(labels) * max(14, min(64, 400 // len(labels))),
        "encoding": axes,
        "layer": [squares, *numbers] if few else [squares],
    }


def rate_curves(points: Sequence[Mapping[str, Any]], x: str, y: str) -> Spec | None:
    """One line for each label; of many labels, the ones with the smallest area under the line."""
    lines: dict[str, list[dict[str, Any]]] = {}
    for point in points:
        lines.setdefault(point["label"], []).append(
            {"label": point["label"], x: round(point[x], 4), y: round(point[y], 4)}
        )
    weakest = sorted(lines, key=lambda label: _area(lines[label], x, y))[:SHOWN_CURVES]
    values = [point for label, line in lines.items() if label in weakest for point in line]
    if not values:
        return None
    axis = {"type": "quantitative", "scale": {"domain": [0, 1]}}
    return {
        "data": {"values": values},
        **FRAME,
        "height": 280,
        "mark": {"type": "line", "interpolate": "step-after" if x == "recall" else "linear"},
        "encoding": {
            "x": {"field": x, "title": words(x), **axis},
            "y": {"field": y, "title": words(y), **axis},
            "order": {"field": x, "type": "quantitative"},
            "color": {
                "field": "label",
                "type": "nominal",
                "title": None,
                "sort": None,
                "legend": {"orient": "bottom", "columns": 2},
            },
            "tooltip": _tooltip("label"),
        },
    }


def scatter(points: Sequence[Mapping[str, Any]], x: str, y: str, colour: str | None = None) -> Spec | None:
    """A dot for each point, both axes on one scale, and the line where x and y are equal. colour: from 0 to 1."""
    if not points:
        return None
    shown = [dict(point) for point in points[:SHOWN_POINTS]]
    numbers = [point[name] for point in shown for name in (x, y)]
    ends = [{x: end, y: end} for end in (min(numbers), max(numbers))]
    axis = {"type": "quantitative", "scale": {"domain": [end[x] for end in ends], "zero": False}}
    encoding = {axis_name: {"field": name, "title": words(name), **axis} for axis_name, name in (("x", x), ("y", y))}
    dots: Spec = {"mark": {"type": "point", "filled": True, "size": 25, "opacity": 0.6}}
    dots["encoding"] = {"tooltip": _tooltip(x, y, *([colour] if colour else []))}
    if colour:
        scale = {"domain": [0, 1]}
        dots["encoding"]["color"] = {"field": colour, "type": "quantitative", "title": words(colour), "scale": scale}
    equal = {"data": {"values": ends}, "mark": {"type": "line", "style": "cut", "strokeWidth": 1}}
    return {"data": {"values": shown}, **FRAME, "height": 320, "encoding": encoding, "layer": [dots, equal]}


def reliability(bins: Sequence[Mapping[str, Any]]) -> Spec | None:
    """The share of claims that hold in each bin of the confidence, as a bar; the line is where both are equal. A bar is
    the paler, the fewer claims it stands for."""
    if not bins:
        return None
    axis = {"type": "quantitative", "scale": {"domain": [0, 1]}, "axis": {"tickCount": 5, "format": ".1f"}}
    bars = {
        "mark": {"type": "bar", "binSpacing": 1},
        "encoding": {
            "x": {"field": "from", "bin": "binned", "title": "confidence", **axis},
            "x2": {"field": "to"},
            "y": {"field": "share_right", "title": "share right", **axis},
            "opacity": {
                "field": "count",
                "type": "quantitative",
                "scale": {"type": "log", "range": [0.3, 1]},
                "legend": None,
            },
            "tooltip": _tooltip("from", "to", "confidence", "share_right", "count"),
        },
    }
    means = {
        "mark": {"type": "point", "filled": True, "size": 30},
        "encoding": {"x": {"field": "confidence", **axis}, "y": {"field": "share_right", **axis}},
    }
    numbers = {
        "mark": {"type": "text", "baseline": "bottom", "dy": -4, "fontSize": 10, "style": "on-weak"},
        "encoding": {
            "x": {"field": "confidence", **axis},
            "y": {"field": "share_right", **axis},
            "text": {"field": "count", "type": "quantitative", "format": ",d"},
        },
    }
    equal = {
        "data": {"values": [{"confidence": end, "share_right": end} for end in (0, 1)]},
        "mark": {"type": "line", "style": "cut", "strokeWidth": 1},
        "encoding": {"x": {"field": "confidence", **axis}, "y": {"field": "share_right", **axis}},
    }
    return {
        "data": {"values": [dict(each) for each in bins]},
        **FRAME,
        "height": 280,
        "layer": [bars, equal, means, numbers],
    }


def _area(line: Sequence[Mapping[str, Any]], x: str, y: str) -> float:
    """Area under a line by trapezoids."""
    return sum((b[x] - a[x]) * (a[y] + b[y]) / 2 for a, b in pairwise(line))


def score_dots(scores: Sequence[Mapping[str, Any]], metric: str) -> Spec | None:
    """A dot for each model, with its interval where it has one. scores: name, value, low, high."""
    return _dots([{**score, "judged": True} for score in scores], metric)


def slice_dots(slices: Sequence[Mapping[str, Any]], metric: str, overall: float | None) -> Spec | None:
    """A dot for each slice, with its interval, and a line at the score of all rows.

    Those too small to judge are hollow.
    """
    shown = [
        {**{name: each[name] for name in ("name", "rows", "value", "judged")},
         **dict(zip(("low", "high"), each["interval"] or (None, None), strict=True))}
        for each in slices
        if each["value"] is not None
    ][:SHOWN_SLICES]  # fmt: skip
    spec = _dots(shown, metric, "rows")
    if spec and overall is not None:
        line = {"mark": {"type": "rule", "style": "cut"}, "encoding": {"x": {"datum": overall}}}
        spec["layer"].insert(0, line)
    return spec


def histogram(tokens: Mapping[str, Any], max_length: int | None) -> Spec | None:
    """Rows by length in tokens, with a line where longer rows are cut."""
    histogram = tokens.get("histogram")
    if not histogram:
        return None
    bars = [
        {"from": start, "to": end, "rows": rows}
        for (start, end), rows in zip(pairwise(histogram["edges"]), histogram["rows"], strict=True)
    ]
    length = {"type": "quantitative", "title": "tokens"}
    drawn: list[Spec] = [
        {
            "mark": "bar",
            "encoding": {
                "x": {"field": "from", "bin": "binned", **length},
                "x2": {"field": "to"},
                "y": {"field": "rows", "type": "quantitative", "title": "rows"},
                "tooltip": _tooltip("from", "to", "rows"),
            },
        }
    ]
    if max_length is not None and max_length <= bars[-1]["to"]:
        cut = {"mark": {"type": "rule", "style": "cut"}, "encoding": {"x": {"datum": max_length}}}
        drawn.append(cut)
    return {"data": {"values": bars}, **FRAME, "height": 160, "layer": drawn}


def drift(cka: Sequence[float]) -> Spec | None:
    """CKA with the base, layer by layer; 0 is the embeddings."""
    if not cka:
        return None
    return {
        "data": {"values": [{"layer": layer, "CKA": value} for layer, value in enumerate(cka)]},
        **FRAME,
        "height": 160,
        "mark": "bar",
        "encoding": {
            "x": {"field": "layer", "type": "ordinal", "axis": {"labelAngle": 0}},
            "y": {"field": "CKA", "type": "quantitative", "scale": {"domain": [0, 1], "clamp": True}},
            "tooltip": _tooltip("layer", "CKA"),
        },
    }


def _dots(lines: Sequence[Mapping[str, Any]], metric: str, *pointed: str) -> Spec | None:
    """One line a name, from the top: a dot at its value, a bar over its interval. pointed: more to see at a dot."""
    if not lines:
        return None
    tooltip = _tooltip("name", *pointed, "low", "high", value=words(metric))
    axis = {"type": "quantitative", "title": words(metric), "scale": {"zero": False, "nice": False, "padding": 12}}
    name = {"field": "name", "type": "nominal", "sort": None, "title": None, "axis": {"labelAngle": 0}}
    bar = {
        "transform": [{"filter": "isValid(datum.low)"}],
        "mark": {"type": "rule", "style": "dot", "strokeWidth": 2},
        "encoding": {"y": name, "x": {"field": "low", **axis}, "x2": {"field": "high"}, "tooltip": tooltip},
    }
    dots = [
        {
            "transform": [{"filter": condition}],
            "mark": {"type": "point", "style": style, "filled": style == "dot", "size": 80, "opacity": 1},
            "encoding": {"y": name, "x": {"field": "value", **axis}, "tooltip": tooltip},
        }
        for condition, style in (("datum.judged", "dot"), ("!datum.judged", "hollow"))
    ]
    return {
        "data": {"values": list(lines)},
        **FRAME,
        "height": 26 * len(lines),
        "layer": [bar, *dots],
    }


def _tooltip(*names: str, **titled: str) -> list[dict[str, str]]:
    """Fields under their own names, then those with a title of their own."""
    titles = {name: words(name) for name in names} | titled
    return [{"field": name, "title": title} for name, title in titles.items()]


def words(name: str) -> str:
    return name.replace("_", " ")
