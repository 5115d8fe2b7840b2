"""A service level objective: what is promised of response times, throughput and errors, and by how much a run keeps it.

    p99 < 50 ms and error rate < 0.1 %, throughput >= 200 /s for web

Clauses stand between `and` or commas. A clause without `for` holds for every group of tenants. Response times are those of all requests of
a group, throughput is that of its mean tenant, the error rate is the share of requests that ended without an answer.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import inf, isnan, nan
from typing import Final, Protocol, Self

from simvirt.errors import SloError, UnitError, nearest
from simvirt.metrics.histogram import LatencyHistogram
from simvirt.units import format_quantity, parse_quantity

__all__ = ["Clause", "Margin", "Slo", "Verdict"]


class TenantSeen(Protocol):
    """What is looked at of a tenant in one replication."""

    @property
    def group(self) -> str: ...
    @property
    def window_s(self) -> float: ...
    @property
    def arrived(self) -> int: ...
    @property
    def completed(self) -> int: ...
    @property
    def failed(self) -> Mapping[str, int]: ...
    @property
    def histogram(self) -> LatencyHistogram: ...
    @property
    def saturated(self) -> bool: ...


class RunSeen(Protocol):
    """What is looked at of one replication."""

    @property
    def tenants(self) -> Sequence[TenantSeen]: ...


@dataclass(frozen=True, slots=True)
class _Metric:
    """A quantity that can be promised."""

    dimension: str
    is_ceiling: bool
    """Whether it may not be above its bound; else not below."""
    quantile: float | None = None

    def measured(self, tenants: Sequence[TenantSeen]) -> float:
        """Its value over the tenants of a group, NaN where too little was seen of it."""
        arrived, completed = sum(one.arrived for one in tenants), sum(one.completed for one in tenants)
        failed = sum(count for one in tenants for count in one.failed.values())
        if self.dimension == "rate":
            return completed / sum(one.window_s for one in tenants)
        if self.dimension == "number":
            ended = completed + failed
            return failed / ended if ended else nan
        if any(one.saturated for one in tenants) or (arrived and not completed):
            return inf
        times = sum((one.histogram for one in tenants), LatencyHistogram())
        return times.mean_s if self.quantile is None else times.quantile(self.quantile)


_METRICS: Final = {
    "mean": _Metric("time", True),
    "p50": _Metric("time", True, 0.5),
    "p95": _Metric("time", True, 0.95),
    "p99": _Metric("time", True, 0.99),
    "p99.9": _Metric("time", True, 0.999),
    "throughput": _Metric("rate", False),
    "error rate": _Metric("number", True),
}
_ENOUGH: Final = 10.0
"""Requests beyond a quantile without which it is not told."""
_CLAUSE: Final = re.compile(r"\s*(?P<metric>[^<>=≤≥]*?)\s*(?P<sign><=|>=|≤|≥|<|>)\s*(?P<bound>.*?)\s*(?:\bfor\s+(?P<group>.+?)\s*)?")
_EXAMPLE: Final = "'p99 < 50 ms and error rate < 1 %'"


@dataclass(frozen=True, slots=True)
class Clause:
    """One promise: a metric and its bound, in SI units."""

    metric: str
    bound: float
    is_strict: bool = True
    """Whether the bound itself is too much, or too little."""
    group: str | None = None
    """The tenants that it holds for; every group's unless given."""

    def __str__(self) -> str:
        kind = _METRICS[self.metric]
        sign = ("<" if kind.is_ceiling else ">") + ("" if self.is_strict else "=")
        bound = f"{100 * self.bound:.4g} %" if kind.dimension == "number" else format_quantity(self.bound, kind.dimension)
        return f"{self.metric} {sign} {bound}" + (f" for {self.group}" if self.group else "")

    @property
    def quantile(self) -> float | None:
        """The quantile of response times that it is about, if it is about one."""
        return _METRICS[self.metric].quantile

    @property
    def requests_needed(self) -> float:
        """Requests of a group in one replication below which its metric cannot be told."""
        return 1.0 if self.quantile is None else _ENOUGH / (1.0 - self.quantile)

    def margin_of(self, value: float) -> float:
        """How far a value is within the bound, as a share of the bound: 0 at the bound, negative beyond, at least -1, and 1 at most.

        What is twice as large as its bound counts like what is not bounded at all, so that a saturated replication has a finite margin.
        """
        distance = 1.0 - value / self.bound if _METRICS[self.metric].is_ceiling else value / self.bound - 1.0
        return distance if isnan(distance) else min(1.0, max(-1.0, distance))


@dataclass(frozen=True, slots=True)
class Margin:
    """By how much one replication keeps one clause for one group of tenants."""

    clause: Clause
    group: str
    value: float
    """What was measured; infinite where more was offered than carried, NaN where too few requests were seen."""
    margin: float
    """Of the bound; negative where it is broken."""

    @property
    def is_kept(self) -> bool:
        return self.margin > 0 or (self.margin == 0 and not self.clause.is_strict)


@dataclass(frozen=True, slots=True)
class Verdict:
    """One replication against an objective."""

    margins: tuple[Margin, ...]

    @property
    def worst(self) -> Margin:
        """The clause and group that come closest to being broken, or are broken most; one that could not be told comes first."""
        return min(self.margins, key=lambda one: -inf if isnan(one.margin) else one.margin)

    @property
    def is_kept(self) -> bool:
        """Whether every clause is kept for every group."""
        return all(one.is_kept for one in self.margins)


@dataclass(frozen=True, slots=True)
class Slo:
    """Clauses that all have to be kept."""

    clauses: tuple[Clause, ...]

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read an objective. Raises SloError with every mistake in it."""
        pieces = re.split(r",|\band\b", text)
        problems: list[str] = []
        clauses = [clause for piece in pieces for clause in _read(piece.strip(), problems)]
        said = [(clause.metric, clause.group) for clause in clauses]
        twice = sorted({metric + (f" for {group}" if group else "") for metric, group in said if said.count((metric, group)) > 1})
        problems += [f"{name}: promised twice; keep one" for name in twice]
        if problems:
            raise SloError([f"objective {text!r}: {problem}" for problem in problems])
        return cls(tuple(clauses))

    def __str__(self) -> str:
        return " and ".join(map(str, self.clauses))

    def check(self, groups: Sequence[str]) -> None:
        """Raise SloError if it speaks of tenants that there are not."""
        unknown = [clause.group for clause in self.clauses if clause.group is not None and clause.group not in groups]
        if unknown:
            raise SloError([f"objective '{self}': no tenants {name!r}; {nearest(name, groups)}" for name in unknown])

    def judge(self, outcomes: Iterable[RunSeen]) -> tuple[Verdict, ...]:
        """By how much each replication keeps each clause, group by group."""
        return tuple(Verdict(tuple(self._margins(outcome))) for outcome in outcomes)

    def _margins(self, outcome: RunSeen) -> Iterator[Margin]:
        groups: dict[str, list[TenantSeen]] = {}
        for tenant in outcome.tenants:
            groups.setdefault(tenant.group, []).append(tenant)
        for clause in self.clauses:
            for name, tenants in groups.items():
                if clause.group in (None, name):
                    value = _METRICS[clause.metric].measured(tenants)
                    yield Margin(clause, name, value, clause.margin_of(value))


def _read(piece: str, problems: list[str]) -> Iterator[Clause]:
    """The clause that a piece of text says, or what is wrong with it."""
    match = _CLAUSE.fullmatch(piece)
    if match is None:
        problems.append(f"{piece!r} is no promise; write a metric, < or >, and a bound, such as {_EXAMPLE}")
        return
    name = " ".join(match["metric"].lower().split())
    if name not in _METRICS:
        problems.append(f"metric {match['metric']!r} is unknown; {nearest(name, _METRICS)}")
        return
    kind, sign = _METRICS[name], match["sign"]
    if (sign[0] in "<≤") is not kind.is_ceiling:
        problems.append(f"{name} {sign}: promise {'at most (<)' if kind.is_ceiling else 'at least (>=)'} so much")
        return
    try:
        bound = parse_quantity(match["bound"], kind.dimension)
    except UnitError as error:
        problems.append(f"{name}: {error}")
        return
    if not bound > 0:
        problems.append(f"{name}: a bound of {match['bound']}; must be above 0")
    elif kind.dimension == "number" and bound >= 1:
        problems.append(f"{name}: a bound of {match['bound']}; must be below 100 %")
    else:
        yield Clause(name, bound, sign in "<>", match["group"])
