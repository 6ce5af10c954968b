"""The functions of a script that train the model and evaluate it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from wf_base.random import sample_uniform, stream
from wf_export.script.components import Components, several
from wf_export.script.loading import Loading, ahead
from wf_export.script.source.modules import NotAlone
from wf_fitting.tasks import tasks_of

OUTPUTS = re.compile(r"\boutputs\b")


class Training:
    """Writes the functions ``main`` and ``evaluate``.

    Args:
        components: Writes the components.
        loading: The function that loads the data, which has been written.
        manifest: The run's manifest.
        keep_best: Whether to keep the weights of the best epoch.
        weights: The file that the script writes.
    """

    def __init__(
        self, components: Components, loading: Loading, manifest: Mapping[str, Any], *, keep_best: bool, weights: str
    ) -> None:
        self.components, self.loading, self.experiment = components, loading, components.experiment
        self.manifest, self.keep_best, self.weights = manifest, keep_best, weights
        self.remarks: list[str] = []
        """Remarks on parts of the run that are not in the script, but do not affect its weights."""
        self.epochs = 0
        self.evaluation = ""
        """The function ``evaluate``; known after `text`."""

    def text(self) -> str:
        """The function ``main``.

        Raises:
            NotAlone: If the training cannot be written without wf.
        """
        plan, data, made = self.experiment.plan, self.experiment.data, self.experiment.made()
        device = self.experiment.strategy.device.type
        lines: list[str] = []
        threads = self.manifest.get("threads")
        if device == "cpu" and threads:
            lines.append(
                f"torch.set_num_threads({threads})  # sums in another number of threads are rounded differently"
            )
        lines.append("splits, ids = load()" if self.loading.is_random else "splits = load()")
        to = "" if device == "cpu" else f'.to("{device}")'
        if to:
            lines.append(f"splits = {{name: (x{to}, y{to}) for name, (x, y) in splits.items()}}")
        lines += ['inputs, targets = splits["train"]', ""]
        lines += ["torch.manual_seed(SEED)", f"model = make_model(){to}"]
        lines.append(
            f"loss_fn = {self.components.component('loss', {}, {})}{to if self.components.has_tensors('loss') else ''}"
        )
        if self.components.has_parameters("loss"):
            raise NotAlone(f"loss '{made['loss'].name}': it has its own trained parameters")
        params = dict.fromkeys(("params", "param_groups"), "model.parameters()")
        lines.append(f"optimizer = {self.components.component('optimizer', {**params, 'model': 'model'}, {})}")
        traits = self.experiment.values.get("optimizer_traits")
        if traits is not None and (traits.step != "plain" or traits.built_from != "params" or traits.modes):
            raise NotAlone(f"optimizer '{made['optimizer'].name}': its steps are not plain")
        interval = self._scheduler(lines)
        augment = self._augment_lines(data)
        loss = self._loss_expression()
        self._evaluate(OUTPUTS.sub("part", loss))
        best = self.keep_best and self._watched("keep = best", plan["monitor"])
        lines += ["", *(['best_loss, best = float("inf"), model.state_dict()'] if best else [])]
        steps, num_batches = self.manifest.get("steps", 0), data.num_batches
        epochs = -(-steps // num_batches)
        self.epochs = epochs
        cut = steps if steps % num_batches else None
        lines += ["for epoch in range(EPOCHS):", "    model.train()"]
        if plan["shuffle"]:
            self.components.sources.copy(stream)
            lines.append('    order = torch.randperm(len(inputs), generator=stream(SEED, "order", epoch))')
        else:
            lines.append("    order = torch.arange(len(inputs))")
        if plan.get("drop_last"):
            lines.append("    order = order[: len(order) - len(order) % BATCH_SIZE]")
        order = f"order{to}.split(BATCH_SIZE)"
        if cut:
            self.remarks.append(f"The run ended after {steps} updates, within epoch {epochs}: so does this.")
            order = f"list({order})[: {steps} - epoch * {num_batches}]"
        lines.append(f"    for batch in {order}:")
        x = "inputs[batch]"
        if self.loading.bytes:
            x = "pixels(inputs[batch])"
        inner = [f"x, y = {x}, targets[batch]", *augment, f"loss = {OUTPUTS.sub('model(x)', loss)}"]
        inner += ["optimizer.zero_grad()", "loss.backward()", *self._clip_lines(), "optimizer.step()"]
        inner += ["scheduler.step()"] if interval == "step" else []
        lines += [f"        {line}" for line in inner]
        after = ["scheduler.step()"] if interval == "epoch" else []
        lines += [f"    {line}" for line in after]
        lines += [f"    {line}" for line in self._epoch_end(data, interval == "evaluation", best=bool(best))]
        lines += ["", *(["model.load_state_dict(best)"] if best else [])]
        lines += [
            "for split, (x, y) in splits.items():",
            '    print(f"{split:<12}{shown(evaluate(model, loss_fn, x, y))}")',
        ]
        lines.append(f'torch.save(model.state_dict(), sys.argv[1] if len(sys.argv) > 1 else "{self.weights}")')
        body = "\n".join(f"    {line}" if line else "" for line in lines)
        return f'def main() -> None:\n    """Train, and save the weights."""\n{body}'

    def _scheduler(self, lines: list[str]) -> str | None:
        if not self.experiment.made().get("scheduler"):
            return None
        interval = str(self.experiment.values["scheduler_interval"])
        if interval == "evaluation":
            watched = getattr(self.components.built("scheduler").value, "monitor", self.experiment.plan["monitor"])
            self._watched(f"scheduler '{self.components.built('scheduler').name}'", watched)
        lines.append(f"scheduler = {self.components.component('scheduler', {'optimizer': 'optimizer'}, {})}")
        return interval

    def _watched(self, owner: str, figure: str) -> bool:
        """Refuse a part that depends on a figure which the script does not have."""
        plan = self.experiment.plan
        if figure.partition(":")[0] != "validation/loss" or "validation" not in self.experiment.data.splits:
            raise NotAlone(f"{owner} depends on {figure}, but a script supports only validation/loss")
        if plan["eval_every"] != "1epochs":
            raise NotAlone(f"{owner} is evaluated every {plan['eval_every']}, but in a script every epoch")
        return True

    def _epoch_end(self, data: Any, is_watched: bool, *, best: bool) -> list[str]:
        split = next((name for name in self.experiment.plan["eval_splits"] if name in data.splits), None)
        if split is None:
            return ['print(f"epoch {epoch + 1}/{EPOCHS}  loss {loss.item():.4f}")']
        lines = [f'found = evaluate(model, loss_fn, *splits["{split}"])']
        if is_watched or best:
            lines[0] = 'found = evaluate(model, loss_fn, *splits["validation"])'
        lines.append('print(f"epoch {epoch + 1}/{EPOCHS}  loss {loss.item():.4f}  ' + f'{split} {{shown(found)}}")')
        if is_watched:
            lines.append('scheduler.step(found["loss"])')
        if best:
            self.components.sources.imports["import copy"] = None
            lines += ['if found["loss"] < best_loss:']
            lines += ['    best_loss, best = found["loss"], copy.deepcopy(model.state_dict())']
        return lines

    def _loss_expression(self) -> str:
        """The expression for the loss of ``outputs`` and the targets ``y``."""
        values, registry = self.experiment.values, self.experiment.builder.registry
        predictions, targets = "outputs", "y"
        links = [tasks_of(registry).link(name) for name in values["run.links"].trained]
        changes: dict[str, list[Any]] = {"predictions": [], "targets": [], "loss": []}
        for link in links:
            if link.target:
                changes[link.of].append(link)
        for link in changes["predictions"]:
            predictions = self.components.link(link, predictions)
        if values["outputs"].single_logit:
            predictions += ".flatten()"
        for link in changes["targets"]:
            targets = self.components.link(link, targets)
        found = f"loss_fn({predictions}, {targets})"
        for link in changes["loss"]:
            found = self.components.link(link, found)
        if getattr(values["run.bare_loss"], "reduction", "mean") == "none" and not changes["loss"]:
            found += ".mean()"
        return found

    def _augment_lines(self, data: Any) -> list[str]:
        lines = []
        for step in ahead(data.steps)[1]:
            self.components.sources.copy(sample_uniform)
            draws = f"sample_uniform(SEED, epoch, ids[batch.cpu()], {step.num_draws}, {step.position})"
            lines.append(f"x = {self.components.transform(step)}(x, {draws}.to(x.device))")
        return lines

    def _clip_lines(self) -> list[str]:
        lines = []
        for built in several(self.experiment.made().get("hook")):
            if built.entry is not None and built.entry.component.plain is not None:
                lines.append(
                    self.components.written(built, f"hook '{built.name}'", {"params": "model.parameters()"}, {})
                )
        return lines

    def _evaluate(self, loss: str) -> None:
        """Note the function that evaluates a split."""
        metrics = []
        for built in several(self.experiment.made().get("metric")):
            plain = built.entry.component.plain if built.entry else None
            if plain is None or not self._is_largest():
                self.remarks.append(f"Metric '{built.name}' of the run is not computed here.")
                continue
            name = self.components.sources.need(plain)
            metrics.append(f'figures["{built.name}"] = {name}(outputs.argmax(1), targets)')
        x = "pixels(x)" if self.loading.bytes else "x"
        lines = [
            "@torch.inference_mode()",
            "def evaluate(model: nn.Module, loss_fn: nn.Module, inputs: Tensor, targets: Tensor) -> dict[str, float]:",
            '    """The loss, as the mean over all samples, and the metrics of a split."""',
            "    model.eval()",
            f"    outputs = torch.cat([model({x}) for x in inputs.split(BATCH_SIZE)])",
            "    total = 0.0",
            "    for part, y in zip(outputs.split(BATCH_SIZE), targets.split(BATCH_SIZE), strict=True):",
            f"        total += {loss}.item() * len(y)",
            '    figures = {"loss": total / len(targets)}',
            *(f"    {line}" for line in metrics),
            "    return figures",
        ]
        self.evaluation = "\n".join(lines)

    def _is_largest(self) -> bool:
        """Whether the label of a sample is the index of its largest output."""
        num = len(self.experiment.data.class_names)
        try:
            labels = self.experiment.values["outputs"].read(torch.eye(num), "labels")
        except (RuntimeError, ValueError, IndexError):
            return False
        targets = self.experiment.data.train_targets()
        is_index = isinstance(targets, Tensor) and targets.ndim == 1 and not targets.is_floating_point()
        return is_index and num > 1 and torch.equal(labels, torch.arange(num))
