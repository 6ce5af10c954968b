"""The general keys of run files that every run reads."""

from __future__ import annotations

from typing import Any

from wf import Param

OWN_PLUGIN = "wf-run"
"""The plugin that declares them."""

_READ_BY_EVERY_RUN: tuple[tuple[str, Any, Any, str], ...] = (
    ("epochs", int | None, None, "Epochs to train; by default what gives about 1,000 steps, from 1 to 200."),
    ("task", str | None, None, "What dataset, model, loss and metrics agree about; by default what the dataset says."),
    ("steps", int | None, None, "Updates to train, instead of epochs."),
    ("batch_size", int | str, 32, "Samples in a batch, or full."),
    ("accumulate", int, 1, "Batches whose gradients make one update."),
    ("precision", str, "fp32", "What the model computes in: fp32, bf16, fp16, or fp32 with products in tf32."),
    ("seed", int, 42, "Seed of everything that is drawn."),
    ("shuffle", bool, True, "Whether samples are drawn for the splits and served in a new order each epoch."),
    ("drop_last", bool, False, "Whether an epoch leaves out its last batch where that would be a smaller one."),
    (
        "split",
        str,
        "70/15/15",
        "Shares of train/validation/test; a split that the dataset brings itself stays as it is.",
    ),
    ("fold", str | None, None, "k/K: the test split is the k-th of K folds."),
    (
        "init_from",
        str | None,
        None,
        "Weights to begin with: a state_dict (.pt, .pth, .safetensors) or a run directory.",
    ),
    (
        "init_without",
        list[str],
        [],
        "Modules or parameters, by name, that keep the weights they are drawn with, such as a new head.",
    ),
    ("device", str, "auto", "auto, cpu, cuda, cuda:N or mps."),
    ("workers", int, 0, "Processes that load samples which are not in memory."),
    ("serve_from", str, "auto", "Where batches come from: auto, memory, device or loader (torch's DataLoader)."),
    ("eval_every", int | str, "1epochs", "When the eval splits are evaluated: 1epochs, 500steps."),
    (
        "eval_splits",
        list[str],
        ["validation"],
        "Splits that are evaluated at that cadence; every split is evaluated once at the end.",
    ),
    (
        "checkpoint_every",
        int | str | None,
        "5min",
        "When a checkpoint is saved: 50steps, 2epochs, 10min. One is always saved at the end.",
    ),
    (
        "on_checkpoint_error",
        str,
        "stop",
        "When a checkpoint or a record cannot be written: stop, or continue and try again at the next one.",
    ),
    ("log_every", int, 100, "Batches between two train records."),
    ("keep", str, "last", "The weights that the run keeps: last or best (by monitor)."),
    (
        "monitor",
        str,
        "validation/loss",
        "The figure that decides what is best, if the task names no other; :min or :max may follow.",
    ),
    (
        "links",
        list[str] | None,
        None,
        "Links between model and loss that may be used; by default any, [] turns them off.",
    ),
    ("plugins", list[str], [], "Plugin modules or files to load, as with -p."),
)
"""Name, type, default and help of each key that is no run value, or that is one under another declaration."""

SETTINGS = (
    *(
        Param(name=name, type=annotation, default=default, help=text, is_value=False)
        for name, annotation, default, text in _READ_BY_EVERY_RUN
    ),
    Param(
        name="max_time",
        type=str | None,
        default=None,
        help="Save and end after this time of training, as 8h or 90min; wf resume goes on.",
    ),
    Param(
        name="deterministic",
        type=bool,
        default=False,
        help="Whether torch takes deterministic kernels alone: slower, and operations without one are errors.",
    ),
    Param(
        name="detect_anomaly",
        type=bool,
        default=False,
        help="Whether to name the module and operation of the first number that is not finite; several times slower.",
    ),
    Param(
        name="init_map",
        type=list[str],
        default=[],
        help="OLD=NEW for names of init_from's weights that begin with OLD: 'module.=', 'encoder.=backbone.'.",
    ),
)
