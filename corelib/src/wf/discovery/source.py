"""Reading a module's source file without running it."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from wf.declarations.component import Catalogue, Component
from wf.errors import PluginError, closest
from wf_signatures.files import is_path, locate

DYNAMIC = ("__getattr__", "import *", "globals()", "vars()", "exec(", "setattr(")
"""If a module contains one of these, it may define names that its text does not show."""


def declared_names(module: str) -> tuple[tuple[str, str], ...]:
    """Kind and name of the components, tasks, links and commands that a plugin's text declares, aliases included.

    Only declarations written out are found, such as ``Component("loss", "focal", ...)`` or ``Task(name="detection",
    ...)``; the text need not be valid Python. A catalogue is given as ``prefix/*``.
    """
    file = locate(module.partition(":")[0] if not is_path(module) else module)
    if file is None:
        return ()
    text = file.read_text(encoding="utf-8", errors="replace")
    found: list[tuple[str, str]] = []
    _, *pieces = re.split(r"\b(Component|Catalogue)\(", text)
    for word, call in zip(pieces[::2], pieces[1::2], strict=True):
        head = re.match(
            r"\s*(?:kind\s*=\s*)?[\"']([\w-]+)[\"']\s*,\s*(?:(?:name|prefix)\s*=\s*)?[\"']([^\"']+)[\"']", call
        )
        if head:
            aliases = re.search(r"\baliases\s*=\s*[(\[]([^)\]]*)[)\]]", call)
            names = [head[2], *(re.findall(r"[\"']([^\"']+)[\"']", aliases[1]) if aliases else ())]
            found += [(head[1], f"{name}/*" if word == "Catalogue" else name) for name in names]
    for word, name in re.findall(r"\b(Task|Link|Command)\(\s*name\s*=\s*[\"']([^\"']+)[\"']", text):
        found.append((word.lower(), name))
    return tuple(found)


def check_targets(components: Iterable[Component | Catalogue], module: str) -> None:
    """Refuse a target that does not exist in the package of the plugin that declares it.

    Args:
        components: The plugin's declarations.
        module: The plugin's own module; its package is already imported, so the check is cheap.

    Raises:
        PluginError: Naming the component, its target and the existing names.
    """
    package = module.partition(".")[0]
    targets = [component.target for component in components if isinstance(component.target, str)]
    for target, problem in target_problems(name for name in targets if name.startswith((f"{package}.", f"{package}:"))):
        raise PluginError(f"target '{target}' is not there: {problem}")


def target_problems(targets: Iterable[str]) -> Iterator[tuple[str, str]]:
    """The targets that certainly do not exist, each with the reason. Nothing is imported."""
    texts: dict[str, _Text | None] = {}
    for target in dict.fromkeys(targets):
        name, _, attribute = target.rpartition(":")
        if is_path(name):
            continue
        if name not in texts:
            texts[name] = _read(name)
        if problem := _problem(name, attribute.partition(".")[0], texts[name]):
            yield target, problem


@dataclass(frozen=True)
class _Text:
    """The names defined in a module's file."""

    text: str

    def may_have(self, name: str) -> bool:
        """Whether a name is defined in it, or may be defined dynamically."""
        return has_word(self.text, name) or any(word in self.text for word in DYNAMIC)

    def functions_and_classes(self) -> list[str]:
        """The functions and classes that it defines."""
        return re.findall(r"^(?:class|def|async def)\s+(\w+)", self.text, re.MULTILINE)


def has_word(text: str, word: str) -> bool:
    """Whether a name stands in a text as a whole word.

    Compiling a pattern for each name would take a tenth of the time that wf needs to start.
    """
    start = text.find(word)
    while start >= 0:
        around = text[max(start - 1, 0) : start] + text[start + len(word) : start + len(word) + 1]
        if not any(char.isalnum() or char == "_" for char in around):
            return True
        start = text.find(word, start + 1)
    return False


def _read(module: str) -> _Text | None:
    file = locate(module)
    if file is None:
        return None
    return _Text(file.read_text(encoding="utf-8", errors="replace"))


def _problem(module: str, attribute: str, text: _Text | None) -> str:
    """The problem with a target, for messages; empty if it may be right."""
    if text is None:
        return "" if _may_be_compiled(module) else f"there is no module {module}"
    if text.may_have(attribute):
        return ""
    near = closest(attribute, [name for name in text.functions_and_classes() if not name.startswith("_")])
    hint = f"; did you mean {' or '.join(near)}?" if near else ""
    return f"{module} has no {attribute}{hint}"


def _may_be_compiled(module: str) -> bool:
    """Whether a module without a source file may exist nonetheless: as an extension, or in a zip file."""
    top, *parts = module.split(".")
    try:
        spec = importlib.util.find_spec(top)
    except (ImportError, ValueError):
        return True
    if spec is None:
        return False
    folders = [Path(folder) for folder in spec.submodule_search_locations or ()]
    if not parts or not all(folder.is_dir() for folder in folders):
        return True
    return any(list(folder.joinpath(*parts[:-1]).glob(f"{parts[-1]}.*")) for folder in folders)
