"""The records of requests as pydantic models, made from the columns of a run."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import pydantic
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from wf_serve.limits import Limits


class Answer(BaseModel):
    """The prediction for one record."""

    label: Any = Field(None, description="The class, or the labels that hold; left out of numbers.")
    probabilities: dict[str, float] | list[dict[str, float]] | None = Field(
        None, description="By class, where the task has some; a list where a record has several labels."
    )
    values: dict[str, float] | None = Field(None, description="By target column, for a regression.")
    output: Any = Field(None, description="The model output.")


class Answers(BaseModel):
    """The predictions of a request, in the order of its records."""

    predictions: list[Answer]


def is_image(columns: Sequence[Mapping[str, Any]]) -> bool:
    """Whether a record is an image."""
    return len(columns) == 1 and columns[0]["type"] == "image"


def adapter_of(columns: Sequence[Mapping[str, Any]], tensor: Any) -> TypeAdapter[Any]:
    """Checks a list of records.

    Args:
        columns: As ``inputs.columns`` of a bundle; empty if records have no names.
        tensor: The form of the samples.
    """
    if not columns:
        return TypeAdapter(list[Any])
    fields: dict[str, Any] = {
        f"column_{number}": (_type(column), _field(column)) for number, column in enumerate(columns)
    }
    config = ConfigDict(extra="forbid", title="Record")
    record: Any = pydantic.create_model("Record", __config__=config, **fields)
    records: Any = list[record]
    return TypeAdapter(records)


def described(columns: Sequence[Mapping[str, Any]], adapter: TypeAdapter[Any], limits: Limits) -> dict[str, Any]:
    """The body of a request for the OpenAPI page."""
    if is_image(columns):
        image = {"type": "string", "format": "binary"}
        files = {"type": "object", "properties": {"files": {"type": "array", "items": image}}}
        content = {"multipart/form-data": {"schema": files}, "image/*": {"schema": image}}
        content["application/json"] = _json_of(adapter, limits)
        return {"requestBody": {"required": True, "content": content}}
    return {"requestBody": {"required": True, "content": {"application/json": _json_of(adapter, limits)}}}


def _json_of(adapter: TypeAdapter[Any], limits: Limits) -> dict[str, Any]:
    """One record or several as JSON."""
    schema = adapter.json_schema(ref_template="#/components/schemas/{model}")
    record = next(iter(schema.pop("$defs", {}).values()), schema["items"])
    many = {"type": "array", "items": record, "maxItems": limits.max_records}
    return {"schema": {"anyOf": [record, many]}}


def with_images(record: dict[str, Any], columns: Sequence[Mapping[str, Any]], number: int) -> dict[str, Any]:
    """A record with the bytes of its images, which JSON has in base64: a text would be a path of this machine.

    Raises:
        ValueError: For a text that is not base64.
    """
    found = dict(record)
    for column in columns:
        if column["type"] == "image":
            text = str(record[column["name"]]).rpartition(";base64,")[2]  # a data URL, as browsers write it, too
            try:
                found[column["name"]] = base64.b64decode(text, validate=True)
            except ValueError as error:
                where = f"record {number}, column '{column['name']}'"
                raise ValueError(f"{where}: it is not base64, which is how JSON has the bytes of an image") from error
    return found


def _type(column: Mapping[str, Any]) -> Any:
    if column["type"] == "number":
        own: Any = float
    elif column["type"] == "list":
        own = list[float | None] if column["of"] == "number" else list[str | float]
    elif column["type"] == "category" and column.get("unseen") == "error":
        own = Literal[tuple(column["values"])] if _are_texts(column) else str | float | bool
    else:
        own = str | float | bool if column["type"] == "category" else str
    return own | None if column.get("missing") in ("mean", "fill") else own


def _are_texts(column: Mapping[str, Any]) -> bool:
    """Whether categories are texts that can only be written in one way, unlike ``True`` and ``1.0``."""
    values = column.get("values") or ()
    return bool(values) and not any(one == "" or one.lower() in ("true", "false") or _is_number(one) for one in values)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _field(column: Mapping[str, Any]) -> Any:
    words = ["image, its file's bytes in base64" if column["type"] == "image" else column["type"]]
    if column.get("unit"):
        words.append(f"in {column['unit']}")
    if values := column.get("values"):
        words.append(f"one of {', '.join(map(str, values[:20]))}{', ...' if len(values) > 20 else ''}")
    default = None if column.get("missing") in ("mean", "fill") else ...
    return Field(default, alias=column["name"], description=", ".join(words))
