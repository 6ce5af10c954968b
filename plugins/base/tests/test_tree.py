"""Trees of tensors: mapped, divided, joined, and passed to models."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from wf.errors import DataError, UsageError
from wf_base import TensorSamples, tree
from wf_base.data import floats
from wf_data.inputs import check_form, form_from, form_of, leaves_of, numbers_of, record_of

NUM = 5


class Views(NamedTuple):
    left: Tensor
    right: Tensor


def trees(num: int = NUM) -> st.SearchStrategy[Any]:
    """Trees whose leaves have `num` samples."""
    leaf = st.builds(
        lambda size, dtype: torch.arange(num * size).reshape(num, size).to(dtype),
        st.integers(1, 3),
        st.sampled_from([torch.float32, torch.int64]),
    )
    keys = st.sampled_from(["tokens", "mask", "image"])
    return st.recursive(
        leaf,
        lambda below: (
            st.dictionaries(keys, below, min_size=1, max_size=3)
            | st.lists(below, min_size=1, max_size=3)
            | st.lists(below, min_size=1, max_size=3).map(tuple)
            | st.tuples(below, below).map(lambda pair: Views(*pair))
        ),
        max_leaves=5,
    )


def equal(one: Any, other: Any) -> bool:
    pairs = list(zip(tree.leaves(one), tree.leaves(other), strict=True))
    return all(path == like and torch.equal(leaf, same) for (path, leaf), (like, same) in pairs)


@settings(max_examples=30)
@given(trees(), st.integers(1, NUM + 1))
def test_split_parts_concatenate_to_the_whole(whole: Any, size: int) -> None:
    parts = list(tree.split(whole, size))
    assert [tree.length(part) for part in parts[:-1]] == [size] * (len(parts) - 1)
    assert equal(tree.cat(parts), whole)
    assert {type(part) for part in parts} == {type(whole)}


@settings(max_examples=30)
@given(trees())
def test_samples_are_selected_leaf_by_leaf(whole: Any) -> None:
    order = torch.tensor([3, 0, 3])
    for (_, leaf), (_, own) in zip(tree.leaves(tree.select(whole, order)), tree.leaves(whole), strict=True):
        assert torch.equal(leaf, own[order])


@settings(max_examples=30)
@given(trees())
def test_a_leaf_is_found_and_replaced_by_its_path(whole: Any) -> None:
    paths = [path for path, _ in tree.leaves(whole)]
    assert len(set(paths)) == len(paths)
    for path in paths:
        changed = tree.with_leaf(whole, path, torch.zeros(NUM))
        assert torch.equal(tree.at(changed, path), torch.zeros(NUM))
        assert [other for other, _ in tree.leaves(changed)] == paths


@settings(max_examples=30)
@given(trees())
def test_the_form_of_inputs_survives_json(whole: Any) -> None:
    form = form_of(whole)
    assert form_from(json.loads(json.dumps(record_of(form))), None) == form
    check_form(form, whole, "here")
    assert equal(numbers_of(form, whole), whole)
    assert [leaf.path for leaf in leaves_of(form)] == [path for path, _ in tree.leaves(whole)]


def test_a_model_gets_dict_and_tuple_inputs_as_arguments() -> None:
    class Model(nn.Module):
        def forward(self, tokens: Tensor, mask: Tensor) -> Tensor:
            return tokens * mask

    tokens, mask = torch.arange(3), torch.tensor([1, 0, 1])
    for inputs in ({"mask": mask, "tokens": tokens}, (tokens, mask), [tokens, mask]):
        assert tree.call(Model(), inputs).tolist() == [0, 0, 2]
    assert tree.call(nn.Identity(), tokens) is tokens


@pytest.mark.parametrize(
    ("inputs", "targets", "message"),
    [
        ({"a": torch.zeros(3), "b": torch.zeros(4)}, torch.zeros(3), "inputs/a has 3 samples, inputs/b has 4"),
        ({"a": torch.zeros(3)}, {"boxes": torch.zeros(2)}, "inputs/a has 3 samples, targets/boxes has 2"),
        ({"a": torch.zeros(3)}, torch.tensor(0.0), "targets is a tensor without dimensions"),
        ({}, torch.zeros(3), "no input tensors"),
        (torch.zeros(3), torch.zeros(4), "3 inputs but 4 targets"),
    ],
)
def test_samples_whose_leaves_differ_in_length_are_refused(inputs: Any, targets: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        TensorSamples(inputs, targets)


def test_outputs_of_batches_are_gathered() -> None:
    alike = [({"a": torch.zeros(2, 3)}, 2), ({"a": torch.ones(1, 3)}, 1)]
    assert tree.gathered(alike)["a"].shape == (3, 3)
    ragged = [(torch.zeros(2, 3), 2), (torch.ones(1, 4), 1)]
    assert tree.rows(tree.gathered(ragged)) == [[0.0] * 3, [0.0] * 3, [1.0] * 4]
    listed = [([{"boxes": torch.zeros(0, 4)}, {"boxes": torch.ones(1, 4)}], 2)]
    assert tree.rows(tree.gathered(listed)) == [{"boxes": []}, {"boxes": [[1.0] * 4]}]
    with pytest.raises(UsageError, match="which cannot be divided into samples"):
        tree.gathered([(torch.zeros(3), 2)])


def test_other_forms_of_inputs_are_refused() -> None:
    form = form_of({"tokens": torch.zeros(2, 4, dtype=torch.int64), "views": (torch.zeros(2, 3), torch.zeros(2))})
    for inputs, message in [
        (torch.zeros(2, 4), "a dict of tokens, views"),
        ({"tokens": torch.zeros(2, 4, dtype=torch.int64)}, "a dict of tokens, views"),
        ({"tokens": torch.zeros(2, 5, dtype=torch.int64), "views": ()}, "'tokens': inputs of shape"),
        ({"tokens": torch.zeros(2, 4, dtype=torch.int64), "views": (torch.zeros(2, 3),)}, "2 in sequence"),
        ({"tokens": torch.zeros(2, 4), "views": ()}, "'tokens': inputs of float32"),
    ]:
        with pytest.raises(DataError, match=message):
            check_form(form, inputs, "here")


IMAGES = tree.Rows(torch.full((1, size, 2), float(size)) for size in (1, 3, 2))


@pytest.mark.parametrize("whole", [IMAGES, {"image": IMAGES, "number": torch.arange(3)}, (IMAGES, torch.arange(3))])
def test_samples_of_different_sizes_are_divided_one_by_one(whole: Any) -> None:
    assert tree.length(whole) == 3
    parts = list(tree.split(whole, 2))
    assert [tree.length(part) for part in parts] == [2, 1]
    again = tree.cat(parts)
    assert type(again) is type(whole)
    assert equal(again, whole)
    assert equal(tree.part(whole, 1, 2), list(tree.split(whole, 1))[1])


def test_samples_of_different_sizes_are_one_argument() -> None:
    assert tree.call(len, IMAGES) == 3
    assert tree.call(lambda one, other: (one, other), [1, 2]) == (1, 2)


def test_lists_of_results_per_sample_are_not_concatenated() -> None:
    """Also if each sample has as many items as there are samples, which looks like one tensor for all."""
    one = tree.Rows([{"boxes": torch.zeros(1, 4)}])
    assert len(tree.gathered([(one, 1), (one, 1)])) == 2


def test_uint8_images_of_different_sizes_are_scaled_to_1() -> None:
    image = torch.full((3, 2, 2), 255, dtype=torch.uint8)
    for whole in (tree.Rows([image]), {"image": tree.Rows([image]), "ids": tree.Rows([image[0]])}):
        found = dict(tree.leaves(floats(whole)))
        assert [float(leaf.max()) for leaf in found.values()] == ([1.0] if len(found) == 1 else [1.0, 255.0])
    assert isinstance(floats(tree.Rows([image])), tree.Rows)


def test_the_form_of_samples_of_different_sizes() -> None:
    images = tree.Rows(torch.zeros(3, size, 4, dtype=torch.uint8) for size in (2, 5))
    form = form_of(images, any_size=True)
    assert form_from(json.loads(json.dumps(record_of(form))), None) == form
    check_form(form, images, "here")
    check_form(form, [torch.rand(3, 9, 9)], "here")
    found = numbers_of(form, list(images))
    assert isinstance(found, tree.Rows)
    assert {row.dtype for row in found} == {torch.float32}
    for wrong, message in ((torch.zeros(2), "a list, one item per sample"), ([torch.zeros(3, 4)], "inputs of shape")):
        with pytest.raises(DataError, match=message):
            check_form(form, wrong, "here")
