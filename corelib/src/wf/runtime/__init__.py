"""The torch side of the core: what plugins share that needs torch.

Importing this package imports torch; the rest of `wf` does not.
"""

from wf.distributions import check_readable

try:
    from wf.runtime.data import Batch, Dataset, Samples, TensorSamples, class_index, stratified_parts
except Exception:
    check_readable()  # torch looks for backends among all that is installed
    raise

from wf.runtime.base_trainer import BaseTrainer
from wf.runtime.metric import Metric
from wf.runtime.objective import Objective, Outcome, Supervised, Term
from wf.runtime.random import sample_uniform, stream
from wf.runtime.reading import Reader
from wf.runtime.streams import Stream
from wf.runtime.task import TaskRuntime

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
