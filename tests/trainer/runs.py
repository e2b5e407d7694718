"""A whole run on few small pictures, for tests that look at one."""

from pathlib import Path

import numpy as np
import torch

from trainer.backbones.encoder import encode
from trainer.config import TrainConfig
from trainer.data.decoded import evaluation_batches
from trainer.data.sources import open_source
from trainer.run import Run
from trainer.train import train

SMALL = {
    "preset": "quick",
    "rounds": 3,
    "epochs_first": 2,
    "epochs": 1,
    "select_rate": 0.25,
    "batch_size": 16,
    "dim": 16,
    "device": "cpu",
}
Whole = tuple[Path, TrainConfig, Run]  # the run's folder, the resolved configuration, the finished run


def run_whole(pictures: Path, out: Path, params: dict[str, object] = SMALL) -> tuple[TrainConfig, Run]:
    return train(TrainConfig.make(params), open_source(pictures), out)


def embeddings(run: Run, pictures: Path) -> np.ndarray:
    return encode(run.encoder, evaluation_batches(open_source(pictures), 16), torch.device("cpu")).numpy()
