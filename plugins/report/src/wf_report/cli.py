"""``wf report``."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from wf.blame import FAILURES
from wf.discovery.entry import Entry
from wf.discovery.modules import describe
from wf.errors import DataError, PluginError, SaveError, UsageError, WfError
from wf.registry import Registry
from wf_cli.common import WfCommand, of_line, registry_of
from wf_cli.output import echo, tell
from wf_run.cli.completing import complete_runs

if TYPE_CHECKING:
    from wf_report.content import ReportedRun
    from wf_run.views.choosing import Drawn

OUTPUT = "report.html"


@click.command(cls=WfCommand)
@click.argument("places", nargs=-1, required=True, metavar="RUN ...", type=click.Path(), shell_complete=complete_runs)
@click.option("--output", "-o", default=OUTPUT, metavar="FILE", type=click.Path(), help=f"The page. [{OUTPUT}]")
@click.option("--title", metavar="TEXT", help="The page's title. [the names of the runs]")
@click.option("--by", metavar="FIGURE", help="The figure by which runs are compared, such as test/r2.")
@click.option(
    "--plot", "names", multiple=True, metavar="NAME", help="Draw only this plot, see wf list plots; repeatable."
)
@click.option("--no-plots", is_flag=True, help="Leave out plots that need weights and data, so draw curves alone.")
@click.pass_context
def report(
    ctx: click.Context,
    places: tuple[str, ...],
    output: str,
    title: str | None,
    by: str | None,
    names: tuple[str, ...],
    no_plots: bool,
) -> None:
    """Write one HTML page on runs: figures, curves, mistakes, comparison, and how to repeat them.

    RUN is a run, a comparison, or a folder with runs. Runs may be unfinished, failed or on different data. The page
    needs no network. Plots of predictions are drawn for each run that is named, from its weights and data; plots that
    cannot be drawn are listed on the page. Exit code 3 if a plugin's section or plot fails.
    """
    from wf_report.content import Content, find_runs
    from wf_report.page import make_page, title_of
    from wf_run.views.choosing import KIND
    from wf_storage.files import write_atomically

    if no_plots and names:
        raise UsageError("both --plot and --no-plots are given; choose one")
    target = Path(output)
    if target.is_dir():
        raise UsageError(f"{target} is a folder\n  name a file: -o {target / OUTPUT}")
    if not target.absolute().parent.is_dir():
        raise DataError(f"there is no folder {target.parent} for {target.name}")
    runs, folders = find_runs(places)
    broken: list[str] = []
    registry = registry_of(ctx)
    plots = [registry.find(KIND, name) for name in names]
    draw = partial(_draw, plots=plots, light=no_plots, by=by, registry=registry, line=of_line(ctx), broken=broken)
    content = Content(runs=runs, folders=folders, registry=registry, by=by, draw=draw)
    page, failed = make_page(content, title or title_of(content))
    try:
        write_atomically(target, page)
    except OSError as error:
        raise SaveError(f"cannot write {target}: {error.strerror}") from error
    echo(f"{target}: {len(runs)} {'run' if len(runs) == 1 else 'runs'}, {len(page.encode()) / 1000:,.0f} kB")
    for run in runs:
        if run.manifest.get("status") == "damaged":
            tell(f"warning: {run.manifest['reason']}")
    if broken or failed:
        raise PluginError("\n  ".join(["parts of the page could not be made", *failed, *broken]))


def _draw(
    drawn: ReportedRun | Path,
    *,
    plots: Sequence[Entry],
    light: bool,
    by: str | None,
    registry: Registry,
    line: Any,
    broken: list[str],
) -> Drawn:
    """The charts of a run or a directory of several; failures are reported on the page.

    Args:
        drawn: The run, or the directory.
        plots: The plots that the user named; of these only the ones that draw this kind of directory are drawn.
        light: Whether to leave out plots that need weights and data.
        by: The figure by which runs are compared, if the user named one.
        registry: Where plots are looked up.
        line: The plugins and the trust of the command line.
        broken: Receives the failed plots.
    """
    from wf_run.views.choosing import RUN, Drawn, draw_group, fitting, kind_of, traits_of
    from wf_run.views.plotting import draw_run

    of = (kind_of(drawn) if isinstance(drawn, Path) else RUN) or RUN
    names = [registry.full_name(entry) for entry in plots if traits_of(entry).of == of]
    if (plots and not names) or (of != RUN and not fitting(registry, None, (), of)):
        return Drawn()
    try:
        if isinstance(drawn, Path):
            found = draw_group(drawn, of, registry, names, by)
        else:
            found = draw_run(drawn.path, names, light=light, **line)
    except FAILURES as error:
        return Drawn(missing=[str(error) if isinstance(error, WfError) else describe(error)])
    broken += found.broken
    return found
