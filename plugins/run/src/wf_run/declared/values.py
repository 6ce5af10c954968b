"""The run values that a run itself knows, or that come with its components."""

from __future__ import annotations

from wf import RunValue


def _value(name: str, type: str, summary: str) -> RunValue:
    return RunValue(name=name, type=type, summary=summary)


VALUES = (
    _value("seed", "int", "the run's seed"),
    _value("data_dir", "Path", "the user's data folder (WF_DATA_DIR)"),
    _value("device", "torch.device", "the device of this process"),
    _value("batch_size", "int", "samples in a batch"),
    _value("accumulate", "int", "batches whose gradients make one update; a training step gets them as one batch"),
    _value("input_shape", "tuple[int, ...]", "the shape of one sample's input"),
    _value("num_features", "int", "numbers in one sample's input"),
    _value("num_channels", "int", "channels of an image, the first of input_shape"),
    _value("targets", "str", "the form of the targets that the loss gets"),
    _value("num_classes", "int", "classes of a classification"),
    _value("num_outputs", "int", "the number of model outputs for one sample"),
    _value("class_names", "list[str]", "one a class"),
    _value("class_counts", "list[int]", "the number of train samples of each class"),
    _value("feature_names", "list[str]", "one per input column"),
    _value("vocab_size", "int", "the size of the vocabulary, if inputs are tokens"),
    _value("dataset_facts", "dict", "further facts about the samples: `facts` of the `Dataset`"),
    _value("validation_facts", "dict | None", "those of each further validation set by its name: validation/night"),
    _value(
        "learned",
        "dict | None",
        "facts that the run learned from its data before: reader, class_names, ...; None for a new run",
    ),
    _value(
        "restored",
        "bool",
        "whether a checkpoint will be loaded into the model, so that it need not load pretrained weights",
    ),
    _value("model", "torch.nn.Module", "the model to train"),
    _value("forms_given", "list[str]", "the forms of predictions that the model outputs have without a link"),
    _value("params", "list[Parameter]", "the trainable parameters of model and loss"),
    _value(
        "param_groups",
        "list[dict]",
        "params in two groups: hidden=True, the matrices and kernels of all layers but the last; hidden=False, all "
        "others",
    ),
    _value(
        "loss",
        "Callable",
        "the loss, links included: "
        "called with (predictions, targets); None if the trainer takes none and the dataset declares no targets",
    ),
    _value("trainer", "Trainer", "the trainer"),
    _value("optimizer", "torch.optim.Optimizer", "the optimizer"),
    _value("optimizers", "dict[str, Optimizer]", "the optimizers by scope, if the trainer declares scopes"),
    _value("optimizer_traits", "OptimizerTraits", "how the optimizer is stepped"),
    _value("scaler", "torch.amp.GradScaler", "scales the loss in fp16; None in another precision"),
    _value("scheduler", "torch.optim.lr_scheduler.LRScheduler", "the scheduler, or None"),
    _value("scheduler_interval", "str", "when the scheduler is stepped: step, epoch or evaluation"),
    _value("metrics", "dict[str, Metric]", "the run's metrics by name"),
    _value("metric_forms", "dict[str, str]", "the form of the predictions of each metric: raw, labels or probs"),
    _value("outputs", "TaskRuntime", "the task, which reads labels or probabilities from the model outputs"),
    _value("data", "RunData", "the run's splits, served in batches"),
    _value("strategy", "Strategy", "processes and devices"),
    _value("steps_per_epoch", "int", "updates in an epoch"),
    _value("total_steps", "int", "updates in the whole run"),
    _value("total_epochs", "int", "epochs in the whole run, the last one perhaps incomplete"),
    _value("monitor", "str", "the figure that selects the best weights, such as validation/loss"),
    _value("directions", "dict[str, bool]", "whether a larger figure is better, by name without the split"),
    _value("run_dir", "Path", "the run directory, or None if nothing is written"),
    _value(
        "plotter",
        "Callable[[list | None], list[Chart]]",
        "returns the charts of the run in its present state: of finished plots, or with None of all that fit",
    ),
    _value("run_file", "Mapping[str, Any]", "the resolved run file by key; complete from on_run_start on"),
)
