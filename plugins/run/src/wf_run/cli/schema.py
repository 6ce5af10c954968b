"""``wf schema``."""

from __future__ import annotations

from pathlib import Path

import click

from wf.errors import DataError
from wf_cli.common import WfCommand, registry_of
from wf_cli.output import keep_stdout, say, tell


@click.command("schema", cls=WfCommand)
@click.option("--output", metavar="FILE", type=click.Path(), help="Write it to FILE instead of standard output.")
@click.pass_context
def schema(ctx: click.Context, output: str | None) -> None:
    """Print the JSON Schema of run files, with which editors complete, explain and check them.

    It has every general key, component and option of the installed plugins, with documentation. A run file refers to
    it in its first line: #:schema ./wf.schema.json
    """
    from wf_run.runfiles.schema import text_of

    if output is None:
        keep_stdout()
    text = text_of(registry_of(ctx))
    if output is None:
        say(text, nl=False)
        return
    try:
        Path(output).write_text(text, encoding="utf-8")
    except OSError as error:
        raise DataError(f"the schema cannot be written to '{output}': {error.strerror}") from error
    tell(f"{output}: put this line at the top of a run file: #:schema {output if '/' in output else f'./{output}'}")
