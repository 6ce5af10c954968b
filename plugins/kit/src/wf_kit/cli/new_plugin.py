"""``wf new-plugin``."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import click
from click.shell_completion import CompletionItem

from wf.declarations.declared import DECLARATIONS, summaries
from wf.registry import read_kind
from wf.terminal import plural
from wf_cli.common import WfCommand
from wf_cli.output import echo, table

if TYPE_CHECKING:
    from wf_kit.scaffold import Example, Package


def _complete_kinds(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    return [CompletionItem(kind, help=what) for kind, what in summaries().items() if kind.startswith(incomplete)]


@click.command("new-plugin", cls=WfCommand)
@click.argument("name")
@click.option(
    "--kind",
    "kinds",
    multiple=True,
    default=("loss",),
    metavar="KIND",
    shell_complete=_complete_kinds,
    help="A kind of component, task, link or command to include; repeatable. [loss]",
)
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="The package's folder, new or empty. [NAME]",
)
def new_plugin(name: str, kinds: tuple[str, ...], output: Path | None) -> None:
    """Write a plugin package to start from, with tests and CI."""
    from wf_kit.scaffold import new_package  # takes 20 ms, which wf --help can save

    package = new_package(name, [read_kind(kind) for kind in kinds], output)
    echo(_report(package))


def _listing(example: Example) -> str:
    """The command that shows it."""
    return (
        f"wf show {example.kind} {example.name}" if example.kind in DECLARATIONS else f"wf list --search {example.name}"
    )


def _report(package: Package) -> str:
    """The files written, and the next steps."""
    rows = [
        (example.kind, example.name, f"src/{package.import_name}/{example.module}.py") for example in package.examples
    ]
    steps = [
        f"cd {shlex.quote(str(package.folder))}",
        'pip install -e ".[test]"',
        _listing(package.examples[0]),
        f"wf {package.examples[0].line}",
        f"wf check {package.name}",
        "pytest",
    ]
    written = f"{package.folder}: plugin '{package.name}', {plural(len(package.files), 'file')}"
    return "\n".join([written, table(rows, indent="  "), "", "Next:", *(f"  {step}" for step in steps)])
