"""What the presets reach, from nothing and from pretrained weights, beside ``lightly``; and how many images and labels suffice.

``make bench-accuracy`` runs what is not yet in ``benchmarks/results/accuracy.jsonl``, prints every run, also those that failed,
and last one JSON object (fractions and seconds; ``null``: not run yet). It takes hours, and goes on where it was stopped;
``--only`` runs one part. Times are of training, decoding included, and count on a machine that does nothing else; ``--jobs 2``
runs two trainings at a time, on one thread each.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

from benchmarks.accuracy.bench import Bench
from benchmarks.results import Results

RESULTS = Path(__file__).parents[1] / "results/accuracy.jsonl"
PLOT = Path(__file__).parents[2] / "docs/how-many.png"


def main(argv: Sequence[str] | None = None) -> None:
    """Run what is missing and print everything."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.accuracy", description=__doc__)
    parser.add_argument("--only", help="one part")
    parser.add_argument("--show", action="store_true", help="run nothing: print what there is")
    parser.add_argument("--jobs", type=int, default=1, help="trainings at a time, of one thread each where there are several")
    parser.add_argument("--port", type=int, default=8150, help="of the server that part clothing starts")
    parser.add_argument("--work", type=Path, default=Path("runs/bench-accuracy"), help="folder for sets and runs")
    parser.add_argument("--results", type=Path, default=RESULTS, help="file of results")
    parser.add_argument("--plot", type=Path, default=PLOT, help="where the plot of part how_many goes")
    parser.add_argument("--tiny", action="store_true", help="only whether it runs: digits, few images, short rounds")
    arguments = parser.parse_args(argv)
    bench = Bench(
        Results(arguments.results), arguments.work.resolve(), arguments.plot, arguments.port, arguments.jobs, arguments.tiny
    )
    if arguments.only not in (None, *bench.parts):
        parser.error(f"--only: {arguments.only} is not one of {', '.join(bench.parts)}")
    chosen = (arguments.only,) if arguments.only else tuple(bench.parts)
    print(json.dumps(bench.summary(chosen, run=not arguments.show)))


if __name__ == "__main__":
    main()
