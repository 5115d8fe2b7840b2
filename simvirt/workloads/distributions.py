"""Distributions of times and factors: data, with exact mean and variability and an iterator of draws.

A field that carries a unit is in seconds ("12 us"); a bare number has whatever unit is drawn, so that a distribution of mean 1 is a factor.

Draws come in blocks, yet each draw uses up its random numbers before the next, so that the sequence does not depend on the size of
the block. `scaled` changes the mean only: the same generator then gives the same draws, stretched (common random numbers).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from itertools import repeat
from math import fsum, log1p, sqrt
from typing import Annotated, Literal, Self, final

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

from simvirt.quantities import Number, PositiveSeconds, Seconds
from simvirt.randomness import BLOCK, blocks

__all__ = [
    "AbstractDistribution",
    "Constant",
    "Distribution",
    "Empirical",
    "Erlang",
    "Exponential",
    "Hyperexponential",
    "Lognormal",
    "Uniform",
]


class AbstractDistribution(BaseModel, ABC):
    """A distribution on the numbers from 0 up. Each also has a `mean`: a field where it is given, a property where it follows."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @property
    @abstractmethod
    def scv(self) -> float:
        """Squared coefficient of variation: variance / mean²."""

    @abstractmethod
    def draw(self, rng: np.random.Generator, block: int = BLOCK) -> Iterator[float]:
        """An endless iterator of independent draws, made `block` at a time; it should be the only user of `rng`."""

    @abstractmethod
    def scaled(self, mean: float) -> Self:
        """The same shape with another mean."""


@final
class Constant(AbstractDistribution):
    """Always the same value."""

    kind: Literal["constant"] = "constant"
    value: Seconds

    @property
    def mean(self) -> float:
        return self.value

    @property
    def scv(self) -> float:
        return 0.0

    def draw(self, rng: np.random.Generator, block: int = BLOCK) -> Iterator[float]:
        return repeat(self.value)

    def scaled(self, mean: float) -> Constant:
        return Constant(value=mean)


@final
class Exponential(AbstractDistribution):
    """Without memory: P(X > x) = exp(-x / mean)."""

    kind: Literal["exponential"] = "exponential"
    mean: PositiveSeconds

    @property
    def scv(self) -> float:
        return 1.0

    def draw(self, rng: np.random.Generator, block: int = BLOCK) -> Iterator[float]:
        return blocks(lambda n: rng.exponential(self.mean, n), block)

    def scaled(self, mean: float) -> Exponential:
        return Exponential(mean=mean)


@final
class Lognormal(AbstractDistribution):
    """exp of a normal: log X has variance ln(1 + cv²); a skewed body and a moderately heavy tail."""

    kind: Literal["lognormal"] = "lognormal"
    mean: PositiveSeconds
    cv: Number
    """Standard deviation / mean."""

    @property
    def scv(self) -> float:
        return self.cv * self.cv

    def draw(self, rng: np.random.Generator, block: int = BLOCK) -> Iterator[float]:
        variance = log1p(self.scv)
        return blocks(lambda n: self.mean * rng.lognormal(-variance / 2, sqrt(variance), n), block)

    def scaled(self, mean: float) -> Lognormal:
        return Lognormal(mean=mean, cv=self.cv)


@final
class Uniform(AbstractDistribution):
    """Equally likely everywhere between two bounds."""

    kind: Literal["uniform"] = "uniform"
    low: Seconds
    high: PositiveSeconds

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.low > self.high:
            raise ValueError(f"low {self.low:g} is above high {self.high:g}; swap them")
        return self

    @property
    def mean(self) -> float:
        return (self.low + self.high) / 2

    @property
    def scv(self) -> float:
        return ((self.high - self.low) / self.mean) ** 2 / 12

    def draw(self, rng: np.random.Generator, block: int = BLOCK) -> Iterator[float]:
        return blocks(lambda n: self.low + (self.high - self.low) * rng.random(n), block)

    def scaled(self, mean: float) -> Uniform:
        factor = mean / self.mean
        return Uniform(low=self.low * factor, high=self.high * factor)


@final
class Erlang(AbstractDistribution):
    """Sum of k equal exponential stages: less variable than one, scv = 1 / k."""

    kind: Literal["erlang"] = "erlang"
    mean: PositiveSeconds
    k: Annotated[int, Field(ge=1)]
    """Number of stages."""

    @property
    def scv(self) -> float:
        return 1 / self.k

    def draw(self, rng: np.random.Generator, block: int = BLOCK) -> Iterator[float]:
        return blocks(lambda n: rng.gamma(self.k, self.mean / self.k, n), block)

    def scaled(self, mean: float) -> Erlang:
        return Erlang(mean=mean, k=self.k)


@final
class Hyperexponential(AbstractDistribution):
    """One of two exponentials by chance, both contributing half of the mean (balanced means): more variable than one.

    The short branch has probability p = (1 + sqrt((cv² - 1) / (cv² + 1))) / 2 and mean `mean` / 2p; the long one has
    probability 1 - p and mean `mean` / 2(1 - p).
    """

    kind: Literal["hyperexponential"] = "hyperexponential"
    mean: PositiveSeconds
    cv: Annotated[Number, Field(ge=1)]
    """Standard deviation / mean; at least 1, where the distribution is exponential."""

    @property
    def scv(self) -> float:
        return self.cv * self.cv

    def draw(self, rng: np.random.Generator, block: int = BLOCK) -> Iterator[float]:
        short = (1 + sqrt((self.scv - 1) / (self.scv + 1))) / 2
        means = np.array([self.mean / (2 * short), self.mean / (2 * (1 - short))])

        def draws(n: int) -> np.ndarray:
            pairs = rng.random((n, 2))  # one row per draw, whatever the block: which branch, and how long
            drawn: np.ndarray = -np.log1p(-pairs[:, 1]) * np.where(pairs[:, 0] < short, means[0], means[1])
            return drawn

        return blocks(draws, block)

    def scaled(self, mean: float) -> Hyperexponential:
        return Hyperexponential(mean=mean, cv=self.cv)


@final
class Empirical(AbstractDistribution):
    """One of the given values, with probability proportional to its weight; equal weights unless given."""

    kind: Literal["empirical"] = "empirical"
    values: Annotated[tuple[Seconds, ...], Field(min_length=1)]
    weights: tuple[Number, ...] = ()
    """One for each value, or none at all."""

    @model_validator(mode="after")
    def _weighted(self) -> Self:
        if self.weights and len(self.weights) != len(self.values):
            raise ValueError(f"{len(self.values)} values but {len(self.weights)} weights; give one weight for each value, or none")
        if not any(value * weight > 0 for value, weight in zip(self.values, self._weights(), strict=True)):
            raise ValueError("the mean is 0; give a positive value with a positive weight")
        return self

    def _weights(self) -> tuple[float, ...]:
        return self.weights or (1.0,) * len(self.values)

    def _moment(self, order: int) -> float:
        weights = self._weights()
        return fsum(w * v**order for v, w in zip(self.values, weights, strict=True)) / fsum(weights)

    @property
    def mean(self) -> float:
        return self._moment(1)

    @property
    def scv(self) -> float:
        return self._moment(2) / self.mean**2 - 1

    def draw(self, rng: np.random.Generator, block: int = BLOCK) -> Iterator[float]:
        values, cumulative = np.array(self.values), np.cumsum(self._weights())
        return blocks(lambda n: values[np.searchsorted(cumulative, rng.random(n) * cumulative[-1], side="right")], block)

    def scaled(self, mean: float) -> Empirical:
        factor = mean / self.mean
        return Empirical(values=tuple(value * factor for value in self.values), weights=self.weights)


Distribution = Annotated[Constant | Exponential | Lognormal | Uniform | Erlang | Hyperexponential | Empirical, Field(discriminator="kind")]
"""Any of them, told apart by `kind`."""
