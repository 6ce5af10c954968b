"""The torch side of the core: code shared by plugins that needs torch.

Importing this package imports torch; the rest of `wf` does not.
"""

from wf.discovery.distributions import check_readable

try:
    from wf_base.data import Batch, Dataset, Samples, TensorSamples, class_index, stratified_parts
except Exception:
    check_readable()  # importing torch searches all installed distributions for backends
    raise

from wf_base.metric import Metric
from wf_base.random import sample_uniform, stream
from wf_base.reading import Reader
from wf_base.streams import Stream
from wf_base.task import TaskRuntime
from wf_base.training.base_trainer import BaseTrainer
from wf_base.training.objective import Objective, Outcome, Supervised, Term

__all__ = [
    "BaseTrainer",
    "Batch",
    "Dataset",
    "Metric",
    "Objective",
    "Outcome",
    "Reader",
    "Samples",
    "Stream",
    "Supervised",
    "TaskRuntime",
    "TensorSamples",
    "Term",
    "class_index",
    "sample_uniform",
    "stratified_parts",
    "stream",
]
