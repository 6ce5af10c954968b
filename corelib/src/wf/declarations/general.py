"""The general keys of run files: those of every run, and what plugins add with ``wf_settings``."""

from __future__ import annotations

from wf.declarations.component import Param
from wf.declarations.kinds import KINDS
from wf.declarations.vocabulary import Vocabulary

GENERAL: Vocabulary[Param] = Vocabulary(
    "setting",
    (
        Param(
            name="epochs",
            type=int | None,
            default=None,
            help="Epochs to train; by default what gives about 1,000 steps, from 1 to 200.",
        ),
        Param(
            name="task",
            type=str | None,
            default=None,
            help="What dataset, model, loss and metrics agree about; by default what the dataset says.",
        ),
        Param(name="steps", type=int | None, default=None, help="Updates to train, instead of epochs."),
        Param(name="batch_size", type=int | str, default=32, help="Samples in a batch, or full."),
        Param(name="accumulate", type=int, default=1, help="Batches whose gradients make one update."),
        Param(
            name="precision",
            type=str,
            default="fp32",
            help="What the model computes in: fp32, bf16, fp16, or fp32 with products in tf32.",
        ),
        Param(name="seed", type=int, default=42, help="Seed of everything that is drawn."),
        Param(
            name="shuffle",
            type=bool,
            default=True,
            help="Whether samples are drawn for the splits and served in a new order each epoch.",
        ),
        Param(
            name="drop_last",
            type=bool,
            default=False,
            help="Whether an epoch leaves out its last batch where that would be a smaller one.",
        ),
        Param(
            name="split",
            type=str,
            default="70/15/15",
            help="Shares of train/validation/test; a split that the dataset brings itself stays as it is.",
        ),
        Param(name="fold", type=str | None, default=None, help="k/K: the test split is the k-th of K folds."),
        Param(
            name="init_from",
            type=str | None,
            default=None,
            help="Weights to begin with: a state_dict (.pt, .pth, .safetensors) or a run directory.",
        ),
        Param(
            name="init_without",
            type=list[str],
            default=[],
            help="Modules or parameters, by name, that keep the weights they are drawn with, such as a new head.",
        ),
        Param(name="device", type=str, default="auto", help="auto, cpu, cuda, cuda:N or mps."),
        Param(name="workers", type=int, default=0, help="Processes that load samples which are not in memory."),
        Param(
            name="serve_from",
            type=str,
            default="auto",
            help="Where batches come from: auto, memory, device or loader (torch's DataLoader).",
        ),
        Param(
            name="eval_every",
            type=int | str,
            default="1epochs",
            help="When the eval splits are evaluated: 1epochs, 500steps.",
        ),
        Param(
            name="eval_splits",
            type=list[str],
            default=["validation"],
            help="Splits that are evaluated at that cadence; every split is evaluated once at the end.",
        ),
        Param(
            name="checkpoint_every",
            type=int | str | None,
            default="5min",
            help="When a checkpoint is saved: 50steps, 2epochs, 10min. One is always saved at the end.",
        ),
        Param(
            name="on_checkpoint_error",
            type=str,
            default="stop",
            help="When a checkpoint or a record cannot be written: stop, or continue and try again at the next one.",
        ),
        Param(name="log_every", type=int, default=100, help="Batches between two train records."),
        Param(name="keep", type=str, default="last", help="The weights that the run keeps: last or best (by monitor)."),
        Param(
            name="monitor",
            type=str,
            default="validation/loss",
            help="The figure that decides what is best, if the task names no other; :min or :max may follow.",
        ),
        Param(
            name="links",
            type=list[str] | None,
            default=None,
            help="Links between model and loss that may be used; by default any, [] turns them off.",
        ),
        Param(name="plugins", type=list[str], default=[], help="Plugin modules or files to load, as with -p."),
    ),
    beside=(KINDS,),
)
"""The general keys of a run file, which are options of ``wf run``, too."""
