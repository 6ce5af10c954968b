"""Models of transformers, as the catalogue ``transformers/<architecture>`` and ``transformers/text/<architecture>``."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any

import torch
import transformers
from torch import Tensor, nn

from wf import FromRun
from wf.errors import DataError, UsageError, unknown
from wf_text.plugin import NEXT
from wf_transformers.heads import CAUSAL, OF_TARGETS, TEXT, Head, Headed

_LOG = logging.getLogger("wf")

AUTO = "auto"
"""The architecture that a folder names."""
SIZES = {"width": "hidden_size", "layers": "num_hidden_layers", "heads": "num_attention_heads"}
"""The names of the options in transformers."""
SPECIAL = ("bos_token_id", "eos_token_id", "pad_token_id")
"""Configuration keys of tokens that a run's vocabulary does not have."""
PREFIX = "text/"
"""The prefix of the architectures for text classification."""
NEEDS_FOLDER = "its configuration needs more than sizes: use a folder that has it, --model transformers/auto"


def build(
    name: str,
    vocab_size: int,
    input_shape: tuple[int, ...] | None,
    layers: int = 4,
    heads: int = 4,
    width: int = 128,
    config: dict[str, Any] = {},  # noqa: B006 - it is only read
    path: Path | None = None,
    lora: int | None = None,
    lora_alpha: int = 16,
    gradient_checkpointing: bool = False,
    targets: Annotated[str | None, FromRun("targets")] = None,
    num_outputs: Annotated[int | None, FromRun("num_outputs")] = None,
    dataset_facts: Annotated[Mapping[str, Any] | None, FromRun("dataset_facts")] = None,
    restored: Annotated[bool, FromRun("restored")] = False,
) -> nn.Module:
    """A model of transformers: for the next token, masked tokens, or tags, depending on the run's targets; under
    ``text/`` for text classification.

    Args:
        name: The architecture, named as in transformers: ``gpt2``, ``llama``, ``bert``; or ``auto``.
        vocab_size: The size of the vocabulary.
        input_shape: The shape of a sample, ``(T,)``.
        layers: The number of layers, for an architecture without a folder.
        heads: Attention heads per layer, likewise.
        width: The embedding dimension, likewise; a multiple of `heads`.
        config: Further keys of transformers' configuration: ``{intermediate_size: 256}``.
        path: For ``auto``: a folder with ``config.json``; weights are loaded from ``model.safetensors`` if it exists,
            and missing layers are initialized. Nothing is downloaded, and no code in the folder is run.
        lora: Train low-rank matrices of this rank beside all linear layers instead of the weights (LoRA, by peft).
        lora_alpha: The scale of the product of these matrices, multiplied by 1 / `lora`.
        gradient_checkpointing: Recompute activations in the backward pass instead of keeping them: less memory, more
            time.
        targets: The form of the run's targets.
        num_outputs: The number of classes or tags.
        dataset_facts: The dataset's facts about its texts.
        restored: Whether a run's weights will be loaded, so that the folder's are not read.

    Raises:
        UsageError: For an unknown architecture, sizes that do not fit together, or a vocabulary that is too small.
        DataError: For a folder without a configuration, or with weights that do not fit it.
    """
    own, facts = name.removeprefix(PREFIX), dict(dataset_facts or {})
    head = TEXT if own != name else OF_TARGETS.get(targets or NEXT, CAUSAL)
    if own == name and (able := heads_of().get(name)) and head.lora not in able:
        kinds = " or ".join(one.words for one in OF_TARGETS.values() if one.lora in able)
        raise UsageError(f"model 'transformers/{name}' from its sizes is a {kinds}, not a {head.words}: {NEEDS_FOLDER}")
    context = facts.get("max_tokens") or (input_shape[0] if input_shape else 1024)
    asked: dict[str, Any] = dict(config)
    if head is TEXT or head.lora == "TOKEN_CLS":
        asked.setdefault("num_labels", num_outputs)
    if own == AUTO:
        if path is None:
            raise UsageError(f"model 'transformers/{name}' needs a folder with config.json: --model.path FOLDER")
        model = _from_folder(path, asked, head, restored=restored)
    else:
        if path is not None:
            raise UsageError(f"model 'transformers/{name}' takes no path\n  use --model transformers/{AUTO}")
        sizes = {"layers": layers, "heads": heads, "width": width}
        model = _of_architecture(own, vocab_size, context, sizes, asked, head, facts.get("padding"))
    _check_tokens(model, name, vocab_size, facts)
    if gradient_checkpointing:
        model.activation_checkpointing_enable({"use_reentrant": False})
    if lora is not None:
        model = _with_lora(model, lora, lora_alpha, head)
    return LanguageModel(model) if head is CAUSAL else Headed(model)


def _check_tokens(model: Any, name: str, vocab_size: int, facts: Mapping[str, Any]) -> None:
    """Refuse a model with a smaller vocabulary or context than the run's; set its padding token."""
    config = model.config.get_text_config()
    if config.vocab_size < vocab_size:
        raise UsageError(
            f"model 'transformers/{name}' has {config.vocab_size} tokens, but the run's tokenizer has {vocab_size}\n"
            "  use the tokenizer of the model: --tokenizer huggingface --tokenizer.path FOLDER"
        )
    most, wanted = getattr(config, "max_position_embeddings", None), facts.get("max_tokens")
    if most is not None and wanted is not None and most < wanted:
        raise UsageError(
            f"model 'transformers/{name}' takes at most {most} tokens, but texts may have {wanted}\n"
            f"  truncate them: --dataset.max_tokens {most}"
        )
    if "padding" in facts:  # models that use the last token of a text find it by the padding
        model.config.pad_token_id = config.pad_token_id = facts["padding"]


class LanguageModel(nn.Module):
    """A model of transformers, called with tokens only.

    Args:
        model: It.
    """

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model
        self.context: int | None = getattr(model.config.get_text_config(), "max_position_embeddings", None)
        """The maximum number of tokens."""

    def forward(self, tokens: Tensor, cache: list[Any] | None = None) -> Tensor:
        """Scores ``[N, T, V]`` for the token after each one.

        Args:
            tokens: int64 ``[N, T]``.
            cache: The model's state of previous tokens, an empty list at first: keys and values as in transformers, or
                the tokens themselves if an architecture has no cache.
        """
        if cache is None or (cache and isinstance(cache[0], Tensor)):
            before = cache[0] if cache else tokens[:, :0]
            given = torch.cat([before, tokens], dim=1)
            scores: Tensor = self.model(input_ids=given, use_cache=False).logits[:, before.shape[1] :]
            if cache is not None:
                cache[:] = [given]
            return scores
        found = self.model(input_ids=tokens, use_cache=True, **({"cache": cache[0]} if cache else {}))
        kept = found.get("cache")
        cache[:] = [tokens if kept is None else kept]
        last: Tensor = found.logits
        return last


@cache
def heads_of() -> dict[str, list[str]]:
    """The heads of architectures built from sizes alone, from `heads.txt`."""
    lines = files("wf_transformers").joinpath("heads.txt").read_text(encoding="utf-8").splitlines()
    return {name: able for name, *able in map(str.split, lines) if not name.startswith("#")}


def names() -> list[str]:
    """Every architecture that scores tokens, under `PREFIX` those that score texts, and `AUTO`."""
    of_tokens = {name for head in OF_TARGETS.values() for name in head.names}
    return [AUTO, *sorted(of_tokens), f"{PREFIX}{AUTO}", *(PREFIX + name for name in sorted(TEXT.names))]


def _of_architecture(
    name: str,
    vocab_size: int,
    context: int,
    sizes: Mapping[str, int],
    config: Mapping[str, Any],
    head: Head,
    padding: int | None,
) -> Any:
    """An untrained model."""
    if name not in head.names:
        raise UsageError(f"{unknown('architecture', name, sorted(head.names))}\n  it must be a {head.words}")
    for option, size in sizes.items():
        if size < 1:
            raise UsageError(f"model option '{option}' is {size}; it must be at least 1")
    if sizes["width"] % sizes["heads"]:
        raise UsageError(f"model option 'width' is {sizes['width']}; it must be a multiple of heads, {sizes['heads']}")
    plain = transformers.AutoConfig.for_model(name)
    keys: dict[str, Any] = {SIZES[option]: size for option, size in sizes.items()}
    keys |= {"vocab_size": vocab_size, "max_position_embeddings": context, **dict.fromkeys(SPECIAL)}
    if padding is not None:  # some architectures count positions from the padding token
        keys |= {"pad_token_id": padding, "max_position_embeddings": context + padding + 1}
    if hasattr(plain, "intermediate_size"):
        keys["intermediate_size"] = 4 * sizes["width"]
    if hasattr(plain, "num_key_value_heads"):
        keys["num_key_value_heads"] = sizes["heads"]
    if getattr(plain, "head_dim", None) is not None:
        keys["head_dim"] = sizes["width"] // sizes["heads"]
    unknown_keys = [key for key in config if not hasattr(plain, key)]
    if unknown_keys:
        raise UsageError(f"the configuration of {name} has no '{unknown_keys[0]}'")
    try:
        return head.auto.from_config(
            transformers.AutoConfig.for_model(name, **{**keys, **config}), dtype=torch.get_default_dtype()
        )
    except Exception as error:  # each architecture raises what it likes
        first = str(error).strip().partition("\n")[0]
        raise UsageError(f"model 'transformers/{name}' cannot be built with these sizes: {first}") from error


def _from_folder(path: Path, config: Mapping[str, Any], head: Head, *, restored: bool) -> Any:
    """The model in a folder, with its weights if they exist and no others will be loaded."""
    file = path / "config.json"
    if not file.is_file():
        raise DataError(f"there is no '{file}'\n  model.save_pretrained(FOLDER) of transformers writes one")
    try:
        json.loads(file.read_text(encoding="utf-8"))
        made = transformers.AutoConfig.from_pretrained(path, local_files_only=True, **config)
        weights = [*path.glob("*.safetensors")]
        if restored or not weights:
            return head.auto.from_config(made, dtype=torch.get_default_dtype())
        model, told = head.auto.from_pretrained(
            path,
            config=made,
            local_files_only=True,
            use_safetensors=True,
            dtype=torch.get_default_dtype(),
            ignore_mismatched_sizes=head is not CAUSAL,
            output_loading_info=True,
        )
    except Exception as error:  # likewise
        first = str(error).strip().partition("\n")[0]
        raise DataError(f"'{path}' has no {head.words} that can be read: {first}") from error
    drawn = sorted({*told["missing_keys"], *(one[0] for one in told["mismatched_keys"])})
    for words, found in (
        ("initialized, because they are not in it", drawn),
        ("left out", sorted(told["unexpected_keys"])),
    ):
        if found:
            shown = ", ".join(found[:4])
            _LOG.info("weights of '%s': %s: %s%s", path, words, shown, ", ..." if len(found) > 4 else "")
    return model


def _with_lora(model: Any, rank: int, alpha: int, head: Head) -> Any:
    """A model with frozen weights and trained low-rank matrices."""
    import peft

    if rank < 1:
        raise UsageError(f"model option 'lora' is {rank}; it must be at least 1")
    config = peft.LoraConfig(r=rank, lora_alpha=alpha, target_modules="all-linear", task_type=head.lora)
    return peft.get_peft_model(model, config)
