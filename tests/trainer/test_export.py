"""What a finished run leaves behind, and that others embed with it as the evaluation did."""

import io
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from PIL import Image
from safetensors.torch import load_file

from core.ground.pictures.imaging import decode, evaluation_array
from core.search.encoder import Encoder
from core.search.index import build
from tests.conftest import write_zip
from tests.trainer.runs import Whole
from trainer.backbones.encoder import encode
from trainer.data.decoded import evaluation_batches
from trainer.data.sources import open_source


def test_the_export_is_complete_and_agrees_with_the_encoder(pictures: Path, tmp_path: Path, exported: Path) -> None:
    listed = open_source(pictures)
    stored, ids = np.load(exported / "embeddings.npy"), np.load(exported / "ids.npy")
    assert stored.shape == (40, 16)
    assert np.allclose(np.linalg.norm(stored, axis=1), 1, atol=1e-5)
    encoder = Encoder(exported / "encoder.onnx")
    again = encoder([decode(image.location.read()) for image in listed.images])
    assert (again * stored).sum(axis=1).min() > 0.9999
    decoded = [decode(image.location.read()) for image in listed.images]
    with ThreadPoolExecutor(16) as pool:  # batched as they come, each gets its own
        together = list(pool.map(encoder.embed_one, [evaluation_array(image, encoder.size) for image in decoded * 5]))
    assert np.abs(np.stack(together) - np.tile(again, (5, 1))).max() < 1e-5
    weights = load_file(exported / "encoder.safetensors")
    assert {"stem.weight", "layer4.0.conv2.weight", "head.bias"} <= set(weights)
    hoods = np.load(exported / "neighbourhoods.npz")
    assert (hoods["entropy"].shape, hoods["neighbours"].shape) == ((3, 40), (40, 1))
    assert set(hoods["neighbours"][hoods["anchor_round"] >= 0].flatten()) <= set(ids)
    assert np.load(exported / "projection.npy").shape == (40, 2)
    assert len((exported / "metrics.jsonl").read_text().splitlines()) == 4
    assert build(stored, tmp_path / "index.faiss").recall_at_10 == 1.0
    inputs = onnxruntime.InferenceSession(exported / "encoder.onnx").get_inputs()
    assert [(i.name, i.type, i.shape[1:]) for i in inputs] == [("images", "tensor(uint8)", [16, 16, 3])]


def saved(image: Image.Image, format: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, format, **options)  # type: ignore[arg-type]
    return file.getvalue()


def test_every_kind_of_file_is_embedded_as_in_the_evaluation(tmp_path: Path, whole: Whole, exported: Path) -> None:
    _, config, run = whole
    rng = np.random.default_rng(0)
    deep = Image.fromarray(rng.integers(0, 65536, (30, 50), dtype=np.uint16))
    rotated = Image.Exif()
    rotated[0x0112] = 6
    plain = Image.fromarray(np.kron(rng.integers(0, 256, (5, 9, 3)), np.ones((8, 8, 1))).astype(np.uint8))
    files = {
        "photo.jpg": saved(plain, "JPEG"),
        "plain.png": saved(plain, "PNG"),
        "grey.png": saved(plain.convert("L"), "PNG"),
        "palette.png": saved(plain.convert("P"), "PNG"),
        "ink.jpg": saved(plain.convert("CMYK"), "JPEG"),
        "deep.png": saved(deep, "PNG"),
        "rotated.jpg": saved(plain, "JPEG", exif=rotated),
        "alpha.png": saved(plain.convert("RGBA"), "PNG"),
        "one.gif": saved(plain, "GIF"),
        "lossy.webp": saved(plain, "WEBP"),
    }
    listed = open_source(write_zip(tmp_path / "kinds.zip", files))
    assert len(listed.images) == len(files)
    assert config.image_size is not None
    expected = encode(run.encoder, evaluation_batches(listed, config.image_size), torch.device("cpu")).numpy()
    encoder = Encoder(exported / "encoder.onnx")
    for row, image in enumerate(listed.images):
        found = encoder.embed_one(evaluation_array(decode(files[image.path]), encoder.size))
        assert float(found @ expected[row]) >= 0.999, image.path
