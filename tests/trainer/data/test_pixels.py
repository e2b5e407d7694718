"""How the images are kept, and that it does not change what training sees."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torchvision.transforms.v2 import functional as tv

from tests.conftest import image_bytes, picture_zip, write_zip
from trainer.config import TrainConfig
from trainer.data.augment import Augmentation
from trainer.data.decoded import DecodedImages
from trainer.data.images import ImageList
from trainer.data.pixels import open_store
from trainer.data.sources import open_source
from trainer.data.streamed import StreamedImages
from trainer.machine.ranks import Ranks
from trainer.randomness import generator
from trainer.resolve import resolve

CPU = torch.device("cpu")


def wide_pictures(path: Path, count: int, size: tuple[int, int]) -> ImageList:
    return open_source(write_zip(path, {f"{i}.png": image_bytes(i, size=size) for i in range(count)}))


def batches(store: DecodedImages | StreamedImages, side: int, **params: object) -> list[torch.Tensor]:
    config = resolve(TrainConfig.make({"image_size": side, "device": "cpu", **params}), len(store.sizes), side)
    steps = torch.split(torch.arange(len(store.sizes)), 5)
    plan = [(rows, Augmentation.draw(store.sizes[rows], config, generator(0, "test", i))) for i, rows in enumerate(steps)]
    return list(store.augmented(plan, side, CPU))


def test_the_choice_is_made_by_bytes_against_the_budget_and_said(tmp_path: Path) -> None:
    small = open_source(picture_zip(tmp_path / "small.zip", 20))
    size = 20 * 3 * 16 * 16
    kept = open_store(small, 16, tmp_path, Ranks(), CPU, budget=size)
    assert "in memory" in kept.choice
    mapped = open_store(small, 16, tmp_path, Ranks(), CPU, budget=size - 1)
    assert "in a memory-mapped file" in mapped.choice
    assert not list(tmp_path.glob("*.u8"))
    large = wide_pictures(tmp_path / "large.zip", 4, (300, 300))
    streamed = open_store(large, 200, tmp_path, Ranks(), CPU)
    assert "4 images of 300 x 300" in streamed.choice
    assert "crops of 200 on a CPU: decoded by" in streamed.choice
    on_gpu = open_store(large, 200, tmp_path, Ranks(), torch.device("cuda"), budget=1)  # chosen without touching the device
    assert "over the budget of 0 MiB: decoded by" in on_gpu.choice


def test_a_memory_map_gives_what_memory_gives(tmp_path: Path) -> None:
    listed = open_source(picture_zip(tmp_path / "small.zip", 20))
    kept = open_store(listed, 16, tmp_path, Ranks(), CPU)
    mapped = open_store(listed, 16, tmp_path, Ranks(), CPU, budget=1)
    assert isinstance(kept, DecodedImages)
    assert isinstance(mapped, DecodedImages)
    assert torch.equal(kept.pixels, mapped.pixels)
    assert all(torch.equal(a, b) for a, b in zip(kept.moments(), mapped.moments(), strict=True))


@pytest.mark.slow
def test_loader_processes_crop_as_torchvision_does_and_live_from_epoch_to_epoch(tmp_path: Path) -> None:
    listed = wide_pictures(tmp_path / "wide.zip", 16, (120, 90))
    store = StreamedImages(listed.images, torch.tensor([[120.0, 90.0]] * 16), 1, "")
    plain = {"colour_jitter": [0, 0, 0, 0], "greyscale": 0, "flip": True}
    found = torch.cat(batches(store, 40, **plain))
    again = torch.cat(batches(store, 40, **plain))
    assert torch.equal(found, again)
    config = resolve(TrainConfig.make({"image_size": 40, "device": "cpu", **plain}), 16, 40)
    for i, rows in enumerate(torch.split(torch.arange(16), 5)):
        drawn = Augmentation.draw(store.sizes[rows], config, generator(0, "test", i))
        for row, (left, top, width, height), flip in zip(rows.tolist(), drawn.boxes.tolist(), drawn.flips.tolist(), strict=True):
            image = torch.from_numpy(np.array(listed.images[row].decode())).permute(2, 0, 1).float() / 255
            box = [round(top * 90), round(left * 120), round(height * 90), round(width * 120)]
            expected = tv.resized_crop(image, *box, [40, 40], antialias=True)
            expected = expected.flip(-1) if flip else expected
            assert float((found[row] - expected).abs().mean()) < 0.03  # torchvision rounds the box to pixels
    mean, std = store.moments()
    assert mean.shape == std.shape == (3,)
