"""Models and tokenizers of Hugging Face in runs of wf: small ones made by the tests."""

from __future__ import annotations

import subprocess
import sys
from importlib.resources import files
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import tokenizers
import torch
import transformers
from runs import weights
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel
from tokenizers.trainers import BpeTrainer

from wf.errors import DataError, UsageError
from wf_text.generating import generate
from wf_transformers import index, models
from wf_transformers.plugin import wf_components
from wf_transformers.tokenizer import HuggingFaceTokenizer

VERSE = "Tyger Tyger, burning bright,\nIn the forests of the night;\n"
SMALL: dict[str, Any] = {"layers": 2, "heads": 2, "width": 16}
OPTIONS = ("--model.layers", 2, "--model.heads", 2, "--model.width", 16, "--batch-size", 8, "--dataset.block", 8)
TOKENS = torch.tensor([3, 1, 4, 1, 5])
CATALOGUE: Any = wf_components()[0]
WORKING = [name for name in CATALOGUE.usable() if name != models.AUTO]


def build_model(name: str = "gpt2", **options: Any) -> Any:
    torch.manual_seed(0)
    return models.build(name, 11, (12,), **{**SMALL, **options})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A text and a tokenizer that was trained on it."""
    (tmp_path / "verses.txt").write_text(VERSE * 12)
    tokenizer = tokenizers.Tokenizer(BPE())
    tokenizer.pre_tokenizer, tokenizer.decoder = ByteLevel(add_prefix_space=False), tokenizers.decoders.ByteLevel()
    trainer = BpeTrainer(
        vocab_size=290, special_tokens=["<end>"], initial_alphabet=ByteLevel.alphabet(), show_progress=False
    )
    tokenizer.train_from_iterator([VERSE], trainer)
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    return tmp_path


def test_decoding_restores_the_text(folder: Path) -> None:
    tokenizer = HuggingFaceTokenizer(folder, end="<end>")
    assert tokenizer.decode(tokenizer.encode(VERSE + "é☃")) == VERSE + "é☃"
    assert len(tokenizer.encode(VERSE)) < len(VERSE)
    assert tokenizer.vocabulary[tokenizer.end or 0] == "<end>"
    assert len(tokenizer.vocabulary) <= 290


def test_invalid_tokenizers_are_refused(folder: Path) -> None:
    with pytest.raises(UsageError, match="unknown token '<stop>'"):
        HuggingFaceTokenizer(folder, end="<stop>")
    with pytest.raises(DataError, match="is not a tokenizer"):
        HuggingFaceTokenizer(folder / "verses.txt")
    (folder / "tokenizer.json").unlink()
    with pytest.raises(DataError, match="there is no file"):
        HuggingFaceTokenizer(folder)


def test_a_run_resumes_to_the_bit_and_generates_text(wf: Any, folder: Path) -> None:
    text = ("--dataset", "verses.txt", "--tokenizer", "huggingface", "--tokenizer.path", folder, *OPTIONS)
    model = ("--model", "transformers/gpt2", "--model.gradient_checkpointing", "true")
    proved = wf(
        "prove-resume", *text, *model, "--epochs", 3, "--checkpoint-every", "2steps", "--kill-at", 3, "--name", "p",
        forks=True,
    )  # fmt: skip
    assert proved.code == 0, proved.stdout + proved.stderr
    assert wf("run", *text, *model, "--epochs", 3, "--name", "x").code == 0
    written = wf("generate", "x", "--prompt", "Tyger", "--max-new-tokens", 5)
    assert written.stdout.startswith("Tyger"), written.stderr
    assert wf("predict", "x", "verses.txt").code == 0


def test_a_model_and_its_weights_come_from_a_folder(wf: Any, folder: Path) -> None:
    size = len(HuggingFaceTokenizer(folder).vocabulary)
    config = transformers.GPT2Config(vocab_size=size, n_positions=16, n_embd=16, n_layer=2, n_head=2)
    theirs = transformers.GPT2LMHeadModel(config)
    theirs.save_pretrained(folder)
    ours = models.build("auto", size, (8,), path=folder)
    for name, tensor in theirs.state_dict().items():
        assert torch.equal(ours.state_dict()[f"model.{name}"], tensor), name
    data = ("--dataset", "verses.txt", "--dataset.block", 8, "--tokenizer", "hf", "--tokenizer.path", folder)
    model = ("--model", "transformers/auto", "--model.path", folder, "--model.lora", 2)
    done = wf("run", *data, *model, "--steps", 3, "--name", "lora")
    assert done.code == 0, done.stderr
    found = weights(folder / "runs/lora")
    trained = {name for name in found if "lora_" in name}
    assert trained
    for name, tensor in theirs.state_dict().items():
        own = [key for key in found if key.replace(".base_layer", "").endswith(f".{name}")]
        assert all(torch.equal(found[key], tensor) for key in own), name
    assert any(found[name].any() for name in trained if "lora_B" in name)
    with pytest.raises(UsageError, match=f"has {size} tokens, but the run's tokenizer has {size + 1}"):
        models.build("auto", size + 1, (8,), path=folder)
    (folder / "config.json").write_text('{"model_type": "gpt2", "n_embd": 24}')
    with pytest.raises(DataError, match="has no causal language model that can be read"):
        models.build("auto", size, (8,), path=folder)


def test_gradients_are_the_same_with_checkpointing() -> None:
    found = []
    for checkpointing in (False, True):
        model = build_model(
            gradient_checkpointing=checkpointing, config={"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}
        )
        model.train()(TOKENS[None]).square().mean().backward()
        found.append({name: param.grad for name, param in model.named_parameters()})
    torch.testing.assert_close(found[0], found[1])


@pytest.mark.parametrize("name", ["gpt2", "llama", "rwkv"])
def test_the_cache_changes_nothing(name: str) -> None:
    model = build_model(name).eval()
    with torch.inference_mode():
        cache: list[Any] = []
        parts = [model(TOKENS[None, begin:end], cache=cache) for begin, end in pairwise((0, 2, 3, 5))]
        torch.testing.assert_close(torch.cat(parts, dim=1), model(TOKENS[None]), rtol=1e-4, atol=1e-5)
        one, other = (list(generate(model, TOKENS, 5, temperature=0, cached=cached)) for cached in (True, False))
    assert one == other


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("gpt", {}, "unknown architecture 'gpt'"),
        ("gpt2", {"width": 15}, "must be a multiple of heads, 2"),
        ("gpt2", {"layers": 0}, "'layers' is 0"),
        ("gpt2", {"config": {"n_layers": 3}}, "has no 'n_layers'"),
        ("gpt2", {"path": Path()}, "takes no path"),
        ("gpt2", {"lora": 0}, "'lora' is 0"),
        ("auto", {}, "needs a folder"),
        ("bamba", {}, "cannot be built with these sizes"),
    ],
)
def test_invalid_architectures_and_options_are_refused(name: str, options: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        build_model(name, **options)(TOKENS[None])


def test_a_folder_without_a_configuration_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"there is no '.*config.json'"):
        build_model("auto", path=tmp_path)


def test_a_refused_architecture_says_what_to_do(wf: Any) -> None:
    refused = wf("run", "--dataset", "opticks", "--model", "transformers/bert")
    assert refused.code == 2
    assert "use a folder that has it" in refused.stderr


def test_the_index_lists_every_installed_architecture() -> None:
    assert set(CATALOGUE.names()) == set(models.names())
    kept = files("wf_transformers").joinpath("models.txt").read_text(encoding="utf-8")
    assert kept.startswith(f"# generated from transformers {transformers.__version__} ")


@pytest.mark.catalogue
@pytest.mark.parametrize("name", WORKING)
def test_every_indexed_architecture_works(name: str) -> None:
    assert index.works(name)


def test_listing_imports_neither_torch_nor_transformers() -> None:
    code = """
import sys
from wf_transformers.plugin import wf_components
names = wf_components()[0].names()
print(len(names) > 150, [name for name in sys.modules if name.startswith(("torch", "transformers", "numpy", "peft"))])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "True []\n"


REVIEWS = "text,label\n" + "".join(
    f"{text},{label}\n" for text, label in [("a good film", "praise"), ("what a bad dull film", "blame")] * 12
)


@pytest.fixture
def special(tmp_path: Path) -> Path:
    """A tokenizer with special tokens around a text, like BERT's."""
    tokenizer = tokenizers.Tokenizer(BPE(unk_token="[UNK]"))
    tokenizer.pre_tokenizer, tokenizer.decoder = ByteLevel(add_prefix_space=False), tokenizers.decoders.ByteLevel()
    names = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    trainer = BpeTrainer(
        vocab_size=280, special_tokens=names, initial_alphabet=ByteLevel.alphabet(), show_progress=False
    )
    tokenizer.train_from_iterator([REVIEWS], trainer)
    tokenizer.post_processor = tokenizers.processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    tokenizer.enable_padding(pad_token="[PAD]", length=50)
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    (tmp_path / "reviews.csv").write_text(REVIEWS)
    return tmp_path


def test_special_tokens_are_read_from_the_tokenizer(special: Path) -> None:
    found = HuggingFaceTokenizer(special)
    assert (found.padding, found.mask, found.around) == (0, 4, ([2], [3]))
    assert len(found.encode("a good film")) < 12
    words = found.encode_words(["a", "zzz"])
    assert [len(tokens) for tokens in words] == [1, 3]
    (special / "tokenizer_config.json").write_text('{"pad_token": {"content": "[UNK]"}}')
    assert HuggingFaceTokenizer(special).padding == 1
    assert HuggingFaceTokenizer(special, padding="[SEP]").padding == 3
    with pytest.raises(UsageError, match="unknown token 'x y'"):
        HuggingFaceTokenizer(special, mask="x y")
    (special / "tokenizer_config.json").write_text("{")
    with pytest.raises(DataError, match="cannot be read"):
        HuggingFaceTokenizer(special)


def test_a_tokenizer_without_a_padding_token_is_refused(folder: Path) -> None:
    with pytest.raises(UsageError, match=r"no padding token.*\n.*--tokenizer.padding"):
        HuggingFaceTokenizer(folder).padding  # noqa: B018 - it raises
    assert HuggingFaceTokenizer(folder, padding="<end>").padding == 0


@pytest.mark.parametrize("name", ["text/bert", "text/gpt2"])
def test_padding_changes_nothing(name: str) -> None:
    torch.manual_seed(0)
    facts = {"max_tokens": 8, "padding": 0}
    model = models.build(name, 11, None, num_outputs=2, targets="class_index", dataset_facts=facts, **SMALL).eval()
    tokens = torch.tensor([[3, 4, 5, 0, 0], [6, 7, 8, 1, 2]])
    mask = (tokens > 0).long()
    with torch.inference_mode():
        torch.testing.assert_close(model(tokens, mask)[:1], model(tokens[:1, :3], mask[:1, :3]))


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")  # peft asks for it
def test_the_head_is_trained_beside_low_rank_matrices_and_with_checkpointing() -> None:
    facts = {"max_tokens": 8, "padding": 0}
    options: dict[str, Any] = {"num_outputs": 2, "targets": "class_index", "dataset_facts": facts, **SMALL}
    lora = models.build("text/bert", 11, None, lora=2, **options)
    trained = {name for name, param in lora.named_parameters() if param.requires_grad}
    assert any("lora_A" in name for name in trained)
    assert all("lora_" in name or "classifier" in name for name in trained)
    found = []
    for checkpointing in (False, True):
        torch.manual_seed(0)
        config = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
        model = models.build("text/bert", 11, None, gradient_checkpointing=checkpointing, config=config, **options)
        model.train()(TOKENS[None]).square().mean().backward()
        found.append({name: param.grad for name, param in model.named_parameters()})
    torch.testing.assert_close(found[0], found[1])


def test_a_text_classifier_from_a_folder_resumes_without_its_weights(wf: Any, special: Path, tmp_path: Path) -> None:
    size = len(HuggingFaceTokenizer(special).vocabulary)
    config = transformers.BertConfig(
        vocab_size=size,
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=32,
    )
    theirs = transformers.BertForMaskedLM(config)
    theirs.save_pretrained(tmp_path / "bert")
    data = ("--dataset", "texts", "--dataset.path", "reviews.csv", "--tokenizer", "hf", "--tokenizer.path", special)
    model = ("--model", "transformers/text/auto", "--model.path", tmp_path / "bert", "--batch-size", 8)
    refused = wf("run", *data, *model, "--epochs", 1)
    assert refused.code == 2
    assert "takes at most 32 tokens, but texts may have 512" in refused.stderr
    run = ("run", *data, *model, "--dataset.max_tokens", 32, "--lr", 0.01)
    begun = wf(*run, "--epochs", 1, "--name", "x")
    assert begun.code == 0, begun.stderr
    assert "initialized, because they are not in it: " in begun.stderr
    assert "classifier" in begun.stderr
    assert wf(*run, "--epochs", 2, "--name", "straight").code == 0
    (tmp_path / "bert/model.safetensors").unlink()
    on = wf("resume", "x", "--epochs", 2)
    assert on.code == 0, on.stderr
    assert {name: tensor.tolist() for name, tensor in weights(tmp_path / "runs/x").items()} == {
        name: tensor.tolist() for name, tensor in weights(tmp_path / "runs/straight").items()
    }
    (tmp_path / "new.txt").write_text("a good film\n")
    assert wf("predict", "x", "new.txt").code == 0


def test_token_classification_and_masked_language_models(wf: Any, tmp_path: Path) -> None:
    (tmp_path / "names.conll").write_text("Anna B-PER\nsaw O\nOslo B-LOC\n\n" * 20)
    sizes = ("--model.layers", 1, "--model.heads", 2, "--model.width", 16, "--batch-size", 8, "--epochs", 2)
    tagged = wf("run", "--dataset", "names.conll", "--model", "transformers/bert", *sizes, "--name", "t")
    assert tagged.code == 0, tagged.stderr
    assert len(wf("predict", "t", "names.conll").stdout.splitlines()) == 20
    (tmp_path / "verses.txt").write_text(VERSE * 20)
    data = ("--dataset", "masked-text", "--dataset.path", "verses.txt", "--dataset.block", 8)
    masked = wf("run", *data, "--model", "transformers/distilbert", *sizes, "--name", "m")
    assert masked.code == 0, masked.stderr
    refused = wf("run", *data, "--model", "transformers/llama", *sizes)
    assert refused.code == 2
    assert "is a causal language model or model for token classification, not a masked language model" in refused.stderr
