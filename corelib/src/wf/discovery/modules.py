"""Importing modules by name or by file, and saying why one cannot be imported."""

from __future__ import annotations

import importlib
import importlib.util
import re
import sys
from collections.abc import Iterable, Sequence
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType

from wf.discovery.guard import Guard
from wf.errors import UsageError, closest
from wf_signatures.files import is_path as is_path

DISTRIBUTIONS = {
    "PIL": "pillow",
    "bs4": "beautifulsoup4",
    "cv2": "opencv-python",
    "dateutil": "python-dateutil",
    "pytorch_metric_learning": "pytorch-metric-learning",
    "pytorch_optimizer": "pytorch-optimizer",
    "segmentation_models_pytorch": "segmentation-models-pytorch",
    "skimage": "scikit-image",
    "sklearn": "scikit-learn",
    "yaml": "pyyaml",
    **{
        name: name for name in ("datasets", "kornia", "matplotlib", "numpy", "pandas", "pyarrow", "rich", "safetensors")
    },
    **{name: name for name in ("scipy", "tensorboard", "timm", "torch", "torchmetrics", "torchvision")},
}
"""The distributions of well-known modules. wf suggests no other: anybody may own a name on the package index."""
FILE_PREFIX = "wf_file_"
"""Prefix of the names of modules that were imported from a file."""


class _Loader(SourceFileLoader):
    """Runs exactly the bytes that were read and checked: it neither reads the file again nor uses a ``__pycache__``."""

    def __init__(self, name: str, path: Path, content: bytes) -> None:
        super().__init__(name, str(path))
        self._content = content

    def get_code(self, fullname: str) -> CodeType:
        code: CodeType = self.source_to_code(self._content, self.path)
        return code


def import_module(name: str, guard: Guard | None = None) -> ModuleType:
    """Import a module by its name or by its file's path.

    Args:
        name: A dotted name, or a path.
        guard: Asked before a file is run; None allows it.

    Raises:
        UsageError: When there is no such file, or it is not allowed.
    """
    if not is_path(name):
        return importlib.import_module(name)
    path = Path(name).expanduser().resolve()
    if not path.is_file():
        near = closest(path.name, [file.name for file in path.parent.glob("*.py")])
        hint = f"\n  in that folder: {', '.join(near)}" if near else ""
        raise UsageError(f"there is no file '{name}'{hint}")
    if path.suffix != ".py":
        raise UsageError(f"'{name}' is not a Python file: its name does not end in .py")
    content = path.read_bytes()
    if guard is not None:
        guard.check_file(path, content)
    module_name = _name_for(path)
    if module_name in sys.modules:
        return sys.modules[module_name]
    spec = importlib.util.spec_from_file_location(module_name, path, loader=_Loader(module_name, path, content))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[module_name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[module_name]
        raise
    return module


def _name_for(path: Path) -> str:
    """A module name for a file; paths that differ only in characters other than letters and digits get different
    names."""
    name = f"{FILE_PREFIX}{re.sub(r'[^0-9A-Za-z]', '_', str(path))}"
    while name in sys.modules and getattr(sys.modules[name], "__file__", None) != str(path):
        name += "_"
    return name


def locate(path: Path, folders: Sequence[Path] = ()) -> Path:
    """The path itself if it exists, else its copy below one of the folders."""
    path = path.expanduser()
    places = [folder / path for folder in folders] + [folder / path.name for folder in folders]
    return next((place.resolve() for place in (path, *places) if place.exists()), path)


def is_there(module: str) -> bool:
    """Whether a module exists; True also if its package cannot be imported, because loading it then explains why."""
    try:
        return not module.startswith(".") and importlib.util.find_spec(module) is not None
    except ModuleNotFoundError as error:
        return error.name is None or not f"{module}.".startswith(f"{error.name}.")
    except ValueError:  # the main program
        return False
    except (Exception, SystemExit):
        return True


def describe(error: BaseException) -> str:
    """An exception in one line."""
    return " ".join(f"{type(error).__name__}: {message_of(error)}".split()).rstrip(":")


def message_of(error: BaseException) -> str:
    """The type and message of an exception in one line."""
    try:
        return str(error)
    except Exception as why:  # the exception's own code may be broken, too
        return f"(its message cannot be read: {type(why).__name__})"


def explain(error: BaseException, of: str = "") -> str:
    """An import's failure in one line, with the likely fix where a module is missing.

    Args:
        error: The error of the import.
        of: The user's file or module that was imported.
    """
    package = missing_package(error)
    fix = f"pip install {package}" if package else where_looked(error, of)
    return f"{describe(error)} (try: {fix})" if fix else describe(error)


def where_looked(error: BaseException, of: str = "") -> str:
    """Advice about a missing module whose package is unknown; empty for an error of another kind.

    Args:
        error: The error of the import.
        of: The user's file or module that was imported.
    """
    module = missing_module(error)
    if not module:
        return ""
    beside = Path(of).expanduser().absolute().parent if is_path(of) else None
    for folder in filter(None, (beside, Path.cwd())):
        for place in (folder / f"{module}.py", folder / module):
            if (place.suffix == ".py" and place.is_file()) or (place / "__init__.py").is_file():
                return f"set PYTHONPATH={folder}: {place.name} lies there, where Python does not look for modules"
    where = f"beside {Path(of).name} and in the working directory" if beside else "in the working directory"
    return f"install the package that provides it; wf also looked for it {where}"


def missing_package(error: BaseException, declared: Iterable[str] = (), missing: Iterable[str] = ()) -> str:
    """The distributions that would have to be installed; empty where none is known.

    Args:
        error: The error of the import.
        declared: The requirements of the distribution that imports the module; one with a similar name is preferred.
        missing: The requirements that are not installed; one of them probably has the module under another name.
    """
    package = missing_module(error)
    alike = [name for name in declared if normalize(name) == normalize(package)]
    return "" if not package else alike[0] if alike else " ".join(missing) or DISTRIBUTIONS.get(package, "")


def missing_module(error: BaseException) -> str:
    """The top-level module that was not found; empty when the error is of another kind."""
    name = (getattr(error, "name", None) or "").partition(".")[0]
    return name if isinstance(error, ModuleNotFoundError) and name and _is_missing(name) else ""


def normalize(name: str) -> str:
    """A distribution's name as PEP 503 writes it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def _is_missing(package: str) -> bool:
    try:
        return importlib.util.find_spec(package) is None
    except (ImportError, ValueError):
        return False
