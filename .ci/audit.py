"""A part of ``make check``: fails where a package of the images has a known vulnerability.

pip-audit looks the packages of requirements/*.txt up: in PyPI, or where that does not answer, in a copy of
https://github.com/pypa/advisory-database that ``ADVISORIES`` names. Where there is neither, one line says so.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import httpx
import yaml
from locked import FOLDER, versions
from packaging.version import Version

_LISTS = ("common", "faiss-cpu", "faiss-gpu", "torch-cuda", "train", "build")


def main() -> None:
    command = [str(Path(sys.executable).with_name("pip-audit")), "--strict", "--disable-pip", "--require-hashes"]
    command += ["--progress-spinner=off", "--desc=off", *(f"--requirement={FOLDER / name}.txt" for name in _LISTS)]
    copy = os.environ.get("ADVISORIES")
    if copy:
        print(f"Known vulnerabilities are looked up in {copy}, whose newest record is {newest(Path(copy))}.", flush=True)
        with answering(Path(copy)) as url:
            sys.exit(subprocess.run([*command, "--vulnerability-service=osv", f"--osv-url={url}"], check=False).returncode)
    if pypi_answers():
        sys.exit(subprocess.run(command, check=False).returncode)
    print("Known vulnerabilities were NOT looked up: PyPI's JSON does not answer, and ADVISORIES names no copy of its database.")


def pypi_answers() -> bool:
    """Whether PyPI tells vulnerabilities of versions, as pip-audit asks for them: a mirror may serve the packages alone."""
    name, version = next(iter(versions(("common",)).items()))
    try:
        return "vulnerabilities" in httpx.get(f"https://pypi.org/pypi/{name}/{version}/json", timeout=10).json()
    except (httpx.HTTPError, ValueError):
        return False


@contextmanager
def answering(copy: Path) -> Iterator[str]:
    """The URL of OSV's query for what a copy of the advisories holds."""
    if not (copy / "vulns").is_dir():
        sys.exit(f"ADVISORIES: {copy} is no copy of pypa/advisory-database: it has no folder vulns")

    class Answer(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            query = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            name, version = query["package"]["name"], query["version"]
            records = [yaml.load(path.read_text(), yaml.CSafeLoader) for path in (copy / "vulns" / name).glob("*.yaml")]
            body = json.dumps({"vulns": [each for each in records if affects(each, name, version)]}, default=str).encode()
            self.send_response(200)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


def newest(copy: Path) -> str:
    """The day of a copy's newest record, by its number and then what it says of itself."""
    return max(
        (str(yaml.load(path.read_text(), yaml.CSafeLoader).get("published", ""))[:10] for path in recent(copy)), default="unknown"
    )


def recent(copy: Path) -> list[Path]:
    """The records that were numbered last."""
    return sorted(copy.glob("vulns/*/PYSEC-*.yaml"), key=lambda path: [int(part) for part in path.stem.split("-")[1:]])[-20:]


def affects(record: dict[str, Any], name: str, version: str) -> bool:
    """Whether a record of OSV's schema is about this version."""
    if record.get("withdrawn"):
        return False
    for affected in record["affected"]:
        if affected["package"]["name"].lower() == name:
            ranges = [each["events"] for each in affected.get("ranges", ()) if each["type"] == "ECOSYSTEM"]
            if version in map(str, affected.get("versions", ())) or any(within(events, Version(version)) for events in ranges):
                return True
    return False


def within(events: list[dict[str, Any]], version: Version) -> bool:
    inside = False
    for event in events:
        kind, bound = next(iter(event.items()))
        bound = Version(str(bound))
        if kind == "introduced" and version >= bound:
            inside = True
        elif (kind == "fixed" and version >= bound) or (kind == "last_affected" and version > bound):
            inside = False
    return inside


if __name__ == "__main__":
    main()
