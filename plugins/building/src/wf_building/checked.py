"""A table of a run file whose options are already checked and converted, so that building does not repeat it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from wf.discovery.entry import Entry


class Checked(dict[str, Any]):
    """A component's table as written, with the checked options. A copy of it is a plain dict.

    Args:
        table: The table.
        entry: The component that the table belongs to.
        options: Its options under their present names; those in `converted` are converted.
        converted: The names of the converted options.
    """

    def __init__(
        self, table: Mapping[str, Any], entry: Entry, options: Mapping[str, Any], converted: Collection[str]
    ) -> None:
        super().__init__(table)
        self.entry, self.options, self.converted = entry, options, converted

    def with_table(self, table: Mapping[str, Any]) -> Checked:
        """The same, with another table of the same options."""
        return Checked(table, self.entry, self.options, self.converted)

    def __reduce__(self) -> tuple[type[dict[str, Any]], tuple[dict[str, Any]]]:
        return dict, (dict(self),)


def checked(table: Any, entry: Entry) -> Checked | None:
    """The table, if it was checked for this component."""
    return table if isinstance(table, Checked) and table.entry is entry else None
