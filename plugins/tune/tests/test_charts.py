"""The charts of a search whose figure is known: one setting decides everything, another one nothing."""

from __future__ import annotations

import pytest

from wf_charts import Intervals, Lines, Panels
from wf_tune.engine.pruners import No
from wf_tune.engine.searchers import Random
from wf_tune.space import Space, parse
from wf_tune.trials import Trials, of_file
from wf_tune.views.charts import history, importance, slices

SPACE = Space([parse("optimizer.lr=log(1e-4,1)"), parse("batch_size=int(8,64)"), parse("model=a,b")], lambda *_: ())


@pytest.fixture(scope="module")
def trials(tmp_path_factory: pytest.TempPathFactory) -> Trials:
    file = tmp_path_factory.mktemp("search") / "one.db"
    file.write_bytes(b"")
    found = Trials(of_file(file), "one")
    found.create({}, larger_is_better=True, first=None, total=30)
    for number in range(30):
        draws = Random().make(7, number, SPACE)
        taken = found.take(SPACE, draws, No().make(), "me", 30)
        assert taken is not None
        found.tell(taken, "complete", draws, value=float(taken.point["optimizer.lr"]), status="done")
    return found


def test_the_setting_that_decides_everything_has_all_the_importance(trials: Trials) -> None:
    shares = trials.importances()
    assert sum(shares.values()) == pytest.approx(1)
    assert shares["optimizer.lr"] > 0.9
    assert shares["batch_size"] < 0.1
    assert shares["model"] < 0.1


def test_the_charts_show_the_trials(trials: Trials) -> None:
    found = trials.all()
    by = "validation/accuracy"
    progress, shares = history(found, by, larger_is_better=True), importance(trials.importances())
    ranges, models = slices(found, SPACE, by)
    assert [chart.name for chart in (ranges, models)] == ["search-slices", "search-slice-model"]
    assert isinstance(progress, Lines)
    best = next(series for series in progress.series if series.name == "best so far")
    assert list(best.y) == [max(one.value or 0.0 for one in found[: number + 1]) for number in range(30)]
    assert isinstance(shares, Intervals)
    assert next(row.name for row in shares.rows) == "optimizer.lr"
    assert isinstance(ranges, Panels)
    rates = next(panel for panel in ranges.panels if panel.title == "optimizer.lr").series[0]
    assert [10**x for x in rates.x] == pytest.approx(list(rates.y))
    assert isinstance(models, Intervals)
    for row in models.rows:
        values = [one.value or 0.0 for one in found if one.point["model"] == row.name]
        assert (row.low, row.high, row.mean) == (min(values), max(values), pytest.approx(sum(values) / len(values)))


def test_without_ended_trials_there_is_no_chart() -> None:
    assert history([], "validation/accuracy", larger_is_better=True) is None
    assert importance({}) is None
    assert slices([], SPACE, "validation/accuracy") == []
