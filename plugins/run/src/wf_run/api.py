"""The Python counterpart of the command line: `wf.run`, `wf.build`, `wf.create`, `wf.load_model`."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wf.discovery.guard import UntrustedError
from wf.engine.figures import SPLITS
from wf.errors import PluginError, UsageError
from wf.registry import Registry, read_kind
from wf_building.builder import Builder
from wf_processes.together import is_restart, telling_others
from wf_run.directory.kept import KEPT
from wf_run.directory.naming import place_of
from wf_run.directory.rundir import RunDirectory
from wf_run.opening import Discover, discovered, loaded, opened, registry_for
from wf_run.planning.plan import prepare
from wf_run.runfiles.reading import RunFiles, read
from wf_run.runfiles.references import resolve
from wf_run.runfiles.runfile import (
    check,
    check_general,
    merge,
)
from wf_run.trust.guards import guard_graph

if TYPE_CHECKING:
    from torch import nn

    from wf_run.bundle.folder import BundleFolder
    from wf_run.experiment import Experiment
    from wf_run.using.network import TrainedModel
    from wf_run.using.trained import Trained

_LOG = logging.getLogger("wf")

RUN_FILE = "run.toml"
OF_TRAINED = ("model", "transform", "trainer", "checkpointer", "seed", "precision", "device", "keep", "monitor")
"""Keys of a run file that a trained model needs; other keys may refer to things that no longer exist."""


def build(
    source: RunFiles | Mapping[str, Any] | None = None,
    *,
    variant: str | None = None,
    name: str | None = None,
    run_dir: str | os.PathLike[str] | None = None,
    save: bool = True,
    quiet: bool = False,
    resume_if_there: bool = False,
    registry: Registry | None = None,
    trust: str | Sequence[str] = (),
    collate: Callable[[list[Any]], Any] | None = None,
    **settings: Any,
) -> Experiment:
    """Build a run without starting it.

    Args:
        source: A run file's path, several paths, each overriding the previous one, or a nested dict; None for the
            defaults.
        variant: Which ``[[variant]]`` of the run files.
        name: The run directory's name below ``runs/``.
        run_dir: The run directory's path.
        save: Whether the run writes a run directory when it is fitted.
        quiet: Leave out the progress hook.
        resume_if_there: Let ``fit`` resume the run in the run directory, if there is one; the experiment of a
            completed run is in its final state.
        registry: Where names are looked up; by default every installed plugin.
        trust: Checksums of code in a run directory that may run, if `source` is in one.
        collate: Makes a batch ``(inputs, targets)`` from a list of samples of `dataset`, like torch's ``collate_fn``.
        settings: Keys of a run file, which override `source`: general ones (``epochs=10``) and components
            (``loss="l1"``, ``optimizer={"use": "sgd", "lr": 0.01}``, ``model=Net``, ``dataset=(x, y)``,
            ``hook=["early-stopping"]``): names, tables, classes, functions or live objects.

    Returns:
        The experiment: ``fit()``, ``predict("test")``, ``evaluate("test")``, ``model``, ``history``, ``plot()``.

    Raises:
        UsageError: For names, options, values or combinations that cannot work.
        DataError: When data are missing or invalid.
    """
    with telling_others():
        place = place_of(name, run_dir)
        known = registry or _with_keys_of_plugins(settings)
        own = check(_with_data(settings, collate))
        base, folders = read(source, variant)
        document, _ = merge(base, own)
        if registry is None and not base.get("plugins"):
            registry = known
        if source is None or isinstance(source, Mapping):
            registry = registry or Registry.discover(document.get("plugins", []))
        else:
            registry = registry_for(base, folders, partial(discovered, registry, own), line=own, trust=trust)
        plan = prepare(document, registry, folders)
    from wf_run.experiment import Experiment

    return Experiment(
        plan,
        registry,
        run_dir=place,
        save=save,
        folders=folders,
        quiet=quiet,
        resume_if_there=resume_if_there or (is_restart() and place is not None),
    )


def _with_keys_of_plugins(settings: Mapping[str, Any]) -> Registry:
    """The installed plugins and the plugins in the settings: their keys must be known before keys are read."""
    return Registry.discover(check_general("plugins", settings.get("plugins", [])))


def _with_data(settings: Mapping[str, Any], collate: Callable[[list[Any]], Any] | None = None) -> dict[str, Any]:
    """The settings, with a dict of datasets by split or a DataLoader turned into a live dataset."""
    found, dataset = dict(settings), settings.get("dataset")
    if isinstance(dataset, Mapping) and "use" not in dataset and set(dataset) & set(SPLITS):
        found["dataset"] = {"use": dataset}
    named = dataset is None or isinstance(dataset, str) or (isinstance(dataset, Mapping) and "use" in dataset)
    if collate is not None and named:
        raise UsageError("collate needs a live dataset: wf.run(dataset=samples, collate=...)")
    if dataset is None or isinstance(dataset, str) or "torch" not in sys.modules:
        return found
    from wf_data.given import batching_of, collated

    batching = batching_of(dataset)
    if collate is not None:
        found["dataset"] = {"use": collated(dataset, collate)}
    return {**batching, **found}


def run(source: RunFiles | Mapping[str, Any] | None = None, **settings: Any) -> Experiment:
    """Build a run and fit it; takes the arguments of `build`.

    Returns:
        The experiment, trained: ``metrics`` has the last figures of each split, ``run_dir`` the run directory.
    """
    experiment = build(source, **settings)
    try:
        return experiment.fit()
    except BaseException:
        experiment.close()  # nobody else can, and its processes would be in the way of another run
        raise


def create(kind: str, name: str, /, *, registry: Registry | None = None, **options: Any) -> Any:
    """Make one component by name.

    Args:
        kind: Its kind.
        name: Its name, an alias, or your own code as ``path.py:Attr``.
        registry: Where names are looked up; by default every installed plugin.
        options: Its options, including those that a run would fill in (``num_classes``, ...).

    Raises:
        UsageError: For an unknown name, option or value.
    """
    return Builder(registry or Registry.discover()).build(read_kind(kind), {"use": name, **options}).value


def load_model(
    place: str | os.PathLike[str],
    checkpoint: str = KEPT,
    *,
    model: nn.Module | None = None,
    trust: str | Sequence[str] = (),
    device: str | None = None,
) -> TrainedModel:
    """The trained model of a run directory or a bundle, in evaluation mode; it takes raw inputs.

    Neither the run's data nor its dataset's plugin are needed.

    Args:
        place: A run directory, its name below ``runs/`` (``latest`` is the newest), or a bundle.
        checkpoint: ``kept``, the weights that the run keeps (see ``keep`` of run files), ``latest``, ``best`` or a
            checkpoint's name.
        model: The module for the weights, if the run's own model cannot be rebuilt.
        trust: Checksums of code in the directory that may run; the refusal names them.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``; by default the run's, or with a warning another one
            if that is not there.

    Returns:
        A module whose `predict` takes raw inputs and returns a record for each sample. Called with inputs ``[N, ...]``
        as the dataset's samples hold them, it applies the run's fitted transforms and then the model itself, its
        attribute ``model``.

    Raises:
        UsageError: If the directory contains code that is neither known to be yours nor allowed, or `device` is not
            there.
        DataError: If there is no such directory, no intact checkpoint in it, or the bundle is damaged.
    """
    return open_run(place, checkpoint, model=model, trust=trust, device=device).network.eval()


def open_run(
    place: str | os.PathLike[str],
    checkpoint: str = KEPT,
    *,
    registry: Registry | None = None,
    discover: Discover | None = None,
    line: Mapping[str, Any] | None = None,
    trust: str | Sequence[str] = (),
    model: nn.Module | None = None,
    device: str | None = None,
) -> Trained:
    """The trained model of a run directory or a bundle, with the description of its inputs and outputs, without the
    data.

    Args:
        place: As for `load_model`.
        checkpoint: As for `load_model`.
        registry: As for `reopen`.
        discover: As for `reopen`.
        line: As for `reopen`.
        trust: As for `load_model`.
        model: As for `load_model`.
        device: As for `load_model`.
    """
    from wf_run.bundle.folder import BundleFolder
    from wf_run.description import FILE, read_description
    from wf_run.using.opening import open_trained

    bundle = BundleFolder.find(place, checkpoint)
    if bundle is None and model is None and checkpoint == KEPT:
        bundle = _bundle_by_graph(place)
    if bundle is not None:
        return _open_bundle(bundle, registry, discover, line, trust, model, device)
    directory, document, folders, found = opened(place, registry, discover, line, trust)
    resolve({key: value for key, value in document.items() if key in OF_TRAINED})  # raises if a variable is missing
    description = read_description(directory.path)
    if description is None:
        _LOG.warning("run %s has no %s, as in runs of an older wf: its data are read again", directory.path, FILE)
        changes: dict[str, Any] = {} if device is None else {"device": device}
        opening: dict[str, Any] = {"registry": registry, "discover": discover, "line": line, "trust": trust}
        with reopen(place, checkpoint, **opening, **changes) as experiment:
            return experiment.trained()
    return open_trained(directory, description, document, found, folders, checkpoint, model, device)


def _bundle_by_graph(place: str | os.PathLike[str]) -> BundleFolder | None:
    """The bundle in a run directory whose model has no name by which it could be made again, but a graph."""
    from wf_run.bundle.folder import NAME, BundleFolder, path_of

    directory = RunDirectory.open(Path(place))
    inside = directory.path / NAME
    by_graph = directory.manifest.get("rebuild") == "exported graph" and path_of(inside) is not None
    return BundleFolder.find(inside) if by_graph else None


def _open_bundle(
    bundle: BundleFolder,
    registry: Registry | None,
    discover: Discover | None,
    line: Mapping[str, Any] | None,
    trust: str | Sequence[str],
    model: nn.Module | None,
    device: str | None,
) -> Trained:
    """The trained model of a bundle: from its components, or from its exported graph where these are not here."""
    from wf_run.bundle.folder import GRAPH
    from wf_run.bundle.opening import document_by_graph, open_bundle

    path, missing = bundle.path, ""
    load = partial(loaded, path, path / RUN_FILE, bundle.manifest, registry, discover, line, trust)
    if bundle.graph is None or model is not None or bundle.rebuild != "exported graph":
        try:
            document, folders, found = load()
            resolve({key: value for key, value in document.items() if key in OF_TRAINED})
            return open_bundle(bundle, document, found, folders, model, device)
        except (UsageError, PluginError) as error:
            if bundle.graph is None or model is not None:
                raise
            missing = str(error).splitlines()[0]
    try:
        guard_graph(path, GRAPH, bundle.graph, line=line, trust=trust)
    except UntrustedError as error:
        if missing:
            error.add_note(f"the graph would be taken because a component is not here: {missing}")
        raise
    if missing:
        _LOG.warning("%s: its exported graph is taken, without its components: %s", path, missing)
    document, folders, found = load(partial(document_by_graph, rebuild=bundle.manifest["rebuild"]))
    return open_bundle(bundle, document, found, folders, device=device, by_graph=True)


def reopen(
    place: str | os.PathLike[str],
    checkpoint: str | None = KEPT,
    *,
    registry: Registry | None = None,
    discover: Discover | None = None,
    line: Mapping[str, Any] | None = None,
    trust: str | Sequence[str] = (),
    quiet: bool = True,
    again_in: Path | str | None = None,
    **changes: Any,
) -> Experiment:
    """The experiment of a run directory, its weights restored; its data are read as they were when it began.

    Args:
        place: As for `load_model`.
        checkpoint: As for `load_model`; None restores nothing.
        registry: Where names are looked up.
        discover: Makes the registry instead; called with the plugins that the run file names and a function to call
            before they are loaded.
        line: Keys of a run file given on the command line: code named there is allowed.
        trust: As for `load_model`.
        quiet: Leave out the progress hook.
        again_in: Another run directory, to repeat the run from the beginning; `checkpoint` must be None. A string is a
            name below ``runs/``, numbered if it is taken.
        changes: General keys to change, e.g. ``epochs``, or ``device`` to use the model on another one.

    Raises:
        UsageError: If weights are restored and the data differ from the run's.
        DataError: If its data are gone, or have other classes or columns.
    """
    opening = {"registry": registry, "discover": discover, "line": line, "trust": trust}
    if checkpoint is None:
        return _built_again(place, again_in=again_in, quiet=quiet, opening=opening, changes=changes)
    experiment = _built_again(place, used=True, quiet=quiet, opening=opening, changes=changes)
    try:
        experiment.check_data()
        return experiment.restore(checkpoint)
    except BaseException:
        experiment.close()
        raise


def reopen_data(place: str | os.PathLike[str], *, opening: Mapping[str, Any], **changes: Any) -> Experiment:
    """The experiment of a run directory for its samples: built as for an evaluation, without its weights.

    Args:
        place: As for `load_model`.
        opening: The other arguments of `open_run`: ``registry``, ``discover``, ``line``, ``trust``.
        changes: As for `reopen`.
    """
    return _built_again(place, used=True, quiet=True, opening=opening, changes=changes)


def _built_again(
    place: str | os.PathLike[str],
    *,
    opening: Mapping[str, Any],
    changes: Mapping[str, Any],
    quiet: bool,
    used: bool = False,
    again_in: Path | str | None = None,
) -> Experiment:
    """The experiment of a run directory; `used` if its model is used, not trained: by one process, on any device."""
    directory, document, folders, registry = opened(place, **opening)
    if used:
        from wf_run.parts.device import or_another

        if "device" not in changes:
            changes = {**changes, "device": or_another(document.get("device", "auto"))}
        if document.get("serve_from") == "device":
            document["serve_from"] = "auto"  # the device may be another
    document, _ = merge(document, check(changes))
    if used:
        document.pop("strategy", None)  # one process evaluates what several may have trained
    plan = prepare(document, registry, folders)
    from wf_run.experiment import Experiment
    from wf_run.parts.precision import default_dtype, dtype_named

    again, before = again_in is not None, directory.manifest.get("precision", {})
    own = dtype_named(before.get("default_dtype") if used else None)  # a resumed run compares it instead
    with default_dtype(own):
        return Experiment(
            plan,
            registry,
            run_dir=None if isinstance(again_in, str) else again_in or directory.path,
            default_name=again_in if isinstance(again_in, str) else "",
            folders=folders,
            quiet=quiet,
            initialize=again,
            learned_in=None if again else directory.path,
            restored=used,
        )


__all__ = ["build", "create", "load_model", "open_run", "reopen", "run"]
