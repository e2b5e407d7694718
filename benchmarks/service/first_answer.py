"""How long somebody waits from the upload of a collection to the first answer from a model of it, by parts."""

import itertools
import time
import zipfile
from pathlib import Path

from benchmarks.results import Result
from benchmarks.server import Embedded
from benchmarks.service.size import Size

_LOOK_SECONDS = 0.1


def first_answer(system: Embedded, work: Path, size: Size) -> Result:
    """Seconds of each part in their order, and of all until the first answer. ``judged`` follows, and came before
    the answer while a model was published after it."""
    archive = some_photographs(size.photographs(work), work / "some-photographs.zip", size.uploaded)
    with system.serve():
        begun = time.monotonic()
        dataset, _ = system.upload(archive)
        parts = {"validating": time.monotonic() - begun}
        job = (
            system.client.post("/jobs", json={"dataset_id": dataset, "params": size.first_params}).raise_for_status().json()["id"]
        )
        last, phase = time.monotonic(), "waiting"
        while True:
            row = system.client.get(f"/jobs/{job}").json()
            now = time.monotonic()
            parts[phase] = parts.get(phase, 0.0) + now - last
            last, phase = now, (row["progress"] or {}).get("phase", phase)
            if row["model_id"] or row["status"] == "failed":
                break
            time.sleep(_LOOK_SECONDS)
        image = system.client.get(f"/datasets/{dataset}/images?limit=1").json()["data"][0]["id"]
        found = system.client.get(f"/neighbours?image_id={image}&k=10").raise_for_status().json()["neighbours"]
        answered = time.monotonic()
        parts["first search"] = answered - last
        system.finished(job)
        judged = time.monotonic() - answered
    seconds = {name: round(value, 2) for name, value in parts.items()}
    words = ", ".join(f"{name} {value:.1f}" for name, value in seconds.items())
    print(f"first answer ({len(found)} neighbours) after {answered - begun:.1f} s: {words}; judged {judged:.1f} s later")
    return {"first_answer_seconds": {**seconds, "all": round(answered - begun, 2), "judged": round(judged, 2)}}


def some_photographs(whole: Path, path: Path, count: int) -> Path:
    """A zip of a part of an archive's files, evenly spaced, so that all classes are in it."""
    with zipfile.ZipFile(whole) as source, zipfile.ZipFile(path, "w") as target:
        names = [name for name in source.namelist() if not name.endswith("/")]
        for name in itertools.islice(names, 0, None, max(1, len(names) // count)):
            target.writestr(name, source.read(name))
    return path
