"""The gate: from numbers to a decision that one can defend. Pure: it asks no server and runs no model.

challenger, champion, guardrails of params  →  criteria, each passed or not  →  promoted, waiting, kept, refused
"""

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from tuneline.comparing import Comparison
from tuneline.errors import Undefined
from tuneline.params import KEPT_OF_BASE, Guardrails, Register

MEGABYTE = 10**6
TAG = "tuneline.decision."
OUTCOME, CRITERION = f"{TAG}outcome", f"{TAG}criterion."
WHOLE = ("champion_scores", "criteria")  # parts of a decision that no single tag holds


@dataclass(frozen=True)
class Criterion:
    """One thing that a challenger is held to, with both numbers."""

    name: str
    passed: bool
    sentence: str
    challenger: float | None = None
    champion: float | None = None
    limit: float | None = None
    interval: tuple[float, float] | None = None  # of the gain over the champion, both sides
    p_value: float | None = None
    test: str | None = None  # that gives the p-value


@dataclass(frozen=True)
class Decision:
    """What became of a challenger, and on what grounds."""

    outcome: str  # promoted, waiting, kept, refused, incomparable, or champion: it already was
    reason: str
    metric: str
    challenger: float
    champion: float | None = None
    champion_version: int | None = None
    champion_scores: Mapping[str, float] = field(default_factory=dict)  # all that are known on the same rows
    criteria: tuple[Criterion, ...] = ()

    def plain(self) -> dict[str, Any]:
        """As JSON takes it."""
        return asdict(self)

    def tags(self) -> dict[str, str]:
        """As tags of the model version: the decision, and a sentence for each criterion."""
        facts = {name: str(value) for name, value in self.plain().items() if name not in WHOLE}
        criteria = {
            f"{CRITERION}{number:03d}": f"{'passed' if each.passed else 'failed'}: {each.sentence}"
            for number, each in enumerate(self.criteria, start=1)
        }
        return {**{TAG + name: value for name, value in facts.items()}, **criteria}

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> "Decision":
        """What plain() gave."""
        criteria = tuple(
            Criterion(**{**each, "interval": tuple(each["interval"]) if each["interval"] else None})
            for each in plain["criteria"]
        )
        return cls(**{**plain, "criteria": criteria})


@dataclass(frozen=True)
class Challenger:
    """What is known of a challenger by itself."""

    metrics: Mapping[str, float]
    behaviour: Mapping[str, float]  # test → pass rate
    forgetting: Mapping[str, float]
    latency_p95_ms: float
    size_bytes: int


@dataclass(frozen=True)
class Against:
    """A challenger beside the champion, on the same test rows."""

    version: int  # of the champion
    scores: Mapping[str, float]  # of the champion
    whole: Comparison
    slices: Mapping[str, Comparison] = field(default_factory=dict)  # those large enough to judge
    old_rows: tuple[float, float] | None = None  # challenger and champion on the champion's test rows, if others


@dataclass(frozen=True)
class Incomparable:
    """A champion that cannot be scored on these test rows."""

    version: int
    reason: str


def decide(
    challenger: Challenger, rival: Against | Incomparable | None, *, register: Register, metric: str,
    better_when_higher: Mapping[str, bool],
) -> Decision:  # fmt: skip
    """What becomes of a challenger. rival: None where there is no champion.

    Undefined when a number that a criterion needs is missing or is no number.
    """
    against = rival if isinstance(rival, Against) else None
    guards = list(_guardrails(challenger, against, register.guardrails, better_when_higher))
    _all_are_numbers({"register.metric": challenger.metrics.get(metric, math.nan)}, challenger.metrics)
    outcome, reason, criteria = _outcome(rival, guards, register)
    return Decision(
        outcome, reason, metric, challenger.metrics[metric],
        champion=against.whole.champion if against else None,
        champion_version=rival.version if rival else None,
        champion_scores=dict(against.scores) if against else {},
        criteria=tuple(criteria),
    )  # fmt: skip


def standing(metric: str, metrics: Mapping[str, float], version: int) -> Decision:
    """Of a model that is the champion already. metrics: as measured today."""
    _all_are_numbers({"register.metric": metrics.get(metric, math.nan)}, metrics)
    score = metrics[metric]
    return Decision("champion", "it is the champion already", metric, score, score, version)


def _outcome(
    rival: Against | Incomparable | None, guards: list[Criterion], register: Register
) -> tuple[str, str, list[Criterion]]:
    criteria = [_gain(rival.whole, register), *guards] if isinstance(rival, Against) else guards
    failed = [each.sentence for each in guards if not each.passed]
    if failed:
        return "refused", "; ".join(failed), criteria
    if isinstance(rival, Incomparable):
        return "incomparable", f"the champion, version {rival.version}, {rival.reason}", criteria
    if rival is not None and not criteria[0].passed:
        return "kept", criteria[0].sentence, criteria
    reason = criteria[0].sentence if rival is not None else "there was no champion"
    if register.approval == "manual":
        return "waiting", f"{reason}; it waits for approval", criteria
    return "promoted", reason, criteria


def _gain(whole: Comparison, register: Register) -> Criterion:
    """Whether the challenger is better, and surely so: by the bootstrap, and by a second test that few rows with the
    same gain cannot fool."""
    _all_are_numbers({whole.metric: whole.gain}, {})
    passed, sure = whole.gain > register.minimum_effect, ""
    verdict = "better" if passed else "not better"
    if passed and register.confidence is not None:
        chance = 1 - register.confidence
        passed = whole.lower > register.minimum_effect and whole.test_p_value / 2 <= chance
        verdict = "better" if passed else "not surely better"
    if register.confidence is not None:
        sure = f"{register.confidence:.0%} sure of a gain above {whole.lower:+.4f}; "
    limit = f" by more than {register.minimum_effect:g}" if register.minimum_effect else ""
    return Criterion(
        name=whole.metric,
        passed=passed,
        sentence=f"{whole.metric} {whole.challenger:.4f} is {verdict} than {whole.champion:.4f}{limit} "
        f"({sure}{whole.test}: p {whole.test_p_value:.3g})",
        challenger=whole.challenger,
        champion=whole.champion,
        limit=register.minimum_effect,
        interval=whole.interval,
        p_value=whole.p_value,
        test="paired bootstrap",
    )


def _guardrails(
    challenger: Challenger, against: Against | None, guardrails: Guardrails, better_when_higher: Mapping[str, bool]
) -> Iterator[Criterion]:
    for name, limit in guardrails.metrics.items():
        yield _held(name, challenger.metrics, name, limit, higher=better_when_higher[name])
    for name, limit in guardrails.forgetting.items():
        yield _held(f"forgetting {name}", challenger.forgetting, name, limit, higher=KEPT_OF_BASE[name])
    if guardrails.behaviour is not None:
        for name in challenger.behaviour:
            yield _held(f"behaviour {name}", challenger.behaviour, name, guardrails.behaviour, higher=True)
    costs = {"latency_p95_ms": challenger.latency_p95_ms, "size_mb": challenger.size_bytes / MEGABYTE}
    for name, most in (("latency_p95_ms", guardrails.latency_p95_ms), ("size_mb", guardrails.size_mb)):
        if most is not None:
            yield _held(name, costs, name, most, higher=False)
    if against is not None:
        yield from _drops(against, guardrails, higher=better_when_higher[against.whole.metric])


def _drops(against: Against, guardrails: Guardrails, *, higher: bool) -> Iterator[Criterion]:
    """Slices, and the champion's own test rows, on which the challenger may not be much worse."""
    if guardrails.slice_drop is not None:
        if not against.slices:
            raise Undefined(
                "register.guardrails.slice_drop: no slice of the test rows is large enough to judge. Lower "
                "evaluate.slices.fewest_rows, test on more rows, or leave the guardrail out. Nothing was promoted."
            )
        for name, each in against.slices.items():
            yield _dropped(f"slice {name}", each.challenger, each.champion, each.gain, guardrails.slice_drop, each)
    if guardrails.old_rows_drop is not None and against.old_rows is not None:
        new, old = against.old_rows
        gain = new - old if higher else old - new
        yield _dropped("old rows", new, old, gain, guardrails.old_rows_drop)


def _held(title: str, measured: Mapping[str, float], name: str, limit: float, *, higher: bool) -> Criterion:
    """A number and the worst that it may be."""
    _all_are_numbers({name: measured.get(name, math.nan)}, measured)
    value = measured[name]
    passed = value >= limit if higher else value <= limit
    sign = ("≥" if passed else "<") if higher else ("≤" if passed else ">")
    return Criterion(title, passed, f"{title} {value:.4g} {sign} {limit:g}", challenger=value, limit=limit)


def _dropped(
    title: str, new: float, old: float, gain: float, most: float, comparison: Comparison | None = None
) -> Criterion:
    _all_are_numbers({title: gain}, {})
    passed = gain >= -most
    word = "at most" if passed else "more than"
    return Criterion(
        title, passed, f"{title}: {new:.4f} is {word} {most:g} worse than {old:.4f}",
        challenger=new, champion=old, limit=-most, interval=comparison.interval if comparison else None,
    )  # fmt: skip


def _all_are_numbers(asked: Mapping[str, float], measured: Iterable[str]) -> None:
    """Undefined where a number is missing or is none: it is never taken for a zero."""
    for name, value in asked.items():
        if not math.isfinite(value):
            known = f" Measured: {', '.join(measured) or 'nothing'}."
            raise Undefined(
                f"the gate asks for {name}, and it was not measured or is no number.{known} Correct `register:` in "
                "params.yaml, or look into data/reports/evaluation.json at why it is missing. Nothing was promoted."
            )
