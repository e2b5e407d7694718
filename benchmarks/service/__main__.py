"""What the retrieval service does under load, against an empty route, a bare search and a Chroma server.

``make bench-service`` runs a real server in a process of its own and asks it from another one (wrk), for random images, without
any cache of answers, in turns within one run; it prints a table and, last, one JSON object. Everything is kept in ``--work``,
so that a second run measures without preparing anew.
"""

import argparse
import json
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks.results import Result
from benchmarks.server import Embedded
from benchmarks.service.fashion import fashion
from benchmarks.service.first_answer import first_answer
from benchmarks.service.growth import grown, growth
from benchmarks.service.ingest import ingest
from benchmarks.service.queries import processes, queries, trained
from benchmarks.service.size import FULL, TINY


def main(argv: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.service", description=__doc__)
    parser.add_argument("--work", type=Path, default=Path("runs/bench-service"), help="folder for data and environments")
    parser.add_argument("--only", choices=("ingest", "first", "queries", "processes", "fashion", "growth"), help="one part")
    parser.add_argument("--no-peers", action="store_true", help="leave out Chroma and hnswlib, which have to be installed")
    parser.add_argument("--port", type=int, default=8140, help="this and the next one are used")
    parser.add_argument("--tiny", action="store_true", help="only whether it runs: digits, few vectors, short turns")
    parser.add_argument("--grown", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args(argv)
    work, size = (arguments.work.resolve() / "tiny", TINY) if arguments.tiny else (arguments.work.resolve(), FULL)
    work.mkdir(parents=True, exist_ok=True)
    if arguments.grown:
        print(json.dumps(grown(work, arguments.grown)))
        return
    system, result = Embedded(work, arguments.port), Result()
    parts: dict[str, Callable[[], Result]] = {
        "ingest": lambda: ingest(system, work, size),
        "first": lambda: first_answer(Embedded(work / "first", arguments.port), work, size),
        "queries": lambda: queries(system, trained(system, work, size), work, size, not arguments.no_peers),
        "processes": lambda: processes(system, trained(system, work, size), work, size),
        "fashion": lambda: fashion(work, system.port, size, not arguments.no_peers),
        "growth": lambda: growth(work, size),
    }
    for name, part in parts.items():
        if arguments.only in (None, name):
            result |= part()
    print(json.dumps(result))


if __name__ == "__main__":
    main()
