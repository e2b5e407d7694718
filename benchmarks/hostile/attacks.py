"""Attacks by requests, each a function that says what was answered. ``WITHOUT_KEY`` and ``WITH_KEY`` name them."""

import json
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import chain

import httpx

from benchmarks.hostile.probe import Probe
from benchmarks.hostile.target import TRAINING, Target, answered

Attack = Callable[[Target, Probe], str]
_JSON = {"Content_Type": "application/json"}
_QUIET = 15  # seconds that are looked at after clients went away or stopped reading


def _endless(target: Target, probe: Probe, part: bytes, size: int | None = None) -> Iterator[bytes]:
    """The same bytes again and again, up to the volume of the attack, or until the server holds too much."""
    for _ in range(min(size or target.volume, target.volume) // len(part) + 1):
        if probe.too_much:
            return
        yield part


def trailers(target: Target, probe: Probe) -> str:
    """Trailers of a chunked body that never end."""
    head = target.head("GET", "/healthz", Transfer_Encoding="chunked") + b"0\r\n"
    return target.raw(chain([head], _endless(target, probe, (b"X-Name: " + b"a" * 1000 + b"\r\n") * 64)), 10)


def headers(target: Target, probe: Probe) -> str:
    """Headers that never end."""
    head = target.head("GET", "/healthz").removesuffix(b"\r\n")
    return target.raw(chain([head], _endless(target, probe, (b"X-Name: " + b"a" * 1000 + b"\r\n") * 8)), 10)


def login(target: Target, probe: Probe) -> str:
    """65 MiB of lists as a login, without a length."""
    chunk = b"[]," * 20_000
    head = target.head("POST", "/session", Transfer_Encoding="chunked", **_JSON) + b'9\r\n{"key": [\r\n'
    parts = _endless(target, probe, b"%x\r\n%s\r\n" % (len(chunk), chunk), 65 << 20)
    return target.raw(chain([head], parts, [b"4\r\n[]]}\r\n0\r\n\r\n"]))


def colons(target: Target, probe: Probe) -> str:
    """A query in which every character might begin a URL with a password."""
    return target.raw([target.head("GET", "/healthz?x=" + "://a:" * 12_000)], 60)


def quotes(target: Target, probe: Probe) -> str:
    """A cookie of quotes and backslashes."""
    return target.raw([target.head("GET", "/datasets", Cookie='a="' + '\\"' * 30_000)], 60)


def wrong_labels(target: Target, probe: Probe) -> str:
    """A million characters, half a million errors."""
    return answered(_post(target, "/neighbours", b'{"label":[' + b"0," * 524_000 + b"0]}"))


def unknown_names(target: Target, probe: Probe) -> str:
    """A hundred thousand fields that nobody knows."""
    return answered(_post(target, "/neighbours", b"{" + b",".join(b'"%x":0' % number for number in range(110_000)) + b"}"))


def many_objects(target: Target, probe: Probe) -> str:
    """A query of 12 MB that is lists alone."""
    return answered(_post(target, "/neighbours", b'{"queries":[' + b"[]," * 4_000_000 + b"[]]}"))


def part_names(target: Target, probe: Probe) -> str:
    """A form of parts that are names alone."""
    part = b"".join(
        b'--x\r\nContent-Disposition: form-data; name="%s%d"\r\n\r\n\r\n' % (b"n" * 3900, number) for number in range(16)
    )
    head = target.head("POST", "/datasets", Content_Type="multipart/form-data; boundary=x", Content_Length=str(4 << 30))
    different = (part.replace(b"nnnn", b"%08x" % number, 1) for number, part in enumerate(_endless(target, probe, part)))
    return target.raw(chain([head], different))


def labels_json(target: Target, probe: Probe) -> str:
    """60 MiB of labels as JSON."""
    size = min(60 << 20, target.volume)
    body = b"{" + b",".join(b'"%08d.png":"a"' % number for number in range(size // 19)) + b"}"
    return _put_labels(target, body, "application/json")


def labels_csv(target: Target, probe: Probe) -> str:
    """55 MiB of labels as a table of a few long rows less than are allowed."""
    size = min(55 << 20, target.volume)
    return _put_labels(target, b"path,label\n" + b"".join(b"%050d.png,a\n" % number for number in range(size // 57)), "text/csv")


def labels_rows(target: Target, probe: Probe) -> str:
    """55 MiB of labels as a table of the shortest rows."""
    size = min(55 << 20, target.volume)
    return _put_labels(target, b"image_id,label\n" + b"1,a\n" * (size // 4), "text/csv")


def job_list(target: Target, probe: Probe) -> str:
    """The list of jobs with a quarter of a million bytes noted with each."""
    note: dict[str, list[list[int]]] = {"notes": [[] for _ in range(60_000)]}
    for _ in range(60 if target.volume > 100 << 20 else 3):
        job = target.request("POST", "/jobs", json={"dataset_id": target.dataset, "metadata": note})
        if job.status_code != 202:
            return answered(job)
        target.request("POST", f"/jobs/{job.json()['id']}/cancel")
    return answered(target.request("GET", "/jobs?limit=1000"))


def leave_one_out(target: Target, probe: Probe) -> str:
    """Every image has a label of its own, but a few that let the votes begin."""
    rows = [{"image_id": id_, "label": f"label {max(0, at - 6) or at % 2}"} for at, id_ in enumerate(target.images)]
    target.request("PUT", f"/datasets/{target.dataset}/labels", json=rows).raise_for_status()
    return answered(target.request("GET", f"/datasets/{target.dataset}/leave-one-out"))


def whole_batch(target: Target, probe: Probe) -> str:
    """The largest answer: 256 queries with 1,000 neighbours each."""
    queries = [{"image_ids": [id_], "k": 1000} for id_ in (target.images * 256)[:256]]
    return answered(_post(target, "/neighbours", json.dumps({"queries": queries, "dataset_id": target.dataset}).encode()))


def batches(target: Target, probe: Probe) -> str:
    """45 batches of 256 queries with 200 examples each, whose clients go away."""
    ids = (target.images * 200)[:200]
    query = {"positive": ids[:100], "negative": ids[100:], "strategy": "best_score", "k": 1000}
    body = json.dumps({"queries": [query] * 256, "dataset_id": target.dataset}).encode()
    head = target.head("POST", "/neighbours", Content_Length=str(len(body)), **_JSON)

    def send(_: int) -> None:
        with suppress(OSError), target.connected() as connection:
            connection.sendall(head + body)
            time.sleep(0.2)

    with ThreadPoolExecutor(45) as pool:
        list(pool.map(send, range(45)))
    time.sleep(_QUIET)
    started = time.perf_counter()
    status = target.client.get("/datasets?limit=1").status_code
    return f"GET /datasets: {status} after {time.perf_counter() - started:.1f} s"


def streams(target: Target, probe: Probe) -> str:
    """400 event streams of a job that goes on."""
    long = {"dataset_id": target.dataset, "params": {**TRAINING, "rounds": 4, "epochs_first": 1000}}
    job = target.request("POST", "/jobs", json=long).raise_for_status().json()["id"]
    wanted = target.head("GET", f"/jobs/{job}/events", Accept="text/event-stream")
    statuses: Counter[str] = Counter()
    open_ = []
    for _ in range(400):
        with suppress(OSError):
            connection = target.connected()
            connection.sendall(wanted)
            open_.append(connection)
    started = time.perf_counter()
    target.client.get("/datasets?limit=1")
    waited = time.perf_counter() - started
    for connection in open_:
        with suppress(OSError, IndexError):
            statuses[connection.recv(4096).split(b" ", 2)[1].decode()] += 1
        connection.close()
    target.request("POST", f"/jobs/{job}/cancel")
    told = ", ".join(f"{count} x {status}" for status, count in sorted(statuses.items()))
    return f"{told}; GET /datasets meanwhile {1000 * waited:.0f} ms"


def unread(target: Target, probe: Probe) -> str:
    """60 large answers that nobody reads."""
    wanted = target.head("GET", f"/models/{target.model}/files/encoder.onnx")
    connections = []
    for _ in range(60):
        with suppress(OSError):
            connection = target.connected(receive_buffer=4096)
            connection.sendall(wanted)
            connections.append(connection)
    time.sleep(_QUIET)
    status = target.client.get("/datasets?limit=1").status_code
    for connection in connections:
        connection.close()
    return f"{len(connections)} unread; GET /datasets: {status}"


def _post(target: Target, path: str, body: bytes) -> httpx.Response:
    return target.request("POST", path, content=body, headers={"Content-Type": "application/json"})


def _put_labels(target: Target, body: bytes, kind: str) -> str:
    path = f"/datasets/{target.dataset}/labels"
    return answered(target.request("PUT", path, content=body, headers={"Content-Type": kind}))


def idle(target: Target, probe: Probe) -> str:
    """Nothing: what the measuring itself costs."""
    time.sleep(3)
    return answered(target.request("GET", "/healthz"))


WITHOUT_KEY: tuple[Attack, ...] = (idle, trailers, headers, login, colons, quotes)
WITH_KEY: tuple[Attack, ...] = (
    *(wrong_labels, unknown_names, many_objects, part_names, labels_json, labels_csv, labels_rows),
    *(leave_one_out, whole_batch, batches, streams, unread, job_list),
)
