"""The answer in words, by rules, from a summary: who is fastest and slowest against the baseline, who saturates, what is undecided.

A condition is a point of the design without its platform. A platform is *undecided* against the baseline when the interval of its slowdown
holds 1, and against its neighbour in the ranking when their intervals overlap: both are pairs of replications with common random numbers,
so that overlapping is a careful rule (intervals that do not overlap differ; some that overlap may differ too).
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import isnan
from statistics import quantiles
from typing import TYPE_CHECKING, Final

from simvirt.reports.words import is_missing, level_text, listed, number, times

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "Condition",
    "Ranked",
    "conditions",
    "fewer_requests",
    "headline",
    "pairing_sentence",
    "ranking_sentences",
    "saturation_sentences",
    "telling_factors",
]

SLOWDOWN: Final = "slowdown"
SATURATED: Final = "saturated"
_MOSTLY: Final = 0.75
"""A condition is telling when so much of the platforms of its series have a slowdown."""
MOST: Final = 0.5
"""A point is saturated when more of its replications are."""
_AFTER: Final = ("entity", "metric", "unit", "mean", "low", "high", "half_width", "n", "confidence")


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranked:
    """One platform under a condition."""

    platform: str
    mean: float
    """Of its slowdown."""
    low: float
    high: float
    share_saturated: float

    @property
    def saturated(self) -> bool:
        return self.share_saturated > MOST

    @property
    def unsettled(self) -> bool:
        """Saturated in some replications: it has no slowdown either."""
        return 0.0 < self.share_saturated <= MOST

    @property
    def as_baseline(self) -> bool:
        """Whether it cannot be told from the baseline."""
        return self.low <= 1.0 <= self.high


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """What is the same for all platforms that are ranked here: levels by factor, and the tenant looked at."""

    levels: Mapping[str, Hashable]
    entity: str
    baseline: str
    confidence: float
    ranking: tuple[Ranked, ...]
    """Without the baseline, the fastest first; those without a slowdown last."""

    @property
    def told(self) -> tuple[Ranked, ...]:
        """Those that have a slowdown."""
        return tuple(one for one in self.ranking if not isnan(one.mean))

    @property
    def undecided(self) -> list[tuple[str, str]]:
        """Neighbours in the ranking whose intervals overlap."""
        return [(a.platform, b.platform) for a, b in pairwise(self.told) if b.low <= a.high]

    def named(self, varying: Sequence[str]) -> str:
        """The levels of some factors: `workload web-service, load 0.4`."""
        levels = {name.removesuffix("_per_s").replace("_", " "): self.levels[name] for name in varying}
        return ", ".join(f"{name} {level_text(level)}" for name, level in levels.items() if not is_missing(level))


def conditions(summary: pd.DataFrame, baseline: str) -> list[Condition]:
    """Every condition under which platforms are compared, in the order of the summary."""
    slow = summary[summary["metric"] == SLOWDOWN]
    factors = [column for column in summary.columns if column not in (*_AFTER, "platform")]
    full = summary[summary["metric"] == SATURATED]
    keys = [*factors, "entity"]
    shares = {(_key(row, keys), str(row["platform"])): float(row["mean"]) for _, row in full.iterrows()}
    found: dict[tuple[Hashable, ...], list[Ranked]] = {}
    confidence: dict[tuple[Hashable, ...], float] = {}
    for _, row in slow.iterrows():
        key, platform = _key(row, keys), str(row["platform"])
        confidence[key] = float(row["confidence"])
        if platform != baseline:
            numbers = {name: float(row[name]) for name in ("mean", "low", "high")}
            found.setdefault(key, []).append(Ranked(platform=platform, **numbers, share_saturated=shares.get((key, platform), 0.0)))
    return [
        Condition(
            levels=dict(zip(factors, (float("nan") if level is None else level for level in key), strict=False)),
            entity=str(key[-1]),
            baseline=baseline,
            confidence=confidence[key],
            ranking=tuple(sorted(ranked, key=lambda r: (isnan(r.mean), r.mean, r.platform))),
        )
        for key, ranked in found.items()
    ]


def _key(row: pd.Series, names: Sequence[str]) -> tuple[Hashable, ...]:
    """Levels of a row; a factor without one is None, which equals itself."""
    return tuple(None if isinstance(row[name], float) and isnan(row[name]) else row[name] for name in names)


def headline(found: Sequence[Condition]) -> Condition | None:
    """The condition to tell first: in the middle of the longest series that differs in numbers only, of its conditions under which most
    platforms have a slowdown."""
    series: dict[tuple[Hashable, ...], list[Condition]] = {}
    for one in found:
        words = tuple(None if isinstance(level, int | float) else level for level in one.levels.values())
        series.setdefault((*words, one.entity), []).append(one)
    if not series:
        return None
    longest = max(series.values(), key=len)
    enough = _MOSTLY * max(len(one.told) for one in longest)
    told = [one for one in longest if len(one.told) >= enough]
    return told[len(told) // 2]


def telling_factors(found: Sequence[Condition]) -> list[str]:
    """Factors that tell conditions apart, without those that the others determine; a rate is left out first, a name last."""
    names = [name for name in (found[0].levels if found else ()) if len({repr(one.levels[name]) for one in found}) > 1]
    numeric = [name for name in names if all(isinstance(one.levels[name], int | float) for one in found)]
    for name in sorted(names, key=lambda n: (n not in numeric, not n.endswith("_per_s"), n != "scenario")):
        rest = [other for other in names if other != name]
        if len({_told(one, rest) for one in found}) == len({_told(one, names) for one in found}):
            names = rest
    return names


def _told(one: Condition, names: Sequence[str]) -> tuple[str, ...]:
    return tuple(repr(one.levels[name]) for name in names)


def ranking_sentences(one: Condition, where: str) -> Iterator[str]:
    """Fastest, slowest, who is as fast as the baseline, whose order is open, who has no slowdown."""
    told = one.told
    at = f"At {where}" if where else "Here"
    interval = f"{100 * one.confidence:g} % interval"
    if not told:
        yield f"{at} no platform carries the load, so none has a slowdown against {one.baseline}."
        return
    first, last = told[0], told[-1]
    if first is last:
        yield f"{at}, {first.platform} takes {_times(first)} the mean response time of {one.baseline} ({interval} in brackets)."
    else:
        yield (
            f"{at}, {first.platform} is fastest with {_times(first)} the mean response time of {one.baseline}, {last.platform} slowest "
            f"with {_times(last)} ({interval}s in brackets, {len(told)} platforms)."
        )
    same = [r.platform for r in told if r.as_baseline]
    if same:
        yield f"Not told apart from {one.baseline}, as the interval holds 1: {listed(same)}."
    if one.undecided:
        yield f"Not told apart, as intervals overlap: {listed([f'{a} from {b}' for a, b in one.undecided], 5)}."
    for word, names in (
        ("Saturated, so without a response time", [r.platform for r in one.ranking if r.saturated]),
        ("Saturated in some replications, so without a response time", [r.platform for r in one.ranking if r.unsettled]),
    ):
        if names:
            yield f"{word}: {listed(names)}."


def _times(one: Ranked) -> str:
    return times(one.mean, one.low, one.high)


def saturation_sentences(summary: pd.DataFrame, along: str) -> Iterator[str]:
    """From which level of a numeric factor on each platform saturates, in the group of other factors that has most of its levels."""
    full = summary[(summary["metric"] == SATURATED) & summary[along].notna()]
    others = [c for c in full.columns if c not in (*_AFTER, "platform", along) and not _is_numeric(full[c])]
    if full.empty or "platform" not in full.columns:
        return
    keys = full[others].map(repr).agg("|".join, axis=1) if others else full["metric"]
    longest = full.groupby(keys)[along].nunique().idxmax()
    worst = full[keys == longest].groupby(["platform", along])["mean"].max().reset_index()
    first = worst[worst["mean"] > MOST].groupby("platform")[along].min()
    levels: dict[float, list[str]] = {}
    for platform, level in first.items():
        levels.setdefault(float(level), []).append(str(platform))
    name = along.removesuffix("_per_s").replace("_", " ")
    for level, names in sorted(levels.items()):
        yield f"Saturated from {name} {level_text(level)} on: {listed(names, 20)}."
    never = sorted(set(worst["platform"]) - set(map(str, first.index)))
    if never:
        yield f"Carried at every {name} up to {level_text(float(worst[along].max()))}: {listed(never, 20)}."


def _is_numeric(column: pd.Series) -> bool:
    """Whether a column holds numbers."""
    return bool(column.dtype.kind in "if")


def fewer_requests(summary: pd.DataFrame, baseline: str) -> list[float]:
    """By how much common random numbers spared requests, for each slowdown.

    The half-width of a ratio of independent runs is r·√((wₐ/a)² + (w_b/b)²), with means a, b and their half-widths; requests go with
    the square of it, so the factor is its square over that of the paired half-width.
    """
    names = [column for column in summary.columns if column not in _AFTER]
    keys = [*(name for name in names if name != "platform"), "entity"]
    means: dict[tuple[tuple[Hashable, ...], str], float] = {}
    for _, row in summary[summary["metric"] == "response_time_mean_s"].iterrows():
        if row["mean"] > 0:
            means[_key(row, keys), str(row["platform"])] = float(row["half_width"] / row["mean"])
    found = []
    for _, row in summary[(summary["metric"] == SLOWDOWN) & (summary["half_width"] > 0)].iterrows():
        mine, base = (means.get((_key(row, keys), name)) for name in (str(row["platform"]), baseline))
        if mine is not None and base is not None and row["platform"] != baseline:
            paired = float(row["half_width"] / row["mean"])
            found.append((mine**2 + base**2) / paired**2)
    return sorted(found)


def pairing_sentence(factors: Sequence[float]) -> str:
    """What pairing was worth, over all comparisons."""
    low, middle, high = quantiles(factors, n=4, method="inclusive") if len(factors) > 1 else [factors[0]] * 3
    return (
        f"All platforms saw the same arrivals and demands. For the same half-width of a slowdown, independent runs would have needed "
        f"{number(middle, 2)} times as many requests (median of {len(factors)} comparisons; half of them between {number(low, 2)} and "
        f"{number(high, 2)})."
    )
