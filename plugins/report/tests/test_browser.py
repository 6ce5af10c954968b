"""The page in a browser: content, sorting, toggling and zooming, with and without JavaScript."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from wf_charts import Lines, Samples, Section, Series, Table, Text
from wf_report.page import LIMITS, render

pytestmark = pytest.mark.xdist_group("browser")
EVIL = "<script>document.title='broken'</script>"
CHART = Lines(
    name="loss",
    title="Loss",
    x_label="epochs",
    series=[
        Series(name="train", x=[1, 2, 3, 4], y=[4.0, 3.0, 2.0, 1.0], role="train"),
        Series(name="validation", x=[1, 2, 3, 4], y=[5.0, 4.0, float("nan"), 2.5], role="validation"),
    ],
)
TABLE = Table(head=["run", "accuracy"], rows=[["b", 0.9], ["a", None], ["c", 0.05], [EVIL, 10]])


@contextmanager
def opened(browser: Any, file: Path, **options: Any) -> Iterator[Any]:
    """The page; an error on the console, a failed script or any network request fails the test."""
    context = browser.new_context(**options)
    page, wrong = context.new_page(), []
    page.on("console", lambda message: wrong.append(message.text) if message.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on(
        "request", lambda request: wrong.append(request.url) if not request.url.startswith(("file:", "data:")) else None
    )
    page.goto(file.as_uri())
    try:
        yield page
        assert wrong == []
    finally:
        context.close()


@pytest.fixture
def page_file(tmp_path: Path) -> Path:
    file = tmp_path / "page.html"
    sections = [Section(title="Curves", blocks=[CHART, TABLE, Text(text=EVIL, is_warning=True)])]
    file.write_text(render(sections, EVIL, LIMITS[0]), encoding="utf-8")
    return file


def column(page: Any, number: int) -> list[str]:
    return list(page.locator(f"table.sortable tbody tr td:nth-child({number})").all_inner_texts())


def test_tables_sort_by_numbers_and_by_words_and_empty_cells_stay_last(browser: Any, page_file: Path) -> None:
    with opened(browser, page_file) as page:
        table = page.locator("section > .wide table")
        table.locator("button", has_text="accuracy").click()
        cells = table.locator("tbody tr td:nth-child(2)")
        assert cells.all_inner_texts() == ["0.05", "0.9", "10", ""]
        assert table.locator("th").nth(1).get_attribute("aria-sort") == "ascending"
        table.locator("button", has_text="accuracy").press("Enter")
        assert cells.all_inner_texts() == ["10", "0.9", "0.05", ""]
        table.locator("button", has_text="run").click()
        assert table.locator("tbody tr td:nth-child(1)").all_inner_texts() == [EVIL, "a", "b", "c"]
        assert table.locator("th").nth(1).get_attribute("aria-sort") is None


def test_tooltips_follow_the_pointer_and_the_keyboard(browser: Any, page_file: Path) -> None:
    with opened(browser, page_file) as page:
        dot = page.locator("svg .series[data-name=train] circle").nth(1).bounding_box()
        page.mouse.move(dot["x"] + 3, dot["y"] + 3)
        assert page.locator(".tip").inner_text() == "train: epochs 2, 3"
        page.mouse.move(5, 5)
        assert page.locator(".tip").inner_text() == ""
        page.locator("svg").focus()
        seen = []
        for _ in range(6):
            page.keyboard.press("ArrowRight")
            seen.append(page.locator(".tip").inner_text())
        assert seen == [
            *["train: epochs 1, 4", "train: epochs 2, 3", "train: epochs 3, 2", "train: epochs 4, 1"],
            *["validation: epochs 1, 5", "validation: epochs 2, 4"],
        ]


def test_curves_can_be_hidden_and_have_gaps_for_non_finite_values(browser: Any, page_file: Path) -> None:
    with opened(browser, page_file) as page:
        curve = page.locator("svg .series[data-name=validation]")
        assert curve.locator("circle").count() == 3
        assert len(re.findall("M", curve.locator("path").get_attribute("d"))) == 2  # a gap
        box = page.get_by_role("checkbox", name="validation")
        box.uncheck()
        assert not curve.is_visible()
        box.check()
        assert curve.is_visible()


def test_zooming_by_buttons_by_dragging_and_back(browser: Any, page_file: Path) -> None:
    with opened(browser, page_file) as page:
        path = page.locator("svg .series[data-name=train] path")
        before = path.get_attribute("d")
        page.get_by_role("button", name="Zoom in: Loss").click()
        assert path.get_attribute("d") != before
        page.get_by_role("button", name="Reset the zoom: Loss").click()
        assert path.get_attribute("d") == before
        box = page.locator("svg").bounding_box()
        page.mouse.move(box["x"] + box["width"] * 0.3, box["y"] + 50)
        page.mouse.down()
        page.mouse.move(box["x"] + box["width"] * 0.6, box["y"] + 60, steps=3)
        page.mouse.up()
        assert path.get_attribute("d") != before
        labels = page.locator("svg .axes text").all_inner_texts()
        assert "4" not in labels  # the last epoch is outside
        page.locator("svg").dblclick()
        assert path.get_attribute("d") == before


def test_without_javascript_curves_are_shown_and_can_be_hidden(browser: Any, page_file: Path) -> None:
    with opened(browser, page_file, java_script_enabled=False) as page:
        assert page.locator("svg .series path").count() == 2
        assert page.locator("svg .series[data-name=train] circle title").first.inner_html() == "train: 1, 4"
        page.get_by_role("checkbox", name="train").uncheck()
        assert not page.locator("svg .series[data-name=train]").is_visible()
        assert page.locator("button").count() == 0


def test_run_names_are_escaped(browser: Any, page_file: Path) -> None:
    with opened(browser, page_file) as page:
        assert page.title() == f"{EVIL} - wf report"
        assert page.locator("script").count() == 1
        assert page.locator("h1").inner_text() == EVIL


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_has_enough_contrast(browser: Any, page_file: Path, scheme: str) -> None:
    script = """() => ['body', 'svg text', '.warning', 'summary'].map((one) => {
        const style = getComputedStyle(document.querySelector(one)), page = getComputedStyle(document.body);
        const own = one === '.warning' ? style.backgroundColor : page.backgroundColor;
        return [one === 'svg text' ? style.fill : style.color, own];
    })"""
    with opened(browser, page_file, color_scheme=scheme) as page:
        pairs = page.evaluate(script)
    for front, back in pairs:
        low, high = sorted(
            _luminance([int(part) for part in re.findall(r"\d+", colour)[:3]]) for colour in (front, back)
        )
        assert (high + 0.05) / (low + 0.05) >= 4.5


def _luminance(rgb: list[int]) -> float:
    parts = [part / 255 for part in rgb]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_a_page_of_real_runs_on_a_phone_and_in_print(browser: Any, trained_copy: Path, wf: Any) -> None:
    done = wf("report", "flowers", "patients", "digits", "-o", "all.html")
    assert done.code == 0
    with opened(browser, trained_copy / "all.html", viewport={"width": 360, "height": 700}) as page:
        assert page.evaluate("document.documentElement.scrollWidth") <= 360
        assert page.locator("main section").count() == 7
        names = page.locator("figure").evaluate_all("all => all.map((one) => one.dataset.name)")
        assert {"loss", "confusion", "roc", "worst", "residuals"} <= {*names}
        assert page.locator(".samples img").count() == 12
        recorded = [
            json.loads(line) for line in (trained_copy / "runs" / "flowers" / "metrics.jsonl").read_text().splitlines()
        ]
        losses = [one["loss"] for one in recorded if one["event"] == "eval" and one["split"] == "validation"][:3]
        drawn = page.locator("figure[data-name=loss] .series[data-name=validation]").first.get_attribute("data-points")
        assert [float(point.split(",")[1]) for point in drawn.split()] == pytest.approx(losses, rel=1e-5)
        page.emulate_media(media="print")
        assert not page.locator(".tools").first.is_visible()
        assert page.locator("svg").first.is_visible()
        unlabelled = "all => all.filter((one) => !one.getAttribute('aria-label')).length"
        assert page.locator("svg, [role=region]").evaluate_all(unlabelled) == 0
        assert page.locator("img:not([alt]), img[alt='']").count() == 0
        assert page.locator("h1").count() == page.locator("main").count() == page.locator("nav").count() == 1


def test_pictures_are_left_out_before_a_page_is_too_large() -> None:
    from wf_charts import Sample

    chart = Samples(
        name="worst", title="Worst", samples=[Sample(caption="one", picture=b"\x89PNG" + b"0" * 900_000)] * 2
    )
    text = render([Section(title="Plots", blocks=[chart])], "large", LIMITS[0])
    assert len(text) < 1_500_000
    assert "1 pictures were left out" in text
