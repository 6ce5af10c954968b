"""Files, folders and URLs that are named where a dataset is meant: ``--dataset house.csv``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from wf.discovery.entry import Entry
from wf.discovery.known import who_reads
from wf.errors import UsageError
from wf.registry import Registry


def read_dataset_file(table: dict[str, Any], registry: Registry) -> None:
    """Replace a file name in a dataset's table by the dataset that reads it.

    Raises:
        UsageError: For a file that no dataset reads.
    """
    use = table["use"]
    if not isinstance(use, str) or (":" in use and "://" not in use):
        return
    path = Path(use).expanduser()
    name = f"{use.rstrip('/')}/" if path.is_dir() and not registry.has("dataset", use) else use
    entry: Entry | None = registry.for_file("dataset", name)
    if entry is None:
        if not registry.has("dataset", use) and path.suffix and ("/" in use or path.is_file()):
            endings = sorted(
                {end for e in registry.entries("dataset") for end in getattr(e.component.traits, "files", ())}
            )
            lines = [f"no dataset reads files like '{use}'", f"known endings: {', '.join(endings)}"]
            known = who_reads(path.suffix.lower())
            lines += [f"{one.distribution} reads {path.suffix.lower()} files: {one.install}" for one in known]
            from wf_base.reading import ENDINGS, unpacking  # imports torch, which listings do without

            if packed := ENDINGS.get(path.suffix.lower()):
                lines.append(unpacking(path.name, packed))
            raise UsageError("\n  ".join(lines))
        return
    table.update({"use": entry.component.name, "path": table.get("path", use)})
