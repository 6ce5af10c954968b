"""The dependencies of `wf-all`, the distribution of this folder: all that `requirements.txt` lists."""

from __future__ import annotations

import os
import re
import tomllib
from pathlib import Path
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface


class Workspace(MetadataHookInterface):
    """Depends on the distributions of this checkout, or in a release on those of the same version by name."""

    def update(self, metadata: dict[str, Any]) -> None:
        """Fill in the dependencies."""
        root = Path(self.root)
        folders = re.findall(r"^-e \./(\S+)", (root / "requirements.txt").read_text(encoding="utf-8"), re.MULTILINE)
        projects = {folder: tomllib.loads((root / folder / "pyproject.toml").read_text()) for folder in folders}
        names = {folder: project["project"]["name"] for folder, project in projects.items()}
        if os.environ.get("WF_RELEASE"):
            metadata["dependencies"] = [f"{name}=={metadata['version']}" for name in names.values()]
        else:
            metadata["dependencies"] = [f"{name} @ {(root / folder).as_uri()}" for folder, name in names.items()]
