"""Nearest neighbours, compared with a plain count."""

from __future__ import annotations

from collections import Counter

import pytest
import torch
from torch.nn import functional

from wf.errors import UsageError
from wf_metrics.knn import KNN


def counted(embeddings: torch.Tensor, targets: torch.Tensor, k: int) -> float:
    rows, right = functional.normalize(embeddings, dim=1), 0
    for i in range(len(rows)):
        others = sorted((j for j in range(len(rows)) if j != i), key=lambda j: -float(rows[i] @ rows[j]))[:k]
        votes = Counter(int(targets[j]) for j in others)
        best = max(votes.values())
        right += min(label for label, num in votes.items() if num == best) == int(targets[i])
    return right / len(rows)


@pytest.mark.parametrize("k", [1, 3, 5, 50])
def test_knn_accuracy_equals_a_plain_count(k: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wf_metrics.knn.ROWS", 7)
    torch.manual_seed(0)
    targets = torch.randint(4, (40,))
    embeddings = torch.randn(40, 6) + 2 * functional.one_hot(targets, 6)
    metric = KNN(k)
    for part in (slice(0, 11), slice(11, 40)):
        metric.update(embeddings[part], targets[part])
    assert float(metric.compute()) == pytest.approx(counted(embeddings, targets, k))


def test_too_few_samples_and_invalid_inputs() -> None:
    metric = KNN()
    metric.update(torch.ones(1, 2), torch.tensor([0]))
    assert metric.compute().isnan()
    with pytest.raises(UsageError, match="at least 1"):
        KNN(0)
    with pytest.raises(UsageError, match=r"knn takes embeddings \[N, D\]"):
        KNN().update(torch.ones(2, 2), torch.ones(2, 2))
