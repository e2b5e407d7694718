"""Training by Anchor Neighbourhood Discovery: the whole loop, in one place."""

import json
import math
import time
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from trainer import checkpoints
from trainer.augment import augment
from trainer.backbones import Encoder, build_encoder, load_initial_weights
from trainer.checkpoints import Position
from trainer.config import InputError, TrainConfig, continued, resolve
from trainer.encode import encode
from trainer.loss import neighbourhood_loss
from trainer.neighbourhoods import MemoryBank, discover, neighbourhoods, select_anchors
from trainer.randomness import generator
from trainer.sources import ImageList, PixelStore, evaluation_batches

Event = dict[str, Any]


class Stopped(Exception):
    """``should_stop`` said so; a checkpoint of the very step was written first."""


@dataclass
class Run:
    """Everything a checkpoint holds: where training stands and what it has learned."""

    images: str  # fingerprint of the collection
    position: Position
    encoder: Encoder
    optimiser: torch.optim.Optimizer
    bank: MemoryBank
    neighbours: Tensor | None = None  # Omega of the round under way, int64 (N, k); None in round 0
    anchor_round: Tensor = field(default_factory=lambda: torch.empty(0))  # int64 (N,), -1 while no anchor
    trained_towards: Tensor = field(default_factory=lambda: torch.empty(0))  # int64 (N, k), -1 while no anchor
    entropy: list[Tensor] = field(default_factory=list)  # (N,) at the end of each round
    epoch_loss: float = 0.0  # sum over the images of the epoch under way
    history: list[Event] = field(default_factory=list)  # one event for each finished epoch and round

    def state(self, config: TrainConfig) -> dict[str, Any]:
        return {
            "config": config.to_json(),
            "images": self.images,
            "position": [self.position.round, self.position.epoch, self.position.step],
            "encoder": self.encoder.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "bank": self.bank.rows,
            "neighbours": self.neighbours,
            "anchor_round": self.anchor_round,
            "trained_towards": self.trained_towards,
            "entropy": self.entropy,
            "epoch_loss": self.epoch_loss,
            "history": self.history,
        }

    def restore(self, state: dict[str, Any]) -> None:
        device = self.bank.rows.device
        self.position = Position(*state["position"])
        self.encoder.load_state_dict(state["encoder"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.bank.rows = state["bank"].to(device)
        self.neighbours = None if state["neighbours"] is None else state["neighbours"].to(device)
        self.anchor_round, self.trained_towards = state["anchor_round"], state["trained_towards"]
        self.entropy, self.epoch_loss = state["entropy"], state["epoch_loss"]
        self.history = state["history"]


def train(
    config: TrainConfig,
    images: ImageList,
    out_dir: Path,
    *,
    resume_from: Iterable[Path] = (),
    on_event: Callable[[Event], None] = lambda event: None,
    should_stop: Callable[[], bool] = lambda: False,
    checkpoint_seconds: float = 15.0,
) -> tuple[TrainConfig, Run]:
    """Learn an encoder from unlabelled images.

    Args:
        config: parameters; what is open in them is chosen here (``trainer.config.resolve``).
        images: the collection, in order of content hash.
        out_dir: the run's folder; checkpoints go to ``checkpoints/`` in it and ``config.json`` beside them.
        resume_from: further run folders of the same configuration and images; the furthest intact checkpoint among them
            and ``out_dir`` is continued, with the result an uninterrupted run would have had.
        on_event: called with ``started``, ``epoch`` and ``round`` events. A resumed run gives those of the past again.
        should_stop: asked before every step.
        checkpoint_seconds: time between checkpoints within a round.

    Returns:
        The resolved configuration and the finished run.

    Raises:
        Stopped: ``should_stop`` returned true.
        ConfigError: parameters that do not fit the images or the device.
        InputError: a checkpoint is there, but of another run.
    """
    count = len(images.images)
    folders = [folder / "checkpoints" for folder in (out_dir, *resume_from)]
    newest = checkpoints.newest(folders)
    saved = checkpoints.load(newest[1]) if newest else None
    config = resolve(continued(config, saved["config"]) if saved else config, count, images.median_side)
    assert config.image_size and config.epochs_first and config.epochs
    if saved:
        _require_same_run(saved, config, images)
    out_dir.mkdir(parents=True, exist_ok=True)
    checkpoints.write_text(out_dir / "config.json", json.dumps(config.to_json(), indent=2) + "\n")
    checkpoints.adopt_round_ends(folders[1:], folders[0])

    device = torch.device(config.device)
    torch.backends.cudnn.deterministic = True  # a resumed run must equal an uninterrupted one
    store = PixelStore.load(images, _stored_side(config.image_size, images.median_side), out_dir)
    run = _start(config, store, images.fingerprint, device)
    if saved:
        run.restore(saved)
    elif config.init != "random":
        load_initial_weights(run.encoder, config.init)
    resumed_at = asdict(run.position) if saved else None
    on_event({"type": "started", "images": count, "config": config.to_json(), "resumed_at": resumed_at})
    for event in run.history:
        on_event(event)

    batches = math.ceil(count / config.batch_size)
    saved_at = time.monotonic()
    for round_ in range(run.position.round, config.rounds):
        epochs = config.epochs_first if round_ == 0 else config.epochs
        for epoch in range(run.position.epoch, epochs):
            order = torch.randperm(count, generator=generator(config.seed, "order", round_, epoch))
            started, seen = time.monotonic(), 0
            for step, rows in enumerate(order.tensor_split(batches)):
                if step < run.position.step:
                    continue
                if should_stop():
                    checkpoints.save(folders[0], run.position, run.state(config))
                    raise Stopped
                _set_rate(run.optimiser, config, round_, epoch, epochs, step / batches)
                rng = generator(config.seed, "augment", round_, epoch, step)
                run.epoch_loss += _step(config, run, store, rows, rng) * len(rows)
                seen += len(rows)
                run.position = Position(round_, epoch, step + 1)
                if step + 1 == batches:
                    rate = seen / (time.monotonic() - started)
                    _finish_epoch(run, config, round_, epoch, epochs, count, rate, on_event)
                if time.monotonic() - saved_at > checkpoint_seconds:
                    checkpoints.save(folders[0], run.position, run.state(config))
                    saved_at = time.monotonic()
        _finish_round(run, config, images, round_, on_event)
        checkpoints.save(folders[0], run.position, run.state(config))
        saved_at = time.monotonic()
    return config, run


def _step(config: TrainConfig, run: Run, store: PixelStore, rows: Tensor, rng: torch.Generator) -> float:
    """One step: augment, encode, loss, update of the weights, update of the memory bank. Returns the loss."""
    device = run.bank.rows.device
    pixels = store.pixels[rows].to(device, non_blocking=True)
    x = augment(pixels, store.sizes[rows], config, rng).contiguous(memory_format=torch.channels_last)
    on_device = rows.to(device)
    run.encoder.train()
    with precision(config, device):
        z = run.encoder(x)  # (B, d)
    omega = None if run.neighbours is None else run.neighbours[on_device]
    loss = neighbourhood_loss(z.float(), on_device, run.bank.rows, omega, config.temperature)
    run.optimiser.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    run.optimiser.step()
    run.bank.update(on_device, z)
    value = float(loss.detach())
    if not math.isfinite(value):
        raise FloatingPointError(f"the loss became {value} at {run.position}: lower learning_rate or set precision float32")
    return value


def _start(config: TrainConfig, store: PixelStore, fingerprint: str, device: torch.device) -> Run:
    count = len(store.pixels)
    encoder = build_encoder(config)
    mean, std = store.moments()
    encoder.get_buffer("pixel_mean").copy_(mean)
    encoder.get_buffer("pixel_std").copy_(std)
    encoder.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimiser = torch.optim.SGD(encoder.parameters(), lr=0.0, momentum=0.9, nesterov=True, weight_decay=config.weight_decay)
    bank = MemoryBank.random(count, config.dim, config.memory_momentum, config.seed, device)
    return Run(
        fingerprint,
        Position(),
        encoder,
        optimiser,
        bank,
        anchor_round=torch.full((count,), -1),
        trained_towards=torch.full((count, config.neighbours), -1),
    )


def _finish_epoch(
    run: Run,
    config: TrainConfig,
    round_: int,
    epoch: int,
    epochs: int,
    count: int,
    rate: float,
    on_event: Callable[[Event], None],
) -> None:
    anchors = 0 if run.neighbours is None else int((run.neighbours[:, 0] >= 0).sum())
    event = {
        "type": "epoch",
        "round": round_,
        "rounds": config.rounds,
        "epoch": epoch,
        "epochs": epochs,
        "loss": run.epoch_loss / count,
        "learning_rate": run.optimiser.param_groups[0]["lr"],
        "images_per_second": rate,
        "anchors": anchors / count,
    }
    run.history.append(event)
    run.epoch_loss = 0.0
    run.position = Position(round_, epoch + 1, 0)
    on_event(event)


def _finish_round(run: Run, config: TrainConfig, images: ImageList, round_: int, on_event: Callable[[Event], None]) -> None:
    """Entropy of every image, and the neighbourhoods of the anchors of the coming round."""
    device, bank = run.bank.rows.device, run.bank.rows
    features = bank
    if config.discovery_features == "encoder":
        assert config.image_size is not None
        features = encode(run.encoder, evaluation_batches(images, config.image_size), device).to(device)
        bank = features
    discovery = discover(features, bank, config.neighbours, config.temperature)
    run.entropy.append(discovery.entropy.cpu())
    if round_ + 1 < config.rounds:
        anchors = select_anchors(discovery.entropy, config.select_rate, round_ + 1)
        run.neighbours = neighbourhoods(discovery, anchors)
        chosen = anchors.cpu()
        fresh = chosen[run.anchor_round[chosen] < 0]
        run.anchor_round[fresh] = round_ + 1
        run.trained_towards[chosen] = discovery.nearest[anchors].cpu()
    event = {
        "type": "round",
        "round": round_,
        "rounds": config.rounds,
        "mean_entropy": float(discovery.entropy.mean()),
        "next_anchors": 0.0 if run.neighbours is None else float((run.neighbours[:, 0] >= 0).float().mean()),
    }
    run.history.append(event)
    run.position = Position(round_ + 1, 0, 0)
    on_event(event)


def _set_rate(optimiser: torch.optim.Optimizer, config: TrainConfig, round_: int, epoch: int, epochs: int, part: float) -> None:
    """The learning rate starts anew in each round. Steps divide it by 10 at 40, 60 and 80 % of the round's epochs
    (the paper: 80, 120, 160 of 200), ``step-late`` at 60 and 80 % only (the released code)."""
    base = config.learning_rate if round_ == 0 else config.learning_rate_next
    if config.schedule == "cosine":
        rate = base * 0.5 * (1 + math.cos(math.pi * (epoch + part) / epochs))
    else:
        milestones = (0.4, 0.6, 0.8) if config.schedule == "step" else (0.6, 0.8)
        rate = base * 0.1 ** sum(epoch >= share * epochs for share in milestones)
    optimiser.param_groups[0]["lr"] = rate


def precision(config: TrainConfig, device: torch.device) -> AbstractContextManager[Any]:
    """Autocast to bfloat16 where the configuration says so."""
    return torch.autocast(device.type, torch.bfloat16, enabled=config.precision == "bfloat16")


def _stored_side(image_size: int, median_side: int) -> int:
    """Side at which images are kept for cropping: up to 1.5 times the crop where the files hold that much detail."""
    return max(image_size, min(median_side, image_size * 3 // 2))


def _require_same_run(saved: dict[str, Any], config: TrainConfig, images: ImageList) -> None:
    ours = config.to_json()
    changed = sorted(name for name in ours if name != "device" and ours[name] != saved["config"].get(name))
    changed += ["the images"] if saved["images"] != images.fingerprint else []
    if changed:
        raise InputError(f"cannot resume: {', '.join(changed)} differ from those of the checkpoint; use another --out")
