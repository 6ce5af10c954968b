"""``wf doctor``: checks the installation."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence

import click

from wf.discovery.known import how_to_install
from wf.discovery.settings import load as load_settings
from wf.errors import UsageError, WfError
from wf.registry import Registry
from wf.terminal import plural
from wf_cli.commands import KIND, everywhere_of, load
from wf_cli.common import WfCommand, check_strict, discover
from wf_cli.doctor import examining as core
from wf_cli.doctor import surroundings
from wf_cli.doctor.surroundings import Finding
from wf_cli.listing.listing import JSON
from wf_cli.output import echo, paragraphs, print_json, table

SECTIONS: dict[str, tuple[str, ...]] = {
    "environment": ("python", "wf", "torch", "accelerator"),
    "settings": ("settings", "pin", "allow-list"),
    "plugins": ("plugin", "light-import", "process", "hook-mark", "target", "form", "command", "shared-name"),
    "folders": ("data-folder", "runs-folder"),
}
"""The checks as grouped on the screen."""
MARKS = {"note": "note", "problem": "PROBLEM"}


@click.command("doctor", cls=WfCommand)
@JSON
@click.pass_context
def doctor(ctx: click.Context, as_json: bool) -> int:
    """Check the installation: python, torch, plugins, names, settings and folders.

    It changes nothing. Exit code 0 without problems, else 1; notes are not problems.
    """
    about_plugins, registry = _look_at_plugins(ctx)  # before torch, so that it does not disturb the timings
    findings = [surroundings.python(), surroundings.wf_itself(), *surroundings.torch(), *about_plugins]
    findings += _commands(registry)
    findings += [surroundings.data_folder(), surroundings.runs_folder()]
    if as_json:
        print_json([dataclasses.asdict(finding) for finding in findings])
    else:
        echo(_screen(findings))
    check_strict(ctx, registry.plugins)
    return int(any(finding.level == "problem" for finding in findings))


def _look_at_plugins(ctx: click.Context) -> tuple[list[Finding], Registry]:
    try:
        settings = load_settings()
    except UsageError as error:
        return [core.unreadable_settings(error)], Registry(())
    registry, line = discover(ctx), everywhere_of(ctx)
    return core.examine(registry, settings, line.plugins, only_builtin=line.only_builtin), registry


def _commands(registry: Registry) -> Iterator[Finding]:
    """Commands that cannot be imported. The help does not show these errors, because it imports no command."""
    wrong = False
    for entry in registry.entries(KIND):
        try:
            load(entry)
        except WfError as error:
            wrong = True
            message, name = " ".join(str(error).split()), entry.plugin and entry.plugin.distribution
            fix = f"{how_to_install(name, '--upgrade')}, or tell its author" if name else f"fix {entry.provider}"
            subject = registry.full_name(entry)
            yield Finding(level="problem", check="command", subject=subject, message=message, fix=fix)
    if not wrong:
        yield Finding(level="ok", check="command", subject="all", message="every command can be imported")


def _screen(findings: Sequence[Finding]) -> str:
    blocks = []
    for title, checks in SECTIONS.items():
        found = [finding for check in checks for finding in findings if finding.check == check]
        fine = [("ok", finding.check, finding.subject, finding.message) for finding in found if finding.level == "ok"]
        worse = [_worse(finding) for level in ("note", "problem") for finding in found if finding.level == level]
        blocks.append("\n".join([title, *([table(fine, indent="  ")] if fine else []), *worse]))
    return "\n\n".join([*blocks, _verdict(findings)])


def _worse(finding: Finding) -> str:
    """A note or a problem, in separate lines."""
    texts = [finding.message, *([f"try: {finding.fix}"] if finding.fix else [])]
    head = f"  {MARKS[finding.level]}  {finding.check}  {finding.subject}"
    return "\n".join([head, *(paragraphs(text, indent="      ") for text in texts)])


def _verdict(findings: Sequence[Finding]) -> str:
    problems, notes = (sum(finding.level == level for finding in findings) for level in ("problem", "note"))
    return f"{plural(problems, 'problem') if problems else 'no problem'}, {plural(notes, 'note')}"
