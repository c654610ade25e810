"""The report: one file, no network, and nothing in it that a review could have put there to run."""

import json
import re
from base64 import b64encode
from dataclasses import replace
from hashlib import sha256
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import vl_convert

from tests.evidence import EVIDENCE, REGISTRATION
from tuneline import report_facts
from tuneline.report_facts import ReportFacts
from tuneline.reporting import against_baseline, arranged, render, verdict

ATTACK = "<script>alert(1)</script>"
LENGTHS = {
    "rows": 8,
    "mean": 6.5,
    "p50": 6,
    "p95": 12,
    "p99": 12,
    "max": 12,
    "rows_truncated": 1,
    "tokens_dropped_share": 0.0385,
    "histogram": {"edges": [0.0, 10.0, 20.0], "rows": [7, 1]},
}


class Page(HTMLParser):
    """The elements of a page, and the text of its scripts."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self.text = ""
        self.inside_script = False
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self.inside_script = tag == "script"
        if self.inside_script:
            self.scripts.append("")

    def handle_endtag(self, tag: str) -> None:
        self.inside_script = False
        if tag in ("td", "th", "dt", "dd", "b"):
            self.text += " "

    def handle_data(self, data: str) -> None:
        if self.inside_script:
            self.scripts[-1] += data
        else:
            self.text += data

    def specs(self) -> dict[str, Any]:
        loaded: dict[str, Any] = json.loads(self.scripts[0])
        return loaded

    def places(self) -> list[str | None]:
        return [attributes["data-plot"] for _, attributes in self.elements if "data-plot" in attributes]


def facts_of(labels: list[str], **changes: Any) -> ReportFacts:
    """A model that takes one row of each label for the next label, and three for what they are."""
    count = len(labels)
    confusion = [[3 if g == p else int(p == (g + 1) % count) for p in range(count)] for g in range(count)]
    facts = ReportFacts(
        title="reviews",
        task_name="text-classification",
        params={"tokenize": {"max_length": 10}, "train": {"learning_rate": 1e-4, "seed": 0}},
        metrics={"accuracy": 0.75, "loss": 0.5},
        baseline={"accuracy": 0.7, "loss": 0.6},
        baseline_name="bag-of-words",
        metric="accuracy",
        directions={"accuracy": True, "loss": False},
        labels=labels,
        details={
            "per_label": {n: {"precision": 0.75, "recall": 0.75, "f1": 0.75, "support": 4} for n in labels},
            "confusion": confusion,
        },
        learning_curve=[
            {"step": 1, "epoch": 0.5, "train_loss": 0.7},
            {"step": 2, "epoch": 1.0, "validation_loss": 0.6, "validation_accuracy": 0.7},
        ],
        tables={
            "roc": [
                {"label": name, "false_positive_rate": x, "true_positive_rate": y}
                for name in labels
                for x, y in ((0.0, 0.0), (0.2, 0.8), (1.0, 1.0))
            ],
            "precision_recall": [
                {"label": name, "recall": x, "precision": y} for name in labels for x, y in ((0.0, 1.0), (1.0, 0.5))
            ],
        },
        errors=[
            {
                "row": 7,
                "file": "data/raw/reviews/test.csv",
                "line": 9,
                "gold": labels[0],
                "predicted": labels[1],
                "score": 0.998,
                "text": "Broke after two days.",
            },
        ],
        validation={
            "rows": 24,
            "rejected": {"empty text": 1},
            "checks": [{"check": "labels known", "passed": True}],
        },
        tokens={"train": LENGTHS, "test": LENGTHS},
        lineage={"checkpoint": "all-MiniLM-L6-v2", "params digest": "a1b2c3"},
        forgetting={
            "metrics": {"similarity_agreement": 0.91, "cka_mean": 0.97, "cka_last": 0.88},
            "cka": [1.0, 0.88],
            "sentences": 267,
            "text_sha256": "d4",
            "not_measured": [],
        },
    )
    return replace(facts, **changes)


TWO = facts_of(["negative", "positive"])
FULL = replace(TWO, **EVIDENCE)


def test_same_facts_give_the_same_bytes() -> None:
    assert render(TWO).encode() == render(facts_of(["negative", "positive"])).encode()


def test_nothing_is_loaded_from_the_network() -> None:
    page = Page(render(TWO))
    loading = [
        value for _, attributes in page.elements for name, value in attributes.items() if name in ("src", "href")
    ]
    assert loading and all(value and value.startswith("#") for value in loading)
    assert not [tag for tag, _ in page.elements if tag in ("link", "iframe", "img", "object", "embed")]
    [policy] = [a["content"] for _, a in page.elements if a.get("http-equiv") == "Content-Security-Policy"]
    assert policy is not None and policy.startswith("default-src 'none'") and "http" not in policy
    style = render(TWO).split("<style>")[1].split("</style>")[0]
    assert "@import" not in style and "url(" not in style


def test_only_the_three_scripts_of_the_page_exist_whatever_the_texts_say() -> None:
    hostile = facts_of(
        [ATTACK, "</script><b>"],
        title=ATTACK,
        task_name=ATTACK,
        baseline_name=ATTACK,
        params={ATTACK: {ATTACK: [ATTACK]}},
        validation={ATTACK: ATTACK, "groups": {ATTACK: ATTACK}, "checks": [{ATTACK: ATTACK}]},
        lineage={ATTACK: ATTACK},
        errors=[{**TWO.errors[0], "file": ATTACK, "gold": ATTACK, "predicted": ATTACK, "text": ATTACK}],
    )
    html = render(hostile)
    page = Page(html)
    assert len(page.scripts) == 3
    assert ATTACK not in html
    assert ATTACK in page.text  # shown as it stands, not swallowed
    assert {cell["gold"] for cell in page.specs()["confusion"]["data"]["values"]} == {ATTACK, "</script><b>"}


def test_the_policy_admits_the_scripts_as_they_stand() -> None:
    html = render(TWO)
    allowed = set(re.findall(r"'sha256-([^']+)'", html.split("</head>")[0]))
    scripts = [b64encode(sha256(script.encode()).digest()).decode() for script in Page(html).scripts[1:]]
    assert allowed == set(scripts)


@pytest.mark.parametrize("count", [2, 5, 77])
def test_every_place_for_a_plot_has_its_spec(count: int) -> None:
    page = Page(render(facts_of([f"label {code}" for code in range(count)])))
    expected = {"losses", "validation_metric", "confusion", "roc", "precision_recall", "cka"}
    assert set(page.specs()) == expected | {"lengths_train", "lengths_test"}
    assert sorted(str(place) for place in page.places()) == sorted(page.specs())


@pytest.mark.parametrize("count", [2, 77])
def test_vega_lite_accepts_every_spec(count: int) -> None:
    for spec in Page(render(facts_of([f"label {code}" for code in range(count)]))).specs().values():
        assert vl_convert.vegalite_to_vega(spec)["marks"]


def test_seventy_seven_labels_keep_every_label_and_the_eight_weakest_curves() -> None:
    labels = [f"label {code:02}" for code in range(77)]
    specs = Page(render(facts_of(labels))).specs()
    assert {cell["gold"] for cell in specs["confusion"]["data"]["values"]} == set(labels)
    assert len({point["label"] for point in specs["roc"]["data"]["values"]}) == 8


@pytest.mark.parametrize("details", [{}, {"per_label": None, "confusion": None}])
def test_a_page_without_plots_baseline_or_learning_curve_renders(details: dict[str, Any]) -> None:
    bare = facts_of(
        ["a", "b"],
        baseline=None,
        baseline_name=None,
        learning_curve=[],
        tables={},
        errors=[],
        tokens={},
        params={},
        validation={},
        details=details,
        lineage={},
        forgetting={},
    )
    page = Page(render(bare))
    assert page.places() == [] and page.specs() == {}
    assert "No baseline was scored" in page.text


def test_what_could_not_be_measured_is_said_on_the_page() -> None:
    unmeasured = {"metrics": {}, "cka": [], "sentences": 267, "text_sha256": "d4", "not_measured": [f"No {ATTACK}."]}
    html = render(replace(TWO, forgetting=unmeasured))
    assert f"Not measured. No {ATTACK}." in Page(html).text
    assert "cka" not in Page(html).specs()
    assert "agreement of sentence similarities" in Page(render(TWO)).text


def test_a_number_that_is_none_or_not_finite_does_not_break_the_plots() -> None:
    broken = replace(
        TWO, learning_curve=[{"step": 1, "epoch": 1.0, "train_loss": float("nan"), "validation_loss": None}]
    )
    assert "losses" not in Page(render(broken)).specs()


@pytest.mark.parametrize(
    ("metric", "directions", "sentence"),
    [
        ("accuracy", {"accuracy": True}, "0.0500 better than bag-of-words."),
        ("loss", {"loss": False}, "0.1000 better than bag-of-words."),
        ("loss", {"loss": True}, "0.1000 worse than bag-of-words."),
    ],
)
def test_the_baseline_is_beaten_in_the_direction_of_the_metric(
    metric: str, directions: dict[str, bool], sentence: str
) -> None:
    assert against_baseline(replace(TWO, metric=metric, directions=directions)) == sentence


def test_a_difference_that_does_not_show_is_no_difference() -> None:
    assert against_baseline(replace(TWO, baseline={"accuracy": 0.75})) == "No better than bag-of-words."


def test_before_register_the_page_says_that_nothing_is_decided() -> None:
    found = verdict(TWO, {})
    assert (found.outcome, found.tone) == ("undecided", "plain")
    assert "run dvc repro" in found.reason
    assert [figure.title for figure in found.figures] == ["this model", "bag-of-words"]


def test_the_verdict_shows_both_models_and_the_gain_with_its_interval_and_p_value() -> None:
    found = verdict(FULL, REGISTRATION)
    assert found.headline == "Promoted: it is the champion now"
    assert found.reason == "Accuracy 0.7500 is better than 0.7100 (95% sure: gain above +0.0100)."
    assert [(figure.title, figure.value, figure.note) for figure in found.figures] == [
        ("this model", "0.7500", "[0.7000, 0.8000]"),
        ("champion, version 6", "0.7100", ""),
        ("gain", "+0.0400", "[+0.0050, +0.0750], p = 0.012"),
    ]


def test_where_lower_is_better_a_fall_is_a_gain() -> None:
    decision = {**REGISTRATION["decision"], "metric": "loss", "challenger": 0.5, "champion": 0.6, "criteria": []}
    found = verdict(FULL, {**REGISTRATION, "decision": decision})
    assert (found.metric, found.figures[0].value, found.figures[2].value) == ("loss", "0.5000", "+0.1000")


@pytest.mark.parametrize(
    ("outcome", "tone", "command"),
    [
        ("promoted", "good", ""),
        ("champion", "good", ""),
        ("kept", "plain", ""),
        ("refused", "bad", ""),
        ("waiting", "open", 'tuneline promote reviews 7 --reason "..."'),
        ("incomparable", "open", 'tuneline promote reviews 7 --accept-incomparable --reason "..."'),
    ],
)
def test_each_outcome_has_its_colour_and_what_a_person_may_do(outcome: str, tone: str, command: str) -> None:
    registration = {**REGISTRATION, "decision": {**REGISTRATION["decision"], "outcome": outcome}}
    found = verdict(FULL, registration)
    assert (found.tone, found.command) == (tone, command)
    text = Page(render(FULL, registration)).text
    assert found.headline in text and command in text


def test_of_many_reasons_to_refuse_a_model_the_page_begins_with_three() -> None:
    held, broken = REGISTRATION["decision"]["criteria"]
    failed = [{**broken, "name": f"slice {n}", "sentence": f"slice {n} is worse"} for n in range(5)]
    decision = {**REGISTRATION["decision"], "outcome": "refused", "reason": "; ".join(c["sentence"] for c in failed)}
    few = {**REGISTRATION, "decision": {**decision, "reason": "slice 0 is worse", "criteria": [held, failed[0]]}}
    assert verdict(FULL, few).reason == "Slice 0 is worse."
    many = {**REGISTRATION, "decision": {**decision, "criteria": [held, *failed]}}
    reason = "Slice 0 is worse; slice 1 is worse; slice 2 is worse. And 2 more, see the criteria."
    assert verdict(FULL, many).reason == reason
    text = Page(render(FULL, many)).text
    assert text.index("slice 4") < text.index("McNemar")  # what fails comes first


def test_the_page_holds_all_the_evidence() -> None:
    page = Page(render(FULL, REGISTRATION))
    text = " ".join(page.text.split())
    for expected in (
        "accuracy ✓ pass 0.7500 0.7100 0.0000 [+0.0050, +0.0750] 0.0120 McNemar, exact",
        "behaviour typo ✗ fail 0.8000 – 0.9000 – – –",
        "Weakest of those large enough to judge: over 40 words, accuracy 0.6000 [0.4500, 0.7500] on 40 rows",
        "too small to judge",
        "temperature of 1.400",
        "ece 0.0900 0.0310",
        "no row has a name invariance – 0 0",
        "a fine lmap",
        "typo: 2 failed",
        "Likely label errors",
        "median 4.200 ms",
        "512.5 rows per second",
        "90.90 MB",
        "2, kept 0.7600 0.5300",
        "standard deviation 0.0283 0.0141",
        "Accuracy 0.7400 on the test rows of version 6",
        "models:/reviews/7",
    ):
        assert expected in text, expected
    assert {"verdict", "slices"} < set(page.specs())
    assert sorted(str(place) for place in page.places()) == sorted(page.specs())
    for spec in page.specs().values():
        assert vl_convert.vegalite_to_vega(spec)["marks"]


def test_every_link_of_the_page_leads_to_a_section() -> None:
    for page in (Page(render(FULL, REGISTRATION)), Page(render(TWO))):
        anchors = {attributes["id"] for _, attributes in page.elements if "id" in attributes}
        links = {str(attributes["href"])[1:] for tag, attributes in page.elements if tag == "a"}
        assert links <= anchors
        assert anchors - links == {"plots"}  # and each section is linked to


def test_slices_too_small_to_judge_are_hollow_and_never_the_worst() -> None:
    spec = Page(render(FULL)).specs()["slices"]
    assert [dot["name"] for dot in spec["data"]["values"] if not dot["judged"]] == ["label neutral"]
    worst = FULL.worst_slice()
    assert worst is not None and worst["name"] == "over 40 words"
    assert [each["name"] for each in FULL.worst_first()] == ["over 40 words", "up to 10 words", "label neutral"]
    upside_down = replace(FULL, directions={"accuracy": False}).worst_slice()
    assert upside_down is not None and upside_down["name"] == "up to 10 words"


def test_hostile_evidence_is_shown_as_text() -> None:
    hostile = json.loads(json.dumps(EVIDENCE).replace("lmap", ATTACK).replace("over 40 words", ATTACK))
    decision = {**REGISTRATION["decision"], "reason": ATTACK}
    html = render(replace(TWO, **hostile), {**REGISTRATION, "decision": decision})
    assert ATTACK not in html
    assert len(Page(html).scripts) == 3


def test_facts_read_back_are_the_facts_that_were_written(tmp_path: Path) -> None:
    report_facts.write(tmp_path / "report.json", FULL)
    assert report_facts.read(tmp_path / "report.json") == FULL
    first = (tmp_path / "report.json").read_bytes()
    report_facts.write(tmp_path / "report.json", FULL)
    assert (tmp_path / "report.json").read_bytes() == first


def test_a_model_that_is_not_calibrated_may_still_show_its_reliability() -> None:
    bins = [{"from": 0.9, "to": 1.0, "confidence": 0.95, "share_right": 0.8, "count": 5}]
    page = Page(render(replace(TWO, tables={"reliability": bins})))
    assert "reliability" in page.specs()
    assert "Whether the model is right as often as it says" in page.text and "temperature" not in page.text


@pytest.mark.parametrize(
    ("temperature", "fitted", "asked", "said"),
    [
        (1.4, True, None, "a temperature of 1.400, fitted on validation."),
        (1.4, False, 1.4, "a temperature of 1.400, which params name (task.temperature)."),
        (1.0, False, 1.0, "a temperature of 1.000, which params name (task.temperature)."),
        (1.0, False, None, "as training made them: no temperature could be fitted on validation."),
    ],
)
def test_the_page_says_where_the_temperature_comes_from(
    temperature: float, fitted: bool, asked: float | None, said: str
) -> None:
    found = {**EVIDENCE["calibration"], "temperature": temperature, "fitted": fitted}
    facts = replace(FULL, calibration=found, params={**FULL.params, "task": {"temperature": asked}})
    assert said in Page(render(facts)).text
    assert facts.before_and_after() == {"ece": (0.09, 0.031), "brier": (0.19, 0.17)}


def test_like_dictionaries_become_a_table_and_others_a_group() -> None:
    found = arranged(
        {
            "rows": 8,
            "splits": {"train": 6, "at": {"test": 2}},
            "labels": {"a": {"train": 4}, "b": {"train": 2}},
            "none": [],
        }
    )
    assert found.values == {"rows": 8, "none": []}
    assert found.groups == {"splits": {"train": 6, "at.test": 2}}
    assert found.tables == {"labels": [{"": "a", "train": 4}, {"": "b", "train": 2}]}


def test_a_confusion_says_what_it_counts() -> None:
    specs = Page(render(replace(TWO, compared="words"))).specs()
    [titles] = {tuple(each["title"] for each in layer["encoding"]["tooltip"]) for layer in specs["confusion"]["layer"]}
    assert titles == ("gold", "predicted", "words", "share")


def test_numbers_are_drawn_against_gold_and_have_no_confusion() -> None:
    points = [{"gold": 1.0, "predicted": 1.5}, {"gold": 4.0, "predicted": 3.0}]
    facts = replace(TWO, labels=[], details={}, tables={"scatter": points}, worst="The largest errors.")
    page = Page(render(facts))
    assert {"scatter", "losses"} < set(page.specs()) and "confusion" not in page.specs()
    assert sorted(str(place) for place in page.places()) == sorted(page.specs())
    assert vl_convert.vegalite_to_vega(page.specs()["scatter"])["marks"]
    assert "The largest errors." in page.text


def test_labels_without_a_confusion_have_their_table() -> None:
    page = Page(render(replace(TWO, details={"per_label": TWO.details["per_label"]})))
    assert "Per label, weakest first" in page.text and "confusion" not in page.specs()


def test_augmented_rows_are_shown_escaped_and_only_where_there_are_some() -> None:
    example = {"column": "text", "before": "a lamp", "after": f"a lmap {ATTACK}"}
    shown = render(facts_of(["bad", "good"], augmented=[example]))
    assert "a lmap &lt;script&gt;" in shown
    assert 'href="#augmentation"' in shown
    assert "#augmentation" not in render(facts_of(["bad", "good"]))
