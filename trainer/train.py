"""Training by Anchor Neighbourhood Discovery: the whole loop, in one place."""

import json
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

import torch
from torch import Tensor

from core.ground.durable import write_text
from core.ground.folders import Position, RunFolder
from core.ground.methods import METHODS
from core.ground.reports import Epoch, Event, Plan, Round, Speed, Warned
from trainer import checkpoints
from trainer.anchors import choose_anchors, embed_anew, features_of_all, find_neighbours
from trainer.backbones.resnet import load_initial_weights
from trainer.config import TrainConfig
from trainer.data.augment import Augmentation
from trainer.data.images import ImageList
from trainer.data.pixels import PixelStore, open_store
from trainer.evaluation.diagnostics import collapse_warning, diagnose, entropy_histogram
from trainer.machine.ranks import Ranks
from trainer.machine.threads import Threads
from trainer.methods.method import Batch
from trainer.methods.splitbrain import require_colour
from trainer.methods.supervised import class_numbers, labels_read
from trainer.progress import Progress
from trainer.randomness import generator
from trainer.resolve import continued, resolve
from trainer.run import Run, require_same_run, set_rate
from trainer.start import begin_as_loaded


class Stopped(Exception):
    """``should_stop`` said so; a checkpoint of the very step was written first."""


def train(
    config: TrainConfig,
    images: ImageList,
    out_dir: Path,
    *,
    resume_from: Sequence[Path] = (),
    extend: bool = False,
    on_event: Callable[[Event], None] = lambda event: None,
    should_stop: Callable[[], bool] = lambda: False,
    checkpoint_seconds: float = 15.0,
    progress: Progress | None = None,
    labels: Sequence[str | None] | None = None,
    fixed_threads: bool = False,
) -> tuple[TrainConfig, Run]:
    """Learn an encoder from unlabelled images; on several ranks, every one of them calls this.

    Args:
        config: parameters; what is open in them is chosen here (``trainer.config.resolve``).
        images: the collection, in order of content hash.
        out_dir: the run's folder; checkpoints go to ``checkpoints/`` in it and ``config.json`` beside them.
        resume_from: further run folders of the same configuration and images; the furthest intact checkpoint among them
            and ``out_dir`` is continued, with the result an uninterrupted run would have had.
        extend: continue a checkpoint of a round's end although ``config`` differs from its own, as more rounds do.
        on_event: called with ``started``, ``epoch``, ``round`` and ``warning`` events, on the first rank. A resumed run
            gives those of the past again.
        should_stop: asked before every step.
        checkpoint_seconds: time between checkpoints within a round.
        progress: told how far preparing and training are, on the first rank.
        labels: one for each image, ``None`` for none; only the method ``supervised`` reads them.
        fixed_threads: keep torch's number of threads; else a process on its own chooses again and again (``Threads``).

    Returns:
        The resolved configuration and the finished run.

    Raises:
        Stopped: ``should_stop`` returned true on any rank.
        ConfigError: parameters that do not fit the images or the device.
        InputError: a checkpoint is there, but of another run.
    """
    ranks = Ranks.current()
    count = len(images.images)
    folders = [RunFolder(folder).checkpoints for folder in (out_dir, *resume_from)]
    newest = ranks.once(lambda: checkpoints.newest(folders))
    saved = checkpoints.load(newest[1]) if newest else None
    config = resolve(continued(config, saved["config"]) if saved else config, count, images.median_side)
    assert config.image_size and config.crop_size and config.epochs_first is not None and config.epochs
    if saved:
        require_same_run(saved, config, images.fingerprint, extend)
    tell = on_event if ranks.leads else lambda event: None
    if ranks.leads:
        out_dir.mkdir(parents=True, exist_ok=True)
        write_text(RunFolder(out_dir).config, json.dumps(config.to_json(), indent=2, allow_nan=False) + "\n")
        checkpoints.adopt_round_ends(folders[1:], folders[0])
    ranks.wait()

    device = torch.device(config.device)
    torch.backends.cudnn.deterministic = True  # a resumed run must equal an uninterrupted one
    progress = (progress if ranks.leads else None) or Progress()
    epochs_in_all = config.epochs_first + (config.rounds - 1) * config.epochs
    progress.at("starting", 1.0, plan=_sizes(config, images, epochs_in_all))
    targets = class_numbers(labels) if METHODS[config.method].reads_labels else None
    run = Run.start(config, images.fingerprint, count, device, ranks, targets)
    if METHODS[config.method].needs_colour and not saved:
        ranks.once(lambda: require_colour(images))
    store = open_store(images, config.crop_size, out_dir, ranks, device, progress=progress)
    if saved:
        run.restore(saved, config)
    else:
        if targets is not None:
            run.history.append(Warned(type="warning", round=0, message=labels_read(config.method, targets)))
        run.encoder.set_moments(*store.moments())
        loaded = [] if config.init == "random" else load_initial_weights(run.encoder, config.init, config.backbone)
        if config.epochs_first == 0:
            begin_as_loaded(run, config, images, loaded, progress)
    forward = ranks.parallel(run.method)
    threads = Threads.of_run(out_dir, resume_from, device, fixed_threads or ranks.size > 1)
    resumed_at = asdict(run.position) if saved else None
    tell({"type": "started", "images": count, "config": config.to_json(), "data": store.choice, "resumed_at": resumed_at})
    for event in run.history:
        tell(event)

    def save() -> None:
        state = run.state(config)
        if ranks.leads:
            checkpoints.save(folders[0], run.position, state)
        threads.do_not_time()

    batches = math.ceil(count / config.batch_size)
    saved_at = time.monotonic()
    for round_ in range(run.position.round, config.rounds):
        epochs = config.epochs_first if round_ == 0 else config.epochs
        before = 0 if round_ == 0 else config.epochs_first + (round_ - 1) * config.epochs
        if round_ and run.position == Position(round_):
            choose_anchors(run, config, round_, images)
        for epoch in range(run.position.epoch, epochs):
            order = torch.randperm(count, generator=generator(config.seed, "order", round_, epoch))
            first = run.position.step
            if first == 0:
                run.method.begin_epoch(round_, epoch, lambda: features_of_all(run, config, images))
            steps = order.tensor_split(batches)[first:]
            plan = _plan(config, store, ranks, steps, round_, epoch, first)
            started, waited = time.monotonic(), store.waited
            for step, (rows, x) in enumerate(zip(steps, store.augmented(plan, config.crop_size, device), strict=True), first):
                due = time.monotonic() - saved_at > checkpoint_seconds
                stop, due = ranks.agree(device, should_stop(), due and step > first)
                if stop or due:
                    save()
                    saved_at = time.monotonic()
                if stop:
                    raise Stopped
                threads.before_step(run.position)
                progress.at("epochs", (before + epoch + step / batches) / epochs_in_all)
                set_rate(run.method.optimisers, config, round_, epoch, epochs, step / batches)
                rows = rows.to(device)
                omega = None if run.neighbours is None else run.neighbours[rows]
                batch = Batch(rows, omega, round_, epoch, step, (epoch + step / batches) / epochs)
                run.epoch_loss += run.method.step(forward, x, batch) * len(rows)
                run.position = Position(round_, epoch, step + 1)
                threads.after_step(len(rows))
            threads.after_epoch(Position(round_, epoch + 1))
            seconds = time.monotonic() - started
            speed = Speed(images_per_second=sum(map(len, steps)) / seconds, data_wait=(store.waited - waited) / seconds)
            _finish_epoch(run, config, round_, epoch, epochs, speed, tell)
        _finish_round(run, config, images, store, round_, tell)
        save()
        saved_at = time.monotonic()
    return config, run


def _sizes(config: TrainConfig, images: ImageList, epochs: int) -> Plan:
    """What the time that everything takes depends on."""
    assert config.image_size and config.crop_size
    return {
        "backbone": config.backbone,
        "image_size": config.image_size,
        "crop_size": config.crop_size,
        "dim": config.dim,
        "rounds": config.rounds,
        "as_loaded": config.epochs_first == 0 and config.init != "random",
        "images": len(images.images),
        "side": images.median_side,
        "epochs": epochs * METHODS[config.method].views,
    }


def _plan(
    config: TrainConfig, store: PixelStore, ranks: Ranks, steps: Sequence[Tensor], round_: int, epoch: int, first: int
) -> Iterator[tuple[Tensor, Augmentation]]:
    """This rank's part of each step: rows, and how to augment them, for two views twice. Every rank draws for the whole batch."""
    for step, rows in enumerate(steps, first):
        part, sizes = ranks.part(rows), store.sizes[rows]
        augmentation = Augmentation.draw(sizes, config, generator(config.seed, "augment", round_, epoch, step)).part(ranks)
        if METHODS[config.method].views == 2:
            second = Augmentation.draw(sizes, config, generator(config.seed, "second view", round_, epoch, step))
            part, augmentation = torch.cat([part, part]), augmentation.then(second.part(ranks))
        yield part, augmentation


def _finish_epoch(
    run: Run, config: TrainConfig, round_: int, epoch: int, epochs: int, speed: Speed, tell: Callable[[Event], None]
) -> None:
    count = run.bank.count
    loss = float(run.epoch_loss) / count
    if not math.isfinite(loss):
        raise FloatingPointError(
            f"the loss became {loss} in round {round_}, epoch {epoch}: lower learning_rate or set precision float32"
        )
    event: Epoch = {
        "type": "epoch",
        "round": round_,
        "rounds": config.rounds,
        "epoch": epoch,
        "epochs": epochs,
        "loss": loss,
        "learning_rate": run.method.optimisers[0].param_groups[-1]["lr"],
        **speed,
        "anchors": 0.0 if run.neighbours is None else float((run.neighbours[:, 0] >= 0).float().mean()),
    }
    run.history.append(event)
    run.epoch_loss.zero_()
    run.position = Position(round_, epoch + 1, 0)
    tell(event)


def _finish_round(
    run: Run, config: TrainConfig, images: ImageList, store: PixelStore, round_: int, tell: Callable[[Event], None]
) -> None:
    """Entropy and nearest others of every image, and figures of the embedding that need no labels."""
    before = run.nearest
    if not run.method.fills_bank and (round_ or config.epochs_first):  # else the bank holds what the run began with
        embed_anew(run, config, images)
    discovery = find_neighbours(run, config, images)
    run.entropy.append(discovery.entropy.cpu())
    run.nearest = discovery.nearest
    figures = diagnose(run, config, store, round_, before)
    histogram = entropy_histogram(run.entropy[-1])
    event: Round = {"type": "round", "round": round_, "rounds": config.rounds, **figures, "entropy_histogram": histogram}
    run.history.append(event)
    run.position = Position(round_ + 1)
    tell(event)
    trained = round_ > 0 or config.epochs_first != 0
    warning = collapse_warning(figures, min(config.dim, run.bank.count), trained)
    if warning:
        run.history.append(Warned(type="warning", round=round_, message=warning))
        tell(run.history[-1])
