"""Training parameters: names, bounds and the frozen presets.

A parameter left ``None`` is chosen by ``resolve`` from the data and the device by a fixed rule; the choice is recorded in
``config.json`` beside the checkpoints and in the model's manifest.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import torch

from core.ground import parameters


class InputError(ValueError):
    """Something the user gave cannot be used; the message says what, and what is allowed."""


class ConfigError(InputError):
    """A parameter that does not exist or has a value that is not allowed."""


@dataclass(frozen=True)
class TrainConfig:
    """Parameters of one training run; ``TrainConfig.make`` builds it from a preset and overrides.

    Equations are those of AND (Huang et al. 2019), as given in ``trainer/loss.py`` and ``trainer/neighbourhoods.py``.
    """

    preset: str = "quick"
    method: str = "and"
    backbone: str = "resnet18"
    image_size: int | None = None  # side in pixels, as images are encoded when all is learned
    crop_size: int | None = None  # side in pixels of the random crops to learn from
    dim: int = 128
    rounds: int = 5  # round 0 discriminates instances, each later one has more anchors
    epochs_first: int | None = 200
    epochs: int | None = 200
    select_rate: float = 0.25  # int(N * select_rate * round) samples are anchors
    neighbours: int | None = 1  # k, the size of an anchor's neighbourhood without itself
    neighbour_loss: str = "union"  # the paper's, or the mean of -log p_ij over the neighbourhood
    discovery_features: str = "bank"
    temperature: float = 0.1  # of round 0's loss, and of entropies
    temperature_next: float | None = None  # of the loss of rounds after the first; None: the same
    memory_momentum: float = 0.5
    batch_size: int = 128
    learning_rate: float = 0.03
    learning_rate_next: float = 0.03  # rounds after the first
    backbone_rate: float = 1.0  # of all but the head, as a multiple of the learning rate
    trained_blocks: int = 100  # of the backbone, counted from its end; the rest stays as it began
    schedule: str = "step"
    weight_decay: float = 5e-4
    crop_scale: tuple[float, float] = (0.2, 1.0)  # area of a random crop as a fraction of the image's
    colour_jitter: tuple[float, float, float, float] = (0.4, 0.4, 0.4, 0.4)  # brightness, contrast, saturation, hue
    greyscale: float = 0.2  # probability
    flip: bool = True
    seed: int = 0
    precision: str = "auto"
    device: str = "auto"
    init: str = "random"

    @classmethod
    def make(cls, params: Mapping[str, Any] | None = None, run: Mapping[str, Any] | None = None) -> "TrainConfig":
        """The preset named in ``params`` (default: ``default_preset``) with every other entry put over it.

        Args:
            params: parameters by name; ``None`` means not given.
            run: the configuration that an earlier run wrote, which then stands in the preset's place: whatever its preset means
                by now, the run keeps what it began with. A parameter that is newer than the run has its default.

        Raises:
            ConfigError: an unknown name, a wrong type, a value out of bounds, or values that exclude each other; the message
                names what is allowed.
        """
        given = {name: value for name, value in (params or {}).items() if value is not None}
        pretrained = given.get("init", "random") != "random"
        before = {**asdict(cls()), **(run or {})}
        if run:
            before |= {"crop_size": run.get("crop_size", run.get("image_size"))}  # one side, before crops had their own
        preset = given.get("preset", before["preset"] if run else default_preset(pretrained))
        if not isinstance(preset, str) or preset not in PRESETS:
            raise ConfigError(f"preset: {preset!r} is not one of {', '.join(PRESETS)}")
        unknown = sorted({*given, *before} - {field.name for field in fields(cls)})
        if unknown:
            names = [field.name for field in fields(cls)]
            near = get_close_matches(unknown[0], names, 1)
            meant = f"; did you mean {near[0]}?" if near else ""
            raise ConfigError(f"unknown parameter {', '.join(unknown)}; allowed: {', '.join(names)}{meant}")
        checked = {name: _check(name, value) for name, value in given.items()}
        if run:
            chosen = {name: None if value is None else _check(name, value) for name, value in before.items()}
        else:
            chosen = {**PRESETS[preset], **(_from_weights(preset, given["init"]) if pretrained else {})}
        if given.get("method") == "frozen":
            chosen |= {"rounds": 1, "epochs_first": 0, "epochs": 1}
        config = cls(**{**chosen, **checked, "preset": preset})
        _require_fit(config)
        if config.crop_scale[0] > config.crop_scale[1]:
            raise ConfigError(f"crop_scale: {config.crop_scale[0]} is larger than {config.crop_scale[1]}")
        return config

    def to_json(self) -> dict[str, Any]:
        """A plain dictionary, from which ``make`` with it as ``run`` makes the same configuration."""
        return json.loads(json.dumps(asdict(self)))  # type: ignore[no-any-return]


# Published settings; the paper's text and its released code differ in the schedule and the flip (docs/presets.md).
_PAPER: dict[str, Any] = {}
_RELEASED: dict[str, Any] = {**_PAPER, "schedule": "step-late", "flip": False}
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
PRESETS: dict[str, dict[str, Any]] = {"paper": _PAPER, "released": _RELEASED, "quick": _QUICK, "best": _BEST}
# Over these two presets where training starts from weights that have learned already: round 0 is what they give as they are,
# and large neighbourhoods at a warm temperature adapt them, where small ones would push them apart (docs/method.md).
_FEW, _MANY = 50, 100  # most neighbours: of images whose likeness is still to be learned, and where it is known
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

CHOICES: dict[str, tuple[str, ...]] = {
    "preset": tuple(PRESETS),
    "method": ("and", "instance", "random_anchors", "all_anchors", "frozen"),
    "backbone": ("resnet10", "resnet18", "resnet34", "resnet50", "efficientnet_lite0"),
    "neighbour_loss": ("union", "mean"),
    "discovery_features": ("bank", "encoder"),
    "schedule": ("step", "step-late", "cosine"),
    "precision": ("auto", "float32", "bfloat16"),
}
BOUNDS: dict[str, tuple[float, float]] = {
    "image_size": (8, 512),
    "crop_size": (8, 512),
    "dim": (2, 2048),
    "rounds": (1, 20),
    "epochs_first": (0, 10_000),
    "epochs": (1, 10_000),
    "select_rate": (0.0, 1.0),
    "neighbours": (1, 100),
    "temperature": (0.01, 10.0),
    "temperature_next": (0.01, 10.0),
    "memory_momentum": (0.0, 0.999),
    "batch_size": (4, 8192),
    "learning_rate": (1e-6, 10.0),
    "learning_rate_next": (1e-6, 10.0),
    "backbone_rate": (1e-6, 1.0),
    "trained_blocks": (0, 100),
    "weight_decay": (0.0, 1.0),
    "crop_scale": (0.01, 1.0),
    "colour_jitter": (0.0, 1.0),
    "greyscale": (0.0, 1.0),
    "seed": (0, 2**31 - 1),
}
_LENGTHS = {"crop_scale": 2, "colour_jitter": 4}
_INTEGERS = {
    "image_size",
    "crop_size",
    "dim",
    "rounds",
    "epochs_first",
    "epochs",
    "neighbours",
    "trained_blocks",
    "batch_size",
    "seed",
}


def _check(name: str, value: Any) -> Any:
    if name in CHOICES:
        if value not in CHOICES[name]:
            raise ConfigError(f"{name}: {value!r} is not one of {', '.join(CHOICES[name])}")
        return value
    if name in _LENGTHS:
        if not isinstance(value, (list, tuple)) or len(value) != _LENGTHS[name]:
            raise ConfigError(f"{name}: {value!r} is not a list of {_LENGTHS[name]} numbers")
        return tuple(_number(name, part) for part in value)
    if name in BOUNDS:
        return _number(name, value)
    expected = bool if name == "flip" else str
    if not isinstance(value, expected):
        raise ConfigError(f"{name}: {value!r} is not a {'boolean' if expected is bool else 'string'}")
    return value


def _number(name: str, value: Any) -> int | float:
    low, high = BOUNDS[name]
    kind = "an integer" if name in _INTEGERS else "a number"
    integral = isinstance(value, int) or (isinstance(value, float) and value.is_integer())
    if isinstance(value, bool) or not isinstance(value, (int, float)) or (name in _INTEGERS and not integral):
        raise ConfigError(f"{name}: {value!r} is not {kind} from {low:g} to {high:g}")
    if not low <= value <= high:
        raise ConfigError(f"{name}: {value!r} is outside {low:g} to {high:g}")
    return int(value) if name in _INTEGERS else float(value)


def default_preset(pretrained: bool = False) -> str:
    """``quick`` without a GPU; with one ``paper``, or ``best`` where training starts from weights that have learned already."""
    if not torch.cuda.is_available():
        return "quick"
    return "best" if pretrained else "paper"


def _from_weights(preset: str, init: Any) -> dict[str, Any]:
    """What a start from weights changes in the presets that are not the paper's."""
    if preset not in ("quick", "best"):
        return {}
    return {**_ADAPTED, **({"backbone": "efficientnet_lite0"} if init == "imagenet" else {})}


def _require_fit(config: TrainConfig) -> None:
    """Raises ``ConfigError`` where parameters exclude each other."""
    if config.method == "frozen":
        if config.init == "random":
            raise ConfigError(
                "method: frozen takes weights as they are; set init to imagenet, a model's id (in a job) or a safetensors file"
            )
        if config.rounds != 1 or config.epochs_first != 0:
            raise ConfigError("method: frozen trains nothing, so rounds is 1 and epochs_first 0; leave them out")
    if config.epochs_first == 0 and config.init == "random":
        raise ConfigError("epochs_first: 0 trains nothing in round 0, which takes weights to start from; set init, or 1 or more")


def resolve_device(name: str) -> torch.device:
    """``auto`` is the first GPU where there is one, else the CPU.

    Raises:
        ConfigError: the device does not exist here.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ConfigError(f"device: {name!r} is not auto, cpu, cuda or cuda:N") from error
    if device.type not in ("cpu", "cuda"):
        raise ConfigError(f"device: {name!r} is not auto, cpu, cuda or cuda:N")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ConfigError(f"device: {name!r} is not here ({torch.cuda.device_count()} GPUs found)")
    return device


def gains_from_bfloat16(device: torch.device) -> bool:
    """Whether the device multiplies bfloat16 in hardware; emulated it is many times slower than float32."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    if hasattr(torch.cpu, "get_capabilities"):  # torch 2.11 and later
        flags = {name for name, value in torch.cpu.get_capabilities().items() if value}
    else:
        cpuinfo = Path("/proc/cpuinfo")
        flags = set(cpuinfo.read_text().split()) if cpuinfo.exists() else set()
    return bool(flags & {"avx512_bf16", "amx_bf16", "bf16"})


def resolve(config: TrainConfig, count: int, median_side: int) -> TrainConfig:
    """Choose what was left open, from the number of images, their median shorter side and the device.

    Args:
        config: parameters, some ``None`` or ``auto``.
        count: number of distinct images N.
        median_side: median over the images of the shorter side in pixels.

    Returns:
        A configuration in which nothing is open.

    Raises:
        ConfigError: too few images, or a device that is not here.
    """
    neighbours = config.neighbours or min(_MANY if config.epochs_first == 0 else _FEW, max(1, count // 30))
    if reason := parameters.unmet(count, neighbours):
        raise ConfigError(reason)
    device = resolve_device(config.device)
    side = config.image_size or _side(median_side, config, device)
    first = _epochs(count, side, config.preset) if config.epochs_first is None else config.epochs_first
    precision = config.precision
    if precision == "auto":
        precision = "bfloat16" if gains_from_bfloat16(device) else "float32"
    return replace(
        config,
        image_size=side,
        crop_size=config.crop_size or (_crop_side(side) if config.epochs_first == 0 else side),
        neighbours=neighbours,
        epochs_first=first,
        epochs=config.epochs or max(1, first // (3 * max(1, config.rounds - 1))),
        batch_size=min(config.batch_size, count),
        precision=precision,
        device=str(device),
    )


def continued(config: TrainConfig, saved: Mapping[str, Any]) -> TrainConfig:
    """What is open in ``config`` as an earlier attempt chose it, perhaps on another machine; the device is chosen anew.

    Args:
        config: the parameters asked for.
        saved: a resolved configuration, from a checkpoint.
    """
    open_ = {name: saved.get(name, value) for name, value in vars(config).items() if value is None or value == "auto"}
    return replace(config, **{name: value for name, value in open_.items() if name != "device"})


def _side(median_side: int, config: TrainConfig, device: torch.device) -> int:
    """The smallest side that is not below the median, for ``quick`` from nothing not below half of it: of 16 to 48 pixels on a
    CPU, to 224 on a GPU; EfficientNet, which halves it five times, and whatever takes ImageNet's weights as they are takes 128 to
    224 on either, so that smaller images are enlarged."""
    if config.backbone == "efficientnet_lite0" or (config.init == "imagenet" and config.epochs_first == 0):
        sides = [128, 160, 192, 224]
    else:
        largest = 224 if device.type == "cuda" else 48
        if config.preset == "quick" and config.init == "random":
            median_side, largest = math.ceil(median_side / 2), largest // 2
        sides = [side for side in (16, 24, 32, 48, 64, 96, 128, 224) if side <= largest]
    return next((side for side in sides if side >= median_side), sides[-1])


def _crop_side(side: int) -> int:
    """Five sevenths of the side in whole 32s: objects then look as large in a random crop as in the whole image (Touvron et al.
    2019), and an epoch takes half the time."""
    return min(side, max(32, 32 * round(side * 5 / 7 / 32)))


def _epochs(count: int, side: int, preset: str) -> int:
    """Epochs of round 0 for ``quick``: about 1,600,000 images of 16 x 16 in all, from 8 to 200 epochs; ten times as many for
    ``best``."""
    images = 16_000_000 if preset == "best" else 1_600_000
    return max(8, min(200, math.ceil(images * (16 / max(side, 16)) ** 2 / count)))
