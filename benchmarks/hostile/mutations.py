"""Requests of the API's own description with something wrong in them."""

import copy
import json
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx

from benchmarks.hostile.target import Target
from tests.core.hostile_files import corpus

_DOCUMENT = Path(__file__).parents[2] / "docs/openapi.json"
_ODD: tuple[Any, ...] = (
    *(None, True, 0, -1, 1.5, 1e308, 2**31, 2**63, 2**64, -(2**63) - 1, "", " ", "0", "-1", "nan", "a" * 300, "\u0000", "\ud800"),
    *("é" * 50, "\u202e", "../../etc/passwd", "file:///%00", "file://[", "%ff", "' OR 1=1 --", "ds_0000000000000000"),
    *([], [[]], {}, {"a": {}}, [None], [0] * 300, ["a"] * 300, [2**63], {"": 0}),
)
_ENDS_WORK = {("post", "/jobs/{job_id}/cancel")}
_SECONDS = 20  # that an answer may take


class Answers:
    """What the server said to all mutations."""

    def __init__(self) -> None:
        self.sent = 0
        self.statuses: Counter[str] = Counter()
        self.broken: list[str] = []  # requests that got 5xx

    def add(self, status: str, request: str, detail: str = "") -> None:
        self.sent += 1
        self.statuses[status] += 1
        if status.startswith("5"):
            self.broken.append(f"{status} to {request[:500]}: {detail[:300]}")


def requests(target: Target, count: int, seed: int, answers: Answers) -> None:
    """Send requests that the API describes, each with some of its values replaced, left out or doubled."""
    rng, paths = random.Random(seed), json.loads(_DOCUMENT.read_text())
    operations = [(method, path, operation) for path, methods in paths["paths"].items() for method, operation in methods.items()]
    schemas = paths.get("components", {}).get("schemas", {})
    with httpx.Client(base_url=target.url, headers=target.headers, timeout=_SECONDS) as client:
        for _ in range(count):
            method, path, operation = rng.choice(operations)
            request = _request(rng, target, method, path, operation, schemas)
            told = f"{method.upper()} {request['url']} {request.get('content', b'')[:200]!r}"
            status, detail = _sent(client, request)
            answers.add(status, told, detail)
            if status == "202" and method == "post":
                with suppress(httpx.HTTPError, ValueError, KeyError):
                    client.post(f"/jobs/{json.loads(detail)['id']}/cancel")


def _sent(client: httpx.Client, request: dict[str, Any]) -> tuple[str, str]:
    for _ in range(100):
        try:
            with client.stream(**request) as response:
                detail = b""
                for part in response.iter_raw():
                    detail += part
                    if len(detail) > 4096 or response.headers.get("content-type", "").startswith("text/event-stream"):
                        break
            if response.status_code != 429:
                return str(response.status_code), detail.decode("utf-8", "replace")
            time.sleep(float(response.headers.get("Retry-After", 1)))
        except httpx.HTTPError as error:
            return type(error).__name__, ""
        except (ValueError, httpx.InvalidURL):  # httpx itself refuses to send it
            return "not sent", ""
    return "429", ""


def _request(
    rng: random.Random, target: Target, method: str, path: str, operation: dict[str, Any], schemas: dict[str, Any]
) -> dict[str, Any]:
    known = {"dataset_id": target.dataset, "model_id": target.model, "job_id": target.job, "image_id": rng.choice(target.images)}
    known |= {"name": "manifest.json"}
    query: list[tuple[str, str]] = []
    for parameter in operation.get("parameters", []):
        name = parameter["name"]
        real = known.get(name, _value(rng, parameter.get("schema", {}), schemas)) if rng.random() < 0.7 else rng.choice(_ODD)
        if parameter["in"] == "path":
            real = rng.choice(_ODD) if method == "delete" or (method, path) in _ENDS_WORK else real
            path = path.replace("{" + name + "}", quote(str(real).encode("utf-8", "surrogatepass"), safe=""))
        elif parameter["in"] == "query" and (parameter.get("required") or rng.random() < 0.4):
            query += [(name, str(real))] * rng.choice((1, 1, 1, 2))
    url = path + (
        "?" + "&".join(f"{name}={quote(text.encode('utf-8', 'surrogatepass'))}" for name, text in query) if query else ""
    )
    request: dict[str, Any] = {"method": method.upper(), "url": url, "headers": {}}
    if rng.random() < 0.1:
        request["headers"][rng.choice(("Range", "Accept", "If-None-Match", "Cookie", "Last-Event-ID"))] = str(
            rng.choice(_ODD[:10])
        )
    content = operation.get("requestBody", {}).get("content", {})
    if content:
        kind = rng.choice(list(content))
        body = _mutation(rng, {**_as_dict(_value(rng, content[kind].get("schema", {}), schemas)), **_some(rng, known)})
        request["headers"]["Content-Type"] = kind if rng.random() < 0.9 else rng.choice(("text/plain", "application/json", "x"))
        request["content"] = _encoded(rng, kind, body)
        if "form-data" in kind:
            request["headers"]["Content-Type"] = f"{kind}; boundary=x"
    return request


def _as_dict(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _some(rng: random.Random, known: dict[str, Any]) -> dict[str, Any]:
    return {"dataset_id": known["dataset_id"]} if rng.random() < 0.2 else {}


def _value(rng: random.Random, schema: dict[str, Any], schemas: dict[str, Any], depth: int = 0) -> Any:
    """A value that a schema allows, more or less."""
    if "$ref" in schema:
        schema = schemas.get(schema["$ref"].rpartition("/")[2], {})
    for several in ("anyOf", "oneOf", "allOf"):
        if several in schema:
            return _value(rng, rng.choice(schema[several]), schemas, depth)
    if "enum" in schema or "const" in schema:
        return rng.choice(schema.get("enum", [schema.get("const")]))
    kind = schema.get("type")
    if kind == "object" and depth < 6:
        names = [name for name in schema.get("properties", {}) if name in schema.get("required", ()) or rng.random() < 0.5]
        return {name: _value(rng, schema["properties"][name], schemas, depth + 1) for name in names}
    if kind == "array":
        return [_value(rng, schema.get("items", {}), schemas, depth + 1) for _ in range(rng.randrange(4))]
    low, high = schema.get("minimum", 0), schema.get("maximum", 100)
    plain: dict[str, Callable[[], Any]] = {
        "integer": lambda: rng.randint(int(low), int(high)),
        "number": lambda: rng.uniform(low, high),
    }
    plain |= {"boolean": lambda: rng.random() < 0.5, "null": lambda: None}
    return plain.get(str(kind), lambda: rng.choice(("x", "dress", "0.png", "ds_1")))()


def _mutation(rng: random.Random, value: Any) -> Any:
    """A copy in which some values are odd, missing, doubled or wrapped."""
    value = copy.deepcopy(value)
    for _ in range(rng.randrange(3)):
        places = list(_places(value))
        if not places:
            return rng.choice(_ODD)
        holder, name = rng.choice(places)
        match rng.randrange(5):
            case 0:
                del holder[name]
            case 1 if isinstance(holder, list):
                holder += holder[:]
            case 2:
                holder[name] = [holder[name]]
            case 3 if isinstance(holder, dict):
                holder[str(rng.choice(_ODD))] = rng.choice(_ODD)
            case _:
                holder[name] = rng.choice(_ODD)
    return value


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, inner in items:
        yield value, name
        yield from _places(inner)


def _encoded(rng: random.Random, kind: str, body: Any) -> bytes:
    if "form-data" not in kind:
        data = json.dumps(body).encode()
        return data if rng.random() < 0.85 else broken(rng, data)
    fields = body if isinstance(body, dict) else {}
    parts = []
    for name, value in fields.items():
        named = str(name).encode("utf-8", "replace").replace(b'"', b"")
        file = b'; filename="f.zip"' if name == "file" else b""
        text = rng.choice(list(corpus().values())) if file else str(value).encode("utf-8", "replace")
        parts.append(b'--x\r\nContent-Disposition: form-data; name="' + named + b'"' + file + b"\r\n\r\n" + text + b"\r\n")
    data = b"".join(parts) + b"--x--\r\n"
    return data if rng.random() < 0.7 else broken(rng, data)


def broken(rng: random.Random, data: bytes) -> bytes:
    """Bytes flipped, cut out, doubled or cut off."""
    changed = bytearray(data)
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(changed) + 1)
        match rng.randrange(4):
            case 0 if at < len(changed):
                changed[at] ^= 1 << rng.randrange(8)
            case 1:
                del changed[at : at + rng.randint(1, 20)]
            case 2:
                changed[at:at] = changed[max(0, at - rng.randint(1, 40)) : at] * rng.randint(1, 3)
            case _:
                changed[at:at] = bytes(rng.randrange(256) for _ in range(rng.randint(1, 8)))
    return bytes(changed)
