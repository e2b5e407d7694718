"""The request bodies that handlers read themselves, as the OpenAPI document shows them: what FastAPI cannot see in a handler's
parameters."""

from typing import Any

from pydantic import BaseModel

from core.collections.datasets import LABEL_MODES
from service.schemas.datasets import DatasetChange, DatasetImport, FolderImport
from service.schemas.jobs import JobRequest, ParamsCheck
from service.schemas.queries import BatchRequest, FileQuery, QueryBody

_TYPES = {"json": "application/json", "form": "multipart/form-data", "csv": "text/csv"}
_ARCHIVE = {"type": "string", "format": "binary", "description": "zip, tar or tar.gz of images"}


def _inlined(kind: type[BaseModel], part: str) -> dict[str, Any]:
    """A model's schema with that of one of its parts in it: in OpenAPI a reference starts at the document's root."""
    schema = kind.model_json_schema()
    inner = schema.pop("$defs")[part]
    for name, field in schema["properties"].items():
        if field.get("$ref", "").endswith(part):
            schema["properties"][name] = inner
        elif field.get("items", {}).get("$ref", "").endswith(part):
            field["items"] = inner
    return schema


def _body(**content: dict[str, Any]) -> dict[str, Any]:
    return {"requestBody": {"required": True, "content": {_TYPES[name]: shown for name, shown in content.items()}}}


def _form(file: dict[str, str], **fields: Any) -> dict[str, Any]:
    """A form with a file and other fields."""
    return {"schema": {"type": "object", "required": ["file"], "properties": {"file": file, **fields}}}


DATASET = _body(
    json={"schema": DatasetImport.model_json_schema()},
    form=_form(
        _ARCHIVE,
        name={"type": "string", "description": "default: the file's name"},
        labels={
            "type": "string",
            "enum": list(LABEL_MODES),
            "default": "none",
            "description": "folders: the top folder is the class, for evaluation and classification only",
        },
        metadata={"type": "string", "description": "JSON: an object that is kept with the dataset"},
    ),
)
IMAGES = _body(
    json={"schema": FolderImport.model_json_schema()},
    form=_form(
        {"type": "string", "format": "binary", "description": "zip, tar, tar.gz, or one image"},
        path={"type": "string", "description": "of a single image; default: the file's name"},
    ),
)
CHANGE = _body(json={"schema": DatasetChange.model_json_schema()})
LABELS = _body(
    csv={"schema": {"type": "string"}, "example": "path,label\nphotos/1.jpg,dress\nphotos/2.jpg,\n"},
    json={
        "schema": {
            "oneOf": [
                {"type": "object", "additionalProperties": {"type": ["string", "null"]}},
                {"type": "array", "items": {"type": "object"}},
            ]
        },
    },
)
TRAINING = _body(
    json={"schema": _inlined(JobRequest, "Params")},
    form=_form(
        _ARCHIVE,
        labels={"type": "string", "enum": list(LABEL_MODES), "default": "none"},
        name={"type": "string", "description": "of the dataset and the job; default: the file's name"},
        evaluation_dataset_id={"type": "string"},
        params={"type": "string", "description": "JSON", "examples": ['{"preset": "quick"}']},
        metadata={"type": "string", "description": "JSON"},
    ),
)
PARAMETERS = _body(json={"schema": _inlined(ParamsCheck, "Params")})
QUERY = _body(
    json={
        "schema": {"anyOf": [QueryBody.model_json_schema(), _inlined(BatchRequest, "OneQuery")]},
        "examples": {
            "examples": {"value": {"positive": [3, 17], "negative": [5], "k": 10}},
            "batch": {"value": {"queries": [{"image_ids": [3]}, {"image_ids": [4], "unlabelled": True}]}},
        },
    },
    form=_form({"type": "string", "format": "binary"}, **FileQuery.model_json_schema()["properties"]),
)
