"""What-if sliders in a notebook, where ipywidgets is installed; elsewhere the same picture at the value to begin with."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

__all__ = ["WITHOUT", "with_slider"]

WITHOUT: Final = "For a slider here: pip install ipywidgets. Until then, call the function with other values."

Range = tuple[float, float, float, float]
"""Least, most, step, and value to begin with."""


def with_slider(function: Callable[..., object], **ranges: Range) -> None:
    """Call the function with the values of sliders, one for each argument, anew when one is let go."""
    begin: Mapping[str, float] = {name: ends[3] for name, ends in ranges.items()}
    try:
        from ipywidgets import FloatSlider, interact  # noqa: PLC0415 - need not be installed
    except ImportError:
        function(**begin)
        print(WITHOUT)  # noqa: T201 - the message is for who reads the notebook
        return
    sliders = {
        name: FloatSlider(min=low, max=high, step=step, value=value, description=name.replace("_", " "), continuous_update=False)
        for name, (low, high, step, value) in ranges.items()
    }
    interact(function, **sliders)
