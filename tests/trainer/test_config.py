import pytest

from core.ground.methods import METHODS, has
from core.ground.parameters import PARAMETERS
from service.schemas.parameters import Params
from trainer.config import ConfigError, TrainConfig
from trainer.presets import PRESETS
from trainer.resolve import resolve


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"preset": "slow"}, "paper, released, quick, best, large, fine-grained"),
        ({"round": 3}, "unknown parameter round; allowed: preset, method"),
        ({"rounds": 0}, "outside 1 to 20"),
        ({"rounds": 2.5}, "an integer from 1 to 20"),
        ({"rounds": True}, "an integer"),
        ({"rounds": "3"}, "an integer"),
        ({"backbone": "vgg"}, "resnet10, resnet18, resnet34, resnet50"),
        ({"crop_scale": [0.5]}, "a list of 2 numbers"),
        ({"crop_scale": [0.9, 0.2]}, "0.9 is larger than 0.2"),
        ({"colour_jitter": [0.1, 0.1, 0.1, 2]}, "outside 0 to 1"),
        ({"flip": 1}, "not a boolean"),
    ],
)
def test_bad_parameters_are_named_with_what_is_allowed(params: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        TrainConfig.make(params)


def test_explicit_parameters_override_the_preset() -> None:
    config = TrainConfig.make({"preset": "released", "epochs": 7, "flip": True})
    assert (config.schedule, config.epochs, config.flip, config.epochs_first) == ("step-late", 7, True, 200)


def test_the_papers_settings_are_frozen() -> None:
    paper = TrainConfig.make({"preset": "paper"})
    assert (paper.backbone, paper.dim, paper.rounds, paper.epochs_first, paper.epochs) == ("resnet18", 128, 5, 200, 200)
    assert (paper.select_rate, paper.neighbours, paper.temperature, paper.memory_momentum) == (0.25, 1, 0.1, 0.5)
    assert (paper.batch_size, paper.learning_rate, paper.learning_rate_next, paper.weight_decay) == (128, 0.03, 0.03, 5e-4)
    assert (paper.schedule, paper.crop_scale, paper.colour_jitter) == ("step", (0.2, 1.0), (0.4, 0.4, 0.4, 0.4))
    assert (paper.greyscale, paper.flip, paper.discovery_features) == (0.2, True, "bank")


def test_resolving_leaves_nothing_open_and_survives_json() -> None:
    config = resolve(TrainConfig.make({"preset": "quick"}), 1437, 8)
    assert None not in vars(config).values()
    assert config.image_size == 16
    assert TrainConfig.make(run=config.to_json()) == config
    assert resolve(config, 1437, 8) == config


@pytest.mark.parametrize(("side", "expected"), [(8, 16), (17, 16), (32, 16), (33, 24), (500, 24)])
def test_the_side_comes_from_the_data(side: int, expected: int) -> None:
    assert resolve(TrainConfig.make({"preset": "quick", "device": "cpu"}), 1000, side).image_size == expected


def test_too_few_images_and_missing_devices() -> None:
    with pytest.raises(ConfigError, match="at least 16"):
        resolve(TrainConfig.make({}), 15, 32)
    with pytest.raises(ConfigError, match="GPUs found"):
        resolve(TrainConfig.make({"device": "cuda:99"}), 100, 32)
    with pytest.raises(ConfigError, match="auto, cpu, cuda"):
        resolve(TrainConfig.make({"device": "abacus"}), 100, 32)


@pytest.mark.parametrize("name", [name for name, parameter in PARAMETERS.items() if parameter.bounds])
def test_the_service_and_the_trainer_keep_the_same_bounds(name: str) -> None:
    low, high = PARAMETERS[name].bounds or (0, 0)
    parts = len(PARAMETERS[name].parts)
    # A start from weights, since `epochs_first: 0` needs one, by a method that has the parameter.
    base = {"preset": "quick", "init": "imagenet", "method": next(method for method in METHODS if has(method, name))}
    for inside in (low, high):
        params = {**base, name: [inside] * parts if parts else inside}
        assert getattr(TrainConfig.make(params), name) == (params[name] if not parts else tuple(params[name]))
        assert Params.model_validate(params).model_dump(exclude_none=True) == params
    for outside in (low - 1, high + 1):
        params = {**base, name: [outside] * parts if parts else outside}
        with pytest.raises(ConfigError, match=f"{name}: .* is outside"):
            TrainConfig.make(params)
        with pytest.raises(ValueError, match=name):
            Params.model_validate(params)


WITHOUT_WEIGHTS = ("resnet10", "random", "splitbrain", "bigan")  # a backbone, and methods that start from random weights


@pytest.mark.parametrize("name", [name for name, parameter in PARAMETERS.items() if parameter.choices])
def test_the_service_and_the_trainer_have_the_same_choices(name: str) -> None:
    for choice in PARAMETERS[name].choices:
        params = {name: choice} if choice in WITHOUT_WEIGHTS else {name: choice, "init": "imagenet"}
        if name == "split_loss":
            params = {name: choice, "method": "splitbrain"}
        assert getattr(TrainConfig.make(params), name) == choice
        assert Params.model_validate(params).model_dump(exclude_none=True) == params
    with pytest.raises(ConfigError, match=f"{name}: 'other' is not one of"):
        TrainConfig.make({name: "other"})
    with pytest.raises(ValueError, match=name):
        Params.model_validate({name: "other"})


def test_every_preset_has_a_table_and_keeps_to_the_bounds() -> None:
    assert tuple(PRESETS) == PARAMETERS["preset"].choices
    for preset in PRESETS:
        config = TrainConfig.make({"preset": preset})
        given = {name: value for name, value in config.to_json().items() if value is not None and has("and", name)}
        assert TrainConfig.make(given) == config
