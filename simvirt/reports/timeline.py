"""A timeline as a file for viewers of traces: the trace event format of Chrome, which Perfetto and speedscope open.

Complete events ("X") for what went on, counters ("C") for queues; a process for each group of tracks, a thread for each track. Times are
microseconds with three decimals: rounded to nanoseconds, all in the same way, so that what nests or is disjoint stays so. The same timeline
gives the same bytes.
"""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, Protocol

__all__ = ["chrome_trace"]

_ORDER: Final = ("cores", "virtual processors")
"""Groups that come first; queues come last."""
_LAST: Final = "queues"


class Track(Protocol):
    """A line of the picture."""

    @property
    def group(self) -> str: ...
    @property
    def name(self) -> str: ...


class Slice(Protocol):
    """Something that went on for a time."""

    @property
    def track(self) -> Track: ...
    @property
    def name(self) -> str: ...
    @property
    def depth(self) -> int: ...
    @property
    def start_s(self) -> float: ...
    @property
    def end_s(self) -> float: ...


class Level(Protocol):
    """A number from a time on."""

    @property
    def track(self) -> Track: ...
    @property
    def time_s(self) -> float: ...
    @property
    def value(self) -> int: ...


def chrome_trace(slices: Iterable[Slice], levels: Iterable[Level], about: Mapping[str, Any]) -> bytes:
    """The file, compressed; `about` is kept in it."""
    slices, levels = list(slices), list(levels)
    seen = [*(one.track for one in slices), *(one.track for one in levels)]
    tracks = sorted({(track.group, track.name) for track in seen}, key=_place)
    groups = list(dict.fromkeys(group for group, _ in tracks))
    ids = {track: (1 + groups.index(track[0]), 1 + i) for i, track in enumerate(tracks)}
    events = [*_names(groups, ids), *_complete(slices, ids), *_counters(levels, ids)]
    head = json.dumps({"displayTimeUnit": "ns", "otherData": dict(about)}, sort_keys=True)
    lines = ",\n".join(json.dumps(event, separators=(",", ":")) for event in events)
    return gzip.compress(f'{head[:-1]}, "traceEvents": [\n{lines}\n]}}\n'.encode(), mtime=0)


def _place(track: tuple[str, str]) -> tuple[Any, ...]:
    """Cores first, queues last; core 2 before core 10."""
    group, name = track
    first = _ORDER.index(group) if group in _ORDER else len(_ORDER)
    return (group == _LAST, first, _natural(group), _natural(name))


def _natural(text: str) -> list[tuple[bool, int, str]]:
    return [(part.isdecimal(), int(part) if part.isdecimal() else 0, part) for part in re.split(r"(\d+)", text)]


def _names(groups: list[str], ids: Mapping[tuple[str, str], tuple[int, int]]) -> Iterator[dict[str, Any]]:
    for i, group in enumerate(groups):
        yield {"ph": "M", "pid": 1 + i, "tid": 0, "name": "process_name", "args": {"name": group}}
        yield {"ph": "M", "pid": 1 + i, "tid": 0, "name": "process_sort_index", "args": {"sort_index": i}}
    for (group, name), (pid, tid) in ids.items():
        if group != _LAST:
            yield {"ph": "M", "pid": pid, "tid": tid, "name": "thread_name", "args": {"name": name}}
            yield {"ph": "M", "pid": pid, "tid": tid, "name": "thread_sort_index", "args": {"sort_index": tid}}


def _complete(slices: Iterable[Slice], ids: Mapping[tuple[str, str], tuple[int, int]]) -> Iterator[dict[str, Any]]:
    """Outer slices before those in them; what rounds to no time at all is left out."""
    for one in sorted(slices, key=lambda s: (s.start_s, s.depth, s.end_s, s.track.group, s.track.name)):
        start, end = _ns(one.start_s), _ns(one.end_s)
        pid, tid = ids[one.track.group, one.track.name]
        if end > start:
            yield {"ph": "X", "pid": pid, "tid": tid, "ts": start / 1000, "dur": (end - start) / 1000, "name": one.name}


def _counters(levels: Iterable[Level], ids: Mapping[tuple[str, str], tuple[int, int]]) -> Iterator[dict[str, Any]]:
    for one in levels:
        pid, tid = ids[one.track.group, one.track.name]
        yield {"ph": "C", "pid": pid, "tid": tid, "ts": _ns(one.time_s) / 1000, "name": one.track.name, "args": {"value": one.value}}


def _ns(time_s: float) -> int:
    return round(time_s * 1e9)
