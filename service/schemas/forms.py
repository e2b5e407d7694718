"""The request bodies that handlers read themselves, as the OpenAPI document shows them: what FastAPI cannot see in a handler's
parameters."""

from typing import Any

from pydantic import BaseModel

from core.collections.datasets import LABEL_MODES
from service.schemas.datasets import DatasetChange, DatasetImport, FolderImport
from service.schemas.jobs import JobRequest, ParamsCheck
from service.schemas.queries import BatchRequest, FileQuery, QueryBody

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


DATASET: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {"schema": DatasetImport.model_json_schema()},
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["file"],
                    "properties": {
                        "file": _ARCHIVE,
                        "name": {"type": "string", "description": "default: the file's name"},
                        "labels": {
                            "type": "string",
                            "enum": list(LABEL_MODES),
                            "default": "none",
                            "description": "folders: the top folder is the class, for evaluation and classification only",
                        },
                        "metadata": {"type": "string", "description": "JSON: an object that is kept with the dataset"},
                    },
                }
            },
        },
    }
}
IMAGES: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {"schema": FolderImport.model_json_schema()},
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["file"],
                    "properties": {
                        "file": {"type": "string", "format": "binary", "description": "zip, tar, tar.gz, or one image"},
                        "path": {"type": "string", "description": "of a single image; default: the file's name"},
                    },
                }
            },
        },
    }
}
CHANGE: dict[str, Any] = {
    "requestBody": {"required": True, "content": {"application/json": {"schema": DatasetChange.model_json_schema()}}}
}
LABELS: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "text/csv": {"schema": {"type": "string"}, "example": "path,label\nphotos/1.jpg,dress\nphotos/2.jpg,\n"},
            "application/json": {
                "schema": {
                    "oneOf": [
                        {"type": "object", "additionalProperties": {"type": ["string", "null"]}},
                        {"type": "array", "items": {"type": "object"}},
                    ]
                },
            },
        },
    }
}
TRAINING: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {"schema": _inlined(JobRequest, "Params")},
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["file"],
                    "properties": {
                        "file": _ARCHIVE,
                        "labels": {"type": "string", "enum": list(LABEL_MODES), "default": "none"},
                        "name": {"type": "string", "description": "of the dataset and the job; default: the file's name"},
                        "evaluation_dataset_id": {"type": "string"},
                        "params": {"type": "string", "description": "JSON", "examples": ['{"preset": "quick"}']},
                        "metadata": {"type": "string", "description": "JSON"},
                    },
                }
            },
        },
    }
}
PARAMETERS: dict[str, Any] = {
    "requestBody": {"required": True, "content": {"application/json": {"schema": _inlined(ParamsCheck, "Params")}}}
}
QUERY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {"anyOf": [QueryBody.model_json_schema(), _inlined(BatchRequest, "OneQuery")]},
                "examples": {
                    "examples": {"value": {"positive": [3, 17], "negative": [5], "k": 10}},
                    "batch": {"value": {"queries": [{"image_ids": [3]}, {"image_ids": [4], "unlabelled": True}]}},
                },
            },
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["file"],
                    "properties": {
                        "file": {"type": "string", "format": "binary"},
                        **FileQuery.model_json_schema()["properties"],
                    },
                }
            },
        },
    }
}
