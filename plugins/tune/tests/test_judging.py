"""The winner of a search: the best mean among rows whose runs all ended well."""

from __future__ import annotations

from pathlib import Path

from wf_compare.results import Row, Run
from wf_compare.tables.table import make_table
from wf_tune.judging import winner_of


def row(name: str, *values: float | None) -> Row:
    runs = (
        Run(repeat=f"seed {seed}", place=Path(f"{name}/{seed}"), status="done", metrics={"validation/loss": value})
        for seed, value in enumerate(values)
    )
    return Row(name=name, settings={}, document={}, runs=tuple(runs))


def winner(*rows: Row, larger: bool) -> str | None:
    found = winner_of(make_table(rows, "validation/loss", larger))
    return None if found is None else found.row.name


def test_the_best_mean_wins() -> None:
    rows = row("defaults", 0.5, 0.6), row("trial 1", 0.4, 0.5), row("trial 2", 0.7, 0.8)
    assert winner(*rows, larger=False) == "trial 1"
    assert winner(*rows, larger=True) == "trial 2"


def test_a_row_that_did_not_end_well_wins_only_where_there_is_no_other() -> None:
    lucky = row("trial 1", 0.1, None)
    assert winner(row("defaults", 0.5, 0.6), lucky, larger=False) == "defaults"
    assert winner(row("defaults", 0.5, None), lucky, larger=False) == "trial 1"
    assert winner(row("defaults", None, None), row("trial 1", None, None), larger=False) is None
