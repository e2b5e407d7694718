"""What an evaluation says, in one sentence beside its baselines; the figures are those of ``trainer.evaluate.evaluate``."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

LEAST_JUDGED = 100  # with fewer, the 95 % interval of an accuracy is wider than 10 points to either side
_DEVIATIONS = 1.96  # of the difference of two accuracies: 95 %
_ADVICE = "train longer or start from pretrained weights"


@dataclass(frozen=True)
class Verdict:
    """``None`` where there is no evidence; a difference within what chance makes of so many images is not better."""

    sentence: str
    better_than_untrained: bool | None = None
    better_than_raw_pixels: bool | None = None


def verdict(evaluation: Mapping[str, Any] | None) -> Verdict | None:
    """The verdict on a model; ``None`` without an evaluation."""
    if not evaluation:
        return None
    accuracy, judged = evaluation.get("knn_accuracy"), int(evaluation.get("queries") or 0)
    if accuracy is None:
        return Verdict(_without_labels(evaluation))
    untrained, pixels = evaluation.get("untrained_accuracy"), evaluation.get("raw_pixel_accuracy")
    named = {"an untrained encoder": untrained, "raw pixels": pixels}
    known = [f"{name} {_percent(value)}" for name, value in named.items() if value is not None]
    figures = ", ".join([_percent(accuracy), *known])
    if (evaluation.get("classes") or 0) < 2:
        return Verdict(f"{figures}: no evidence, since the labels are all of one class; label images of another, too")
    if judged < LEAST_JUDGED:
        return Verdict(f"{figures}: no evidence, on {judged} judged images; label at least {LEAST_JUDGED}")
    than_untrained, than_pixels = _compare(accuracy, untrained, judged), _compare(accuracy, pixels, judged)
    sentence = f"{figures}: {_words(than_untrained, than_pixels)}"
    return Verdict(sentence, *(None if sign is None else sign > 0 for sign in (than_untrained, than_pixels)))


def _compare(accuracy: float, baseline: float | None, judged: int) -> int | None:
    """1 better, -1 worse, 0 within chance: as if the two had judged different images, which overstates the chance a little."""
    if baseline is None:
        return None
    spread = math.sqrt((accuracy * (1 - accuracy) + baseline * (1 - baseline)) / judged)
    difference = accuracy - baseline
    return 0 if abs(difference) <= _DEVIATIONS * spread else int(math.copysign(1, difference))


def _words(untrained: int | None, pixels: int | None) -> str:
    signs = {"an untrained encoder": untrained, "raw pixels": pixels}
    better = [name for name, sign in signs.items() if sign == 1]
    worse = [name for name, sign in signs.items() if sign == -1]
    equal = [name for name, sign in signs.items() if sign == 0]
    if not worse and not equal:
        return "better than both" if len(better) == 2 else f"better than {better[0]}" if better else "nothing to compare with"
    if len(worse) == 2:
        said = "worse than both"
    elif len(equal) == 2:
        said = "no better than either"
    else:
        said = ", ".join([f"better than {name}" for name in better] + [f"worse than {name}" for name in worse])
        if equal and not worse:  # what is worse than one baseline need not be compared with a weaker one
            said = ", ".join([*filter(None, [said]), f"no better than {equal[0]}"])
    return f"{said}; {_ADVICE}"


def _without_labels(evaluation: Mapping[str, Any]) -> str:
    """What figures without labels can say: whether the embedding collapsed and still changes, never whether it is useful."""
    last = (evaluation.get("rounds") or [{}])[-1]
    said = []
    if (rank := last.get("effective_rank")) is not None:
        said.append(f"the embedding uses about {rank:.0f} dimensions")
    if (agreement := last.get("neighbour_agreement")) is not None:
        said.append(f"{_percent(agreement)} of the nearest neighbours stayed the same in the last round")
    collapsed = [text for text in evaluation.get("warnings") or [] if "collapsed" in text]
    figures = collapsed[-1:] or said
    told = f"; without labels: {' and '.join(figures)}" if figures else ""
    return f"no accuracy, since no image to judge by has a label{told}; label at least {LEAST_JUDGED} images"


def _percent(fraction: float) -> str:
    return f"{100 * fraction:.1f} %"
