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

from core import demands


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
    image_size: int | None = None  # side in pixels
    dim: int = 128
    rounds: int = 5  # round 0 discriminates instances, each later one has more anchors
    epochs_first: int | None = 200
    epochs: int | None = 200
    select_rate: float = 0.25  # int(N * select_rate * round) samples are anchors
    neighbours: int = 1  # k, the size of an anchor's neighbourhood without itself
    discovery_features: str = "bank"
    temperature: float = 0.1
    memory_momentum: float = 0.5
    batch_size: int = 128
    learning_rate: float = 0.03
    learning_rate_next: float = 0.03  # rounds after the first
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
    def make(cls, params: Mapping[str, Any] | None = None) -> "TrainConfig":
        """The preset named in ``params`` (default: ``default_preset()``) with every other entry put over it.

        Raises:
            ConfigError: an unknown name, a wrong type, or a value out of bounds; the message names what is allowed.
        """
        given = {name: value for name, value in (params or {}).items() if value is not None}
        preset = given.get("preset", default_preset())
        if not isinstance(preset, str) or preset not in PRESETS:
            raise ConfigError(f"preset: {preset!r} is not one of {', '.join(PRESETS)}")
        unknown = sorted(set(given) - {field.name for field in fields(cls)})
        if unknown:
            names = [field.name for field in fields(cls)]
            near = get_close_matches(unknown[0], names, 1)
            meant = f"; did you mean {near[0]}?" if near else ""
            raise ConfigError(f"unknown parameter {', '.join(unknown)}; allowed: {', '.join(names)}{meant}")
        checked = {name: _check(name, value) for name, value in given.items()}
        config = cls(**{**PRESETS[preset], **checked, "preset": preset})
        if config.crop_scale[0] > config.crop_scale[1]:
            raise ConfigError(f"crop_scale: {config.crop_scale[0]} is larger than {config.crop_scale[1]}")
        return config

    def to_json(self) -> dict[str, Any]:
        """A plain dictionary that ``make`` accepts."""
        return json.loads(json.dumps(asdict(self)))  # type: ignore[no-any-return]


# Published settings; the paper's text and its released code differ in the schedule and the flip (docs/presets.md).
_PAPER: dict[str, Any] = {}
_RELEASED: dict[str, Any] = {**_PAPER, "schedule": "step-late", "flip": False}
# Many small steps: on 10,000 CIFAR-10 images and a CPU's budget, batches of 32 beat 128 by far (docs/decisions/0006).
_QUICK: dict[str, Any] = {
    "backbone": "resnet10",
    "epochs_first": None,
    "epochs": None,
    "batch_size": 32,
    "learning_rate": 0.015,
    "learning_rate_next": 0.01,
    "schedule": "cosine",
    "colour_jitter": (0.4, 0.4, 0.4, 0.1),
}
PRESETS: dict[str, dict[str, Any]] = {"paper": _PAPER, "released": _RELEASED, "quick": _QUICK}

CHOICES: dict[str, tuple[str, ...]] = {
    "preset": tuple(PRESETS),
    "method": ("and", "instance", "random_anchors", "all_anchors"),
    "backbone": ("resnet10", "resnet18", "resnet34", "resnet50"),
    "discovery_features": ("bank", "encoder"),
    "schedule": ("step", "step-late", "cosine"),
    "precision": ("auto", "float32", "bfloat16"),
}
BOUNDS: dict[str, tuple[float, float]] = {
    "image_size": (8, 512),
    "dim": (2, 2048),
    "rounds": (1, 20),
    "epochs_first": (1, 10_000),
    "epochs": (1, 10_000),
    "select_rate": (0.0, 1.0),
    "neighbours": (1, 100),
    "temperature": (0.01, 10.0),
    "memory_momentum": (0.0, 0.999),
    "batch_size": (4, 8192),
    "learning_rate": (1e-6, 10.0),
    "learning_rate_next": (1e-6, 10.0),
    "weight_decay": (0.0, 1.0),
    "crop_scale": (0.01, 1.0),
    "colour_jitter": (0.0, 1.0),
    "greyscale": (0.0, 1.0),
    "seed": (0, 2**31 - 1),
}
_LENGTHS = {"crop_scale": 2, "colour_jitter": 4}
_INTEGERS = {"image_size", "dim", "rounds", "epochs_first", "epochs", "neighbours", "batch_size", "seed"}


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


def default_preset() -> str:
    """``paper`` where there is a GPU, ``quick`` where there is none."""
    return "paper" if torch.cuda.is_available() else "quick"


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
    if reason := demands.unmet(count, config.neighbours):
        raise ConfigError(reason)
    device = resolve_device(config.device)
    side = config.image_size or _side(median_side, largest=224 if device.type == "cuda" else 48)
    first = config.epochs_first or _quick_epochs(count, side)
    precision = config.precision
    if precision == "auto":
        precision = "bfloat16" if gains_from_bfloat16(device) else "float32"
    return replace(
        config,
        image_size=side,
        epochs_first=first,
        epochs=config.epochs or max(1, first // 4),
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
    open_ = {name: saved[name] for name, value in vars(config).items() if value is None or value == "auto"}
    return replace(config, **{name: value for name, value in open_.items() if name != "device"})


def _side(median_side: int, largest: int) -> int:
    """The smallest of 16, 24, 32, 48, 64, 96, 128, 224 that is not below the median side, up to ``largest``."""
    sides = [side for side in (16, 24, 32, 48, 64, 96, 128, 224) if side <= largest]
    return next((side for side in sides if side >= median_side), sides[-1])


def _quick_epochs(count: int, side: int) -> int:
    """Epochs of round 0 for ``quick``: about 340,000 images of 32 x 32 in all, from 8 to 60 epochs."""
    budget = 340_000 * (32 / max(side, 16)) ** 2
    return max(8, min(60, math.ceil(budget / count)))
