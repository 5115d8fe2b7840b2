"""Builds what layers say of finite tables from the `tables` table of their profiles."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields
from typing import Any, Final

from simvirt.errors import CatalogError, nearest
from simvirt.evidence import Cost, Reference
from simvirt.layers.kernel_tables import LayerTables, TableKind, TableRule
from simvirt.profile_reader import build_cost, override_entries

__all__ = ["TABLES", "build_layer_tables", "is_table_path", "table_costs"]

TABLES: Final = "tables"
"""The table of a layer's profile that speaks of them."""
_FIELDS: Final = tuple(f.name for f in fields(TableRule))


def is_table_path(path: str) -> bool:
    """Whether an override is meant for a number of a table: `layer.tables.processes.limit`."""
    return path.split(".")[1:2] == [TABLES]


def build_layer_tables(
    name: str, entries: Any, references: Mapping[str, Reference], overrides: Mapping[str, float | str]
) -> LayerTables:
    """Read the tables of one layer. Raises CatalogError with every mistake."""
    path = f"layers/{name}.{TABLES}"
    kinds = [kind.value for kind in TableKind]
    if not isinstance(entries, Mapping):
        raise CatalogError([f"{path}: {entries!r}; must be tables, such as [{TABLES}.{kinds[0]}.capacity]"])
    places = {
        f"{name}.{TABLES}.{kind}.{field}": cost
        for kind, rule in entries.items() if isinstance(rule, Mapping) for field, cost in rule.items() if isinstance(cost, dict)
    }  # fmt: skip
    override_entries(places, overrides)
    problems: list[str] = []
    rules: dict[TableKind, TableRule] = {}
    for word, table in entries.items():
        if word not in kinds:
            problems.append(f"{path}.{word}: no such kind of table; {nearest(str(word), kinds)}")
        elif not isinstance(table, Mapping) or not table:
            problems.append(f"{path}.{word}: {table!r}; must be numbers with evidence, such as [{TABLES}.{word}.capacity]")
        else:
            rules[TableKind(word)] = _rule(TableKind(word), table, f"{path}.{word}", references, problems)
    if problems:
        raise CatalogError(problems)
    return LayerTables(rules)


def _rule(
    kind: TableKind, table: Mapping[str, Any], path: str, references: Mapping[str, Reference], problems: list[str]
) -> TableRule:
    allowed = [name for name in _FIELDS if name == "entry_bytes" or name.endswith("_bytes") is kind.in_bytes]
    problems += [f"{path}.{key}: not a part of a table of {kind.words}; {nearest(key, allowed)}" for key in table if key not in allowed]
    costs = {key: build_cost(table[key], key, f"{path}.{key}", references, problems) for key in allowed if key in table}
    return TableRule(**costs)


def table_costs(tables: LayerTables) -> Iterator[tuple[str, Cost]]:
    """Each number of a layer's tables by dotted name."""
    for kind, rule in tables.rules.items():
        yield from ((f"{kind}.{name}", cost) for name in _FIELDS if (cost := getattr(rule, name)) is not None)
