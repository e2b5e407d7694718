"""Requests with broken bytes, and broken pictures and archives, given to the server."""

import gzip
import io
import json
import random
import socket
import tarfile
import zipfile
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from itertools import islice

from benchmarks.hostile.mutations import Answers, broken
from benchmarks.hostile.target import Target, short
from tests.core.hostile_files import corpus, mutated

_SECONDS = 5  # that an answer to broken bytes may take: some of them say that more follows
_IN_ARCHIVE = 20


def raw_requests(target: Target, count: int, seed: int, answers: Answers) -> None:
    """Send requests whose bytes are flipped, cut out or doubled, each on a connection of its own."""
    rng, valid = random.Random(seed), list(_valid(target))
    for number in range(count):
        data = broken(rng, valid[number % len(valid)])
        try:
            with target.connected() as connection:
                connection.settimeout(_SECONDS)
                connection.sendall(data)
                connection.shutdown(socket.SHUT_WR)
                answer = connection.recv(65536)
            status = short(answer).split(" ")[0][:3] if answer else "closed"
        except TimeoutError:
            status = "no answer"
        except OSError:
            status = "closed"
        answers.add(status, repr(data))


def _valid(target: Target) -> Iterator[bytes]:
    for path in (
        "/healthz",
        "/datasets?limit=3",
        f"/neighbours?image_id={target.images[0]}&k=3",
        "/page/app.js",
        "/jobs",
        "/metrics",
    ):
        yield target.head("GET", path, Cookie="a=b; session=x", Accept="*/*")
    query = json.dumps({"image_ids": target.images[:3], "label": ["a"], "k": 3}).encode()
    yield target.head("POST", "/neighbours", Content_Type="application/json", Content_Length=str(len(query))) + query
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in (query[:10], query[10:])) + b"0\r\nX-Trailer: a\r\n\r\n"
    yield target.head("POST", "/neighbours", Content_Type="application/json", Transfer_Encoding="chunked") + chunks
    form = b'--x\r\nContent-Disposition: form-data; name="file"; filename="q.png"\r\n\r\n' + corpus()["plain.png"]
    form += f'\r\n--x\r\nContent-Disposition: form-data; name="dataset_id"\r\n\r\n{target.dataset}\r\n--x--\r\n'.encode()
    yield target.head("POST", "/neighbours", Content_Type="multipart/form-data; boundary=x", Content_Length=str(len(form))) + form
    table = b"path,label\n000000.png,a\n000001.png,b\n"
    path = f"/datasets/{target.dataset}/labels"
    yield target.head("PUT", path, Content_Type="text/csv", Content_Length=str(len(table))) + table


def pictures(target: Target, count: int, seed: int, answers: Answers) -> None:
    """Ask with broken pictures of every format."""
    for number, data in enumerate(mutated(corpus(), count, seed)):
        response = target.request("POST", "/neighbours", files={"file": ("q", data)}, data={"dataset_id": target.dataset})
        answers.add(str(response.status_code), f"broken picture {number}", response.text)


def archived(target: Target, count: int, seed: int, answers: Answers) -> Counter[str]:
    """Upload archives, half of them of broken pictures and half broken themselves; returns how their jobs ended, by the code
    of the error."""
    pictures, ends, jobs = mutated(corpus(), count, seed), Counter[str](), []
    while some := list(islice(pictures, _IN_ARCHIVE)):
        jobs.append(_added(target, _zipped(some), answers))
    whole = {"a": _zipped(list(corpus().values())[:4]), "b": _tarred(list(corpus().values())[:4])}
    for number, data in enumerate(mutated(whole, count // _IN_ARCHIVE, seed)):
        jobs.append(_added(target, gzip.compress(data) if number % 4 == 3 else data, answers))
    for job in jobs:
        if job is not None:
            done = target.finished(job)
            ends[str((done["error"] or done)["code" if done["error"] else "status"])] += 1
    return ends


def _added(target: Target, archive: bytes, answers: Answers) -> str | None:
    response = target.request("POST", f"/datasets/{target.dataset}/images", files={"file": ("broken", archive)})
    answers.add(str(response.status_code), "broken archive", response.text)
    with suppress(ValueError, KeyError):
        id_: str = response.json()["id"]
        return id_
    return None


def _zipped(files: list[bytes]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for number, data in enumerate(files):
            archive.writestr(f"broken/{number}.png", data)
    return file.getvalue()


def _tarred(files: list[bytes]) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for number, data in enumerate(files):
            info = tarfile.TarInfo(f"{'long' * 40}/{number}.png")
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return file.getvalue()
