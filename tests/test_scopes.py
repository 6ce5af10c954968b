"""Named models and optimizers for a trainer with scopes: a generative adversarial network."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from torch.nn.functional import softplus
from workspace import ROOT

import wf
from wf.errors import PluginError

GAN = (ROOT / "examples/gan.py").read_text()
SIZES = {"discriminator": 1, "generator": 2}
LINE = tuple(
    word
    for name, size in SIZES.items()
    for word in (f"--model.{name}", "mlp", f"--model.{name}.num_outputs", size, f"--model.{name}.hidden", "[16]")
)
CHOSEN = ("-p", "gan.py", "--trainer", "gan", "--dataset", "points", "--device", "cpu", "--quiet")


@pytest.fixture(autouse=True)
def gan(tmp_path: Path) -> Path:
    assert GAN.count("\n") < 60
    file = tmp_path / "gan.py"
    file.write_text(GAN)
    return file


def test_a_gan_with_named_models_trains_and_works_with_all_commands(wf: Any, tmp_path: Path) -> None:
    options = ("--optimizer.generator.lr", 0.01, "--optimizer.discriminator", "sgd")
    done = wf("run", *CHOSEN, *LINE, *options, "--epochs", 3, "--name", "gan")
    assert done.code == 0, done.stderr
    document = tomllib.loads((tmp_path / "runs/gan/run.toml").read_text())
    assert document["optimizer"]["generator"]["lr"] == 0.01
    assert document["optimizer"]["discriminator"]["use"] == "sgd"
    again = wf("run", "runs/gan/run.toml", "-p", "gan.py", "--name", "again", "--quiet")
    assert again.code == 0, again.stderr
    logs = [(tmp_path / f"runs/{name}/metrics.jsonl").read_text().count("loss/generator") for name in ("gan", "again")]
    assert logs[0] == logs[1] > 0
    for verb in (("predict", "gan", "train"), ("export", "gan", "gan.safetensors"), ("runs",)):
        done = wf(*verb, "-p", "gan.py")
        assert done.code == 0, done.stderr
    refused = wf("evaluate", "gan", "-p", "gan.py")  # it has no metric
    assert refused.code == 2
    assert "there is nothing to evaluate: the run has no metric" in refused.stderr
    proof = wf("prove-resume", *CHOSEN, *LINE, "--epochs", 2, "--kill-at", 7, forks=True)
    assert proof.code == 0, proof.stdout + proof.stderr
    assert "optimizer/generator" in proof.stdout


def test_a_gan_has_the_bits_of_a_hand_written_loop(gan: Path) -> None:
    """Each scope draws its weights from a separate stream, so that equal towers start differently."""
    models = {name: {"use": "mlp", "num_outputs": size, "hidden": [16]} for name, size in SIZES.items()}
    run = wf.build(trainer=f"{gan}:GAN", dataset=f"{gan}:points", model=models, epochs=2, device="cpu", save=False)
    judge, maker = run.model["discriminator"], run.model["generator"]
    begin = {name: value.clone() for name, value in run.model.state_dict().items()}
    first = [next(iter(part.parameters())) for part in (judge, maker)]
    assert first[0].shape == first[1].shape
    assert not torch.equal(*first)
    state = torch.get_rng_state()
    run.fit()
    trained = {name: value.clone() for name, value in run.model.state_dict().items()}

    run.model.load_state_dict(begin)
    run.model.train()
    torch.set_rng_state(state)
    optimizers = [torch.optim.Adam(part.parameters(), 1e-3) for part in (judge, maker)]
    for epoch in range(2):
        for batch in run.data.epoch(epoch):
            optimizers[0].zero_grad()
            fake = maker(torch.randn(batch.size, 2)).detach()
            (softplus(-judge(batch.inputs)).mean() + softplus(judge(fake)).mean()).backward()
            optimizers[0].step()
            optimizers[1].zero_grad()
            softplus(-judge(maker(torch.randn(batch.size, 2)))).mean().backward()
            optimizers[1].step()
    assert all(torch.equal(value, trained[name]) for name, value in run.model.state_dict().items())


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--model", "mlp"), "trainer 'gan' has several models, so 'mlp' is ambiguous\n  write: --model.discriminator"),
        ((), "trainer 'gan' needs a model for discriminator and generator\n  write: --model.discriminator NAME, "),
        (
            (*LINE, "--lr", 0.1),
            "'lr' is not one of them\n  write: --optimizer.discriminator NAME, --optimizer.generator NAME",
        ),
        ((*LINE, "--optimizer", "adam"), "trainer 'gan' has several optimizers, so 'adam' is ambiguous"),
        ((*LINE, "--model.generator", "mpl"), "unknown model 'mpl'\n  did you mean 'mlp'"),
        ((*LINE, "--model.generator.hiden", "[4]"), "unknown option 'hiden' of model 'mlp'"),
        ((*LINE, "--model.judge", "mlp"), "trainer 'gan' has several models, and 'judge' is not one of them"),
        ((*LINE, "--scheduler", "cosine"), "scheduler 'cosine' does not fit trainer 'gan'"),
        ((*LINE, "--optimizer.generator", "torch/lbfgs"), "optimizer.generator 'torch/lbfgs' is stepped as 'closure'"),
        (("--trainer", "supervised", "--model.generator", "mlp"), "unknown option 'generator' of model 'mlp'"),
    ],
)
def test_invalid_scopes_on_the_command_line_are_refused(
    wf: Any, tmp_path: Path, words: tuple[object, ...], message: str
) -> None:
    done = wf("run", *CHOSEN, *words)
    assert (done.code, message in done.stderr) == (2, True), done.stderr
    assert not (tmp_path / "runs").exists()


def test_invalid_scope_declarations_are_refused() -> None:
    class Wrong:
        scopes: ClassVar[dict[str, Any]] = {"loss": ("a", "b")}

    with pytest.raises(PluginError, match="a trainer has scopes of model and optimizer, not of 'loss'"):
        wf.build(trainer=Wrong, dataset="iris", save=False)
    for names in ("generator", 3, (), ("a", "a"), ("use",), (1, 2)):
        Wrong.scopes = {"model": names}
        with pytest.raises(PluginError, match="the scopes of model are a tuple of different Python names, not "):
            wf.build(trainer=Wrong, dataset="iris", save=False)


def test_the_last_of_repeated_scope_options_counts(wf: Any) -> None:
    done = wf("run", *CHOSEN, *LINE, "--model.generator", "nothing", "--model.generator", "mlp", "--steps", 2)
    assert done.code == 0, done.stderr
    assert done.stderr.count("is given more than once; the last one counts: mlp") == 1
