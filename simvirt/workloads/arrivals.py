"""How requests arrive: open loop (rates, traces) and closed loop (clients).

In an open loop users do not wait for each other's answers. `gaps` iterates over the times between arrivals, the first from the start of the
run. `scaled` sets another rate and stretches the time axis: the same generator then gives the same draws, so that runs at
several loads differ by the load alone (common random numbers).
"""

from __future__ import annotations

import csv
import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from itertools import cycle, repeat
from math import fsum, isfinite
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self, final

import numpy as np
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from simvirt.errors import nearest
from simvirt.quantities import PerSecond, PositivePerSecond, PositiveSeconds, Seconds
from simvirt.randomness import BLOCK, blocks
from simvirt.workloads.arrival_files import is_rate, known_units, rates_of, read_column, times_of
from simvirt.workloads.client_program import ClientProgram
from simvirt.workloads.distributions import Distribution

__all__ = ["AbstractOpenLoop", "Arrivals", "ClosedLoop", "Deterministic", "Mmpp", "OpenLoop", "Poisson", "Renewal", "Trace"]


class AbstractOpenLoop(BaseModel, ABC):
    """Arrivals that wait for nobody. Each also has a mean `rate_per_s`: a field where it is given, a property where it follows."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @abstractmethod
    def gaps(self, rng: np.random.Generator, block: int = BLOCK) -> Iterator[float]:
        """Times between arrivals in seconds, drawn `block` at a time; it should be the only user of `rng`."""

    @abstractmethod
    def scaled(self, rate_per_s: float) -> Self:
        """The same arrivals at another mean rate, on a stretched time axis."""


@final
class Poisson(AbstractOpenLoop):
    """Many independent users: exponential gaps, index of dispersion 1."""

    kind: Literal["poisson"] = "poisson"
    rate_per_s: PositivePerSecond

    def gaps(self, rng: np.random.Generator, block: int = BLOCK) -> Iterator[float]:
        return blocks(lambda n: rng.exponential(1 / self.rate_per_s, n), block)

    def scaled(self, rate_per_s: float) -> Poisson:
        return Poisson(rate_per_s=rate_per_s)


@final
class Deterministic(AbstractOpenLoop):
    """A clock: equal gaps."""

    kind: Literal["deterministic"] = "deterministic"
    rate_per_s: PositivePerSecond

    def gaps(self, rng: np.random.Generator, block: int = BLOCK) -> Iterator[float]:
        return repeat(1 / self.rate_per_s)

    def scaled(self, rate_per_s: float) -> Deterministic:
        return Deterministic(rate_per_s=rate_per_s)


@final
class Mmpp(AbstractOpenLoop):
    """Bursts: a Poisson process whose rate steps through states in a cycle, each for an exponential time.

    Mean rate = sum(rate · sojourn) / sum(sojourn). A rate may be 0 (silence). It starts in a state chosen in proportion to its
    sojourn, hence in the steady state. `scaled` shortens sojourns as it raises rates: a burst keeps its number of arrivals, not its length.
    """

    kind: Literal["mmpp"] = "mmpp"
    rates_per_s: Annotated[tuple[PerSecond, ...], Field(min_length=2)]
    sojourn_s: Annotated[tuple[PositiveSeconds, ...], Field(min_length=2)]
    """Mean time in each state."""

    @model_validator(mode="after")
    def _paired(self) -> Self:
        if len(self.rates_per_s) != len(self.sojourn_s):
            raise ValueError(f"{len(self.rates_per_s)} rates but {len(self.sojourn_s)} sojourns; give one sojourn for each rate")
        if not any(self.rates_per_s):
            raise ValueError("every rate is 0 /s; give at least one state with arrivals")
        return self

    @property
    def rate_per_s(self) -> float:
        return fsum(r * s for r, s in zip(self.rates_per_s, self.sojourn_s, strict=True)) / fsum(self.sojourn_s)

    def gaps(self, rng: np.random.Generator, block: int = BLOCK) -> Iterator[float]:
        cumulative = np.cumsum(self.sojourn_s)
        first = int(np.searchsorted(cumulative, rng.random() * cumulative[-1], side="right"))
        order = [*range(first, len(cumulative)), *range(first)]
        states = cycle([(self.rates_per_s[i], self.sojourn_s[i]) for i in order])
        unit = blocks(rng.standard_exponential, block)
        rate, sojourn = next(states)
        left = next(unit) * sojourn
        while True:
            gap, due = 0.0, next(unit)  # the next arrival is due when the integral of the rate has grown by this much
            while due >= left * rate:
                due -= left * rate
                gap += left
                rate, sojourn = next(states)
                left = next(unit) * sojourn
            left -= due / rate
            yield gap + due / rate

    def scaled(self, rate_per_s: float) -> Mmpp:
        factor = rate_per_s / self.rate_per_s
        return Mmpp(rates_per_s=tuple(r * factor for r in self.rates_per_s), sojourn_s=tuple(s / factor for s in self.sojourn_s))


@final
class Renewal(AbstractOpenLoop):
    """Independent gaps of any distribution, in seconds; zero gaps are batches."""

    kind: Literal["renewal"] = "renewal"
    gap: Distribution

    @model_validator(mode="after")
    def _moves(self) -> Self:
        if self.gap.mean <= 0:
            raise ValueError("the mean gap is 0 s, an infinite rate; give a mean above 0 s")
        return self

    @property
    def rate_per_s(self) -> float:
        return 1 / self.gap.mean

    def gaps(self, rng: np.random.Generator, block: int = BLOCK) -> Iterator[float]:
        return self.gap.draw(rng, block)

    def scaled(self, rate_per_s: float) -> Renewal:
        return Renewal(gap=self.gap.scaled(1 / rate_per_s))


_SHOWN: Final = 5
"""Problems of one trace that are listed; the others are counted."""


def _check_times(times: Iterable[tuple[str, float]]) -> None:
    """Refuse times (each with the place where it was read) that are not finite, before 0 or out of order."""
    problems: list[str] = []
    latest = 0.0
    for place, time_s in times:
        if not isfinite(time_s):
            problems.append(f"{place}: {time_s} is not a finite time")
        elif time_s < 0:
            problems.append(f"{place}: {time_s} s is before the start of the run; at least 0 s")
        elif time_s < latest:
            problems.append(f"{place}: {time_s} s comes after {latest} s; sort the times")
        else:
            latest = time_s
    if len(problems) > _SHOWN:
        problems[_SHOWN:] = [f"and {len(problems) - _SHOWN} more"]
    if problems:
        raise ValueError("; ".join(problems))


def _read_times(given: Any) -> Any:
    """Read the file if a path was given; pass anything else on."""
    if not isinstance(given, str | Path):
        return given
    try:
        with Path(given).open(newline="", encoding="utf-8-sig") as file:
            rows = [(line, row[0].strip()) for line, row in enumerate(csv.reader(file), start=1) if row and row[0].strip()]
    except (OSError, csv.Error, UnicodeDecodeError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ValueError(f"{given}: {reason}; give the path of a CSV file with times in seconds in its first column") from error
    if rows and rows[0][1][0].isalpha():
        del rows[0]  # a header
    times = [(f"{given}, line {line}", text, _number(text)) for line, text in rows]
    texts = [f"{place}: {text!r} is not a number of seconds" for place, text, time_s in times if time_s is None]
    if texts:
        raise ValueError("; ".join(texts[:_SHOWN]))
    _check_times((place, time_s) for place, _, time_s in times if time_s is not None)
    return tuple(time_s for _, _, time_s in times)


_NUMBER: Final = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?|[-+]?(?:nan|inf)", re.IGNORECASE)


def _number(text: str) -> float | None:
    """A number as tables write it; neither `1_000` nor `1;5` is one."""
    return float(text) if _NUMBER.fullmatch(text) else None


def _check_given(times: tuple[float, ...]) -> tuple[float, ...]:
    _check_times((f"arrival {i}", time_s) for i, time_s in enumerate(times))
    if times and times[-1] == 0:
        raise ValueError("a trace needs arrivals, the last of them after 0 s; without them it has no rate")
    return times


@final
class Trace(AbstractOpenLoop):
    """Recorded arrivals, once through: their times, or how many came in equal intervals.

    `times_s` are seconds from the start of the run, in order; equal times are a batch. `rates_per_s` hold for `interval_s` each: requests
    come at random within (a Poisson process whose rate steps), and none after the last interval. Either may stand in a CSV file, `file`
    with the name of a `column` and its `unit` (a unit of time: times; `/s`, `/min` or `count`, the requests of an interval: rates); it is
    read when the description is made. `times_s` may also be the path of a file with times in seconds in its first column. Mean rate =
    arrivals / time of the last, or the mean of the rates. `scaled` stretches the time axis and keeps the number of arrivals.
    """

    kind: Literal["trace"] = "trace"
    times_s: Annotated[
        tuple[Seconds, ...],
        BeforeValidator(_read_times, json_schema_input_type=list[float | str] | str),
        AfterValidator(_check_given),
    ] = ()
    rates_per_s: tuple[PerSecond, ...] = ()
    interval_s: PositiveSeconds | None = None
    file: Annotated[str | None, Field(exclude=True)] = None
    column: Annotated[str | None, Field(exclude=True)] = None
    """Its name in the first line; the first column unless given."""
    unit: Annotated[str | None, Field(exclude=True)] = None
    """Of the column; seconds unless given."""
    from_first: Annotated[bool, Field(exclude=True)] = False
    """Whether times count from the first of them (a log with the time of day) or from 0."""

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if self.file is not None and not self.times_s and not self.rates_per_s:
            for name, found in self._read(Path(self.file)).items():
                object.__setattr__(self, name, found)  # frozen from here on
            self._check()
            return self
        sources = [name for name in ("times_s", "rates_per_s", "file") if getattr(self, name)]
        if len(sources) > 1 and self.file is not None:
            raise ValueError(f"{' and '.join(sources)} are given; choose one")
        asked = [name for name in ("column", "unit", "from_first") if getattr(self, name) and self.file is None]
        if asked:
            raise ValueError(f"{' and '.join(asked)}: of what? give a file")
        self._check()
        return self

    def _read(self, file: Path) -> dict[str, tuple[float, ...]]:
        """What the file says, in the place of its name."""
        unit = self.unit or "s"
        if unit not in known_units():
            raise ValueError(f"unit {unit!r} is neither a time nor a rate; {nearest(unit, known_units())}")
        if is_rate(unit) and self.interval_s is None:
            raise ValueError(f"unit {unit!r}: rates need interval_s, the time that each line stands for")
        if is_rate(unit) and self.from_first:
            raise ValueError("from_first: rates begin at the start of the run; leave it out")
        if not is_rate(unit) and self.interval_s is not None:
            raise ValueError(f"interval_s: times in {unit} have none; leave it out, or give the unit of a rate, such as '/s'")
        cells = read_column(file, self.column)
        if is_rate(unit):
            assert self.interval_s is not None
            return {"rates_per_s": rates_of(cells, unit, self.interval_s)}
        return {"times_s": _check_given(times_of(file, cells, unit, from_first=self.from_first))}

    def _check(self) -> None:
        if self.times_s and self.rates_per_s:
            raise ValueError("times_s and rates_per_s are given; choose one")
        if not self.times_s and not self.rates_per_s:
            raise ValueError("a trace needs arrivals, the last of them after 0 s; without them it has no rate")
        if self.rates_per_s and self.interval_s is None:
            raise ValueError("rates_per_s need interval_s, the time that each of them holds")
        if self.rates_per_s and not any(self.rates_per_s):
            raise ValueError("every rate is 0 /s; give at least one interval with arrivals")

    @property
    def rate_per_s(self) -> float:
        return fsum(self.rates_per_s) / len(self.rates_per_s) if self.rates_per_s else len(self.times_s) / self.times_s[-1]

    def gaps(self, rng: np.random.Generator, block: int = BLOCK) -> Iterator[float]:
        times = self._drawn(rng, block) if self.rates_per_s else iter(self.times_s)
        clock = 0.0  # what a user of the gaps has added up so far, so that rounding does not drift
        for time_s in times:
            gap = max(0.0, time_s - clock)
            clock += gap
            yield gap

    def _drawn(self, rng: np.random.Generator, block: int) -> Iterator[float]:
        """Arrival times: the integral of the rate up to the next grows by a standard exponential each time."""
        assert self.interval_s is not None
        unit = blocks(rng.standard_exponential, block)
        due = next(unit)
        for i, rate in enumerate(self.rates_per_s):
            left = rate * self.interval_s
            while due < left:
                yield (i + due / left) * self.interval_s
                due += next(unit)
            due -= left

    def scaled(self, rate_per_s: float) -> Trace:
        factor = self.rate_per_s / rate_per_s
        if self.interval_s is not None:
            return Trace(rates_per_s=tuple(rate / factor for rate in self.rates_per_s), interval_s=self.interval_s * factor)
        return Trace(times_s=tuple(time_s * factor for time_s in self.times_s))


@final
class ClosedLoop(BaseModel):
    """Users who wait for the answer before they ask again: load follows response time, throughput = clients / (response + think).

    Client i of n begins its first think i / n * `stagger_s` after the start of the run.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["closed"] = "closed"
    clients: Annotated[int, Field(ge=1)]
    think: Distribution
    """Time between an answer and the next request, in seconds."""
    stagger_s: Seconds = 0.0
    children: Annotated[int, Field(ge=0)] = 0
    """Further clients that each answer brings, as a process that makes processes does; a request that fails brings none."""
    most_clients: Annotated[int, Field(ge=1)] = 4096
    """Where such growth ends, for the sake of the computer that simulates it."""
    client: ClientProgram | None = None
    """The one program whose connections the clients are; none where each client is a machine of its own."""

    def thinks(self, rng: np.random.Generator, block: int = BLOCK) -> Iterator[float]:
        """Endless think times in seconds, for all clients."""
        return self.think.draw(rng, block)


OpenLoop = Annotated[Poisson | Deterministic | Mmpp | Renewal | Trace, Field(discriminator="kind")]
"""Any open loop, told apart by `kind`."""
Arrivals = Annotated[Poisson | Deterministic | Mmpp | Renewal | Trace | ClosedLoop, Field(discriminator="kind")]
"""Any open or closed loop, told apart by `kind`."""
