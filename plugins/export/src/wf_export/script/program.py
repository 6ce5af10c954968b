"""A run as a training program in plain PyTorch, if the source of its components can be copied."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from wf import __version__
from wf.errors import UsageError
from wf_export.script import calls
from wf_export.script.components import Components
from wf_export.script.loading import Loading
from wf_export.script.refusals import refusals
from wf_export.script.source.modules import NotAlone
from wf_export.script.source.sources import Sources
from wf_export.script.training import Training

METHODS = ("fit", "inverse")
"""The methods of components that a script calls."""


@dataclass
class Program:
    """The script of a run.

    Args:
        experiment: The run, built anew from its run directory, without loading weights.
        manifest: Its manifest.
        title: A description of the run.
        keep_best: Whether to keep the weights of the best epoch.
        weights: The file that the script writes.
    """

    experiment: Any
    manifest: Mapping[str, Any]
    title: str
    keep_best: bool
    weights: str

    def __post_init__(self) -> None:
        self._sources = Sources(set(METHODS))
        self._components = Components(self.experiment, self._sources)
        self._loading = Loading(self._components)
        self._training = Training(
            self._components, self._loading, self.manifest, keep_best=self.keep_best, weights=self.weights
        )

    def text(self) -> str:
        """The program.

        Raises:
            UsageError: For a run that cannot be written, with every reason.
        """
        refused, parts = list(refusals(self.experiment, self.manifest)), list[str]()
        for write in (self._loading.text, self._make_model, self._training.text):
            try:
                parts.append(write())
            except NotAlone as error:
                refused.append(str(error))
        if refused:
            reasons = "\n  ".join(dict.fromkeys(refused))
            raise UsageError(
                f"{self.title} cannot be written as a plain script:\n  {reasons}\n"
                "  train it again with wf: wf run RUN/run.toml; or write its weights: --to state-dict"
            )
        return self._join(*parts)

    def _make_model(self) -> str:
        written = calls.modules(self.experiment.model)
        self._sources.imports["from torch import nn"] = None
        if written is None:
            written = self._components.component("model", {}, {})
        doc = '"""The model, with weights that torch draws from its generator."""'
        return f"def make_model() -> nn.Module:\n    {doc}\n    return {written}"

    def _join(self, load: str, make_model: str, train: str) -> str:
        plan, imports = self.experiment.plan, self._sources.imports
        for line in ("import sys", "import torch", "from torch import Tensor, nn"):
            imports[line] = None
        if self._loading.bytes:
            self._sources.definitions["pixels"] = PIXELS
        remarks = "".join(f"{line}\n" for line in dict.fromkeys(self._training.remarks))
        head = HEAD.format(
            title=self.title,
            version=__version__,
            torch=torch.__version__,
            remarks=f"\n{remarks}" if remarks else "",
        )
        constants = [
            f"SEED = {plan['seed']}",
            f"EPOCHS = {self._training.epochs}",
            f"BATCH_SIZE = {self.experiment.data.batch_size}",
        ]
        blocks = [
            "\n".join(constants),
            *self._sources.definitions.values(),
            load,
            make_model,
            self._training.evaluation,
            SHOWN,
            train,
            'if __name__ == "__main__":\n    main()',
        ]
        head = f"{head}\n{_sorted(imports)}"
        return "\n\n\n".join([f"{head}\n\n{blocks[0]}", *blocks[1:]]) + "\n"


HEAD = '''"""{title}: the same training in plain PyTorch.

It has the data, the order of the batches, the initial weights and the updates of the run, so its weights are the same
bit for bit with the same versions on such a machine. Written by wf {version} with torch {torch}; it needs no wf.
{remarks}"""
'''
PIXELS = '''def pixels(images: Tensor) -> Tensor:
    """Bytes as numbers from 0 to 1."""
    return images.float() / torch.full((), 255.0, device=images.device)'''
SHOWN = '''def shown(figures: dict[str, float]) -> str:
    """Figures on one line."""
    return "  ".join(f"{name} {value:.4f}" for name, value in figures.items())'''


def _sorted(imports: Mapping[str, None]) -> str:
    """The imports in a formatter's order: the standard library's first, names of one module on one line."""
    plain: set[str] = set()
    named: dict[str, set[str]] = {}
    for line in imports:
        if line.startswith("from "):
            module, _, names = line.removeprefix("from ").partition(" import ")
            named.setdefault(module, set()).update(names.split(", "))
        else:
            plain.add(line.removeprefix("import "))
    groups: dict[bool, list[str]] = {True: [], False: []}
    for module in sorted(plain):
        groups[module.partition(".")[0] in sys.stdlib_module_names].append(f"import {module}")
    for module in sorted(named):
        line = f"from {module} import {', '.join(sorted(named[module]))}"
        groups[module.partition(".")[0] in sys.stdlib_module_names].append(line)
    return "\n\n".join("\n".join(lines) for lines in (groups[True], groups[False]) if lines)
