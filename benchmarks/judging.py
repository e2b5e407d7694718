"""How good an encoder is, as the product is used: from a few labels, in retrieval, and by the vote of the nearest."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.sets import classes
from core.ground.folders import RunFolder
from trainer import checkpoints
from trainer.backbones.encoder import encode_blocks
from trainer.backbones.resnet import build_encoder
from trainer.config import TrainConfig
from trainer.data.decoded import evaluation_batches
from trainer.data.images import ImageList
from trainer.evaluation.judge import FEW_VOTERS
from trainer.evaluation.metrics import consistency, few_label_accuracy, knn_accuracy, linear_accuracy, retrieval

SHOTS = (1, 5, 10, 50)  # labels a class
_CPU = torch.device("cpu")


def judge(folder: Path, images: ImageList, queries: ImageList, linear: bool = False) -> dict[str, Any]:
    """Figures of a finished run's last encoder on images it has not seen, and the consistency of each round's neighbours.

    Args:
        folder: the run's.
        images: what it was trained on; they vote.
        queries: what is judged.
        linear: whether a linear classifier on the last block's features is trained, too, as the paper's tables have it.

    Returns:
        What ``figures`` gives; ``linear``, that classifier's accuracy, where asked for; ``consistency``, of every round after
        the first that had anchors.
    """
    states = [checkpoints.load(path) for _, path in checkpoints.round_ends(RunFolder(folder).checkpoints)]
    encoder = build_encoder(TrainConfig.make(run=states[-1]["config"]))
    encoder.load_state_dict(states[-1]["encoder"])
    encoder.to(memory_format=torch.channels_last)
    both = (encode_blocks(encoder, evaluation_batches(one, encoder.image_size), _CPU) for one in (images, queries))
    vectors, blocks = zip(*both, strict=True)
    labels, targets = classes(images, queries)
    found = figures(vectors[0], vectors[1], labels, targets)
    if linear:
        found["linear"] = linear_accuracy(blocks[0], labels, blocks[1], targets)
    names = [image.path.split("/")[0] for image in images.images]
    omegas = [state["neighbours"] for state in states if state["neighbours"] is not None]
    return {**found, "consistency": [consistency(omega, names) for omega in omegas]}


def figures(bank: Tensor, queries: Tensor, labels: Tensor, targets: Tensor) -> dict[str, Any]:
    """Fractions: ``few``, accuracy from ``SHOTS`` labels a class; ``map``; ``knn`` with the product's own number of voters.

    Args:
        bank: unit rows (N, d).
        queries: unit rows (Q, d).
        labels: int64 (N,), classes of the bank.
        targets: int64 (Q,), classes of the queries.
    """
    k = 20 if len(bank) < FEW_VOTERS else 200
    found = retrieval(bank, labels, queries, targets)
    return {
        "few": few_label_accuracy(bank, labels, queries, targets, shots=SHOTS),
        "map": found["mean_average_precision"],
        "knn": knn_accuracy(bank, labels, queries, targets, k),
        "k": k,
    }


def few(result: dict[str, Any], labels: int) -> float:
    """Accuracy from so many labels a class, the mean over the draws; NaN where a class has too few images."""
    return next((float(entry["mean"]) for entry in result["few"] if entry["labels"] == labels), float("nan"))


def in_words(result: dict[str, Any]) -> str:
    """One line of a result, or why there is none."""
    if "failed" in result:
        return f"failed: {result['failed']}"
    text = f"5 labels a class {100 * few(result, 5):5.1f}  mAP {100 * result['map']:5.1f}  kNN {100 * result['knn']:5.1f}"
    agreement = " ".join(f"{100 * value:.0f}" for value in result.get("consistency", []) if value is not None)
    return f"{text}  {result['seconds']:6.0f} s" + (f"  neighbours right, %: {agreement}" if agreement else "")
