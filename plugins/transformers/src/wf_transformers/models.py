"""Causal language models of transformers, as the catalogue ``transformers/<architecture>``."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import Tensor, nn
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from wf.errors import DataError, UsageError, unknown

AUTO = "auto"
"""The architecture that a folder names."""
SIZES = {"width": "hidden_size", "layers": "num_hidden_layers", "heads": "num_attention_heads"}
"""What transformers calls the options."""
SPECIAL = ("bos_token_id", "eos_token_id", "pad_token_id")
"""Tokens that a run's vocabulary does not have."""
NEEDS_FOLDER = "its configuration needs more than sizes: give a folder that has it, --model transformers/auto"


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
) -> nn.Module:
    """A causal language model of transformers.

    Args:
        name: The architecture, as transformers calls it: ``gpt2``, ``llama``; or ``auto``.
        vocab_size: Tokens of the vocabulary.
        input_shape: The shape of a sample, ``(T,)``.
        layers: Layers, of an architecture without a folder.
        heads: Attention heads of a layer, likewise.
        width: Numbers for a token, likewise; a multiple of `heads`.
        config: More keys of the configuration, as transformers calls them: ``{intermediate_size: 256}``.
        path: For ``auto``: a folder with ``config.json``; weights in ``model.safetensors`` are taken where they are
            there. Nothing is downloaded, and no code that the folder brings is run.
        lora: Train low-rank matrices of this rank beside all linear layers instead of the weights (LoRA, by peft).
        lora_alpha: What the product of these matrices is multiplied by, times 1 / `lora`.
        gradient_checkpointing: Compute the layers again in the backward pass rather than keep what they gave: less
            memory and more time.

    Raises:
        UsageError: For an unknown architecture, sizes that do not go together, or a vocabulary that is too small.
        DataError: For a folder that has no configuration, or whose weights do not fit it.
    """
    if name == AUTO:
        if path is None:
            raise UsageError("model 'transformers/auto' needs a folder with config.json: --model.path FOLDER")
        model = _from_folder(path, config)
    else:
        if path is not None:
            raise UsageError(f"model 'transformers/{name}' takes no path\n  --model transformers/{AUTO} does")
        context = input_shape[0] if input_shape else 1024
        sizes = {"layers": layers, "heads": heads, "width": width}
        model = _of_architecture(name, vocab_size, context, sizes, config)
    known = model.config.get_text_config().vocab_size
    if known < vocab_size:
        raise UsageError(
            f"model 'transformers/{name}' knows {known} tokens, and the run's tokenizer has {vocab_size}\n"
            "  use the tokenizer of the model: --tokenizer huggingface --tokenizer.path FOLDER"
        )
    if gradient_checkpointing:
        model.activation_checkpointing_enable({"use_reentrant": False})
    if lora is not None:
        model = _with_lora(model, lora, lora_alpha)
    return LanguageModel(model)


class LanguageModel(nn.Module):
    """A model of transformers, called with tokens alone.

    Args:
        model: It.
    """

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model
        self.context: int | None = getattr(model.config.get_text_config(), "max_position_embeddings", None)
        """The most tokens that it takes."""

    def forward(self, tokens: Tensor, cache: list[Any] | None = None) -> Tensor:
        """Scores ``[N, T, V]`` for the token after each one.

        Args:
            tokens: int64 ``[N, T]``.
            cache: Holds what the model keeps of the tokens before, an empty list for none: keys and values as
                transformers keeps them, or the tokens themselves where an architecture has no such thing.
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


def names() -> list[str]:
    """Every architecture of a causal language model, and `AUTO`."""
    return [AUTO, *sorted(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES)]


def _of_architecture(
    name: str, vocab_size: int, context: int, sizes: Mapping[str, int], config: Mapping[str, Any]
) -> Any:
    """An untrained model."""
    if name not in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES:
        raise UsageError(unknown("architecture", name, names()))
    for option, size in sizes.items():
        if size < 1:
            raise UsageError(f"model option '{option}' is {size}; it must be at least 1")
    if sizes["width"] % sizes["heads"]:
        raise UsageError(f"model option 'width' is {sizes['width']}; it must be a multiple of heads, {sizes['heads']}")
    plain = transformers.AutoConfig.for_model(name)
    keys: dict[str, Any] = {SIZES[option]: size for option, size in sizes.items()}
    keys |= {"vocab_size": vocab_size, "max_position_embeddings": context, **dict.fromkeys(SPECIAL)}
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
        return transformers.AutoModelForCausalLM.from_config(
            transformers.AutoConfig.for_model(name, **{**keys, **config}), dtype=torch.get_default_dtype()
        )
    except Exception as error:  # each architecture raises what it likes
        first = str(error).strip().partition("\n")[0]
        raise UsageError(f"model 'transformers/{name}' cannot be made of these sizes: {first}") from error


def _from_folder(path: Path, config: Mapping[str, Any]) -> Any:
    """The model in a folder: with its weights where they are there."""
    file = path / "config.json"
    if not file.is_file():
        raise DataError(f"there is no '{file}'\n  model.save_pretrained(FOLDER) of transformers writes one")
    try:
        json.loads(file.read_text(encoding="utf-8"))
        made = transformers.AutoConfig.from_pretrained(path, local_files_only=True, **config)
        weights = [*path.glob("*.safetensors")]
        if not weights:
            return transformers.AutoModelForCausalLM.from_config(made, dtype=torch.get_default_dtype())
        return transformers.AutoModelForCausalLM.from_pretrained(
            path,
            config=made,
            local_files_only=True,
            use_safetensors=True,
            dtype=torch.get_default_dtype(),
        )
    except Exception as error:  # likewise
        first = str(error).strip().partition("\n")[0]
        raise DataError(f"'{path}' has no causal language model that can be read: {first}") from error


def _with_lora(model: Any, rank: int, alpha: int) -> Any:
    """A model whose own weights stay, with matrices that are trained."""
    import peft

    if rank < 1:
        raise UsageError(f"model option 'lora' is {rank}; it must be at least 1")
    config = peft.LoraConfig(r=rank, lora_alpha=alpha, target_modules="all-linear", task_type="CAUSAL_LM")
    return peft.get_peft_model(model, config)
