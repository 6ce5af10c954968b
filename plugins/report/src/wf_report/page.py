"""The page: sections of plugins, rendered by one template with its style and script inside."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from importlib.resources import files
from typing import Any, NamedTuple

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from wf.blame import FAILURES
from wf.discovery.entry import Entry
from wf.discovery.modules import describe
from wf.errors import PluginError, WfError
from wf.registry import Registry
from wf_building.builder import Builder
from wf_building.built import origin_of
from wf_charts import Section, SectionTraits, Text
from wf_report.content import Content
from wf_report.rendering import Limits, Renderer

KIND = "report-section"
MAX_BYTES = 3_000_000
"""The maximum size of a page."""
LIMITS = (
    Limits(points=2000, pictures=1_400_000),
    Limits(points=800, pictures=600_000),
    Limits(points=200, pictures=150_000),
    Limits(points=60, pictures=0),
)
"""The limits that are tried in order until the page is small enough."""


class Page(NamedTuple):
    """A page, and the sections that failed."""

    text: str
    failed: list[str]


def make_page(content: Content, title: str) -> Page:
    """The page, and the sections that failed, each with its plugin and reason."""
    failed: list[str] = []
    sections = [section for entry in _sections(content.registry) if (section := _made(entry, content, failed))]
    for limits in LIMITS:
        text = render(sections, title, limits)
        if len(text.encode()) <= MAX_BYTES:
            break
    return Page(text, failed)


def title_of(content: Content) -> str:
    """The names of the runs, or their number."""
    if content.folders and not content.named:
        return ", ".join(folder.name for folder in content.folders)
    names = [run.name for run in content.runs]
    return ", ".join(names) if len(names) < 4 else f"{len(names)} runs"


def render(sections: Sequence[Section], title: str, limits: Limits) -> str:
    """The HTML of sections; everything but the template itself is escaped."""
    environment = Environment(
        loader=PackageLoader("wf_report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    style, script = (files("wf_report").joinpath("templates", name).read_text(encoding="utf-8") for name in _OWN)
    renderer = Renderer(limits)
    drawn = [(section.title, [renderer.block(block) for block in section.blocks]) for section in sections]
    return environment.get_template("page.html").render(
        title=title,
        sections=drawn,
        left_out=renderer.left_out,
        style=Markup(style),
        script=Markup(script),
        hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    )


_OWN = ("style.css", "page.js")


def _sections(registry: Registry) -> list[Entry]:
    entries = registry.entries(KIND)
    return sorted(entries, key=lambda entry: (_order(entry), entry.component.name))


def _order(entry: Entry) -> int:
    traits = entry.component.traits
    return traits.order if isinstance(traits, SectionTraits) else SectionTraits().order


def _made(entry: Entry, content: Content, failed: list[str]) -> Section | None:
    """A section; one that fails is a warning on the page."""
    title = f"section '{entry.component.name}' of {origin_of(entry)}"
    try:
        made: Any = Builder(content.registry).build(KIND, {"use": content.registry.full_name(entry)}).value
        section = made.section(content)
        if section is not None and not isinstance(section, Section):
            raise PluginError(f"section() gave {type(section).__name__}, not a wf_charts.Section")
    except FAILURES as error:
        why = f"{title} failed: {error if isinstance(error, WfError) else describe(error)}"
        failed.append(why)
        return Section(title=entry.component.name, blocks=[Text(text=why, is_warning=True)])
    return section
