"""The presets: what each puts over the paper's settings (``core.ground.parameters``)."""

from collections.abc import Mapping
from typing import Any

import torch

from core.ground.methods import METHODS
from core.ground.parameters import ADAPTING

# Published settings; the paper's text and its released code differ in the schedule and the flip (docs/presets.md).
_PAPER: dict[str, Any] = {}
_RELEASED: dict[str, Any] = {**_PAPER, "schedule": "step-late", "flip": False}
# At 224 pixels (docs/reproduction.md). `large` is for ImageNet; what the paper leaves open there is of the released code of
# instance discrimination (Wu et al., CVPR 2018), whose loss is that of round 0.
_LARGE = {**_PAPER, "image_size": 224, "batch_size": 256, "temperature": 0.07, "weight_decay": 1e-4, "schedule": "step-late"}
_FINE_GRAINED = {**_PAPER, "image_size": 224}
# Many images at half their side (docs/decisions/0026), told apart at a sharp temperature, then pulled towards fifty neighbours
# at a warm one (0027): few labels and retrieval gain by far (docs/method.md).
_QUICK: dict[str, Any] = {
    "backbone": "resnet10",
    "rounds": 3,
    "epochs_first": None,
    "epochs": None,
    "select_rate": 0.5,
    "neighbours": None,
    "neighbour_loss": "mean",
    "temperature": 0.2,
    "temperature_next": 0.5,
    "batch_size": 64,
    "learning_rate": 0.03,
    "learning_rate_next": 0.03,
    "schedule": "cosine",
    "colour_jitter": (0.4, 0.4, 0.4, 0.1),
}
_BEST: dict[str, Any] = {**_QUICK, "learning_rate": 0.04, "learning_rate_next": 0.04}
PRESETS: dict[str, dict[str, Any]] = {
    "paper": _PAPER,
    "released": _RELEASED,
    "quick": _QUICK,
    "best": _BEST,
    "large": _LARGE,
    "fine-grained": _FINE_GRAINED,
}
# Over these two presets where training starts from weights that have learned already: round 0 is what they give as they are,
# and large neighbourhoods at a warm temperature adapt them, where small ones would push them apart (docs/method.md).
_ADAPTED: dict[str, Any] = {
    "rounds": 2,
    "select_rate": 1.0,
    "neighbours": None,
    "neighbour_loss": "mean",
    "temperature": 0.1,
    "temperature_next": None,
    "epochs_first": 0,
    "epochs": 6,
    "learning_rate": 0.005,
    "learning_rate_next": 0.005,
    "trained_blocks": 0,
    "weight_decay": 0.0,
    "crop_scale": (0.25, 1.0),
}


def default_preset(pretrained: bool = False) -> str:
    """``quick`` without a GPU; with one ``paper``, or ``best`` where training starts from weights that have learned already."""
    if not torch.cuda.is_available():
        return "quick"
    return "best" if pretrained else "paper"


def from_weights(preset: str, init: str) -> dict[str, Any]:
    """What a start from weights changes in the presets that are not the paper's."""
    if preset not in ADAPTING:
        return {}
    return {**_ADAPTED, **({"backbone": "efficientnet_lite0"} if init == "imagenet" else {})}


# What a method needs or has published otherwise than AND, whatever the preset.
_OF_METHOD: dict[str, dict[str, Any]] = {
    # As published, for Adam; what G makes is to look like the images, not like small parts of them in other colours.
    "bigan": {
        "learning_rate": 2e-4,
        "learning_rate_next": 2e-4,
        "weight_decay": 2.5e-5,
        "crop_scale": (0.79, 1.0),
        "colour_jitter": (0.0, 0.0, 0.0, 0.0),
        "greyscale": 0.0,
    },
    # Of lightly's SimCLR on our backbone, batches of 64, 128 and 256 (docs/method.md).
    "simclr": {"batch_size": 128, "learning_rate": 0.06, "learning_rate_next": 0.06},
    "splitbrain": {"colour_jitter": (0.0, 0.0, 0.0, 0.0), "greyscale": 0.0},  # it predicts colours: those that are there
}


def of_method(method: str, chosen: Mapping[str, Any], as_loaded: bool) -> dict[str, Any]:
    """What a method puts over a preset.

    Args:
        method: its name.
        chosen: the preset, with what a start from weights changes in it.
        as_loaded: whether round 0 is the weights that it starts from as they are.
    """
    facts = METHODS[method]
    if not facts.trains:
        return {"rounds": 1, "epochs_first": 0, "epochs": 1}
    # What has no head to train adapts the last blocks.
    head_alone = not facts.trains_head and (as_loaded or chosen.get("trained_blocks") == 0)
    adapted = {"trained_blocks": 2} if head_alone else {}
    if as_loaded:
        return adapted
    return {**({"rounds": 1} if facts.one_round else {}), **_OF_METHOD.get(method, {}), **adapted}
