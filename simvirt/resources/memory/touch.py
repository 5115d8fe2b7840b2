"""Which bytes are used: two levels of popularity, and how likely a touch meets a page that is out."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["EVEN", "Popularity"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Popularity:
    """The share `hot_touches` of touches goes to the share `hot_share` of bytes.

    Two levels stand for a curve; a touch within a level goes to any of its bytes alike. hot_touches >= hot_share.
    """

    hot_share: float
    hot_touches: float

    def cold_bytes(self, total_bytes: float) -> float:
        return total_bytes * (1.0 - self.hot_share)

    def miss(self, out_bytes: float, total_bytes: float, *, by_age: bool) -> float:
        """Probability that a touch meets a byte that is out.

        Any bytes alike: out / total. By age, cold ones went first: (1 - hot_touches) * out / cold up to all cold ones, and the rest on the
        hot ones.
        """
        if out_bytes <= 0.0 or total_bytes <= 0.0:
            return 0.0
        if not by_age:
            return min(1.0, out_bytes / total_bytes)
        cold = self.cold_bytes(total_bytes)
        hot = total_bytes - cold
        missed = (1.0 - self.hot_touches) * min(1.0, out_bytes / cold) if cold else 0.0
        return missed + (self.hot_touches * min(1.0, max(0.0, out_bytes - cold) / hot) if hot else 0.0)


EVEN = Popularity(hot_share=0.5, hot_touches=0.5)
"""Every byte alike."""
