"""Attention maps against a slow version and where the answer is known, and the command that writes them."""

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from core.ground.pictures import imaging
from tests.conftest import picture_zip
from trainer import checkpoints
from trainer.__main__ import main
from trainer.backbones.encoder import as_input
from trainer.backbones.resnet import ResNet, build_encoder
from trainer.config import TrainConfig
from trainer.data.sources import open_source
from trainer.evaluation.attention import similarity_maps
from trainer.train import train

SMALL = {
    "preset": "quick",
    "rounds": 2,
    "epochs_first": 1,
    "epochs": 1,
    "batch_size": 16,
    "dim": 8,
    "device": "cpu",
    "select_rate": 0.5,
}


def random_encoder(backbone: str, side: int) -> ResNet:
    torch.manual_seed(0)
    return ResNet(backbone, 8, side).eval()


def slow_map(encoder: ResNet, image: Tensor, towards: Tensor, stage: int) -> tuple[np.ndarray, float]:
    """One image: the later part of the network is written out, and the map summed position by position."""
    with torch.no_grad():
        mean, std = encoder.get_buffer("pixel_mean"), encoder.get_buffer("pixel_std")
        x = (image[None] - mean.view(1, 3, 1, 1)) / std.view(1, 3, 1, 1)
        x = F.relu(encoder.bn1(encoder.stem(x))) if encoder.small else encoder.maxpool(F.relu(encoder.bn1(encoder.conv1(x))))
        for number in range(1, stage + 1):
            x = encoder.get_submodule(f"layer{number}")(x)
    features = x.clone().requires_grad_()
    x = features
    for number in range(stage + 1, 5):
        x = encoder.get_submodule(f"layer{number}")(x)
    embedding = F.linear(x.mean(dim=(2, 3)), encoder.head.weight, encoder.head.bias)[0]
    torch.dot(embedding, towards).backward()  # type: ignore[no-untyped-call]
    assert features.grad is not None
    _, channels, height, width = features.shape
    gradient, values = features.grad[0].tolist(), features.detach()[0].tolist()
    result = np.zeros((height, width))
    for i in range(height):
        for j in range(width):
            for c in range(channels):
                result[i, j] += max(0.0, gradient[c][i][j]) * values[c][i][j]
            result[i, j] = max(0.0, result[i, j])
    embedding = embedding.detach()
    return result / result.max(), float(torch.dot(embedding, towards) / embedding.norm())


@pytest.mark.parametrize(
    ("backbone", "side", "stage", "positions"), [("resnet10", 32, 2, 8), ("resnet18", 32, 3, 8), ("resnet10", 8, 1, 4)]
)
def test_maps_equal_a_slow_version(backbone: str, side: int, stage: int, positions: int) -> None:
    encoder = random_encoder(backbone, side)
    images, towards = torch.rand(3, 3, side, side), F.normalize(torch.randn(3, 8), dim=1)
    maps, similarities = similarity_maps(encoder, images, towards)
    assert maps.shape == (3, positions, positions)
    for number in range(3):
        expected, similarity = slow_map(encoder, images[number], towards[number], stage)
        np.testing.assert_allclose(maps[number].numpy(), expected, atol=1e-4)
        assert float(similarities[number]) == pytest.approx(similarity, abs=1e-5)
    with torch.no_grad():
        assert torch.allclose((encoder(images) * towards).sum(dim=1), similarities, atol=1e-5)


@pytest.mark.parametrize("corner", range(4))
def test_the_only_structure_is_what_is_looked_at(corner: int) -> None:
    """On a ground of the mean colour a fresh network without biases gives nothing, so that the map is zero wherever no
    convolution reaches the square in the corner: beyond 11 pixels from it."""
    encoder = random_encoder("resnet10", 32)
    encoder.set_moments(torch.full((3,), 128 / 255), torch.full((3,), 0.25))
    down, right = divmod(corner, 2)
    pixels = np.full((1, 32, 32, 3), 128, np.uint8)
    square = np.random.default_rng(corner).integers(0, 256, (8, 8, 3))
    pixels[0, 24 * down : 24 * down + 8, 24 * right : 24 * right + 8] = square
    images = as_input(torch.from_numpy(pixels))
    with torch.no_grad():
        towards = encoder(images)
    ((heat,), _) = similarity_maps(encoder, images, towards)
    row, column = divmod(int(heat.argmax()), 8)
    assert heat.max() == 1
    assert (row >= 4, column >= 4) == (bool(down), bool(right))
    far = heat.flip([axis for axis, end in enumerate((down, right)) if end])[5:, 5:]
    assert far.abs().max() == 0


def test_what_says_nothing_is_zero_and_not_nan() -> None:
    encoder = random_encoder("resnet10", 32)
    maps, _ = similarity_maps(encoder, torch.full((1, 3, 32, 32), 0.5), F.normalize(torch.ones(1, 8), dim=1))
    assert maps.max() == 0


def test_heat_is_red_where_it_is_one_and_blue_where_it_is_zero() -> None:
    grey = np.full((32, 32, 3), 128, np.uint8)
    heat = np.zeros((4, 4), np.float32)
    heat[0, 3] = 1
    picture = np.asarray(imaging.heat_over(grey, heat)).astype(int)
    assert picture.shape == (32, 32, 3)
    hot, cold = picture[0, 31], picture[31, 0]
    assert hot[0] > hot[2] + 100
    assert cold[2] > cold[0]
    assert (picture[:, :, 0] - picture[:, :, 2]).argmax() % 32 >= 24


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A zip of pictures and a run on it."""
    root = tmp_path_factory.mktemp("run")
    pictures = picture_zip(root / "pictures.zip", 24)
    train(TrainConfig.make(SMALL), open_source(pictures), root / "run")
    return pictures, root / "run"


def test_the_command_writes_the_maps_of_every_round(run: tuple[Path, Path], tmp_path: Path) -> None:
    pictures, folder = run
    names = [image.path for image in open_source(pictures).images[:20]]
    out = tmp_path / "maps.npz"
    assert main(["attention", str(folder), "--data", str(pictures), "--images", *names, "--out", str(out)]) == 0
    images = open_source(pictures).images
    by_id = {image.id: row for row, image in enumerate(images)}
    with np.load(out) as found:
        assert found["rounds"].tolist() == [0, 1]
        assert [images[by_id[id_]].path for id_ in found["image_ids"].tolist()] == names
        assert found["maps"].shape == (20, 2, 8, 8)
        assert found["maps"].dtype == np.float32
        assert found["maps"].min() >= 0
        assert found["maps"].max() == 1
        last = checkpoints.round_ends(folder / "checkpoints")[-1][1]
        state = checkpoints.load(last)
        omega = state["trained_towards"][:, 0]
        assert 0 < int((omega >= 0).sum()) < len(omega)
        for image_id, neighbour in zip(found["image_ids"].tolist(), found["neighbour_ids"].tolist(), strict=True):
            row = by_id[image_id]
            assert by_id[neighbour] == int(omega[row] if omega[row] >= 0 else state["nearest"][row, 0])
        encoder = build_encoder(TrainConfig.make(run=state["config"]))
        encoder.load_state_dict(state["encoder"])
        pair = [images[by_id[int(found[name][5])]] for name in ("image_ids", "neighbour_ids")]
        x = as_input(torch.from_numpy(np.stack([imaging.evaluation_array(one.decode(), 16) for one in pair])))
        with torch.no_grad():
            z = encoder.eval()(x)
        assert float(found["similarities"][5, 1]) == pytest.approx(float(z[0] @ z[1]), abs=1e-5)
        expected, _ = slow_map(encoder, x[0], z[1], stage=1)
        np.testing.assert_allclose(found["maps"][5, 1], expected, atol=1e-4)
    assert [path.name for path in tmp_path.iterdir()] == ["maps.npz"]


def test_the_command_draws_the_rounds_side_by_side(run: tuple[Path, Path], tmp_path: Path) -> None:
    pictures, folder = run
    name = open_source(pictures).images[0].path
    out = tmp_path / "strip.png"
    assert main(["attention", str(folder), "--data", str(pictures), "--images", name, "--out", str(out)]) == 0
    with Image.open(out) as sheet:
        assert sheet.size == (4 * 84 + 4, 84 + 4)
        cells = [np.asarray(sheet)[4:84, 4 + 84 * column : 84 + 84 * column] for column in range(4)]
    assert all(cell.std() > 0 for cell in cells)
    assert len({cell.tobytes() for cell in cells}) == 4


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--images", "nowhere.png"], "nowhere.png"),
        ([], "--images"),
        (["--images", "class-0/0000.png", "--out", "maps.txt"], "maps.txt"),
        (["--images", "class-0/0000.png", "--data", "{other}"], "other images"),
        (["--images", "class-0/0000.png", "--out", "/nowhere/maps.npz"], "/nowhere/maps.npz"),
    ],
)
def test_bad_input_is_named(
    options: list[str], named: str, run: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pictures, folder = run
    other = picture_zip(tmp_path / "other.zip", 4)
    given = [option.format(other=other) for option in options]
    command = ["attention", str(folder), "--data", str(pictures), "--out", str(tmp_path / "maps.npz"), *given]
    assert main(command) == 2
    assert named in capsys.readouterr().err
    assert not (tmp_path / "maps.npz").exists()


def test_a_folder_without_a_finished_round_is_refused(
    run: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = [
        "attention",
        str(tmp_path),
        "--data",
        str(run[0]),
        "--images",
        "class-0/0000.png",
        "--out",
        str(tmp_path / "m.npz"),
    ]
    assert main(command) == 2
    assert "no checkpoint of a finished round" in capsys.readouterr().err
