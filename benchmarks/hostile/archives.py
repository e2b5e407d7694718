"""Attacks by files: archives of many names and folders, and a picture of endless scans."""

import io
import random
import struct
import tarfile
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor

from PIL import Image

from benchmarks.hostile.attacks import Attack
from benchmarks.hostile.probe import Probe
from benchmarks.hostile.target import Target, answered

_SCANS = 2000
_SIDE = 8000  # pixels


def long_names(target: Target, probe: Probe) -> str:
    """A tar.gz of a megabyte: 50,000 files of nothing with names of thousands of letters."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz", format=tarfile.PAX_FORMAT) as archive:
        for number in range(_scaled(target, 50_000)):
            archive.addfile(tarfile.TarInfo(f"{'n' * 200}/" * 20 + f"{number}.png"))
    return _validated(target, "names.tar.gz", file.getvalue())


def folders(target: Target, probe: Probe) -> str:
    """A zip of 500,000 folders."""
    return _validated(target, "folders.zip", _zip_of_names(f"{number:07}/" for number in range(_scaled(target, 500_000))))


def empty_files(target: Target, probe: Probe) -> str:
    """A zip of 300,000 files of nothing, each of which is refused."""
    return _validated(target, "empty.zip", _zip_of_names(f"{number:07}.png" for number in range(_scaled(target, 300_000))))


def scans(target: Target, probe: Probe) -> str:
    """Six questions with a JPEG of thousands of scans, and a thumbnail beside them."""
    picture = endless_scans(_SIDE, _scaled(target, _SCANS))
    target.request("GET", f"/images/{target.images[0]}/thumbnail?size=64")

    def ask(_: int) -> str:
        return answered(
            target.request("POST", "/neighbours", files={"file": ("q.jpg", picture)}, data={"dataset_id": target.dataset})
        )

    with ThreadPoolExecutor(6) as pool:
        asked = [pool.submit(ask, number) for number in range(6)]
        time.sleep(0.5)
        started = time.perf_counter()
        target.client.get(f"/images/{target.images[1]}/thumbnail?size=65")
        waited = time.perf_counter() - started
        answers = sorted({each.result() for each in asked})
    return f"{'; '.join(answers)}; a thumbnail meanwhile {waited:.1f} s"


def large_query(target: Target, probe: Probe) -> str:
    """A question with a picture of 60 MiB."""
    side = int((_scaled(target, 60 << 20) / 3) ** 0.5)
    file = io.BytesIO()
    Image.frombytes("RGB", (side, side), random.Random(0).randbytes(3 * side * side)).save(file, "PNG", compress_level=0)
    form = {"files": {"file": ("q.png", file.getvalue())}, "data": {"dataset_id": target.dataset}}
    return answered(target.request("POST", "/neighbours", **form))


def _scaled(target: Target, count: int) -> int:
    return count if target.volume > 100 << 20 else count // 100


def _validated(target: Target, name: str, content: bytes) -> str:
    """Upload an archive that has no picture, and wait for what its validation says."""
    dataset = target.upload(name, content)
    job = target.finished(target.job_of(dataset, "ingest"))
    rejected = target.get(f"/datasets/{dataset}")["rejected"]
    return f"{len(content):,} bytes: {job['status']} {(job['error'] or {}).get('code', '')}, {rejected:,} rejected"


def _zip_of_names(names: Iterable[str]) -> bytes:
    """A zip of entries without contents; ``zipfile`` takes minutes for so many."""
    local, central, count = io.BytesIO(), io.BytesIO(), 0
    for name in names:
        raw = name.encode()
        common = struct.pack("<HHHHHIIIHH", 20, 0, 0, 0, 33, 0, 0, 0, len(raw), 0)
        central.write(b"PK\x01\x02" + struct.pack("<H", 20) + common + struct.pack("<HHHII", 0, 0, 0, 0, local.tell()) + raw)
        local.write(b"PK\x03\x04" + common + raw)
        count += 1
    start, size = local.tell(), central.tell()
    end64 = b"PK\x06\x06" + struct.pack("<QHHIIQQQQ", 44, 45, 45, 0, 0, count, count, size, start)
    locator = b"PK\x06\x07" + struct.pack("<IQI", 0, start + size, 1)
    most = min(count, 0xFFFF)
    end = b"PK\x05\x06" + struct.pack("<HHHHIIH", 0, 0, most, most, size, start, 0)
    return local.getvalue() + central.getvalue() + end64 + locator + end


def endless_scans(side: int, count: int) -> bytes:
    """A progressive JPEG of one colour whose last scan comes again and again: each is work for every block, and no bytes."""
    file = io.BytesIO()
    Image.new("L", (side, side)).save(file, "JPEG", progressive=True)
    data = file.getvalue()
    last = data.rindex(b"\xff\xda")
    return data[:-2] + data[last:-2] * count + data[-2:]


ARCHIVES: tuple[Attack, ...] = (long_names, folders, empty_files)
PICTURES: tuple[Attack, ...] = (scans, large_query)
