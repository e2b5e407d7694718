"""What a configuration leaves open, chosen from the images and the device by fixed rules."""

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from core.ground import parameters
from core.ground.methods import METHODS
from trainer.config import ConfigError, TrainConfig

_FEW, _MANY = 50, 100  # most neighbours: of images whose likeness is still to be learned, and where it is known


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
    if reason := parameters.too_few_images(count, neighbours, config.clusters or 0):
        raise ConfigError(reason)
    device = resolve_device(config.device)
    side = config.image_size or _side(median_side, config, device)
    first = _first_epochs(config, count, side) if config.epochs_first is None else config.epochs_first
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
        clusters=config.clusters or max(2, count // 128),
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


def _first_epochs(config: TrainConfig, count: int, side: int) -> int:
    """Those of round 0. Every method sees as many images as AND: one of a single round those of all its rounds, one of two views
    half as many twice."""
    facts, epochs = METHODS[config.method], _epochs(count, side, config.preset)
    return math.ceil((epochs + (epochs // 3 if facts.one_round else 0)) / facts.views)


def _epochs(count: int, side: int, preset: str) -> int:
    """Epochs of AND's round 0 for ``quick``: about 1,600,000 images of 16 x 16 in all, from 8 to 200 epochs; ten times as many
    for ``best``."""
    images = 16_000_000 if preset == "best" else 1_600_000
    return max(8, min(200, math.ceil(images * (16 / max(side, 16)) ** 2 / count)))
