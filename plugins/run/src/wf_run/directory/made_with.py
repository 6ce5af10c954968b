"""The plugins that a run was made with, as its manifest names them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from wf.discovery.known import known_as
from wf.errors import PluginError


def in_words(record: Mapping[str, Any]) -> tuple[str, str]:
    """The name of a plugin, and how to install it.

    Args:
        record: Its ``plugin``, ``distribution`` and ``version``, as the manifest has them.
    """
    name, version = record["distribution"], record["version"]
    if not name:
        return f"plugin '{record.get('plugin')}'", "name its module or file: -p MODULE|FILE"
    known = known_as(name)
    return f"{name} {version}", known.install if known else f"install {name} {version} from its original source"


def owner_missing(run_file: Path, key: str) -> PluginError | None:
    """Why a key of a run's own run file is unknown, if the manifest beside it names the plugin that added it."""
    try:
        manifest = json.loads((run_file.parent / "manifest.json").read_text(encoding="utf-8"))
        record = next((one for one in manifest.get("keys", ()) if one["key"] == key), None)
    except (OSError, ValueError, AttributeError, TypeError, KeyError):
        return None  # not a run directory, or a damaged one, which is reported elsewhere
    if record is None:
        return None
    plugin, fix = in_words(record)
    return PluginError(
        f"key '{key}' of this run came from {plugin}, which is not loaded\n  the run: {run_file.parent}\n  try: {fix}"
    )
