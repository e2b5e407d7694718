"""The sentence on a model: what it is compared with, and when there is no evidence."""

from typing import Any

import pytest

from core.ground.verdict import verdict


def judged(accuracy: float | None, untrained: float | None, pixels: float | None, **more: Any) -> dict[str, Any]:
    figures = {"knn_accuracy": accuracy, "untrained_accuracy": untrained, "raw_pixel_accuracy": pixels}
    return {**figures, "queries": 2000, "classes": 10, "rounds": [], "warnings": [], **more}


@pytest.mark.parametrize(
    ("figures", "said", "better"),
    [
        ((0.383, 0.396, 0.565), "worse than raw pixels; train longer or start from pretrained weights", (False, False)),
        ((0.6, 0.4, 0.3), "better than both", (True, True)),
        ((0.6, 0.59, 0.605), "no better than either; train longer or start from pretrained weights", (False, False)),
        ((0.3, 0.4, 0.5), "worse than both; train longer or start from pretrained weights", (False, False)),
        ((0.5, 0.4, 0.6), "better than an untrained encoder, worse than raw pixels; train longer", (True, False)),
        ((0.5, 0.4, 0.5), "better than an untrained encoder, no better than raw pixels; train longer", (True, False)),
        ((0.5, 0.6, 0.4), "better than raw pixels, worse than an untrained encoder; train longer", (False, True)),
        ((0.5, 0.6, 0.5), "worse than an untrained encoder; train longer", (False, False)),
        ((1.0, 1.0, 0.9), "better than raw pixels, no better than an untrained encoder; train longer", (False, True)),
    ],
)
def test_every_baseline_is_named_and_compared(figures: Any, said: str, better: tuple[bool, bool]) -> None:
    found = verdict(judged(*figures))
    assert found is not None
    accuracy, untrained, pixels = (f"{100 * value:.1f} %" for value in figures)
    assert found.sentence.startswith(f"{accuracy}, an untrained encoder {untrained}, raw pixels {pixels}: {said}")
    assert (found.better_than_untrained, found.better_than_raw_pixels) == better


def figures_of(few: float | None, spread: float = 0.02) -> dict[str, Any] | None:
    return None if few is None else {"few_label": [{"labels": 5, "mean": few, "low": few - spread, "high": few + spread}]}


def few(own: float, frozen: float | None, untrained: float, pixels: float, **more: Any) -> dict[str, Any]:
    named = {"trained": own, "frozen": frozen, "untrained": untrained, "raw_pixels": pixels}
    return {**judged(0.5, 0.5, 0.5, **more), **{name: figures_of(value) for name, value in named.items()}}


@pytest.mark.parametrize(
    ("evaluation", "said", "better"),
    [
        (few(0.7, 0.6, 0.4, 0.3), "better than all three", (True, True, True)),
        (
            few(0.5, 0.7, 0.4, 0.3),
            "better than an untrained encoder and raw pixels, worse than the pretrained encoder as it is;"
            " start from pretrained weights",
            (False, True, True),
        ),
        (few(0.2, 0.7, 0.4, 0.3), "worse than all three; start from pretrained weights", (False, False, False)),
        (
            few(0.5, 0.5, 0.4, 0.3),
            "better than an untrained encoder and raw pixels, no better than the pretrained encoder as it is;"
            " train longer or start from pretrained weights",
            (False, True, True),
        ),
        (
            few(0.5, 0.4, 0.4, 0.6),
            "better than the pretrained encoder as it is and an untrained encoder, worse than raw pixels; train longer",
            (True, True, False),
        ),
        (
            few(0.5, 0.45, 0.4, 0.6, init="imagenet"),
            "better than the pretrained encoder as it is and an untrained encoder, worse than raw pixels;"
            " these images are unlike those it knows: train from nothing",
            (True, True, False),
        ),
        (few(0.7, 0.7, 0.4, 0.3, init="imagenet", as_it_was=True, chosen_by=None), "better than both", (None, True, True)),
        (
            few(0.7, 0.7, 0.4, 0.3, init="imagenet", as_it_was=True, chosen_by="labels"),
            "better than both; adapting did not help: what is published is the pretrained encoder as it was",
            (None, True, True),
        ),
        (
            few(0.6, 0.6, 0.5, 0.7, init="weights", as_it_was=True, chosen_by=None),
            "better than an untrained encoder, worse than raw pixels; these images are unlike those it knows: train from nothing",
            (None, True, False),
        ),
        (
            few(0.7, 0.7, 0.4, 0.7, init="imagenet", as_it_was=True, chosen_by=None),
            "better than an untrained encoder, no better than raw pixels;"
            " these images may be unlike those it knows: try training from nothing",
            (None, True, False),
        ),
        (
            few(0.5, 0.7, 0.4, 0.3, init="imagenet"),
            "better than an untrained encoder and raw pixels, worse than the pretrained encoder as it is;"
            " take that one (method frozen)",
            (False, True, True),
        ),
        (few(0.7, None, 0.4, 0.3), "better than both", (None, True, True)),
    ],
)
def test_few_labels_compare_with_the_pretrained_encoder_too(evaluation: Any, said: str, better: tuple[bool | None, ...]) -> None:
    found = verdict(evaluation)
    assert found is not None and found.sentence.endswith(f" %: {said}")
    assert found.sentence.startswith("with 5 labels a class ")
    assert ("the pretrained encoder as it is" in found.sentence.partition(":")[0]) == (better[0] is not None)
    assert (found.better_than_frozen, found.better_than_untrained, found.better_than_raw_pixels) == better


def test_the_luck_of_the_draws_is_chance_too() -> None:
    named = ("trained", "untrained", "raw_pixels")
    for spread, better in ((0.02, True), (0.6, False)):
        values = {name: figures_of(value, spread) for name, value in zip(named, (0.6, 0.5, 0.5), strict=True)}
        found = verdict({**judged(0.5, 0.5, 0.5, queries=20_000), **values})
        assert found is not None and found.better_than_untrained == better


def test_without_labels_it_is_said_that_adapting_was_given_up() -> None:
    rounds = [{"effective_rank": 80.0}, {"effective_rank": 1.2}]
    given_up = {"as_it_was": True, "chosen_by": "neighbours", "warnings": ["the embedding has collapsed to a point"]}
    found = verdict(judged(None, None, None, rounds=rounds) | given_up)
    assert found is not None and "uses about 80 dimensions" in found.sentence and "collapsed" not in found.sentence
    assert found.sentence.endswith("without labels: what is published is the pretrained encoder as it was")


def test_chance_is_not_better() -> None:
    few, many = verdict(judged(0.55, 0.5, 0.5, queries=200)), verdict(judged(0.55, 0.5, 0.5, queries=20_000))
    assert few and not few.better_than_untrained and "no better than either" in few.sentence
    assert many and many.better_than_untrained and "better than both" in many.sentence


@pytest.mark.parametrize(
    ("evaluation", "said"),
    [
        (judged(1.0, 0.5, 0.5, queries=12), "no evidence, on 12 judged images; label at least 100"),
        (judged(1.0, 1.0, 1.0, classes=1), "no evidence, since the labels are all of one class"),
        (judged(None, None, None, queries=0), "no accuracy, since no image to judge by has a label; label at least"),
        (
            judged(None, None, None, rounds=[{"effective_rank": 45.2, "neighbour_agreement": None}]),
            "without labels: the embedding uses about 45 dimensions",
        ),
        (
            judged(None, None, None, rounds=[{"effective_rank": 1.1}], warnings=["the embedding has collapsed to a point"]),
            "without labels: the embedding has collapsed to a point",
        ),
    ],
)
def test_without_evidence_nothing_is_claimed(evaluation: dict[str, Any], said: str) -> None:
    found = verdict(evaluation)
    assert found is not None and said in found.sentence
    assert (found.better_than_untrained, found.better_than_raw_pixels) == (None, None)


def test_no_evaluation_no_verdict() -> None:
    assert verdict(None) is None


def test_what_learned_from_labels_is_not_judged_by_them() -> None:
    evaluation = {**few(0.9, 0.6, 0.4, 0.3), "method": "supervised", "held_out": False}
    found = verdict(evaluation)
    assert found is not None and found.better_than_untrained is None
    assert found.sentence.endswith(
        "no evidence, since it learned from the labels that it is judged by; judge it on held-out images"
    )
    judged_apart = verdict({**evaluation, "held_out": True})
    assert judged_apart is not None and judged_apart.better_than_untrained


def test_nobody_is_told_to_train_longer_what_trained_nothing() -> None:
    found = verdict({**few(0.4, None, 0.4, 0.3), "method": "random"})
    assert found is not None and found.sentence.endswith("; train")
