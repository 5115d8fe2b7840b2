"""Weights, reserves and limits of Hyper-V, as its profile has them, against traces worked by hand. Milliseconds; quantum 10, lead 1."""

from __future__ import annotations

import pytest
from timeline import Timeline, each

from simvirt.catalog import Catalog
from simvirt.resources.cpu.contract import Share
from simvirt.resources.cpu.discrete.cfs import CompletelyFair
from simvirt.resources.cpu.discrete.contract import AbstractRules


def rules() -> AbstractRules:
    found = Catalog.builtin().scheduling("hyper-v-weights").rules
    assert found is not None
    return found


def vm(weight: float = 1.0, **other: float) -> Share:
    """A machine of one virtual processor, which carries the weight."""
    return Share(weight=weight, processors=1, **other)  # type: ignore[arg-type]


def test_virtual_processors_take_quanta_by_weight() -> None:
    """a weighs 2: its consumed time grows by 5 per quantum, that of b by 10. a 5, b 10, a 10; equal: b, which waits, 20; a 15, 20; b 30."""
    line = Timeline(rules())
    line.task("a", vm(2.0)).hog()
    line.task("b", vm()).hog()
    assert line.who(70, step=5) == "aabbaabbaaaabb"


def test_a_machine_of_two_processors_weighs_twice() -> None:
    """Weights are each virtual processor's: three of them on one core have a third each, the machine of two has two thirds."""
    line = Timeline(rules(), inside=CompletelyFair())
    large = line.cpu.group("large", Share(processors=2))
    tasks = [line.task(name, inside=large, core=i).hog() for i, name in enumerate("ab")]
    tasks.append(line.task("c", vm()).hog())
    line.engine.run(0.3)
    assert each(tasks) == pytest.approx([100.0, 100.0, 100.0])


def test_whoever_wakes_preempts_if_it_has_consumed_less_by_more_than_the_lead() -> None:
    """b comes at 3 with the 3 that a has consumed: no. It runs from 10 to 11, consumed 4; a has 10. b wakes at 15.5: a has 14.5, b no less
    than 14.5 - 10 = 4.5: preempts, done at 16.5 with 5.5.
    """
    line = Timeline(rules())
    line.task("a", vm()).hog()
    b = line.task("b", vm()).wakes((3.0, 1.0), (15.5, 1.0))
    line.finish(100)
    assert b.done == pytest.approx([11.0, 16.5])


def test_a_quantum_does_not_wait_for_a_tick() -> None:
    """a comes at 3 for ever, b at 5: a until 13, though ticks are at 10 and 20."""
    line = Timeline(rules())
    line.task("a", vm()).hog(3.0)
    line.task("b", vm()).hog(5.0)
    assert line.who(33) == "..." + "a" * 10 + "b" * 10 + "a" * 10


def test_a_limit_holds_over_a_period() -> None:
    """A limit of 30 %: 30 of every 100, here in quanta of 10 in turn with b until they are used up, at 50; then b alone."""
    line = Timeline(rules())
    line.task("a", Share(processors=1, per_thread=False, cap_cores=0.3)).hog()
    line.task("b", Share(processors=1, per_thread=False)).hog()
    assert line.who(100, step=10) == "abababbbbb"


def test_a_reserve_is_had_whatever_the_weights() -> None:
    """a weighs 1 and has half of the core reserved, beside b of weight 3: one quantum each in turn, where by weight it had one of four."""
    line = Timeline(rules())
    line.task("a", Share(processors=1, per_thread=False, reservation_cores=0.5)).hog()
    line.task("b", Share(weight=3.0, processors=1, per_thread=False)).hog()
    line.engine.run(0.1)
    assert sorted(line.who(180, step=10)) == ["a"] * 4 + ["b"] * 4
