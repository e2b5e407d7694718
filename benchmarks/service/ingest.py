"""How fast an upload is validated, and the memory that takes."""

import zipfile
from datetime import datetime
from pathlib import Path

import numpy as np

from benchmarks.results import Result
from benchmarks.server import Embedded
from benchmarks.service.size import Size


def seconds_of(job: Result) -> float:
    started, finished = (datetime.fromisoformat(job[name]) for name in ("started_at", "finished_at"))
    return (finished - started).total_seconds()


def photographs(path: Path, size: int) -> Path:
    """A zip of large distinct pictures of random pixels, about ``size`` bytes."""
    rng, side = np.random.default_rng(0), 1024
    with zipfile.ZipFile(path, "w") as archive:
        for number in range(size // (3 * side * side)):
            archive.writestr(f"{number}.ppm", b"P6 %d %d 255\n" % (side, side) + rng.bytes(3 * side * side))
    return path


def ingest(system: Embedded, work: Path, size: Size) -> Result:
    """Validation's images/s, and the memory it takes for a large archive beside a small one."""
    images, peaks = size.images(work), []
    with system.serve():
        _, job = system.upload(images)
        rate = job["progress"]["images"] / seconds_of(job)
        for length in size.archives:
            archive = photographs(work / "photographs.zip", length)
            system.peaks(reset=True)
            dataset, _ = system.upload(archive)
            peaks.append(max(system.peaks().values()))
            system.client.delete(f"/datasets/{dataset}").raise_for_status()
            archive.unlink()
    small, large = (length >> 20 for length in size.archives)
    words = f"largest process {peaks[0]:.0f} MiB at {small} MiB, {peaks[1]:.0f} at {large:,}"
    print(f"ingest of {images.name}: {rate:,.0f} images/s; {words}")
    return {"ingest_images_per_s": rate, "ingest_peak_mib": peaks[1], "ingest_peak_mib_small_archive": peaks[0]}
