"""The section of ``wf report`` on searches."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from wf.errors import WfError
from wf.terminal import duration
from wf_charts import Block, Heading, Section, Table, Text


class SearchSection:
    """For each search its best trials and the final comparison; its charts are plots."""

    def section(self, content: Any) -> Section | None:
        """The searches among the folders of a report; None without any."""
        from wf_tune.directory import Directory

        searches = [folder for folder in content.folders if Directory.is_at(folder)]
        if not searches:
            return None
        blocks: list[Block] = []
        for folder in searches:
            if len(searches) > 1:
                blocks.append(Heading(text=folder.name))
            try:
                blocks += _blocks(folder)
            except WfError as error:
                blocks.append(Text(text=f"{folder.name} cannot be shown: {error}", is_warning=True))
        return Section(title="Search", blocks=blocks)


def _blocks(folder: Path) -> list[Block]:
    from wf_tune.directory import Directory
    from wf_tune.ending import no_best
    from wf_tune.search import ranked
    from wf_tune.views.text import counts_of, words_of

    directory = Directory(folder)
    definition, trials = directory.definition, directory.trials().all()
    larger, by = definition["larger_is_better"], definition["by"]
    keys = [one.key for one in directory.space.dimensions]
    rows = [
        [
            one.number,
            *(one.point.get(key) for key in keys),
            one.value,
            None if one.seconds is None else duration(one.seconds),
        ]
        for one in ranked(trials, larger_is_better=larger)
    ]
    blocks: list[Block] = [Text(text=f"Trials: {counts_of(trials)}.")]
    if (none := no_best(directory.manifest, trials)) is not None:
        blocks += [
            Text(text=f"{none.words}.", is_warning=True),
            *(Text(text=f"To do: {text}.") for text in none.advice),
        ]
    if said := words_of(directory):
        blocks.append(Text(text=f"With fresh seeds: {said}."))
    if rows:
        caption = f"Complete trials, best {by} first"
        blocks.append(Table(head=["trial", *keys, by, "time"], rows=rows, caption=caption))
    ended = [one for one in trials if one.state == "failed"]
    return [*blocks, *(Text(text=f"trial {one.number}: {one.reason}", is_warning=True) for one in ended)]
