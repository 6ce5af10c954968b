"""Parameters without gradient, which processes that share gradients must know."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn

from wf.blame import FAILURES
from wf_base import tree
from wf_base.tree import Tree


def unused_parameters(model: nn.Module, inputs: Tree) -> tuple[str, ...]:
    """The names of the trainable parameters that get no gradient, determined with a few samples.

    The model, its gradients and the random generators are unchanged afterwards. If the model fails, the result is
    empty: training will report the error.

    Args:
        model: The model, in its training mode.
        inputs: ``[N, ...]`` on the model's device, or a tree of such.
    """
    params = {name: param for name, param in model.named_parameters() if param.requires_grad}
    gradients = {name: param.grad for name, param in params.items()}
    buffers = [(buffer, buffer.clone()) for buffer in model.buffers()]
    reached: set[str] = set()
    handles = [
        param.register_post_accumulate_grad_hook(partial(_note, reached, name)) for name, param in params.items()
    ]
    try:
        leaf = tree.first_leaf(inputs)
        with torch.random.fork_rng([leaf.device] if leaf is not None and leaf.device.type == "cuda" else []):
            outputs = [leaf for _, leaf in tree.leaves(tree.call(model, inputs)) if leaf.requires_grad]
            torch.stack([leaf.sum() for leaf in outputs]).sum().backward()
    except FAILURES:
        return ()
    finally:
        for handle in handles:
            handle.remove()
        for name, param in params.items():
            param.grad = gradients[name]
        with torch.no_grad():
            for buffer, before in buffers:
                buffer.copy_(before)
    return tuple(name for name in params if name not in reached)


def _note(reached: set[str], name: str, _: Tensor) -> None:
    reached.add(name)
