"""Broken plugins, one per kind of defect, and the behaviour that wf must show for each.

The only list of them: tests/test_broken_plugins.py installs each of them as a real package, and docs/generate.py makes
the table of docs/broken-plugins.md from it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import tomli_w

LOSSES = """
from torch.nn.functional import cross_entropy

def tempered(predictions, targets, temperature: float = 1.0):
    return cross_entropy(predictions / temperature, targets)
"""
NOTE = """import os
with open(os.environ.get("WF_TEST_IMPORTS", os.devnull), "a") as imports:
    print(__name__, file=imports)
"""
"""Put at the top of every module: writes the module's name to a file when it is imported."""
UPGRADE = "pip install --upgrade NAME, or tell its author"
REINSTALL = "pip install --force-reinstall NAME"


def declares(components: str, first: str = "") -> str:
    """The text of a plugin's module."""
    return (
        f"{first}\nfrom wf import Catalogue, Component, hookimpl\n\n"
        f"@hookimpl\ndef wf_components():\n    return [{components}]\n"
    )


@dataclass(frozen=True, kw_only=True)
class BrokenPlugin:
    """A package with a plugin, and the messages that wf must give for it."""

    id: str
    defect: str
    """A description of the defect, for the page."""
    plugin: str
    """The text of its ``plugin.py``."""
    files: Mapping[str, str] = field(default_factory=lambda: {"losses.py": LOSSES})
    """Its other files."""
    requires: tuple[str, ...] = ("wf-base", "wf-core")
    entry_points: Mapping[str, str] = field(default_factory=dict)
    """By default ``main = PACKAGE.plugin``."""
    status: str = "failed"
    error: str = ""
    """Part of its error in `wf list-plugins`."""
    fix: str = ""
    """The advice in `wf list-plugins`; NAME stands for the distribution's name."""
    would_bring: str = ""
    """The loss that it declares, if wf finds it without importing the plugin; choosing it ends with code 3."""
    on_use: str = ""
    """The message when that loss is chosen, if it is not that the plugin is not loaded."""
    remark: str = ""
    """A remark for the page."""

    @property
    def name(self) -> str:
        """Its distribution's name."""
        return f"broken-{self.id}"

    @property
    def package(self) -> str:
        """Its package's name."""
        return self.name.replace("-", "_")

    def build(self, folder: Path) -> Path:
        """Build its wheel with the build backend of its pyproject.toml, and return the wheel."""
        from hatchling.build import build_wheel

        package = folder / self.name / "src" / self.package
        package.mkdir(parents=True)
        for name, text in {"__init__.py": "", "plugin.py": self.plugin, **self.files}.items():
            (package / name).write_text(NOTE + text if name.endswith(".py") else text)
        (folder / self.name / "pyproject.toml").write_text(tomli_w.dumps(self._pyproject()))
        with contextlib.chdir(folder / self.name):
            return folder / build_wheel(str(folder))

    def _pyproject(self) -> dict[str, Any]:
        points = self.entry_points or {"main": f"{self.package}.plugin"}
        return {
            "build-system": {"requires": ["hatchling"], "build-backend": "hatchling.build"},
            "project": {
                "name": self.name,
                "version": "1.0",
                "dependencies": list(self.requires),
                "entry-points": {"wf.plugins": dict(points)},
            },
            "tool": {"hatch": {"build": {"targets": {"wheel": {"packages": [f"src/{self.package}"]}}}}},
        }


def _loss(name: str, target: str, more: str = "") -> str:
    return f"Component('loss', '{name}', '{target}'{more})"


BROKEN: tuple[BrokenPlugin, ...] = (
    BrokenPlugin(
        id="undeclared",
        defect="imports a package that is not installed and that it does not require",
        plugin=declares(_loss("lost-undeclared", "m:A"), "import no_such_package"),
        error="ModuleNotFoundError: No module named 'no_such_package'",
        fix="tell its author: NAME does not require the package that has no_such_package",
        would_bring="lost-undeclared",
    ),
    BrokenPlugin(
        id="dependency",
        defect="requires a package that is not installed; the module has a similar name",
        plugin=declares(_loss("lost-dependency", "m:A"), "import no_such_package.deep"),
        requires=("wf-core", "no-such-package>=2"),
        error="ModuleNotFoundError: No module named 'no_such_package'",
        fix="pip install no-such-package",
        would_bring="lost-dependency",
    ),
    BrokenPlugin(
        id="dependency-otherwise",
        defect="requires a package that is not installed; the module has a different name",
        plugin=declares(_loss("lost-otherwise", "m:A"), "import nosuch"),
        requires=("wf-core", "click", "python-no-such>=2", "never-asked-for; extra == 'more'"),
        error="ModuleNotFoundError: No module named 'nosuch'",
        fix="pip install python-no-such",
        would_bring="lost-otherwise",
    ),
    BrokenPlugin(
        id="newer-core",
        defect="imports a name that this wf does not have",
        plugin=declares(_loss("lost-newer", "m:A"), "from wf import FromTheFuture"),
        error="ImportError: cannot import name 'FromTheFuture' from 'wf'",
        fix=UPGRADE,
        would_bring="lost-newer",
    ),
    BrokenPlugin(
        id="syntax",
        defect="is not Python",
        plugin=declares(_loss("lost-syntax", "m:A"), "def broken(:\n    pass"),
        error="SyntaxError: invalid syntax (plugin.py, line 4)",
        fix=UPGRADE,
        would_bring="lost-syntax",
    ),
    BrokenPlugin(
        id="raises",
        defect="raises an exception when it is imported",
        plugin=declares(_loss("lost-raises", "m:A"), "raise RuntimeError('no licence found')"),
        error="RuntimeError: no licence found",
        fix=UPGRADE,
        would_bring="lost-raises",
    ),
    BrokenPlugin(
        id="raises-silently",
        defect="raises an exception that cannot even be printed",
        plugin=declares(
            _loss("lost-silently", "m:A"),
            "class Silent(Exception):\n    def __str__(self):\n        return 1 / 0\nraise Silent",
        ),
        error="Silent: (its message cannot be read: ZeroDivisionError)",
        fix=UPGRADE,
        would_bring="lost-silently",
    ),
    BrokenPlugin(
        id="exits",
        defect="ends the process when it is imported (`SystemExit`)",
        plugin=declares(_loss("lost-exits", "m:A"), "raise SystemExit(0)"),
        error="SystemExit: 0",
        fix=UPGRADE,
        would_bring="lost-exits",
    ),
    BrokenPlugin(
        id="exits-later",
        defect="ends the process in `wf_components()` (`sys.exit`)",
        plugin=declares(_loss("lost-later", "m:A") + ", sys.exit('bye')", "import sys"),
        error="SystemExit: bye",
        fix=UPGRADE,
        would_bring="lost-later",
    ),
    BrokenPlugin(
        id="no-module",
        defect="has an entry point to a module that does not exist",
        plugin=declares(_loss("lost-no-module", "m:A")),
        entry_points={"main": "broken_no_module.plugins"},
        error="ModuleNotFoundError: No module named 'broken_no_module.plugins'",
        fix=UPGRADE,
    ),
    BrokenPlugin(
        id="package-gone",
        defect="has metadata but no package, as after the folder of an editable installation was moved",
        plugin=declares(_loss("lost-gone", "m:A")),
        entry_points={"main": "moved_elsewhere.plugin"},
        error="ModuleNotFoundError: No module named 'moved_elsewhere'",
        fix=REINSTALL,
    ),
    BrokenPlugin(
        id="wrong-object",
        defect="has an entry point to an object that is not a plugin",
        plugin=declares(_loss("lost-object", "m:A")) + "VERSION = '1.0'\n",
        entry_points={"main": "broken_wrong_object.plugin:VERSION"},
        error="PluginError: '1.0' is no plugin: no function is marked with @hookimpl",
        fix=UPGRADE,
        would_bring="lost-object",
    ),
    BrokenPlugin(
        id="no-attribute",
        defect="has an entry point to an object that does not exist",
        plugin=declares(_loss("lost-attribute", "m:A")),
        entry_points={"main": "broken_no_attribute.plugin:Plugin"},
        error="AttributeError: module 'broken_no_attribute.plugin' has no attribute 'Plugin'",
        fix=UPGRADE,
        would_bring="lost-attribute",
    ),
    BrokenPlugin(
        id="no-mark",
        defect="forgets the mark `@hookimpl`",
        plugin=declares(_loss("lost-mark", "m:A")).replace("@hookimpl\n", ""),
        error="is no plugin: no function is marked with @hookimpl; wf_components is there, without the mark",
        fix=UPGRADE,
        would_bring="lost-mark",
    ),
    BrokenPlugin(
        id="misspelt-hook",
        defect="misspells the hook",
        plugin=declares(_loss("lost-hook", "m:A")).replace("def wf_components", "def wf_component"),
        error="PluginError: unknown hook 'wf_component'; did you mean 'wf_components' or 'wf_commands'?",
        fix=UPGRADE,
        would_bring="lost-hook",
    ),
    BrokenPlugin(
        id="hook-signature",
        defect="has a hook with parameters that wf does not pass",
        plugin=declares(_loss("lost-signature", "m:A")).replace("wf_components()", "wf_components(registry)"),
        error="takes arguments; wf gives none",
        fix=UPGRADE,
        would_bring="lost-signature",
    ),
    BrokenPlugin(
        id="no-list",
        defect="does not return a list of components",
        plugin=declares(_loss("lost-list", "m:A")).replace("return [", "return (").replace(")]", "))"),
        error="PluginError: wf_components() gave Component, not a list of components",
        fix=UPGRADE,
        would_bring="lost-list",
    ),
    BrokenPlugin(
        id="no-component",
        defect="returns an object that is not a component",
        plugin=declares(_loss("lost-component", "m:A") + ", {'name': 'focal'}"),
        error="PluginError: wf_components() gave {'name': 'focal'}, which is neither a Component nor a Catalogue",
        fix=UPGRADE,
        would_bring="lost-component",
    ),
    BrokenPlugin(
        id="kind",
        defect="declares a component of an unknown kind",
        plugin=declares(_loss("lost-kind", "m:A") + ", Component('losss', 'other', 'm:A')"),
        error="ValueError: component 'other' is of unknown kind 'losss'; did you mean loss?",
        fix=UPGRADE,
        would_bring="lost-kind",
    ),
    BrokenPlugin(
        id="name",
        defect="declares a component with an invalid name",
        plugin=declares(_loss("lost-name", "m:A") + ", " + _loss("My Loss", "m:A")),
        error="ValueError: 'My Loss' is not a component name: use lower case, digits, '-', '_', '.'",
        fix=UPGRADE,
        would_bring="lost-name",
    ),
    BrokenPlugin(
        id="traits",
        defect="declares a value of the wrong type, such as a string instead of a tuple",
        plugin=declares(
            _loss("lost-traits", "m:A", ", traits=LossTraits(predictions='raw', targets=('real'))"),
            "from wf.traits import LossTraits",
        ),
        error="ValueError: LossTraits: targets is a string, not a tuple; is a comma missing?",
        fix=UPGRADE,
        would_bring="lost-traits",
    ),
    BrokenPlugin(
        id="twice",
        defect="declares a name twice, once as an alias",
        plugin=declares(_loss("lost-twice", "m:A") + ", " + _loss("other", "m:A", ", aliases=('lost_twice',)")),
        error="PluginError: it declares loss 'lost_twice' twice",
        fix=UPGRADE,
        would_bring="lost-twice",
    ),
    BrokenPlugin(
        id="target-module",
        defect="names a target in a module that its package does not have",
        plugin=declares(_loss("lost-target-module", "broken_target_module.loses:tempered")),
        error="PluginError: target 'broken_target_module.loses:tempered' is not there: "
        "there is no module broken_target_module.loses",
        fix=UPGRADE,
        would_bring="lost-target-module",
    ),
    BrokenPlugin(
        id="target-name",
        defect="misspells a target in its package",
        plugin=declares(_loss("lost-target-name", "broken_target_name.losses:temperd")),
        error="PluginError: target 'broken_target_name.losses:temperd' is not there: "
        "broken_target_name.losses has no temperd; did you mean tempered?",
        fix=UPGRADE,
        would_bring="lost-target-name",
    ),
    BrokenPlugin(
        id="target-import",
        defect="has a component whose module cannot be imported",
        plugin=declares(
            _loss("unimportable", "broken_target_import.heavy:Unimportable")
            + ", "
            + _loss("beside-it", "broken_target_import.losses:tempered")
        ),
        files={"heavy.py": "import no_such_package\nclass Unimportable: ...\n", "losses.py": LOSSES},
        status="ok",
        would_bring="unimportable",
        on_use="loss 'unimportable' of broken-target-import could not be loaded\n"
        "  ModuleNotFoundError: No module named 'no_such_package' (try: install the package that provides "
        "it; wf also looked for it in the working directory)",
        remark="found when that component is used, which ends with code 3; its other components work",
    ),
    BrokenPlugin(
        id="target-elsewhere",
        defect="names a target that another package does not have",
        plugin=declares(_loss("elsewhere", "torch.nn:NoSuchLoss")),
        status="ok",
        would_bring="elsewhere",
        on_use="unknown name in torch.nn 'NoSuchLoss'",
        remark="found when that component is used, which ends with code 3",
    ),
    BrokenPlugin(
        id="catalogue",
        defect="has a catalogue whose index is not in the package",
        plugin=declares("Catalogue('loss', 'lost-zoo', 'm:make', 'broken_catalogue:names.txt')"),
        error="FileNotFoundError: [Errno 2] No such file or directory: ",
        fix=UPGRADE,
        would_bring="lost-zoo/any",
    ),
    BrokenPlugin(
        id="too-new",
        defect="requires another version of wf-core",
        plugin=declares(_loss("lost-too-new", "m:A")),
        requires=("wf-base", "wf-core>=7,<8"),
        status="incompatible",
        error="it supports wf-core >=7,<8, and 0.1.0 is installed",
        fix="pip install --upgrade NAME, or install a wf-core that it supports",
        would_bring="lost-too-new",
        remark="it is not imported",
    ),
    BrokenPlugin(
        id="prints",
        defect="prints while it is imported",
        plugin=declares(_loss("printing", "broken_prints.losses:tempered"), "print('welcome to my losses')"),
        status="ok",
        remark="its output goes to standard error, so that tables and JSON stay intact",
    ),
    BrokenPlugin(
        id="pulls-torch",
        defect="imports torch to declare its components",
        plugin=declares(_loss("slow", "broken_pulls_torch.losses:tempered"), "import torch"),
        status="ok",
        remark="every command gets slower by a second or more; `wf doctor` reports it",
    ),
    BrokenPlugin(
        id="same-module",
        defect="names a module that is already the plugin of another distribution",
        plugin="",
        entry_points={"main": "broken_prints.plugin"},
        error="PluginError: 'broken-same-module' is loaded already, as plugin 'broken-prints'",
        fix=UPGRADE,
    ),
    BrokenPlugin(
        id="one-of-two",
        defect="has two entry points, and one of them is broken",
        plugin=declares(_loss("other-half", "broken_one_of_two.losses:tempered")),
        files={"losses.py": LOSSES, "more.py": declares(_loss("lost-half", "m:A"), "raise RuntimeError('half')")},
        entry_points={"main": "broken_one_of_two.plugin", "more": "broken_one_of_two.more"},
        status="ok",
        remark="`NAME[more]` is listed as failed, `NAME` works",
    ),
    BrokenPlugin(
        id="takes-builtin",
        defect="has a component with the name of a component of wf",
        plugin=declares(_loss("focal", "broken_takes_builtin.losses:tempered")),
        status="ok",
        remark="both stay listed, the bare name is an error, see [below](#two-plugins-with-one-name)",
    ),
    BrokenPlugin(
        id="takes-alias",
        defect="has a component whose name is an alias of another plugin's component",
        plugin=declares(
            _loss("mae", "broken_takes_alias.losses:tempered")
            + ", "
            + _loss("tempered", "broken_takes_alias.losses:tempered")
        ),
        status="ok",
        remark="as above",
    ),
    BrokenPlugin(
        id="takes-strangers",
        defect="has a component with the name of a component of another third-party plugin",
        plugin=declares(_loss("tempered", "broken_takes_strangers.losses:tempered")),
        status="ok",
        remark="as above",
    ),
)
"""One plugin for every kind of defect."""
