from pathlib import Path

import numpy as np
import pytest
from torchvision.datasets import FakeData

from trainer.__main__ import main
from trainer.data.benchmark_sets import write_zip
from trainer.data.sources import open_source


def test_a_torchvision_set_becomes_a_zip_of_class_folders(tmp_path: Path) -> None:
    pairs = FakeData(20, (3, 16, 16), 3)
    write_zip(pairs, ["cat", "dog", "owl"], tmp_path / "set.zip")
    listed = open_source(tmp_path / "set.zip")
    expected = {(("cat", "dog", "owl")[int(label)], np.asarray(image).tobytes()) for image, label in pairs}
    assert {(ref.path.split("/")[0], np.asarray(ref.decode()).tobytes()) for ref in listed.images} == expected


def test_a_set_that_cannot_be_downloaded_says_where_to_put_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    assert main(["fetch", "svhn", str(tmp_path / "sets")]) == 2
    assert f"put its original files into {tmp_path / 'sets'}" in capsys.readouterr().err
