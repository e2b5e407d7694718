"""The configuration of a training run: parameters over a preset, checked.

A parameter left ``None`` is chosen by ``trainer.resolve`` from the data and the device by a fixed rule; the choice is recorded in
``config.json`` beside the checkpoints and in the model's manifest.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from difflib import get_close_matches
from typing import Any

from core.ground.parameters import PARAMETERS, TrainingParameters, conflict, foreign
from trainer.presets import PRESETS, default_preset, from_weights, of_method


class InputError(ValueError):
    """Something the user gave cannot be used; the message says what, and what is allowed."""


class ConfigError(InputError):
    """A parameter that does not exist or has a value that is not allowed."""


@dataclass(frozen=True)
class TrainConfig(TrainingParameters):
    """Parameters of one training run; ``TrainConfig.make`` builds it from a preset and overrides."""

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
        if unknown := sorted({*given, *before} - PARAMETERS.keys()):
            meant = _meant(unknown[0], PARAMETERS)
            raise ConfigError(f"unknown parameter {', '.join(unknown)}; allowed: {', '.join(PARAMETERS)}{meant}")
        checked = {name: _check(name, value) for name, value in given.items()}
        if run:
            chosen = {name: None if value is None else _check(name, value) for name, value in before.items()}
        else:
            chosen = {**PRESETS[preset], **(from_weights(preset, given["init"]) if pretrained else {})}
            as_loaded = pretrained and checked.get("epochs_first", chosen.get("epochs_first")) == 0
            chosen |= of_method(str(checked.get("method", "and")), chosen, as_loaded)
        config = cls(**{**chosen, **checked, "preset": preset})
        if reason := conflict(vars(config)) or foreign(given, config.method):
            raise ConfigError(reason)
        return config

    def to_json(self) -> dict[str, Any]:
        """A plain dictionary, from which ``make`` with it as ``run`` makes the same configuration."""
        return json.loads(json.dumps(asdict(self), allow_nan=False))  # type: ignore[no-any-return]


def _meant(given: str, known: Iterable[str]) -> str:
    """A hint at the nearest of the known names, where one is near."""
    near = get_close_matches(given, known, 1)
    return f"; did you mean {near[0]}?" if near else ""


def _check(name: str, value: Any) -> Any:
    """The value in its parameter's type; raises ``ConfigError`` where it is not allowed."""
    allowed = PARAMETERS[name]
    if allowed.choices:
        if value not in allowed.choices:
            raise ConfigError(f"{name}: {value!r} is not one of {allowed.allowed}{_meant(str(value).lower(), allowed.choices)}")
        return value
    if allowed.parts:
        if not isinstance(value, list | tuple) or len(value) != len(allowed.parts):
            raise ConfigError(f"{name}: {value!r} is not a list of {len(allowed.parts)} numbers")
        return tuple(_number(name, part) for part in value)
    if allowed.bounds:
        return _number(name, value)
    if not isinstance(value, bool if allowed.boolean else str):
        raise ConfigError(f"{name}: {value!r} is not a {'boolean' if allowed.boolean else 'string'}")
    return value


def _number(name: str, value: Any) -> int | float:
    allowed = PARAMETERS[name]
    assert allowed.bounds
    low, high = allowed.bounds
    integral = isinstance(value, int) or (isinstance(value, float) and value.is_integer())
    if isinstance(value, bool) or not isinstance(value, int | float) or (allowed.integer and not integral):
        raise ConfigError(f"{name}: {value!r} is not {'an integer' if allowed.integer else 'a number'} from {allowed.allowed}")
    if not low <= value <= high:
        raise ConfigError(f"{name}: {value!r} is outside {allowed.allowed}")
    return int(value) if allowed.integer else float(value)
