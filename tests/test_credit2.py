"""The second credit scheduler against traces worked by hand. Milliseconds; 10 credits at a time, turns of 1 to 10; equal weights burn 1 per
ms.
"""

from __future__ import annotations

import pytest
from timeline import Timeline

from simvirt.resources.cpu.contract import Share
from simvirt.resources.cpu.discrete.credit2 import Credit2

RULES = Credit2()
VM = Share(per_thread=False, processors=1)


def test_two_hogs_change_places_when_the_other_is_ahead() -> None:
    """Both have 10. a runs for the shortest turn, 1: 9 against 10, b's turn. b is ahead by 1: at 2 both have 9, equal, so b goes on for 1:
    8. a (9) is ahead by 1: at 4 both have 8, a goes on: 7; and so on, 2 each.
    """
    line = Timeline(RULES)
    line.task("a", VM).hog()
    line.task("b", VM).hog()
    assert line.who(13) == "abbaabbaabbaa"


def test_the_light_burn_their_credits_faster() -> None:
    """a weighs 2, b 1 and burns 2 per ms. a: 9 at 1. b (10): 8 at 2. a (9) is ahead by 1: 8 at 3, equal, goes on: 7 at 4. b (8): 6 at 5; a:
    6 at 6, 5 at 7.
    """
    line = Timeline(RULES)
    line.task("a", Share(weight=2, per_thread=False, processors=1)).hog()
    line.task("b", VM).hog()
    assert line.who(7) == "abaabaa"


def test_whoever_wakes_with_more_credits_preempts_after_the_rate_limit() -> None:
    """a, alone from 0, has 10 - 5.2 = 4.8 at 5.2. b, new, has 10: preempts, done at 5.4 with 9.8. b wakes at 5.9: a has gone on for 0.5, so
    it has its 1 until 6.4.
    """
    line = Timeline(RULES)
    line.task("a", VM).hog()
    b = line.task("b", VM).wakes((5.2, 0.2), (5.9, 0.2))
    line.finish(20)
    assert b.done == pytest.approx([5.4, 6.6])


def test_whoever_wakes_with_fewer_credits_waits_until_it_is_ahead() -> None:
    """b runs from 1 (10 against a's 9) for 5: a preempts nothing, but turns go by. b has 5 left in the end; a too.

    a: 0-1; b: 1-3 (8); a: 3-5 (7); b: 5-7 (6); a: 7-9 (5); b: 9-10, done with 5. a: 10-11 (4). b wakes at 11.5: a has 3.5 < 5: preempts,
    done at 11.6.
    """
    line = Timeline(RULES)
    line.task("a", VM).hog()
    b = line.task("b", VM).wakes((0.0, 5.0), (11.5, 0.1))
    line.finish(20)
    assert b.done == pytest.approx([10.0, 11.6])


def test_what_a_sleeper_saved_is_bounded() -> None:
    """b, with 9.5 left at 0.5, sleeps until 100. a has burnt 99.5 by then and been handed out 9 times 10 more: 0.5. b comes with 10.5, not
    9.5 + 90.

    b runs until it has no more than a, 10; equal, it goes on for 1: -0.5. a has 0.5, runs for the shortest turn, 1: -0.5; equal, a goes on,
    and as it has none left, both get 10: 9.5. After 1 it has 8.5: b's turn.
    """
    line = Timeline(RULES)
    line.task("a", VM).hog(0.5)
    line.task("b", VM).wakes((0.0, 0.5), (100.0, 1000.0))
    line.engine.run(0.1)
    assert line.who(114) == "b" * 11 + "aa" + "b"


def test_a_cap_is_a_budget_every_ten_milliseconds() -> None:
    """0.3: 3 of every 10."""
    line = Timeline(RULES)
    line.task("a", Share(per_thread=False, processors=1, cap_cores=0.3)).hog()
    assert line.who(40) == "aaa......." * 4


def test_rules_that_cannot_be_followed_are_refused() -> None:
    with pytest.raises(ValueError, match=r"ratelimit_s: -1.0 s; must be at least 0"):
        Credit2(ratelimit_s=-1.0)
