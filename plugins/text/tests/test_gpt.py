"""The model, and generating text."""

from __future__ import annotations

import math
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from runs import manifest

from wf.errors import UsageError
from wf_text.generating import generate
from wf_text.gpt import GPT
from wf_text.tasks.loss import TokenCrossEntropy
from wf_text.tasks.metric import Perplexity

TOKENS = torch.tensor([3, 1, 4, 1, 5])


def model(context: int = 12, **options: Any) -> GPT:
    torch.manual_seed(0)
    made = GPT(vocab_size=11, **{"layers": 2, "heads": 2, "width": 16, "context": context, **options}).eval()
    for param in made.parameters():  # weights large enough for the tokens to matter
        torch.nn.init.normal_(param, std=0.5)
    return made


def test_no_token_sees_those_after_it() -> None:
    other = TOKENS.clone()
    other[3:] = 7
    one, two = model()(TOKENS[None]), model()(other[None])
    assert torch.equal(one[:, :3], two[:, :3])
    assert not torch.allclose(one[:, 3], two[:, 3])


def test_scores_with_the_cache_equal_scores_of_the_whole_text() -> None:
    made, cache = model(), []
    whole = made(TOKENS[None])
    parts = [made(TOKENS[None, begin:end], cache=cache) for begin, end in pairwise((0, 2, 4, 5))]
    torch.testing.assert_close(torch.cat(parts, dim=1), whole, rtol=1e-5, atol=1e-5)
    assert [keys.shape[2] for keys, _ in cache] == [5, 5]


@pytest.mark.parametrize("settings", [{"temperature": 0}, {"temperature": 0.7, "top_k": 3}, {}])
def test_the_cache_changes_nothing_not_even_beyond_the_context(settings: Any) -> None:
    def tokens(**more: Any) -> list[int]:
        generator = torch.Generator().manual_seed(1)
        return list(generate(model(), TOKENS, 20, generator=generator, **settings, **more))

    with torch.inference_mode():
        assert tokens() == tokens(cached=False)
        assert len(tokens()) == 20


def test_a_prompt_may_be_longer_than_the_context() -> None:
    with torch.inference_mode():
        made = list(generate(model(context=4), TOKENS, 3, temperature=0))
        assert made[0] == int(model(context=4)(TOKENS[None, -4:])[0, -1].argmax())


def test_top_k_draws_only_the_k_likeliest_tokens() -> None:
    with torch.inference_mode():
        likely = set(model()(TOKENS[None])[0, -1].topk(2).indices.tolist())
        drawn = {
            next(generate(model(), TOKENS, 1, top_k=2, generator=torch.Generator().manual_seed(seed)))
            for seed in range(40)
        }
    assert drawn == likely


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"width": 10, "heads": 4}, "must be a multiple of heads, 4"),
        ({"layers": 0}, "'layers' is 0"),
        ({"context": None}, "'context' is 0"),
        ({"context": 4, "input_shape": (8,)}, "samples have 8 tokens"),
        ({"dropout": 1.0}, "'dropout' is 1.0"),
    ],
)
def test_sizes_that_do_not_go_together_are_refused(options: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        GPT(**{"vocab_size": 11, "context": 12, **options})
    with pytest.raises(UsageError, match="there are 13 tokens, but the model takes at most 12"):
        model()(torch.zeros(1, 13, dtype=torch.int64))


def test_perplexity_is_e_to_the_loss_over_tokens_that_count() -> None:
    scores, targets = torch.randn(6, 5, 11), torch.randint(11, (6, 5))
    targets[0], targets[3, 2:] = -100, -100
    metric = Perplexity()
    for part in ((scores[:1], targets[:1]), (scores[1:], targets[1:])):
        metric.update(*part)
    loss = TokenCrossEntropy()
    assert float(metric.compute()) == pytest.approx(math.exp(loss(scores, targets)), rel=1e-5)
    assert int(loss.total_weight(targets)) == 22
    with pytest.raises(UsageError, match="'label_smoothing' is 2"):
        TokenCrossEntropy(label_smoothing=2)


def test_a_run_generates_a_continuation(wf: Any, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("abcd" * 200)
    small = ("--model.layers", 1, "--model.heads", 2, "--model.width", 16, "--dataset.block", 8)
    done = wf("run", "--dataset", "a.txt", *small, "--epochs", 15, "--lr", 0.01, "--name", "abc")
    assert done.code == 0, done.stderr
    assert "times that of a constant prediction" in manifest(tmp_path / "runs/abc")["notes"]["fit"]
    likeliest = wf("generate", "abc", "--prompt", "bc", "--temperature", 0, "--max-new-tokens", 20)
    assert likeliest.stdout == "bcdabcdabcdabcdabcdabc\n"
    (tmp_path / "a.txt").unlink()
    drawn = [
        wf("generate", "abc", "--prompt", "a", "--max-new-tokens", 12, "--seed", 3, "--top-k", 4, "--json").json()
        for _ in range(2)
    ]
    assert drawn[0] == drawn[1]
    assert drawn[0]["text"] == "a" + "".join("abcd"[token] for token in drawn[0]["tokens"])
    for options, code, message in (
        (("--prompt", "ax"), 4, "--prompt, character 2: character 'x' (U+0078) is not among the 4 characters"),
        (("--prompt", ""), 2, "there is no token to continue"),
        (("--prompt", "a", "--temperature", -1), 2, "--temperature is -1.0"),
        (("--prompt", "a", "--top-k", 0), 2, "--top-k is 0"),
        (("--prompt", "a", "--max-new-tokens", 0), 2, "--max-new-tokens is 0"),
        ((), 2, "--prompt"),
    ):
        refused = wf("generate", "abc", *options)
        assert (refused.code, message in refused.stderr) == (code, True), refused.stderr


def test_a_classifier_generates_nothing(wf: Any, tmp_path: Path) -> None:
    assert wf("run", "--dataset", "iris", "--steps", 1, "--name", "iris").code == 0
    refused = wf("generate", "iris", "--prompt", "a")
    assert refused.code == 2
    assert "run iris is of task classification: only runs of task causal-lm generate text" in refused.stderr


def test_mismatches_are_refused_before_the_text_is_read(wf: Any) -> None:
    for options, message in (
        (("--model", "mlp"), "the model takes samples of numbers"),
        (("--model", "lstm"), "the loss takes token_scores, the model returns raw"),
        (("--loss", "ce"), "the loss takes"),
    ):
        refused = wf("run", "--dataset", "opticks", *options)
        assert refused.code == 2
        assert message in refused.stderr
    assert "token_scores" in wf("run", "--dataset", "iris", "--model", "gpt").stderr
