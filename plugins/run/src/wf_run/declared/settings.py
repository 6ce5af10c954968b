"""The general keys of run files that every run reads."""

from __future__ import annotations

from typing import Any

from wf import Param

OWN_PLUGIN = "wf-run"
"""The plugin that declares them."""
FORMAT = 2
"""The version of the run files that are written: since 2 a batch is that of all processes together."""


MAX_SEED = 2**63 - 1
MAX_COUNT = 2**31 - 1


def _key(name: str, annotation: Any, default: Any, text: str, **more: Any) -> Param:
    """A key that is no run value, or that is one under another declaration; `more` are further fields."""
    return Param(name=name, type=annotation, default=default, help=text, is_value=False, **more)


SETTINGS = (
    _key(
        "format",
        int,
        FORMAT,
        "The version of the file; in version 1 each of several processes has its own batches.",
        least=1,
        most=FORMAT,
    ),
    _key(
        "epochs",
        int | None,
        None,
        "Epochs to train; by default as many as give about 1,000 steps, from 1 to 200.",
        may_change=True,
        least=0,
        most=MAX_SEED,
    ),
    _key(
        "task",
        str | None,
        None,
        "What dataset, model, loss and metrics agree about; by default what the dataset says.",
        metavar="NAME",
    ),
    _key("steps", int | None, None, "Updates to train, instead of epochs.", may_change=True, least=0, most=MAX_SEED),
    _key(
        "batch_size",
        int | str,
        32,
        "Samples in a batch, of all processes together, or full.",
        least=1,
        most=MAX_COUNT,
        metavar="N|full",
    ),
    _key("accumulate", int, 1, "Batches whose gradients make one update.", least=1, most=MAX_COUNT),
    _key(
        "precision",
        str,
        "fp32",
        "The precision of the model: fp32, bf16, fp16, or fp32 with products in tf32.",
        choices=("fp32", "bf16", "fp16", "tf32"),
        metavar="PRECISION",
    ),
    _key("seed", int, 42, "Seed of all random numbers.", least=0, most=MAX_SEED),
    _key(
        "shuffle",
        bool,
        True,
        "Whether samples are drawn at random for the splits and served in a new order each epoch.",
    ),
    _key(
        "drop_last", bool, False, "Whether an epoch leaves out its last batch if it would be smaller than the others."
    ),
    _key(
        "split",
        str,
        "70/15/15",
        "Shares of train/validation/test; a split that the dataset provides itself stays unchanged.",
        metavar="A/B/C",
    ),
    _key("fold", str | None, None, "k/K: the test split is the k-th of K folds.", metavar="k/K"),
    _key(
        "init_from",
        str | None,
        None,
        "Initial weights: a state_dict (.pt, .pth, .safetensors) or a run directory.",
        metavar="FILE|RUN",
    ),
    _key(
        "init_without",
        list[str],
        [],
        "Modules or parameters, by name, that keep their random initial weights, such as a new head.",
        metavar="NAME,...",
    ),
    _key("device", str, "auto", "auto, cpu, cuda, cuda:N or mps.", may_change=True, metavar="DEVICE"),
    _key(
        "workers",
        int,
        0,
        "Processes that load samples, if they are not in memory.",
        may_change=True,
        least=0,
        most=1024,
    ),
    _key(
        "serve_from",
        str,
        "auto",
        "Where batches come from: auto, memory, device or loader (torch's DataLoader).",
        may_change=True,
        choices=("auto", "memory", "device", "loader"),
    ),
    _key("eval_every", int | str, "1epochs", "When the eval splits are evaluated: 1epochs, 500steps.", metavar="EVERY"),
    _key(
        "eval_splits",
        list[str],
        ["validation"],
        "Splits that are evaluated at that cadence; every split is evaluated once at the end.",
        metavar="SPLIT,...",
    ),
    _key(
        "checkpoint_every",
        int | str | None,
        "5min",
        "When a checkpoint is saved: 50steps, 2epochs, 10min. One is always saved at the end.",
        may_change=True,
        metavar="EVERY",
    ),
    _key(
        "on_checkpoint_error",
        str,
        "stop",
        "If a checkpoint or a record cannot be written: stop, or continue and try again at the next one.",
        choices=("stop", "continue"),
    ),
    _key("log_every", int, 100, "Batches between two train records.", least=1, most=MAX_COUNT),
    _key("keep", str, "last", "The weights that the run keeps: last or best (by monitor).", choices=("last", "best")),
    _key(
        "monitor",
        str,
        "validation/loss",
        "The figure that decides what is best, if the task names no other; :min or :max may follow.",
        metavar="FIGURE",
    ),
    _key(
        "links",
        list[str] | None,
        None,
        "Links between model and loss that may be used; by default all, [] for none.",
        metavar="LINK,...",
    ),
    _key("plugins", list[str], [], "Plugin modules or files to load, as with -p.", may_change=True),
    Param(
        name="max_time",
        metavar="TIME",
        type=str | None,
        default=None,
        help="Save and stop after this time of training, such as 8h or 90min; wf resume continues.",
        may_change=True,
    ),
    Param(
        name="deterministic",
        type=bool,
        default=False,
        help="Whether torch uses only deterministic kernels: slower, and operations without one are errors.",
    ),
    Param(
        name="detect_anomaly",
        type=bool,
        default=False,
        help="Whether to name the module and operation of the first number that is not finite; several times slower.",
    ),
    Param(
        name="init_map",
        metavar="OLD=NEW,...",
        type=list[str],
        default=[],
        help="OLD=NEW for names of init_from's weights that begin with OLD: 'module.=', 'encoder.=backbone.'.",
    ),
)
