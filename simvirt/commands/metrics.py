"""`simvirt metrics`: every metric with its unit, definition and estimator, as a page."""

from __future__ import annotations

from simvirt.reports.metrics_page import metrics_page

__all__ = ["metrics_text"]


def metrics_text() -> list[str]:
    """The page, line by line."""
    return metrics_page().splitlines()
