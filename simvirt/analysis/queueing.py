"""Closed forms of queueing theory: what a simulation must agree with, and a first answer without one.

Loads are in customers per second, times in seconds, λ is the offered load, s the mean service time, ρ = λ·s / servers the
utilisation. A load that the system cannot carry is refused: it has no stationary response time.

References: [K] Kleinrock, Queueing Systems I and II; [GH] Gross & Harris, Fundamentals of Queueing Theory;
[L] Lazowska, Zahorjan, Graham & Sevcik, Quantitative System Performance.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = [
    "Class",
    "ClosedBounds",
    "ClosedNetwork",
    "Station",
    "closed_bounds",
    "closed_network",
    "erlang_b",
    "erlang_c",
    "md1_response_time",
    "md1_wait",
    "mg1_ps_conditional_response_time",
    "mg1_ps_response_time",
    "mg1_response_time",
    "mg1_wait",
    "mm1_response_time",
    "mm1_response_time_quantile",
    "mm1_wait",
    "mmc_response_time",
    "mmc_wait",
    "nonpreemptive_priority",
    "preemptive_priority",
    "utilization_law",
]


def utilization_law(throughput_per_s: float, service_s: float, servers: int = 1) -> float:
    """U = X · s / c: the share of time that each of c servers is busy, whatever the distributions. [L] §3.2."""
    _not_negative("throughput_per_s", throughput_per_s)
    _positive("service_s", service_s)
    _positive("servers", servers)
    return throughput_per_s * service_s / servers


def mm1_wait(offered_load_per_s: float, service_s: float) -> float:
    """M/M/1, first come first served: W = ρ·s / (1 - ρ). [K I] §3.2."""
    return mg1_wait(offered_load_per_s, service_s, 1.0)


def mm1_response_time(offered_load_per_s: float, service_s: float) -> float:
    """M/M/1: R = s / (1 - ρ). [K I] §3.2."""
    return service_s / (1.0 - _stable(offered_load_per_s, service_s))


def mm1_response_time_quantile(offered_load_per_s: float, service_s: float, q: float) -> float:
    """M/M/1, first come first served: the response time is exponential, so its q-quantile is -R·ln(1 - q). [K I] §5.6."""
    if not 0.0 <= q < 1.0:
        raise ValueError(f"q: {q}; at least 0 and below 1")
    return -mm1_response_time(offered_load_per_s, service_s) * math.log1p(-q)


def erlang_b(offered_erlangs: float, servers: int) -> float:
    """Erlang's loss formula: the share of customers that find all c servers of M/G/c/c busy, at offered traffic a = λ·s.

    B(0) = 1, B(c) = a·B(c-1) / (c + a·B(c-1)): stable for any c. Every load is allowed; what does not fit is lost. [GH] §2.5.
    """
    _not_negative("offered_erlangs", offered_erlangs)
    _positive("servers", servers)
    blocked = 1.0
    for c in range(1, servers + 1):
        blocked = offered_erlangs * blocked / (c + offered_erlangs * blocked)
    return blocked


def erlang_c(offered_erlangs: float, servers: int) -> float:
    """Erlang's delay formula: the share of customers of M/M/c that must wait: C = B / (1 - ρ·(1 - B)), ρ = a/c. [GH] §2.3."""
    blocked = erlang_b(offered_erlangs, servers)
    utilization = _stable(offered_erlangs, 1.0, servers)
    return blocked / (1.0 - utilization * (1.0 - blocked))


def mmc_wait(offered_load_per_s: float, service_s: float, servers: int) -> float:
    """M/M/c, one queue: W = C(c, λ·s) · s / (c·(1 - ρ)). [GH] §2.3."""
    utilization = _stable(offered_load_per_s, service_s, servers)
    return erlang_c(offered_load_per_s * service_s, servers) * service_s / (servers * (1.0 - utilization))


def mmc_response_time(offered_load_per_s: float, service_s: float, servers: int) -> float:
    """M/M/c, one queue: R = W + s. [GH] §2.3."""
    return mmc_wait(offered_load_per_s, service_s, servers) + service_s


def mg1_wait(offered_load_per_s: float, service_s: float, squared_variation: float) -> float:
    """M/G/1, first come first served (Pollaczek-Khinchine): W = ρ·s·(1 + c²) / (2·(1 - ρ)). [K I] §5.6.

    `squared_variation` is c² = variance / mean² of the service time: 0 constant, 1 exponential.
    """
    utilization = _stable(offered_load_per_s, service_s)
    _not_negative("squared_variation", squared_variation)
    return utilization * service_s * (1.0 + squared_variation) / (2.0 * (1.0 - utilization))


def mg1_response_time(offered_load_per_s: float, service_s: float, squared_variation: float) -> float:
    """M/G/1, first come first served: R = W + s. [K I] §5.6."""
    return mg1_wait(offered_load_per_s, service_s, squared_variation) + service_s


def md1_wait(offered_load_per_s: float, service_s: float) -> float:
    """M/D/1: W = ρ·s / (2·(1 - ρ)), half of M/M/1's. [K I] §5.6."""
    return mg1_wait(offered_load_per_s, service_s, 0.0)


def md1_response_time(offered_load_per_s: float, service_s: float) -> float:
    """M/D/1: R = W + s. [K I] §5.6."""
    return mg1_response_time(offered_load_per_s, service_s, 0.0)


def mg1_ps_response_time(offered_load_per_s: float, service_s: float) -> float:
    """M/G/1 processor sharing: R = s / (1 - ρ), whatever the distribution of service times. [K II] §4.4."""
    return mm1_response_time(offered_load_per_s, service_s)


def mg1_ps_conditional_response_time(offered_load_per_s: float, service_s: float, demand_s: float) -> float:
    """M/G/1 processor sharing: a customer who needs x seconds stays x / (1 - ρ) on average. [K II] §4.4."""
    _not_negative("demand_s", demand_s)
    return demand_s / (1.0 - _stable(offered_load_per_s, service_s))


@dataclass(frozen=True, slots=True, kw_only=True)
class Class:
    """One class of customers: Poisson arrivals, exponential service."""

    offered_load_per_s: float
    service_s: float

    @property
    def utilization(self) -> float:
        _not_negative("offered_load_per_s", self.offered_load_per_s)
        _positive("service_s", self.service_s)
        return self.offered_load_per_s * self.service_s


def nonpreemptive_priority(high: Class, low: Class) -> tuple[float, float]:
    """Mean response times (high, low) of two classes at one server that finishes what it has begun (Cobham). [K II] §3.6.

    W_high = W₀ / (1 - ρ_high), W_low = W₀ / ((1 - ρ_high)·(1 - ρ_high - ρ_low)), W₀ = ρ_high·s_high + ρ_low·s_low, R = W + s.
    """
    urgent, total = _priority_utilizations(high, low)
    residual = _residual_s(high) + _residual_s(low)
    wait_high = residual / (1.0 - urgent)
    return wait_high + high.service_s, wait_high / (1.0 - total) + low.service_s


def preemptive_priority(high: Class, low: Class) -> tuple[float, float]:
    """Mean response times (high, low) of two classes when the urgent one interrupts and the other resumes. [K II] §3.7.

    R_high = s_high / (1 - ρ_high), as if alone; R_low = (s_low + W₀ / (1 - ρ_high - ρ_low)) / (1 - ρ_high), W₀ as above.
    """
    urgent, total = _priority_utilizations(high, low)
    residual = _residual_s(high) + _residual_s(low)
    return high.service_s / (1.0 - urgent), (low.service_s + residual / (1.0 - total)) / (1.0 - urgent)


def _residual_s(customers: Class) -> float:
    """Mean remaining service that an arrival finds of this class: λ·E[s²]/2 = ρ·s for exponential service."""
    return customers.utilization * customers.service_s


def _priority_utilizations(high: Class, low: Class) -> tuple[float, float]:
    total = high.utilization + low.utilization
    if not total < 1.0:
        raise ValueError(f"utilization: {high.utilization:g} + {low.utilization:g} = {total:g}; below 1, or the low class waits for ever")
    return high.utilization, total


@dataclass(frozen=True, slots=True, kw_only=True)
class Station:
    """A station of a closed network, first come first served with exponential service, or sharing, or a pure delay."""

    demand_s: float
    """Service that one passage through the network asks of the station, all visits together."""
    servers: float = 1
    """Identical servers; infinity makes the station a delay, such as thinking."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClosedNetwork:
    """Stationary means of a closed network, stations in the order given."""

    throughput_per_s: float
    """Passages of all customers together."""
    response_time_s: float
    """Mean time of a passage, delays left out."""
    residence_s: tuple[float, ...]
    """Mean time of a passage at each station, waiting included."""
    customers: tuple[float, ...]
    """Mean number at each station."""
    utilization: tuple[float, ...]
    """Busy share of each server; of a delay, the mean number there."""


def closed_network(stations: Sequence[Station], customers: int) -> ClosedNetwork:
    """Exact means of a single-class product-form network with N circulating customers (what load-dependent MVA computes).

    With fₘ(j) = Dₘʲ / Π min(i, cₘ) for i = 1…j and G the convolution of all fₘ: X = G(N-1) / G(N), and station m holds j customers with
    probability fₘ(j)·G₋ₘ(N-j) / G(N), G₋ₘ being the convolution of the others. Response times follow from Little's law.
    The convolution is used rather than the recursion on N because every term is positive: the recursion subtracts to find how often
    a multi-server station is empty and loses all digits near saturation. Logarithms keep G in range. [L] ch. 19-20;
    Buzen, "Computational algorithms for closed queueing networks", CACM 16 (1973); Reiser & Lavenberg, JACM 27 (1980).
    """
    _check_network(stations, customers)
    factors = [_log_station_factor(station, customers) for station in stations]
    others = _convolve_all_but_one(factors)
    whole = _log_convolve(factors[0], others[0])
    throughput = math.exp(whole[customers - 1] - whole[customers])
    numbers = tuple(_mean_number(own, rest, whole[customers]) for own, rest in zip(factors, others, strict=True))
    waiting = sum(number for number, station in zip(numbers, stations, strict=True) if math.isfinite(station.servers))
    return ClosedNetwork(
        throughput_per_s=throughput,
        response_time_s=waiting / throughput,
        residence_s=tuple(number / throughput for number in numbers),
        customers=numbers,
        utilization=tuple(throughput * s.demand_s / (s.servers if math.isfinite(s.servers) else 1.0) for s in stations),
    )


Logarithms = npt.NDArray[np.float64]


def _log_station_factor(station: Station, customers: int) -> Logarithms:
    """ln fₘ(j) for j = 0…N."""
    if station.demand_s == 0.0:
        return np.concatenate([[0.0], np.full(customers, -np.inf)])
    rates = np.minimum(np.arange(1, customers + 1, dtype=np.float64), station.servers)
    return np.concatenate([[0.0], np.cumsum(math.log(station.demand_s) - np.log(rates))])


def _log_convolve(a: Logarithms, b: Logarithms) -> Logarithms:
    """ln Σ exp(a(j) + b(n-j)) for every n."""
    return np.array([np.logaddexp.reduce(a[: n + 1] + b[n::-1]) for n in range(a.size)])


def _convolve_all_but_one(factors: Sequence[Logarithms]) -> list[Logarithms]:
    """For each factor, the convolution of all others: products from the left times products from the right."""
    one = np.concatenate([[0.0], np.full(factors[0].size - 1, -np.inf)])
    left, right = [one], [one]
    for factor in factors[:-1]:
        left.append(_log_convolve(left[-1], factor))
    for factor in factors[:0:-1]:
        right.append(_log_convolve(right[-1], factor))
    return [_log_convolve(before, after) for before, after in zip(left, reversed(right), strict=True)]


def _mean_number(own: Logarithms, rest: Logarithms, log_total: float) -> float:
    return float(np.exp(own + rest[::-1] - log_total) @ np.arange(own.size))


@dataclass(frozen=True, slots=True, kw_only=True)
class ClosedBounds:
    """What no closed network with these demands can leave, whatever its distributions."""

    throughput_low_per_s: float
    throughput_high_per_s: float
    response_time_low_s: float
    response_time_high_s: float
    knee_customers: float
    """N* where the two upper bounds on throughput meet: beyond it customers must queue."""


def closed_bounds(stations: Sequence[Station], customers: int) -> ClosedBounds:
    """Asymptotic bounds of a closed network. [L] §5.2, with Dₘ / cₘ in place of the demand for c servers.

    N / (N·D + Z) ≤ X ≤ min(1 / Dmax, N / (D + Z)),  max(D, N·Dmax - Z) ≤ R ≤ N·D; Z sums the delays, D the other demands.
    """
    _check_network(stations, customers)
    think = sum(s.demand_s for s in stations if math.isinf(s.servers))
    total = sum(s.demand_s for s in stations if math.isfinite(s.servers))
    slowest = max((s.demand_s / s.servers for s in stations), default=0.0)
    return ClosedBounds(
        throughput_low_per_s=customers / (customers * total + think),
        throughput_high_per_s=min(1.0 / slowest if slowest else math.inf, customers / (total + think)),
        response_time_low_s=max(total, customers * slowest - think),
        response_time_high_s=customers * total,
        knee_customers=(total + think) / slowest if slowest else math.inf,
    )


def _check_network(stations: Sequence[Station], customers: int) -> None:
    _positive("customers", customers)
    for index, station in enumerate(stations):
        _not_negative(f"stations[{index}].demand_s", station.demand_s)
        if not (station.servers >= 1.0 and (math.isinf(station.servers) or station.servers == int(station.servers))):
            raise ValueError(f"stations[{index}].servers: {station.servers}; a whole number of at least 1, or infinity for a delay")
    if not any(station.demand_s > 0.0 for station in stations):
        raise ValueError("stations: no station with a demand above 0; a passage would take no time")


def _stable(offered_load_per_s: float, service_s: float, servers: int = 1) -> float:
    """The utilisation, refused at 1 and above."""
    _not_negative("offered_load_per_s", offered_load_per_s)
    _positive("service_s", service_s)
    _positive("servers", servers)
    utilization = offered_load_per_s * service_s / servers
    if not utilization < 1.0:
        carried = f"{servers / service_s:g}, what {servers} server(s) at {service_s:g} s can carry"
        raise ValueError(f"offered_load_per_s: {offered_load_per_s:g}; below {carried}")
    return utilization


def _positive(name: str, value: float) -> None:
    if not 0.0 < value < math.inf:
        raise ValueError(f"{name}: {value}; above 0 and finite")


def _not_negative(name: str, value: float) -> None:
    if not 0.0 <= value < math.inf:
        raise ValueError(f"{name}: {value}; at least 0 and finite")
