"""What an evaluation says, in one sentence beside its baselines; its figures come from ``trainer evaluate``."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from core.ground.reports import Evaluation, FewLabel, Figures, RoundJudged, Votes

LEAST_JUDGED = 100  # with fewer, the 95 % interval of an accuracy is wider than 10 points to either side
_DEVIATIONS = 1.96  # of the difference of two accuracies: 95 %
LABELS, _DRAWS = 5, 20  # labels a class by which is compared, and how often they were drawn (trainer/evaluation/metrics.py)
_UNLIKE = {  # where what started from weights is worse than, or no better than, what has learned nothing
    -1: "; these images are unlike those it knows: train from nothing",
    0: "; these images may be unlike those it knows: try training from nothing",
}
# Of an evaluation: what each is called, and where its kNN accuracy stands in those of earlier versions, too.
Baseline = Literal["frozen", "untrained", "raw_pixels"]
BASELINES: dict[Baseline, tuple[str, Literal["frozen_accuracy", "untrained_accuracy", "raw_pixel_accuracy"]]] = {
    "frozen": ("the pretrained encoder as it is", "frozen_accuracy"),
    "untrained": ("an untrained encoder", "untrained_accuracy"),
    "raw_pixels": ("raw pixels", "raw_pixel_accuracy"),
}


@dataclass(frozen=True)
class Verdict:
    """``None`` where there is no evidence; a difference within what chance makes of so many images is not better."""

    sentence: str
    better_than_frozen: bool | None = None
    better_than_untrained: bool | None = None
    better_than_raw_pixels: bool | None = None


@dataclass(frozen=True)
class _Measured:
    """An accuracy, and the variance that it has beside the one of so many images."""

    accuracy: float
    variance: float = 0.0


def verdict(evaluation: Evaluation | None) -> Verdict | None:
    """The verdict on a model; ``None`` without an evaluation. It rests on one measure, so that chance is asked once: accuracy
    with five labels a class where they could be drawn, else kNN accuracy."""
    if not evaluation:
        return None
    accuracy = evaluation.get("knn_accuracy")
    if accuracy is None:
        return Verdict(_without_labels(evaluation) + _choice(evaluation))
    own, others, measure = _measured(evaluation, accuracy)
    judged = int(evaluation.get("queries") or 0)
    known = [f"{BASELINES[name][0]} {_percent(found.accuracy)}" for name, found in others.items() if found]
    figures = measure + ", ".join([_percent(own.accuracy), *known])
    if (evaluation.get("classes") or 0) < 2:
        return Verdict(f"{figures}: no evidence, since the labels are all of one class; label images of another, too")
    if judged < LEAST_JUDGED:
        return Verdict(f"{figures}: no evidence, on {judged} judged images; label at least {LEAST_JUDGED}{_choice(evaluation)}")
    signs = {name: None if found is None else _compare(own, found, judged) for name, found in others.items()}
    sentence = f"{figures}: {_words(signs)}{_advice(evaluation, signs)}{_choice(evaluation)}"
    return Verdict(sentence, *(None if signs[name] is None else signs[name] == 1 for name in BASELINES))


def few_label(figures: Votes | RoundJudged | None, labels: int = LABELS) -> FewLabel | None:
    """Accuracy with so many labels a class, ``{labels, mean, low, high}``, of the figures of one embedding."""
    found = figures.get("few_label") if figures else None
    return next((one for one in found or [] if one["labels"] == labels), None)


def _measured(evaluation: Evaluation, knn_accuracy: float) -> tuple[_Measured, dict[Baseline, _Measured | None], str]:
    """What is published, its baselines, and the words for what was measured. What is published as it was is its own baseline."""
    own = _few(evaluation.get("trained"))
    if own:
        others = {name: _few(evaluation.get(name)) for name in BASELINES}
    else:
        accuracies = {name: evaluation.get(key) for name, (_, key) in BASELINES.items()}
        others = {name: None if accuracy is None else _Measured(accuracy) for name, accuracy in accuracies.items()}
    if evaluation.get("as_it_was"):
        others["frozen"] = None
    return own or _Measured(knn_accuracy), others, f"with {LABELS} labels a class " if own else ""


def _few(figures: Figures | None) -> _Measured | None:
    found = few_label(figures)
    if found is None:
        return None
    deviation = (found["high"] - found["low"]) / (2 * _DEVIATIONS)  # of one draw
    return _Measured(found["mean"], deviation**2 / _DRAWS)


def _compare(own: _Measured, baseline: _Measured, judged: int) -> int:
    """1 better, -1 worse, 0 within chance: as if the two had judged different images, which overstates the chance a little."""
    images = sum(one.accuracy * (1 - one.accuracy) for one in (own, baseline)) / judged
    difference = own.accuracy - baseline.accuracy
    if abs(difference) <= _DEVIATIONS * math.sqrt(images + own.variance + baseline.variance):
        return 0
    return int(math.copysign(1, difference))


def _words(signs: Mapping[Baseline, int | None]) -> str:
    known = [sign for sign in signs.values() if sign is not None]
    better, worse, equal = ([BASELINES[name][0] for name, sign in signs.items() if sign == wanted] for wanted in (1, -1, 0))
    if not known:
        return "nothing to compare with"
    for alike, comparison, few, all_ in (
        (better, "better than", "both", "all three"),
        (worse, "worse than", "both", "all three"),
        (equal, "no better than", "either", "any of them"),
    ):
        if len(alike) == len(known):
            return f"{comparison} {alike[0] if len(alike) == 1 else few if len(alike) == 2 else all_}"
    said = [f"better than {_joined(better, 'and')}"] if better else []
    said += [f"worse than {_joined(worse, 'and')}"] if worse else []
    if equal and not worse:  # what is worse than one baseline need not be compared with a weaker one
        said.append(f"no better than {_joined(equal, 'or')}")
    return ", ".join(said)


def _joined(names: list[str], word: str) -> str:
    return f" {word} ".join(names)


def _advice(evaluation: Evaluation, signs: Mapping[Baseline, int | None]) -> str:
    plain = [sign for name, sign in signs.items() if name != "frozen" and sign is not None]
    frozen = signs["frozen"]
    if evaluation.get("init", "random") != "random":
        if frozen == -1:
            return "; take that one (method frozen)"
        return _UNLIKE.get(min(plain, default=1), "")
    if frozen == -1:
        return "; start from pretrained weights"
    if min([*plain, 1 if frozen is None else frozen]) == 1:
        return ""
    return "; train longer" if frozen == 1 else "; train longer or start from pretrained weights"


def _choice(evaluation: Evaluation) -> str:
    """Where adapting was given up, that it was, and why."""
    if not evaluation.get("as_it_was") or evaluation.get("chosen_by") is None:
        return ""
    why = (
        "adapting did not help"
        if evaluation["chosen_by"] == "labels"
        else "adapting changed too much to be trusted without labels"
    )
    return f"; {why}: what is published is the pretrained encoder as it was"


def _without_labels(evaluation: Evaluation) -> str:
    """What figures without labels can say: whether the embedding collapsed and still changes, never whether it is useful."""
    rounds = evaluation.get("rounds")
    last = rounds[0 if evaluation.get("as_it_was") else -1] if rounds else None
    said = []
    if last and (rank := last.get("effective_rank")) is not None:
        said.append(f"the embedding uses about {rank:.0f} dimensions")
    if last and (agreement := last.get("neighbour_agreement")) is not None:
        said.append(f"{_percent(agreement)} of the nearest neighbours stayed the same in the last round")
    collapsed = [text for text in evaluation.get("warnings") or [] if "collapsed" in text]
    figures = said if evaluation.get("as_it_was") else collapsed[-1:] or said
    told = f"; without labels: {' and '.join(figures)}" if figures else ""
    return f"no accuracy, since no image to judge by has a label{told}; label at least {LEAST_JUDGED} images"


def _percent(fraction: float) -> str:
    return f"{100 * fraction:.1f} %"
