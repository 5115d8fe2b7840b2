"""Types for the fields of a description that carry a unit: text such as "12 us" or a bare SI number becomes an SI float.

A mistake becomes an ordinary pydantic error, so that a scenario reports it together with all its other mistakes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

from pydantic import BeforeValidator, Field
from pydantic_core import PydanticCustomError

from simvirt.errors import UnitError
from simvirt.units import parse_quantity

__all__ = [
    "Bytes",
    "BytesPerSecond",
    "Hertz",
    "Number",
    "PerSecond",
    "PositiveBytes",
    "PositiveBytesPerSecond",
    "PositiveNumber",
    "PositivePerSecond",
    "PositiveSeconds",
    "Seconds",
]


def _reader(dimension: str) -> Callable[[Any], float]:
    """A function that reads a quantity of `dimension` for pydantic."""

    def read(value: Any) -> float:
        if not isinstance(value, str | float | int):
            raise PydanticCustomError(
                "quantity", "a {dimension} is a number or text, not {type}", {"dimension": dimension, "type": type(value).__name__}
            )
        try:
            return parse_quantity(value, dimension)
        except UnitError as error:
            raise PydanticCustomError("quantity", "{problem}", {"problem": str(error)}) from error

    return read


def _door(dimension: str) -> BeforeValidator:
    return BeforeValidator(_reader(dimension), json_schema_input_type=float | str)


Seconds = Annotated[float, _door("time"), Field(ge=0)]
"""A duration, "12 us"; at least 0 s."""
PositiveSeconds = Annotated[float, _door("time"), Field(gt=0)]
"""A duration above 0 s."""
Bytes = Annotated[float, _door("size"), Field(ge=0)]
"""A size, "4 KiB"; at least 0 B."""
PositiveBytes = Annotated[float, _door("size"), Field(gt=0)]
"""A size above 0 B."""
PerSecond = Annotated[float, _door("rate"), Field(ge=0)]
"""A rate, "200 /s"; at least 0 /s."""
PositivePerSecond = Annotated[float, _door("rate"), Field(gt=0)]
"""A rate above 0 /s."""
BytesPerSecond = Annotated[float, _door("bandwidth"), Field(ge=0)]
"""A bandwidth, "10 Gbit/s"; at least 0 B/s."""
PositiveBytesPerSecond = Annotated[float, _door("bandwidth"), Field(gt=0)]
"""A bandwidth above 0 B/s."""
Hertz = Annotated[float, _door("frequency"), Field(gt=0)]
"""A clock rate, "2.4 GHz"; above 0 Hz."""
Number = Annotated[float, _door("number"), Field(ge=0)]
"""A plain number or a share, "80 %"; at least 0."""
PositiveNumber = Annotated[float, _door("number"), Field(gt=0)]
"""A plain number above 0."""
