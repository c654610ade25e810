"""What the gate makes of numbers: hand-made comparisons in, decisions out."""

from dataclasses import replace
from typing import Any

import pytest

from tuneline.comparing import Comparison
from tuneline.errors import Undefined
from tuneline.gate import Against, Challenger, Decision, Incomparable, decide, standing
from tuneline.params import Register

HIGHER = {"accuracy": True, "loss": False, "ece": False}
CHALLENGER = Challenger(
    metrics={"accuracy": 0.92, "loss": 0.3, "ece": 0.04},
    behaviour={"typos": 0.95, "negation": 0.6},
    forgetting={"similarity_agreement": 0.7},
    latency_p95_ms=12.0,
    size_bytes=91_000_000,
)
BETTER = Comparison(
    metric="accuracy", rows=400, challenger=0.92, champion=0.9, gain=0.02, interval=(0.004, 0.036), lower=0.007,
    p_value=0.01, test="McNemar's exact test", test_p_value=0.02,
)  # fmt: skip


def decided(rival: Against | Incomparable | None, challenger: Challenger = CHALLENGER, **register: Any) -> Decision:
    params = Register.model_validate({"name": "m", **register})
    return decide(challenger, rival, register=params, metric="accuracy", better_when_higher=HIGHER)


def champion(whole: Comparison = BETTER, **known: Any) -> Against:
    return Against(3, {"accuracy": whole.champion}, whole, **known)


def failed(decision: Decision) -> list[str]:
    return [each.name for each in decision.criteria if not each.passed]


def test_the_first_model_is_promoted_and_held_to_guardrails_all_the_same() -> None:
    assert decided(None).outcome == "promoted"
    refused = decided(None, guardrails={"metrics": {"accuracy": 0.95}})
    assert (refused.outcome, refused.reason) == ("refused", "accuracy 0.92 < 0.95")


def test_only_a_sure_gain_is_promoted() -> None:
    assert decided(champion()).outcome == "promoted"
    unsure = replace(BETTER, lower=-0.001)
    kept = decided(champion(unsure))
    assert kept.outcome == "kept"
    assert kept.reason == (
        "accuracy 0.9200 is not surely better than 0.9000 "
        "(95% sure of a gain above -0.0010; McNemar's exact test: p 0.02)"
    )
    assert decided(champion(unsure), confidence=None).outcome == "promoted"
    assert "not better than" in decided(champion(replace(BETTER, gain=-0.02, lower=-0.03))).reason


def test_four_rows_of_four_that_gain_alike_are_not_enough() -> None:
    every = replace(BETTER, rows=4, gain=1.0, interval=(1.0, 1.0), lower=1.0, test_p_value=0.125)
    assert decided(champion(every)).outcome == "kept"


def test_the_gain_must_be_above_the_minimum_effect() -> None:
    assert decided(champion(), minimum_effect=0.006).outcome == "promoted"
    kept = decided(champion(), minimum_effect=0.01)
    assert kept.outcome == "kept"
    assert "better than 0.9000 by more than 0.01" in kept.reason


def test_a_decision_carries_both_numbers_interval_and_p_value() -> None:
    [gain] = decided(champion()).criteria
    assert (gain.challenger, gain.champion, gain.interval, gain.p_value) == (0.92, 0.9, (0.004, 0.036), 0.01)
    assert gain.test == "paired bootstrap"


def test_a_gain_does_not_outweigh_a_guardrail() -> None:
    decision = decided(champion(), guardrails={"metrics": {"ece": 0.03, "accuracy": 0.9}})
    assert (decision.outcome, failed(decision)) == ("refused", ["ece"])
    assert decision.reason == "ece 0.04 > 0.03"


def test_each_guardrail_can_fail_by_itself() -> None:
    slices = {"label: bad": replace(BETTER, challenger=0.8, champion=0.85, gain=-0.05)}
    rival = champion(slices=slices, old_rows=(0.85, 0.9))
    for guardrails, name in (
        ({"behaviour": 0.9}, "behaviour negation"),
        ({"forgetting": {"similarity_agreement": 0.8}}, "forgetting similarity_agreement"),
        ({"latency_p95_ms": 10}, "latency_p95_ms"),
        ({"size_mb": 90}, "size_mb"),
        ({"slice_drop": 0.04}, "slice label: bad"),
        ({"old_rows_drop": 0.04}, "old rows"),
    ):
        decision = decided(rival, guardrails=guardrails)
        assert (decision.outcome, failed(decision)) == ("refused", [name])
    loose = {"behaviour": 0.5, "slice_drop": 0.06, "old_rows_drop": 0.06, "latency_p95_ms": 20, "size_mb": 100}
    assert decided(rival, guardrails=loose).outcome == "promoted"


def test_a_guardrail_of_slices_needs_one_that_can_be_judged() -> None:
    with pytest.raises(Undefined, match="no slice of the test rows is large enough"):
        decided(champion(), guardrails={"slice_drop": 0.1})


def test_the_champion_must_have_a_number_too() -> None:
    assert standing("accuracy", {"accuracy": 0.9}, 3).outcome == "champion"
    with pytest.raises(Undefined, match=r"register\.metric"):
        standing("roc_auc", {"accuracy": 0.9}, 3)


def test_on_old_rows_a_lower_loss_is_better() -> None:
    rival = champion(replace(BETTER, metric="loss"), old_rows=(0.3, 0.4))
    assert decided(rival, guardrails={"old_rows_drop": 0.0}).outcome == "promoted"
    worse = champion(replace(BETTER, metric="loss"), old_rows=(0.4, 0.3))
    assert decided(worse, guardrails={"old_rows_drop": 0.05}).outcome == "refused"


def test_a_number_that_is_missing_or_none_is_an_error() -> None:
    unmeasured = replace(CHALLENGER, metrics={"accuracy": 0.92})
    with pytest.raises(Undefined, match=r"the gate asks for ece, .* Measured: accuracy"):
        decided(None, unmeasured, guardrails={"metrics": {"ece": 0.05}})
    with pytest.raises(Undefined, match=r"register\.metric"):
        decided(None, replace(CHALLENGER, metrics={"accuracy": float("nan")}))
    with pytest.raises(Undefined, match="negation"):
        decided(None, replace(CHALLENGER, behaviour={"negation": float("nan")}), guardrails={"behaviour": 0.5})


def test_a_champion_that_cannot_be_compared_stays() -> None:
    decision = decided(Incomparable(3, "cannot be scored on these test rows: its files are gone"))
    assert decision.outcome == "incomparable"
    assert decision.reason == "the champion, version 3, cannot be scored on these test rows: its files are gone"


def test_with_manual_approval_a_model_that_passes_waits() -> None:
    assert decided(champion(), approval="manual").outcome == "waiting"
    assert decided(champion(replace(BETTER, lower=-1.0)), approval="manual").outcome == "kept"


def test_a_decision_comes_back_from_json_as_it_was() -> None:
    decision = decided(champion(), guardrails={"size_mb": 100})
    assert Decision.from_plain(decision.plain()) == decision
    tags = decision.tags()
    assert tags["tuneline.decision.outcome"] == "promoted"
    assert tags["tuneline.decision.criterion.002"] == "passed: size_mb 91 ≤ 100"
