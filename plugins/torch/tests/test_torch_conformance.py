"""Every member passes the checks of its kind, or the reason why torch's class does not is listed here."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest

from wf_kit import conformance_cases
from wf_torch.index import MODULES

KINDS = {"losses": "loss", "optimizers": "optimizer", "schedulers": "scheduler"}
OPTIONS: dict[str, dict[str, Any]] = {
    f"{KINDS[kinds]}/torch/{name}": {} for kinds, module in MODULES.items() for name in module.MEMBERS
} | {
    "scheduler/torch/ChainedScheduler": {"schedulers": [{"use": "step", "step_size": 2}]},
    "scheduler/torch/CosineAnnealingWarmRestarts": {"T_0": 2},
    "scheduler/torch/CyclicLR": {"base_lr": 0.001, "max_lr": 0.1},
    "scheduler/torch/ExponentialLR": {"gamma": 0.9},
    "scheduler/torch/MultiStepLR": {"milestones": [1, 3]},
    "scheduler/torch/OneCycleLR": {"max_lr": 0.1},
    "scheduler/torch/SequentialLR": {
        "schedulers": [{"use": "torch/LinearLR"}, {"use": "step", "step_size": 2}],
        "milestones": [2],
    },
    "scheduler/torch/StepLR": {"step_size": 2},
}
SKIP = {
    "optimizer/torch/lbfgs:optimizer-groups": "torch's class takes one group of parameters",
    "optimizer/torch/rprop:optimizer-groups": "its learning rate is that of the first step; later ones find their own",
    "loss/torch/KLDivLoss:loss-reduction": "torch warns of its mean, which is not that over samples",
    "loss/torch/PoissonNLLLoss:loss-extreme": "the rate is the exponential of the score",
    "loss/torch/MultiLabelMarginLoss:loss-half-precision": "torch has no kernel of it for half precision on the CPU",
    "loss/torch/MultiMarginLoss:loss-half-precision": "torch has no kernel of it for half precision on the CPU",
    "loss/torch/SoftMarginLoss:loss-extreme": "torch computes log(1 + exp(-y x)) as it stands; bce-logits is stable",
}


SAMPLE = ("loss/torch/CrossEntropyLoss", "optimizer/torch/adamw", "scheduler/torch/StepLR")
"""With them `make test` makes every check; of the other members it makes the short run and what that builds on."""
SHORT = ("made", "run")


def cases() -> Iterator[Any]:
    """All cases of a member run in one worker, which makes a shared check only once."""
    for case in conformance_cases("wf-torch", options=OPTIONS, skip=SKIP):
        left_out = str(case.subject) not in SAMPLE and case.check.id not in SHORT and case.skip is None
        marks = [pytest.mark.xdist_group(str(case.subject)), *([pytest.mark.exhaustive] if left_out else [])]
        yield pytest.param(case, id=str(case), marks=marks)


@pytest.mark.parametrize("case", [*cases()])
def test_conformance(case: Any) -> None:
    obstacle = re.match(r"'(.*)' failed, so this is unknown", case.result().message)
    assert obstacle is None, case.subject.result(case.checks[obstacle[1]], case.checks).message
    case.run()
