"""A training run: everything that a checkpoint holds, and what a resumed run must agree in."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from core.ground.folders import Position
from core.ground.methods import METHODS, has
from core.ground.reports import Past
from trainer.backbones.encoder import Encoder
from trainer.backbones.resnet import build_encoder
from trainer.config import ConfigError, InputError, TrainConfig
from trainer.machine.ranks import Ranks
from trainer.methods import registry
from trainer.methods.method import Method
from trainer.neighbourhoods import MemoryBank

# What a checkpoint's tensors depend on, beside the class of the method.
_SHAPES = ("backbone", "image_size", "dim", "trained_blocks", "backbone_rate", "clusters", "sobel", "split_loss")


@dataclass
class Run:
    """Where training stands and what it has learned."""

    images: str  # fingerprint of the collection
    position: Position
    encoder: Encoder
    method: Method
    bank: MemoryBank
    epoch_loss: Tensor  # float64 scalar: sum over the images of the epoch under way
    nearest: Tensor | None = None  # int64 (N, k), found at the end of the last round
    neighbours: Tensor | None = None  # Omega of the round under way, int64 (N, k); None in round 0
    anchor_round: Tensor = field(default_factory=lambda: torch.empty(0))  # int64 (N,), -1 while no anchor
    trained_towards: Tensor = field(default_factory=lambda: torch.empty(0))  # int64 (N, k), -1 while no anchor
    entropy: list[Tensor] = field(default_factory=list)  # (N,) at the end of each round
    history: list[Past] = field(default_factory=list)  # one event for each finished epoch and round

    @classmethod
    def start(
        cls, config: TrainConfig, fingerprint: str, count: int, device: torch.device, ranks: Ranks, labels: Tensor | None = None
    ) -> "Run":
        """A run that has not begun: fresh weights and a random memory bank; ``labels`` for the method that reads them, int64 (N,)
        with -1 for none."""
        encoder = build_encoder(config)
        if not METHODS[config.method].trains_head and config.dim > encoder.head.in_features:
            raise ConfigError(
                f"dim: {config.dim} is more than the {encoder.head.in_features} features of {config.backbone}'s last block, of"
                f" which method {config.method} takes the principal components"
            )
        encoder.head.requires_grad_(METHODS[config.method].trains_head)
        bank = MemoryBank.random(count, config.dim, config.memory_momentum, config.seed, device, ranks)
        method = registry.make(config, encoder, bank, labels)
        method.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        method.optimisers = method.make_optimisers(_groups(encoder, config))
        return cls(
            fingerprint,
            Position(),
            encoder,
            method,
            bank,
            torch.zeros((), dtype=torch.float64, device=device),
            anchor_round=torch.full((count,), -1),
            trained_towards=torch.full((count, config.neighbours or 0), -1),
        )

    def state(self, config: TrainConfig) -> dict[str, Any]:
        """What a checkpoint holds. Every rank must ask, since each has a part of the bank."""
        return {
            "config": config.to_json(),
            "images": self.images,
            "position": [self.position.round, self.position.epoch, self.position.step],
            "encoder": self.encoder.state_dict(),
            "optimiser": self.method.optimisers[0].state_dict(),
            "method": self.method.state(),
            "bank": self.bank.whole(),
            "nearest": self.nearest,
            "neighbours": self.neighbours,
            "anchor_round": self.anchor_round,
            "trained_towards": self.trained_towards,
            "entropy": self.entropy,
            "epoch_loss": float(self.epoch_loss),
            "history": self.history,
        }

    def restore(self, state: Mapping[str, Any], config: TrainConfig) -> None:
        """Go on from a checkpoint's state, under ``config``."""
        device = self.bank.rows.device
        self.position = Position(*state["position"])
        self.encoder.load_state_dict(state["encoder"])
        self.method.optimisers[0].load_state_dict(state["optimiser"])
        if "method" in state:
            self.method.restore(state["method"])
        for optimiser in self.method.optimisers:
            for group in optimiser.param_groups:
                group["weight_decay"] = config.weight_decay
        self.bank.load(state["bank"])
        self.nearest, self.neighbours = (
            None if state[name] is None else state[name].to(device) for name in ("nearest", "neighbours")
        )
        self.anchor_round = state["anchor_round"]
        if state["trained_towards"].shape == self.trained_towards.shape:
            self.trained_towards = state["trained_towards"]
        self.entropy = state["entropy"]
        self.epoch_loss.fill_(state["epoch_loss"])
        self.history = state["history"]


def _groups(encoder: Encoder, config: TrainConfig) -> list[dict[str, Any]]:
    """The parameters to train, and the ``share`` of the learning rate that they take; the others need no gradient now."""
    blocks, after = encoder.path()
    if config.trained_blocks < len(blocks):
        learning = [*blocks[len(blocks) - config.trained_blocks :], *after] if config.trained_blocks else []
        encoder.requires_grad_(False)
        for module in learning:
            module.requires_grad_(True)
        encoder.head.requires_grad_(METHODS[config.method].trains_head)
    trained = [(name, value) for name, value in encoder.named_parameters() if value.requires_grad]
    if config.backbone_rate == 1:
        return [{"params": [value for _, value in trained], "share": 1.0}]
    of_head = [value for name, value in trained if name.startswith("head.")]
    others = [value for name, value in trained if not name.startswith("head.")]
    groups = [{"params": others, "share": config.backbone_rate}, {"params": of_head, "share": 1.0}]
    return [group for group in groups if group["params"]]


def require_same_run(saved: Mapping[str, Any], config: TrainConfig, fingerprint: str, extend: bool) -> None:
    """A checkpoint is continued only with the images and parameters it was made with. ``extend`` lets a round's end be
    continued with other parameters than those its tensors depend on.

    Raises:
        InputError: it names what differs.
    """
    ours = config.to_json()
    extendable = extend and Position(*saved["position"]).ends_round
    compared = [name for name in (_SHAPES if extendable else ours) if name != "device" and has(config.method, name)]
    before = TrainConfig.make(run=saved["config"]).to_json()
    changed = sorted(name for name in compared if ours[name] != before[name])
    if "init" in changed and all(str(init).endswith(".safetensors") for init in (ours["init"], before["init"])):
        changed.remove("init")  # the checkpoint holds what came of those weights; their file may have been moved
    if registry.method_class(config.method) is not registry.method_class(str(before["method"])):
        changed = sorted({*changed, "method"})
    changed += ["the images"] if saved["images"] != fingerprint else []
    if changed:
        raise InputError(f"cannot resume: {', '.join(changed)} differ from those of the checkpoint; use another --out")


def set_rate(
    optimisers: Sequence[torch.optim.Optimizer], config: TrainConfig, round_: int, epoch: int, epochs: int, part: float
) -> None:
    """The learning rate starts anew in each round. Steps divide it by 10 at 40, 60 and 80 % of the round's epochs
    (the paper: 80, 120, 160 of 200), ``step-late`` at 60 and 80 % only (the released code)."""
    base = config.learning_rate if round_ == 0 else config.learning_rate_next
    if config.schedule == "cosine":
        rate = base * 0.5 * (1 + math.cos(math.pi * (epoch + part) / epochs))
    else:
        milestones = (0.4, 0.6, 0.8) if config.schedule == "step" else (0.6, 0.8)
        rate = base * 0.1 ** sum(epoch >= share * epochs for share in milestones)
    for group in (group for optimiser in optimisers for group in optimiser.param_groups):
        group["lr"] = rate * group.get("share", 1.0)
