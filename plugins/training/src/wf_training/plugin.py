"""The components of wf-training."""

from __future__ import annotations

from wf import Component, Rule, hookimpl
from wf.traits import HookTraits, TrainerTraits


@hookimpl
def wf_components() -> list[Component]:
    """Trainers, evaluator, strategies and the hooks that act on training."""
    return [
        Component(
            "trainer",
            "supervised",
            "wf_training.trainer:SupervisedTrainer",
            "forward, loss, backward, step",
            traits=TrainerTraits(steps=("plain", "closure", "two_step", "create_graph")),
            default=True,
        ),
        Component(
            "trainer",
            "graphed",
            "wf_training.graphed:GraphedTrainer",
            "the supervised step captured as a CUDA graph",
            traits=TrainerTraits(steps=("plain",)),
        ),
        Component(
            "trainer",
            "contrastive",
            "wf_training.contrastive:ContrastiveTrainer",
            "views of a sample close to each other, without labels",
            traits=TrainerTraits(steps=("plain",)),
        ),
        Component(
            "evaluator",
            "default",
            "wf_training.evaluator:DefaultEvaluator",
            "loss and metrics over a split, in inference mode",
            default=True,
        ),
        Component(
            "strategy",
            "local",
            "wf_training.strategies:LocalStrategy",
            "one process on one device",
            default=True,
        ),
        Component(
            "strategy",
            "ddp",
            "wf_training.strategies:DDPStrategy",
            "several processes, each with a copy of the model",
            default="processes",
        ),
        Component(
            "strategy",
            "fsdp",
            "wf_training.fsdp:FSDPStrategy",
            "several processes, each with a part of the model",
        ),
        Component(
            "hook",
            "early-stopping",
            "wf_training.hooks.early_stopping:EarlyStopping",
            "stop when a figure stops improving",
            traits=HookTraits(ends=True),
        ),
        Component(
            "hook",
            "gradient-clip",
            "wf_training.hooks.gradient_clip:GradientClip",
            "clip gradients",
            aliases=("grad-clip", "clip"),
            plain="wf_training.plain:clip_gradients",
        ),
        Component(
            "hook",
            "ema",
            "wf_training.hooks.averaging:Ema",
            "evaluate and save a moving average of the weights",
        ),
        Component(
            "hook",
            "swa",
            "wf_training.hooks.averaging:Swa",
            "evaluate and save the mean of the weights of the last epochs",
        ),
        Component(
            "hook",
            "divergence-guard",
            "wf_training.hooks.divergence_guard:DivergenceGuard",
            "warn about a rising loss; end the run or go back if it is not finite",
            traits=HookTraits(ends=True, order=20),
            default=True,
        ),
    ]


@hookimpl
def wf_rules() -> list[Rule]:
    """The rules for trainers."""
    return [
        Rule(
            name="optimizer-steps",
            kind="optimizer",
            against=("trainer",),
            target="wf_training.rules:trainer_steps",
            suggested=("optimizer", "trainer"),
            summary="the trainer supports the optimizer's step protocol",
        ),
        Rule(
            name="scheduler-taken",
            kind="scheduler",
            against=("trainer",),
            target="wf_training.rules:trainer_takes_scheduler",
            needs="taken",
            suggested=("trainer",),
            summary="the trainer takes a scheduler",
        ),
        Rule(
            name="scheduler-evaluations",
            kind="scheduler",
            target="wf_training.rules:has_evaluations",
            needs="evaluated",
            summary="a scheduler that waits for evaluations gets some",
        ),
    ]
