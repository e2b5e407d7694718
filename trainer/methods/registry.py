"""The methods by name."""

from importlib import import_module

import torch
from torch import Tensor

from trainer.backbones.encoder import Encoder
from trainer.config import ConfigError, TrainConfig
from trainer.methods.method import Method
from trainer.neighbourhoods import MemoryBank
from trainer.randomness import generator

_SHARED = dict.fromkeys(("and", "instance", "random_anchors", "all_anchors", "frozen", "random"), "neighbourhoods")


def method_class(name: str) -> type[Method]:
    """``METHOD`` of the file that is named as the method, or that several share."""
    found: type[Method] = import_module(f"trainer.methods.{_SHARED.get(name, name)}").METHOD
    return found


def make(config: TrainConfig, encoder: Encoder, bank: MemoryBank, labels: Tensor | None) -> Method:
    """The method of a configuration, with fresh weights that are a function of the seed alone.

    Raises:
        ConfigError: it does not work with these parameters, or on several ranks.
    """
    kind = method_class(config.method)
    if bank.ranks.size > 1 and not kind.works_on_ranks:
        raise ConfigError(f"method: {config.method} trains in one process, not in {bank.ranks.size}; start it without torchrun")
    with torch.random.fork_rng(devices=[]):
        torch.set_rng_state(generator(config.seed, "method").get_state())
        return kind(config, encoder, bank, labels)
