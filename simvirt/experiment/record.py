"""What a run found as bytes that give the very same outcome back.

A record is a line that names the form and the SHA-256 of what follows, then JSON, compressed. A record names no types: it is read as the
type that the description of the run promises, field by field, so that a file from anywhere can make nothing but numbers and texts of
known classes. Floats are written so that reading gives the same float; NaN and the infinities, which JSON lacks, as texts.
"""

from __future__ import annotations

import gzip
import hashlib
import json
from collections.abc import Callable, Hashable, Mapping
from dataclasses import fields, is_dataclass
from enum import Enum
from functools import cache
from math import isfinite
from types import NoneType, UnionType
from typing import Any, Final, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from simvirt.metrics.histogram import LatencyHistogram

__all__ = ["RecordError", "decoded", "encoded"]

T = TypeVar("T")

_FORM: Final = b"simvirt-run-1 "
_LEVEL: Final = 6
_ODD: Final = {"nan": float("nan"), "inf": float("inf"), "-inf": float("-inf")}


class RecordError(ValueError):
    """A record that is cut off, changed, or of another type."""


def encoded(outcome: object) -> bytes:
    """The record of an outcome, a dataclass; the same bytes for the same outcome."""
    text = json.dumps(_plain(outcome), allow_nan=False, ensure_ascii=False, separators=(",", ":"))
    body = gzip.compress(text.encode("utf-8"), _LEVEL, mtime=0)
    return _FORM + hashlib.sha256(body).hexdigest().encode("ascii") + b"\n" + body


def decoded(record: bytes, kind: type[T]) -> T:
    """The outcome in a record, of the class given. Raises RecordError if it is not whole."""
    head, newline, body = record.partition(b"\n")
    if not newline or head != _FORM + hashlib.sha256(body).hexdigest().encode("ascii"):
        raise RecordError("cut off or changed: its checksum is another")
    try:
        outcome = _reader(cast("Hashable", kind))(json.loads(gzip.decompress(body)))
    except (OSError, EOFError, ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        raise RecordError(f"no {kind.__name__} as this version has it: {error}") from None
    assert isinstance(outcome, kind)
    return outcome


def _plain(value: Any) -> Any:
    """A value as JSON can hold it."""
    if isinstance(value, LatencyHistogram):
        return _plain(value.to_dict())
    if is_dataclass(value):
        return {one.name: _plain(getattr(value, one.name)) for one in fields(value)}
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, float):
        return float(value) if isfinite(value) else repr(float(value))
    if isinstance(value, Mapping):
        return {key: _plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    return value


Reader = Callable[[Any], Any]


@cache
def _reader(kind: Any) -> Reader:
    """What makes a value of a type from JSON, and refuses every other value."""
    origin, arguments = get_origin(kind), get_args(kind)
    if kind in _SIMPLE:
        return _SIMPLE[kind]
    if kind is LatencyHistogram:
        return LatencyHistogram.from_dict
    if isinstance(kind, type) and is_dataclass(kind):
        return _dataclass_reader(kind)
    if isinstance(kind, type) and issubclass(kind, Enum):
        return kind
    if origin in (Union, UnionType) and NoneType in arguments:
        return _optional_reader(arguments)
    if origin is tuple:
        return _tuple_reader(arguments)
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return _mapping_reader(arguments[1])
    raise TypeError(f"{kind}: no form in a record; use numbers, texts, tuples, mappings from texts, enumerations and dataclasses")


def _dataclass_reader(kind: type) -> Reader:
    hints = get_type_hints(kind)
    readers = {one.name: _reader(hints[one.name]) for one in fields(kind) if one.init}

    def read(document: Any) -> Any:
        if not isinstance(document, dict) or document.keys() != readers.keys():
            raise ValueError(f"not the fields of {kind.__name__}")
        return kind(**{name: reader(document[name]) for name, reader in readers.items()})

    return read


def _optional_reader(kinds: tuple[Any, ...]) -> Reader:
    [inner] = [_reader(kind) for kind in kinds if kind is not NoneType]
    return lambda value: None if value is None else inner(value)


def _tuple_reader(kinds: tuple[Any, ...]) -> Reader:
    if len(kinds) == 2 and kinds[1] is Ellipsis:
        every = _reader(kinds[0])
        return lambda values: tuple(every(value) for value in _list(values))
    each = [_reader(kind) for kind in kinds]
    return lambda values: tuple(reader(value) for reader, value in zip(each, _list(values), strict=True))


def _mapping_reader(kind: Any) -> Reader:
    reader = _reader(kind)
    return lambda document: {_text(key): reader(value) for key, value in document.items()}


def _list(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise TypeError(f"{value!r:.40}: not a list")
    return value


def _float(value: Any) -> float:
    """Whole numbers stay whole: a table tells 0 and 0.0 apart."""
    if isinstance(value, str):
        return _ODD[value]
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{value!r:.40}: not a number")
    return value


def _int(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{value!r:.40}: not a whole number")
    return value


def _bool(value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError(f"{value!r:.40}: neither true nor false")
    return value


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r:.40}: not a text")
    return value


_SIMPLE: Final[Mapping[Any, Reader]] = {float: _float, int: _int, bool: _bool, str: _text}
