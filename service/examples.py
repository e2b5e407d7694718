"""Examples in the OpenAPI document, in every operation: bodies put together of one example for each name of a field."""

from typing import Any

from service.errors import MEDIA_TYPE, TITLES

_DATASET, _JOB, _MODEL = "ds_3f9c0e2b7a61d845", "job_0b54c3d2e1f0a987", "mdl_7c1f0a9e8b6d5432"
_TIME = "2026-11-26T14:05:09.120000Z"
_TRAINING = {"round": 1, "rounds": 2, "epoch": 40, "epochs": 100, "loss": 4.21, "images_per_second": 310.5, "anchors": 0.25}
BY_NAME: dict[str, Any] = {
    **{"dataset_id": _DATASET, "evaluation_dataset_id": "ds_91d2c4b60f7ea358", "job_id": _JOB, "model_id": _MODEL},
    **{"image_id": 7, "image_ids": [7, 12], "neighbour_id": 12, "trained_towards": 12, "positive": [3, 17], "negative": [5]},
    **{"id": 7, "ids": [7, 12], "neighbours": [12], "after": 7, "limit": 100, "round": 1, "points": 500, "size": 128},
    **{"path": "shoes/0007.jpg", "path_prefix": "shoes/", "label": "shoe", "names": ["dress", "shoe"], "labels": [1, 0]},
    **{"status": "ready", "reason": "cannot be decoded as an image", "message": "cannot be decoded"},
    **{"code": "not_an_image", "error": None, "next": None, "type": "epoch"},
    **{"name": "shoes.zip", "uri": "file:///srv/photographs/2026", "metadata": {"camera": "X100"}, "set": 2, "removed": 1},
    **{"images": 4180, "rejected": 3, "duplicates": 12, "classes": ["dress", "shoe"], "bytes": 83886080, "deleted": 2},
    **{"ignored": 0, "width": 640, "height": 480, "media_type": "image/jpeg", "extensions": [".jpg", ".jpeg"], "dim": 128},
    **{"created_at": _TIME, "started_at": _TIME, "finished_at": _TIME, "estimated_finish": None, "attempt": 1, "seq": 3},
    **{"params": {"preset": "quick"}, "evaluation": None, "progress": _TRAINING, "data": {"round": 1, "epoch": 40}},
    **{"manifest": {"schema": 1, "method": "and"}, "x": [0.12, -3.4], "y": [1.7, 2.25], "anchor_round": 1},
    **{"entropy": [8.3, 5.9], "min_entropy": 2.5, "max_entropy": 8.0, "similarity": 0.81, "score": 0.93, "min_score": 0.5},
    **{"took_ms": 1.42, "k": 10, "offset": 0, "probability": 0.88, "confidence": 0.88, "accuracy": 0.91, "judged": 240},
    **{
        "voted": "dress",
        "right": 118,
        "class_count": 2,
        "confusion_count": 2,
        "temperature": 0.1,
        "min_confidence": 0.5,
        "vector": [0.6, 0.8],
        "missing": [],
    },
    **{"key": "ah_0123456789ab_…", "scope": "read", "epoch": 40, "loss": 4.21, "learning_rate": 0.03, "anchors": 0.25},
    **{
        "images_per_second": 310.5,
        "eta_seconds": 95.0,
        "add_rounds": 1,
        "continues": None,
        "phase": "training",
        "rounds": 2,
        "epochs": 100,
    },
    **{"phase_fraction": 0.4, "fraction": 0.3, "sentence": "80.1 %, an untrained encoder 39.6 %, raw pixels 56.5 %"},
    **{"abstained": None, "count": 2, "method": "and", "kind": "train", "entropy_round": 1, "idempotency-key": "run-2026-11-26"},
    **{"last-event-id": 3, "if-none-match": '"0c4f"', "accept": "application/json", "device": "cpu", "init": "random"},
    **{"file": "(the file's bytes)", "queries": [{"image_ids": [3]}, {"image_ids": [4], "unlabelled": True}]},
}
_OF_MODEL: dict[str, dict[str, Any]] = {  # where a name means something else
    "DatasetBody": {"id": _DATASET, "classes": 12},
    "JobBody": {"id": _JOB, "kind": "train", "status": "running", "name": "first try", "finished_at": None, "model_id": None},
    "ModelRow": {"id": _MODEL},
    "ModelBody": {"id": _MODEL},
    "Provenance": {"anchor_round": 1},
    "MapBody": {"entropy": [[8.3, 7.9], [5.9, None]], "anchor_round": [1, 0]},
    "Health": {"status": "ok"},
}
_PROBLEMS = {
    400: ("bad_request", "There was an error parsing the body"),
    401: ("unauthorized", "a key is needed; send one as `Authorization: Bearer ah_…` (`anchorhood keys create` makes one)"),
    403: ("scope_too_small", "this needs a key of scope write; yours has read"),
    404: ("dataset_not_found", f"there is no dataset {_DATASET}"),
    409: ("dataset_in_use", f"{_DATASET} is needed by {_JOB}; cancel that job or wait for it"),
    413: ("too_large", "more than 67,108,864 bytes, which is the most allowed"),
    422: ("bad_cursor", "after: 'x' is not the `next` of a page of this list"),
    500: ("model_damaged", "the model's files are damaged or missing; the server's log says which"),
    503: ("database_unavailable", "the database does not answer at the moment; try again later"),
}
_OF_OPERATION: dict[tuple[str, str], Any] = {  # requests and texts, by operation and media type
    ("export_embeddings", "text/csv"): "image_id,path,label,e0,e1\r\n7,shoes/0007.jpg,shoe,0.6,0.8\r\n",
    ("create_dataset", "application/json"): {"uri": "file:///srv/photographs/2026", "name": "shoes", "labels": "folders"},
    ("create_dataset", "multipart/form-data"): {"file": "(an archive's bytes)", "name": "shoes", "labels": "folders"},
    ("add_images", "multipart/form-data"): {"file": "(an image's bytes)", "path": "shoes/0008.jpg"},
    ("change_labels", "application/json"): [{"path": "shoes/1.jpg", "label": "dress"}, {"image_id": 7, "label": None}],
    ("change_dataset", "application/json"): {"name": "shoes", "metadata": {"camera": "X100"}},
    ("create_job", "multipart/form-data"): {"file": "(an archive's bytes)", "labels": "folders", "params": '{"preset": "quick"}'},
    ("query_neighbours", "multipart/form-data"): {"file": "(an image's bytes)", "dataset_id": _DATASET, "k": 10},
    ("classify_file", "multipart/form-data"): {"file": "(an image's bytes)", "dataset_id": _DATASET, "min_confidence": 0.5},
    ("classify_dataset", "application/json"): {"min_confidence": 0.5},
}
_JOBS = {"add_images": "ingest", "compact_dataset": "compact", "classify_dataset": "classify", "compute_attention": "attention"}
_QUEUED = {
    **{"status": "queued", "params": {}, "progress": None, "name": None, "evaluation_dataset_id": None, "started_at": None},
    **{"attempt": 0, "metadata": {}},
}
_OF_TYPE: dict[str, Any] = {"integer": 1, "number": 0.5, "boolean": True, "null": None, "object": {}}
_TEXTS = {  # of what is no JSON
    "text/csv": "image_id,path,label,predicted,confidence\n7,shoes/0007.jpg,shoe,shoe,0.88\n",
    "text/plain": '# TYPE anchorhood_jobs gauge\nanchorhood_jobs{kind="train",status="running"} 1.0\n',
    "text/event-stream": 'id: 3\nevent: epoch\ndata: {"round": 1, "epoch": 40}\n\n',
}
_KINDS: dict[str, type | tuple[type, ...]] = {
    **{"string": str, "integer": int, "number": (int, float), "boolean": bool, "null": type(None), "array": list, "object": dict}
}


def add(document: dict[str, Any]) -> dict[str, Any]:
    """Put an example with every body that has none and with every parameter that must be given."""
    schemas = document.get("components", {}).get("schemas", {})
    for operation in (operation for operations in document["paths"].values() for operation in operations.values()):
        for status, body in [("", operation.get("requestBody", {})), *operation["responses"].items()]:
            for kind, content in body.get("content", {}).items():
                if kind == MEDIA_TYPE:
                    content["example"] = _problem(int(status))
                elif not {"example", "examples"} & set(content):
                    body_example = None if status and kind not in _TEXTS else _OF_OPERATION.get((operation["operationId"], kind))
                    if body_example is None and (kind in _TEXTS or "schema" in content):
                        body_example = _TEXTS.get(kind) or example(content["schema"], schemas)
                    if body_example is not None and status == "202" and operation["operationId"] in _JOBS:
                        body_example = {**body_example, "kind": _JOBS[operation["operationId"]], **_QUEUED}
                    if body_example is not None:
                        content["example"] = body_example
        for parameter in operation.get("parameters", []):
            if parameter.get("required") and not {"example", "examples"} & set(parameter):
                parameter["example"] = example(parameter["schema"], schemas, parameter["name"])
    return document


def _problem(status: int) -> dict[str, Any]:
    code, detail = _PROBLEMS.get(status, (f"http_{status}", TITLES[status]))
    return {"type": "about:blank", "title": TITLES[status], "status": status, "detail": detail, "code": code}


def example(schema: dict[str, Any], schemas: dict[str, Any], name: str = "", model: str = "") -> Any:
    """What fits a schema: its own example, or what its field's name stands for, or what is put together of its parts."""
    if "$ref" in schema:
        model = schema["$ref"].rpartition("/")[2]
        is_object = "properties" in schemas[model]  # the name is that of the field which holds it, or a list of such
        return example(schemas[model], schemas, "" if is_object else name, model)
    if "examples" in schema:
        return schema["examples"][0]
    by_name = _OF_MODEL.get(model, {}).get(name, BY_NAME.get(name))
    if name in BY_NAME and _fits(by_name, schema):
        return by_name
    if "properties" in schema:
        model, fields = schema.get("title", model), schema["properties"]
        shown = schema.get("required", [field for field in fields if field in BY_NAME])
        return {field: example(fields[field], schemas, field, model) for field in shown}
    for several in ("anyOf", "oneOf"):
        if several in schema:
            return example(schema[several][0], schemas, name, model)
    if "default" in schema:
        return schema["default"]
    if "const" in schema or "enum" in schema:
        return schema.get("const", schema.get("enum", [None])[0])
    if schema.get("type") == "array":
        return [example(schema.get("items", {}), schemas, name, model)]
    return _OF_TYPE.get(schema.get("type", ""), name)


def _fits(value: Any, schema: dict[str, Any]) -> bool:
    """Whether a value is of a schema's type; what else a schema asks is for the tests."""
    if "anyOf" in schema:
        return any(_fits(value, part) for part in schema["anyOf"])
    if isinstance(value, bool):
        return schema.get("type") == "boolean"
    if (
        value not in schema.get("enum", [value])
        or "$ref" in schema
        or not isinstance(value, _KINDS.get(schema.get("type", ""), object))
    ):
        return False
    return not isinstance(value, list) or all(_fits(part, schema.get("items", {})) for part in value)
