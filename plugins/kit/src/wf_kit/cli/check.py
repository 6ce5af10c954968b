"""``wf check``: the conformance kit on the command line."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import CompletionItem

from wf.declarations.kinds import KINDS
from wf.discovery.entry import Entry
from wf.discovery.settings import load as load_settings
from wf.errors import UsageError
from wf.terminal import plural
from wf_cli.arguments import SET, take_options
from wf_cli.common import WfCommand, registry_of, registry_quietly
from wf_cli.listing.listing import JSON
from wf_cli.output import echo, print_json, table, tell

if TYPE_CHECKING:
    from wf_kit.kit import Case, Result

STATUSES = ("passed", "failed", "skipped")


class CheckCommand(WfCommand):
    """Extracts the options of the checked component before click parses."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse the arguments."""
        ctx.meta["options"], rest = ({}, args) if ctx.resilient_parsing else take_options(args)
        return super().parse_args(ctx, rest)


def _complete(ctx: click.Context, param: click.Parameter, typed: str) -> list[CompletionItem]:
    registry, words = registry_quietly(ctx), ctx.params.get("words") or ()
    kind = words[0] if words and words[0] in KINDS else None
    names = [entry.component.name for entry in registry.entries(kind)]
    names += [] if kind else [*KINDS, *(plugin.name for plugin in registry.plugins)]
    return [CompletionItem(name) for name in dict.fromkeys(names) if name.startswith(typed)]


@click.command("check", cls=CheckCommand)
@click.argument("words", nargs=-1, required=True, metavar="PLUGIN|[KIND] NAME", shell_complete=_complete)
@click.option("--skip", multiple=True, metavar="ID=REASON", help="Skip a check, with the reason; repeatable.")
@JSON
@click.pass_context
def check(ctx: click.Context, words: tuple[str, ...], skip: tuple[str, ...], as_json: bool) -> int:
    """Check whether a plugin's components, or one component, conform to their kind.

    PLUGIN is a distribution (wf-losses) or a plugin given by -p; NAME is a component (focal, loss/focal) or your own
    code (check loss net.py:my_loss). Set required options by --KIND.OPTION VALUE. A skip applies to one check on all
    components (loss-extreme=REASON) or on one (loss/focal:loss-extreme=REASON). [tool.wf.check] in pyproject.toml can
    contain both. Exit code 1 if a check failed.
    """
    from wf_kit.checking import make_cases, unused_skips
    from wf_kit.selecting import Wishes, select

    registry = registry_of(ctx)
    skips = dict(map(_read_skip, skip))
    settled = Wishes.of(load_settings())
    entries = select(registry, words, settled.options)
    given = Wishes(skips, _options(ctx.meta["options"], entries), {})
    wishes = given.over(settled)
    cases = make_cases(registry, entries, wishes, given)
    shown = {str(case.subject) for case in cases}
    near = [name for name in wishes.skip if name in skips or name.rpartition(":")[0] in shown]
    for name in unused_skips(cases, dict.fromkeys(near)):
        tell(f"warning: the skip of '{name}' has no effect here")
    results = [result for found in _check_each(cases, show=not as_json) for result in found]
    if as_json:
        print_json({"results": list(map(_record, results)), **_count(results)})
    else:
        echo(f"\n{plural(len(shown), 'component')}: {_counted(results)}")
    return int(any(result.status == "failed" for result in results))


def _check_each(cases: Sequence[Case], *, show: bool) -> Iterator[list[Result]]:
    """Check one component after the other, printing each when it is done."""
    for _, group in groupby(cases, key=lambda case: id(case.subject)):
        mine = list(group)
        results = [case.result() for case in mine]
        if show:
            echo(_block(mine[0].subject.entry, results))
        yield results


def _block(entry: Entry, results: Sequence[Result]) -> str:
    """The results for a component: one line, and below it the checks that did not pass."""
    rows = []
    for result in results:
        if result.status == "failed":
            rows += [("failed", result.check, result.message), ("", "", result.fix)]
    reasons: dict[str, list[str]] = {}
    for result in results:
        if result.status == "skipped":
            reasons.setdefault(result.message, []).append(result.check)
    for reason, names in reasons.items():
        several = f"{len(names)} checks", f"{reason}: {', '.join(names)}"
        rows.append(("skipped", *(several if len(names) > 1 else (names[0], reason))))
    version = f" {entry.plugin.version}" if entry.plugin and entry.plugin.version else ""
    head = f"{entry.component.kind} {entry.component.name} ({entry.provider}{version}): {_counted(results)}"
    return "\n".join([head, *([table(rows, indent="  ")] if rows else [])])


def _count(results: Sequence[Result]) -> dict[str, int]:
    return {status: sum(result.status == status for result in results) for status in STATUSES}


def _counted(results: Sequence[Result]) -> str:
    counts = _count(results)
    return ", ".join(f"{counts[status]} {status}" for status in STATUSES if counts[status] or status == "passed")


def _record(result: Result) -> dict[str, str]:
    names = ("component", "check", "status", "message", "fix")
    return {name: getattr(result, name) for name in names}


def _read_skip(text: str) -> tuple[str, str]:
    name, equals, reason = text.partition("=")
    if not (name and equals and reason.strip()):
        raise UsageError(f"--skip {text}: the reason is missing\n  write: --skip {name or 'ID'}=REASON")
    return name, reason


def _options(document: Mapping[str, Any], entries: Sequence[Entry]) -> dict[str, dict[str, Any]]:
    """The options on the line, by the component they apply to."""
    found: dict[str, dict[str, Any]] = {}
    for kind, value in document.items():
        if kind in KINDS.several:
            for table in value:
                name = table["use"].removeprefix(SET)
                found[f"{kind}/{name}"] = {key: option for key, option in table.items() if key != "use"}
            continue
        names = [entry.component.name for entry in entries if entry.component.kind == kind]
        if len(names) != 1:
            raise UsageError(
                f"--{kind}.{next(iter(value))} applies to one {kind}, but {len(names)} are checked\n"
                f'  name one: wf check {kind} NAME   or set it in pyproject.toml: [tool.wf.check.options."{kind}/NAME"]'
            )
        found[f"{kind}/{names[0]}"] = value
    return found
