"""The figures of results that the summary quotes, and each run as a line."""

import math
from collections.abc import Sequence

from benchmarks.judging import few, in_words
from benchmarks.results import Result
from trainer.config import TrainConfig

_DEFAULTS = TrainConfig().to_json()


def spelt_out(params: Result) -> Result:
    """What a preset means by now, so that a result is of what it was run with."""
    return {name: value for name, value in TrainConfig.make(params).to_json().items() if value != _DEFAULTS[name]}


def figure(result: Result, name: str) -> float | None:
    """One figure of a result, ``few5`` from 5 labels a class; ``None`` where nothing judged it."""
    if name == "few5":
        return few(result, 5) if result["few"] else None
    value = result[name]
    return None if value is None else float(value)


def mean(results: Sequence[Result | None], name: str) -> float | None:
    """The mean over results, ``None`` unless all have the figure."""
    values = [figure(result, name) for result in results if result]
    known = [value for value in values if value is not None]
    return math.fsum(known) / len(known) if known and len(known) == len(results) else None


def all_figures(result: Result | None) -> Result | None:
    """What the summary says of one training."""
    return result and {name: figure(result, name) for name in ("knn", "map", "few5", "seconds")}


def show(key: Result, result: Result) -> None:
    """Print one run as a line."""
    what = f"{key.get('method', '')} {key.get('setting', '')} {key.get('stage', '')}" if key["kind"] == "lightly" else ""
    count = f" ({key['count']:,})" if key.get("count") else ""
    params = " ".join(f"{name} {value}" for name, value in key["params"].items())
    if key["kind"] == "product" and "failed" not in result:
        words = f"searchable after {result['seconds_to_search']} s, done after {result['seconds']} s"
        words += f"; mAP {100 * result['map']:.1f}  kNN {100 * result['knn']:.1f}" if result["knn"] is not None else ""
    else:
        words = in_words(result)
    print(f"{key['kind']:<8}{key['set']}{count} {what or params} seed {key['seed']}: {words}", flush=True)
