"""Time series: windows, gaps, several series, splits of time."""

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import wf
from wf.errors import DataError, UsageError
from wf_base import Dataset
from wf_datasets.tables.series import series
from wf_datasets.tables.series_reader import SeriesReader
from wf_run.api import open_run, reopen


def write(folder: Path, rows: list[str], head: str = "t,y,x", name: str = "s.csv") -> Path:
    path = folder / name
    path.write_text("\n".join([head, *rows]) + "\n")
    return path


def hours(num: int, start: int = 0) -> list[str]:
    return [f"2024-01-{1 + hour // 24:02d} {hour % 24:02d}:00,{hour},{hour * 10}" for hour in range(start, start + num)]


def pairs(dataset: Dataset, split: str = "train") -> tuple[Any, Any]:
    samples: Any = getattr(dataset, split)
    return samples.inputs, samples.targets


def test_windows_are_inputs_and_the_next_steps_targets(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    rows = hours(20)
    path = write(tmp_path, rows[10:] + rows[:10])
    with caplog.at_level(logging.INFO):
        made = series(path, "y", "t", window=3, horizon=2, validation=0.2, test=0.2)
    inputs, targets = pairs(made)
    assert inputs[0].tolist() == [[0, 0], [1, 10], [2, 20]]
    assert targets.tolist() == [[first, first + 1] for first in range(3, 11)], "before hour 12"
    assert pairs(made, "validation")[1].tolist() == [[12, 13], [13, 14], [14, 15]]
    assert pairs(made, "validation")[0][0, :, 0].tolist() == [9, 10, 11], "inputs may reach back"
    assert pairs(made, "test")[1].tolist() == [[16, 17], [17, 18], [18, 19]]
    assert (made.facts["columns"], list(made.target_names)) == (["y", "x"], ["y+1", "y+2"])
    assert made.facts["naive_errors"] == [[1, 1]]
    assert "1 series, a row every 1:00:00; train 8 windows, validation 3 windows, test 3 windows" in caplog.text
    assert len(series(path, "y", "t", window=3, horizon=2, validation=0.2, test=0.2, stride=3).train) == 3


def test_several_targets_and_time_features(tmp_path: Path) -> None:
    made = series(write(tmp_path, hours(30)), ["x", "y"], "t", window=2, horizon=2, time_features=("cyclic",))
    inputs, targets = pairs(made)
    assert made.facts["columns"][:3] == ["x", "y", "t.sin_of_year"]
    assert targets[0].tolist() == [20, 2, 30, 3]
    assert list(made.target_names) == ["x+1", "y+1", "x+2", "y+2"]
    assert inputs[0, 1, 6] == pytest.approx(np.sin(2 * np.pi / 24)), "of the day, at one o'clock"


def test_several_series_are_split_at_one_time(tmp_path: Path) -> None:
    rows = [f"{day},{name},{day + 100 * number}" for number, name in enumerate("ab") for day in range(20)]
    made = series(write(tmp_path, rows, "t,id,y"), "y", "t", id="id", window=2, validation=0.25, test=0.25)
    assert pairs(made)[1].flatten().tolist() == [*range(2, 10), *range(102, 110)]
    assert pairs(made, "test")[1].flatten().tolist() == [*range(15, 20), *range(115, 120)]
    assert made.reader is not None
    new = write(tmp_path, ["5,z,7", "4,z,6", "1,q,2", "2,q,3", "3,q,4"], "t,id,y", "new.csv")
    assert made.reader.read(new).flatten(1).tolist() == [[6, 7], [3, 4]]  # type: ignore[union-attr]


MONTHS = [f"{2020 + month // 12}-{month % 12 + 1:02d}-01,{month}" for month in range(30)]


def test_monthly_rows_are_regular_steps(tmp_path: Path) -> None:
    made = series(write(tmp_path, MONTHS, "t,y"), "y", "t", window=3)
    assert pairs(made)[1][:2].tolist() == [[3], [4]]
    ends = write(tmp_path, [row.replace("-01,", "-28,", 1) for row in MONTHS], "t,y")
    assert pairs(series(ends, "y", "t", window=3))[1].equal(pairs(made)[1])
    with pytest.raises(DataError, match=r"line 7, column 't': a gap: 2020-06 is missing \(1 such steps.*every month"):
        series(write(tmp_path, MONTHS[:5] + MONTHS[6:], "t,y"), "y", "t", window=3)


@pytest.mark.parametrize(
    ("gaps", "targets"),
    [
        ("split", [2, 3, 8, 9, 10, 11, 12, 13, 14]),
        ("fill", [2, 3, 3, 3, 6, 7, 8, 9, 10, 11, 12, 13]),
        ("ignore", [2, 3, 6, 7, 8, 9, 10, 11, 12, 13, 14]),
    ],
)
def test_gaps_are_refused_split_filled_or_ignored(tmp_path: Path, gaps: Any, targets: list[float]) -> None:
    path = write(tmp_path, [f"{step},{step}" for step in range(20) if step not in (4, 5)], "t,y")
    with pytest.raises(
        DataError, match=r"line 6, column 't': a gap: t 4 is missing \(2 such steps(?s:.)*--dataset.gaps"
    ):
        series(path, "y", "t", window=2)
    made = series(path, "y", "t", window=2, gaps=gaps)
    assert pairs(made)[1].flatten().tolist() == targets


def test_missing_values_are_gaps(tmp_path: Path) -> None:
    path = write(tmp_path, [f"{step},{'' if step == 4 else step}" for step in range(20)], "t,y")
    with pytest.raises(
        DataError, match=r"line 6, column 'y': the value is missing \(1 in all\)(?s:.)*--dataset.gaps split"
    ):
        series(path, "y", "t", window=2)
    assert pairs(series(path, "y", "t", window=2, gaps="split"))[1].flatten().tolist()[:3] == [2, 3, 7]
    assert pairs(series(path, "y", "t", window=2, gaps="fill"))[1].flatten().tolist()[:4] == [2, 3, 3, 5]
    assert np.isfinite(series(path, "y", "t", window=2, gaps="split").facts["naive_errors"]).all()


@pytest.mark.parametrize(
    ("rows", "options", "message"),
    [
        (
            ["1,1", "2,2", "2,3", "3,4"],
            {},
            r"line 4, column 't': the time is there already, in line 3(?s:.)*--dataset.id",
        ),
        (["1,1", "2,2", ",3"], {}, r"line 4, column 't': the time is missing"),
        (["2024-01-01,1", "2024-02-30,2"], {}, r"line 3, column 't': '2024-02-30' is no date"),
        (["1,1", "2,a"], {}, r"line 3, column 'y': 'a' is not a number"),
        (["1,1"], {}, r"the file has not two different times"),
        (
            [f"{step},1" for step in (1, 2, 3, 4, 4.5, 6)],
            {},
            r"1 times do not fit a row every 1\n(?s:.)*--dataset.gaps ignore",
        ),
        (
            [f"{step},1" for step in range(9)],
            {"horizon": 12},
            r"no window of 24 rows with a horizon of 12 (?s:.)*has 9 rows",
        ),
        (["2024-01-01,1"], {}, "the file has not two different times"),
        ([f"{step},1" for step in range(9)], {"time": "when"}, r"unknown column 'when'(?s:.)*--dataset.time"),
    ],
)
def test_bad_files(tmp_path: Path, rows: list[str], options: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        series(write(tmp_path, rows, "t,y"), **{"target": "y", "time": "t", **options})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"window": 0}, "window is 0"),
        ({"horizon": 0}, "horizon is 0"),
        ({"season": 0}, "season is 0"),
        ({"validation": 0.6, "test": 0.4}, "some must be left for training"),
        ({"validation": 0}, "validation must be more than 0"),
        ({"target": "t"}, "must be different columns"),
        ({"time_features": ("cyclic",)}, "no time features"),
    ],
)
def test_bad_options(tmp_path: Path, options: dict[str, Any], message: str) -> None:
    path = write(tmp_path, [f"{step},1" for step in range(50)], "t,y")
    with pytest.raises(UsageError, match=message):
        series(path, **{"target": "y", "time": "t", **options})


def test_forecast_files_that_do_not_fit(tmp_path: Path) -> None:
    made = series(write(tmp_path, hours(40)), "y", "t", window=3, gaps="split")
    assert made.reader is not None
    reader = SeriesReader(**json.loads(json.dumps(made.reader.description())))
    assert reader.read(write(tmp_path, hours(5, 60))).tolist() == [[[62, 620], [63, 630], [64, 640]]]
    for rows, message in (
        (hours(2), "does not end with 3 rows"),
        (hours(4)[:2] + hours(4)[3:], "does not end with 3 rows"),
        ([*hours(3), "soon,1,2"], r"line 5, column 't': 'soon' is no date"),
        ([*hours(3), "2024-01-01 03:30,1,2"], r"line 5, column 't': 1 times do not fit a row every 1:00:00"),
    ):
        with pytest.raises(DataError, match=message):
            reader.read(write(tmp_path, rows))
    with pytest.raises(DataError, match="there is no column 'x'"):
        reader.read(write(tmp_path, ["2024-01-01,1"], "t,y"))


def test_a_run_forecasts_without_its_training_file(tmp_path: Path) -> None:
    rows = [f"{step},{np.sin(step / 3):.4f},{step % 7}" for step in range(80)]
    path = write(tmp_path, rows)
    dataset = {"use": "series", "path": str(path), "target": "y", "time": "t", "window": 6, "horizon": 2}
    ran = wf.run(
        dataset=dataset,
        model={"use": "tcn", "channels": 4},
        transform=["standardize", "standardize-targets"],
        metric=["mae", "mase", "smape"],
        epochs=2,
        run_dir=tmp_path / "run",
        quiet=True,
    )
    assert ran.metrics["test/mase"] > 0
    with reopen(tmp_path / "run") as again:
        assert again.evaluate("test")["mase"] == ran.metrics["test/mase"]
    path.unlink()
    trained = open_run(tmp_path / "run")
    new = write(tmp_path, rows[:-2], name="new.csv")
    assert torch.allclose(trained.predict(trained.read(new)), ran.predict("test")[-1:])


def test_mase_scales_each_series_by_its_naive_error(tmp_path: Path) -> None:
    """By hand from the file: the mean over two series of very different scales."""
    draw = np.random.default_rng(0)
    values = {name: scale * np.cumsum(draw.normal(size=60)) for name, scale in (("a", 1.0), ("b", 100.0))}
    rows = [f"{step},{name},{values[name][step]:.6f}" for name in values for step in range(60)]
    path = write(tmp_path, rows, "t,id,y")
    dataset = {"use": "series", "path": str(path), "target": "y", "time": "t", "id": "id", "window": 4}
    ran = wf.run(dataset=dataset, model="linear", metric=["mase"], epochs=1, save=False, quiet=True)
    found, wanted = ran.predict("test").flatten(), ran.data.samples("test").targets.flatten()
    errors = (found - wanted).abs().double().numpy().reshape(2, -1)
    naive = [np.abs(np.diff(np.round(own, 6)[:42])).mean() for own in values.values()]
    assert ran.metrics["test/mase"] == pytest.approx((errors.mean(1) / naive).mean(), rel=1e-5)


def test_mase_of_a_validation_set_matches_series_by_name(tmp_path: Path) -> None:
    """Series are matched by name to their naive forecasts on train; a series that train lacks is left out."""
    draw = np.random.default_rng(1)
    values = {name: scale * np.cumsum(draw.normal(size=80)) for name, scale in (("a", 1.0), ("b", 100.0), ("c", 10.0))}
    rows = [(step, name, f"{step},{name},{values[name][step]:.6f}") for name in values for step in range(80)]
    path = write(tmp_path, [row for step, name, row in rows if step < 60 and name != "c"], "t,id,y")
    (tmp_path / "night.csv").write_text("\n".join(["t,id,y", *(row for step, _, row in reversed(rows) if step >= 60)]))
    dataset = {"use": "series", "path": str(path), "target": "y", "time": "t", "id": "id", "window": 4}
    sets = {"night": {"path": str(tmp_path / "night.csv")}}
    settings = {"model": "linear", "metric": ["mase"], "epochs": 1, "quiet": True}
    ran = wf.run(dataset=dataset, validation=sets, run_dir=tmp_path / "run", **settings)
    found, wanted = ran.predict("validation/night").flatten(), ran.data.samples("validation/night").targets.flatten()
    errors = (found - wanted).abs().double().numpy().reshape(3, -1).mean(1)  # c, b, a
    naive = [np.abs(np.diff(np.round(values[name], 6)[:42])).mean() for name in "ba"]
    assert ran.metrics["validation/night/mase"] == pytest.approx((errors[1:] / naive).mean(), rel=1e-5)
    with reopen(tmp_path / "run") as again:
        assert again.evaluate("validation")["night/mase"] == ran.metrics["validation/night/mase"]


@pytest.mark.parametrize(("settings", "words"), [({"split": "60/20/20"}, "--split"), ({"fold": "1/3"}, "folds")])
def test_split_and_folds_are_refused_for_series(tmp_path: Path, settings: dict[str, Any], words: str) -> None:
    path = write(tmp_path, [f"{step},{np.sin(step / 3):.4f}" for step in range(60)], "t,y")
    dataset = {"use": "series", "path": str(path), "target": "y", "time": "t", "window": 4}
    with pytest.raises(
        UsageError, match=f"divides its samples itself, so {words} cannot be used\n.*--dataset.validation and"
    ):
        wf.build(dataset=dataset, save=False, quiet=True, **settings)


def test_a_text_column_suggests_the_id_option(tmp_path: Path) -> None:
    path = write(tmp_path, [f"{step},{name},{step}" for name in "ab" for step in range(30)], "t,shop,y")
    dataset = {"use": "series", "path": str(path), "target": "y", "time": "t", "window": 4}
    with pytest.raises(DataError, match=r"'a' is not a number\n  if it names the series: --dataset.id shop\n  or"):
        wf.build(dataset=dataset, save=False, quiet=True)
