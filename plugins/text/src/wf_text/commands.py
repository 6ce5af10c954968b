"""The command ``wf generate``."""

from __future__ import annotations

import click
import torch

import wf
from wf.errors import UsageError
from wf_base.training.modes import evaluated
from wf_cli.common import WfCommand, of_line
from wf_cli.output import keep_stdout, print_json, say
from wf_text.generating import generate as go_on
from wf_text.tokenizers import UnknownCharacterError

TASK = "causal-lm"


@click.command("generate", cls=WfCommand)
@click.argument("place", metavar="RUN", type=click.Path())
@click.option("--prompt", required=True, metavar="TEXT", help="The text to continue.")
@click.option(
    "--max-new-tokens", type=int, default=200, show_default=True, metavar="N", help="The number of tokens to add."
)
@click.option(
    "--temperature",
    type=float,
    default=1.0,
    show_default=True,
    metavar="T",
    help="Below 1 for more likely tokens, 0 for the most likely one, above 1 for more variety.",
)
@click.option("--top-k", type=int, metavar="K", help="Draw only from the K most likely tokens.")
@click.option("--seed", type=int, default=0, show_default=True, metavar="N", help="Seed of the random numbers.")
@click.option("--checkpoint", default="kept", metavar="best|latest|NAME", help="The weights to use, as for wf predict.")
@click.option("--json", "as_json", is_flag=True, help="Machine-readable output.")
@click.pass_context
def generate(
    ctx: click.Context,
    place: str,
    prompt: str,
    max_new_tokens: int,
    temperature: float,
    top_k: int | None,
    seed: int,
    checkpoint: str,
    as_json: bool,
) -> None:
    """Continue a text with a run's language model.

    Prints the prompt and its continuation. The same seed gives the same text.
    """
    keep_stdout()
    trained = wf.open_run(place, checkpoint, **of_line(ctx))
    if trained.description.task != TASK:
        raise UsageError(
            f"run {place} is of task {trained.description.task or 'none'}: only runs of task {TASK} generate text\n"
            "  train one: wf run --dataset text --dataset.path FILE"
        )
    tokenizer, device = trained.need("tokenizer"), trained.need("device")
    try:
        tokens = torch.as_tensor(tokenizer.encode(prompt), dtype=torch.int64, device=device)
    except UnknownCharacterError as error:
        raise error.at(f"--prompt, character {error.position + 1}") from error
    generator = torch.Generator().manual_seed(seed)
    model = trained.network.model
    with evaluated(model), torch.inference_mode():
        made = list(go_on(model, tokens, max_new_tokens, temperature=temperature, top_k=top_k, generator=generator))
    text = tokenizer.decode([*tokens.tolist(), *made])
    if as_json:
        print_json({"run_dir": place, "prompt": prompt, "tokens": made, "text": text})
    else:
        say(text)
