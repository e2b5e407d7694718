"""The verdict on a model: one sentence that compares its evaluation (of ``trainer evaluate``) with its baselines."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from core.ground.methods import METHODS, MethodFacts
from core.ground.reports import Evaluation, FewLabel, Figures, RoundJudged, Votes

LEAST_JUDGED = 100  # with fewer, the 95 % interval of an accuracy is wider than 10 points to either side
_DEVIATIONS = 1.96  # of the difference of two accuracies: 95 %
LABELS, _DRAWS = 5, 20  # labels a class by which is compared, and how often they were drawn (trainer/evaluation/metrics.py)
_UNLIKE = {  # where a model that started from pretrained weights is worse than, or no better than, one that learned nothing
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
    """The sentence, and whether the model is better than each baseline: ``None`` where there is no evidence, ``False`` also where
    the difference may be chance with so few images."""

    sentence: str
    better_than_frozen: bool | None = None
    better_than_untrained: bool | None = None
    better_than_raw_pixels: bool | None = None


@dataclass(frozen=True)
class _Measured:
    """An accuracy, and its variance beyond the one that the number of judged images gives."""

    accuracy: float
    variance: float = 0.0


def verdict(evaluation: Evaluation | None) -> Verdict | None:
    """The verdict on a model; ``None`` without an evaluation. It rests on one measure, so that only one significance test is
    made: accuracy with five labels a class where they could be drawn, else kNN accuracy."""
    if not evaluation:
        return None
    accuracy = evaluation.get("knn_accuracy")
    if accuracy is None:
        return Verdict(_without_labels(evaluation) + _choice(evaluation))
    own, others, measure = _measured(evaluation, accuracy)
    judged = int(evaluation.get("queries") or 0)
    known = [f"{BASELINES[name][0]} {_percent(baseline.accuracy)}" for name, baseline in others.items() if baseline]
    figures = measure + ", ".join([_percent(own.accuracy), *known])
    if (evaluation.get("classes") or 0) < 2:
        return Verdict(f"{figures}: no evidence, since the labels are all of one class; label images of another, too")
    if judged < LEAST_JUDGED:
        return Verdict(f"{figures}: no evidence, on {judged} judged images; label at least {LEAST_JUDGED}{_choice(evaluation)}")
    if _facts(evaluation).reads_labels and not evaluation["held_out"]:
        return Verdict(
            f"{figures}: no evidence, since it learned from the labels that it is judged by; judge it on held-out images"
        )
    signs = {name: None if baseline is None else _compare(own, baseline, judged) for name, baseline in others.items()}
    sentence = f"{figures}: {_words(signs)}{_advice(evaluation, signs)}{_choice(evaluation)}"
    return Verdict(sentence, *(None if signs[name] is None else signs[name] == 1 for name in BASELINES))


def few_label(figures: Votes | RoundJudged | None, labels: int = LABELS) -> FewLabel | None:
    """Accuracy with so many labels a class, ``{labels, mean, low, high}``, of the figures of one embedding."""
    accuracies = figures.get("few_label") if figures else None
    return next((accuracy for accuracy in accuracies or [] if accuracy["labels"] == labels), None)


def _measured(evaluation: Evaluation, knn_accuracy: float) -> tuple[_Measured, dict[Baseline, _Measured | None], str]:
    """What is published, its baselines, and the words for the measure. An encoder published as it was has no frozen baseline: it
    is that baseline itself."""
    own = _few_label_accuracy(evaluation.get("trained"))
    if own:
        others = {name: _few_label_accuracy(evaluation.get(name)) for name in BASELINES}
    else:
        accuracies = {name: evaluation.get(key) for name, (_, key) in BASELINES.items()}
        others = {name: None if accuracy is None else _Measured(accuracy) for name, accuracy in accuracies.items()}
    if evaluation.get("as_it_was"):
        others["frozen"] = None
    return own or _Measured(knn_accuracy), others, f"with {LABELS} labels a class " if own else ""


def _few_label_accuracy(figures: Figures | None) -> _Measured | None:
    accuracy = few_label(figures)
    if accuracy is None:
        return None
    deviation = (accuracy["high"] - accuracy["low"]) / (2 * _DEVIATIONS)  # of one draw
    return _Measured(accuracy["mean"], deviation**2 / _DRAWS)


def _compare(own: _Measured, baseline: _Measured, judged: int) -> int:
    """1 better, -1 worse, 0 within chance. The test treats the two as judged on different images, which makes it slightly too
    cautious."""
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
    for alike, comparison, both, all_three in (
        (better, "better than", "both", "all three"),
        (worse, "worse than", "both", "all three"),
        (equal, "no better than", "either", "any of them"),
    ):
        if len(alike) == len(known):
            return f"{comparison} {alike[0] if len(alike) == 1 else both if len(alike) == 2 else all_three}"
    parts = [f"better than {_joined(better, 'and')}"] if better else []
    parts += [f"worse than {_joined(worse, 'and')}"] if worse else []
    if equal and not worse:  # what is worse than one baseline need not be compared with a weaker one
        parts.append(f"no better than {_joined(equal, 'or')}")
    return ", ".join(parts)


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
    if not _facts(evaluation).trains:
        return "; train"
    if min([*plain, 1 if frozen is None else frozen]) == 1:
        return ""
    return "; train longer" if frozen == 1 else "; train longer or start from pretrained weights"


def _facts(evaluation: Evaluation) -> MethodFacts:
    return METHODS[evaluation.get("method", "and")]


def _choice(evaluation: Evaluation) -> str:
    """That adapting was given up, and why; empty where it was not."""
    if not evaluation.get("as_it_was") or evaluation.get("chosen_by") is None:
        return ""
    why = (
        "adapting did not help"
        if evaluation["chosen_by"] == "labels"
        else "adapting changed too much to be trusted without labels"
    )
    return f"; {why}: what is published is the pretrained encoder as it was"


def _without_labels(evaluation: Evaluation) -> str:
    """What figures without labels show: whether the embedding collapsed and whether it still changes, never whether it is
    useful."""
    rounds = evaluation.get("rounds")
    last = rounds[0 if evaluation.get("as_it_was") else -1] if rounds else None
    parts = []
    if last and (rank := last.get("effective_rank")) is not None:
        parts.append(f"the embedding uses about {rank:.0f} dimensions")
    if last and (agreement := last.get("neighbour_agreement")) is not None:
        parts.append(f"{_percent(agreement)} of the nearest neighbours stayed the same in the last round")
    collapsed = [text for text in evaluation.get("warnings") or [] if "collapsed" in text]
    figures = parts if evaluation.get("as_it_was") else collapsed[-1:] or parts
    without_labels = f"; without labels: {' and '.join(figures)}" if figures else ""
    return f"no accuracy, since no image to judge by has a label{without_labels}; label at least {LEAST_JUDGED} images"


def _percent(fraction: float) -> str:
    return f"{100 * fraction:.1f} %"
