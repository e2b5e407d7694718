"""Fixtures of the trainer's tests. What is trained here is trained once, and only looked at."""

from pathlib import Path

import pytest
import torch

from tests.conftest import picture_zip
from tests.trainer.runs import Whole, run_whole
from trainer.data.sources import open_source
from trainer.export import export


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return picture_zip(tmp_path_factory.mktemp("pictures") / "pictures.zip", 40)


@pytest.fixture(scope="session")
def whole(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Whole:
    """A run of three rounds."""
    torch.set_num_threads(1)
    out = tmp_path_factory.mktemp("whole")
    return out, *run_whole(pictures, out)


@pytest.fixture(scope="session")
def exported(whole: Whole, pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that it was exported to."""
    _, config, run = whole
    folder = tmp_path_factory.mktemp("exported")
    export(config, run, open_source(pictures), folder)
    return folder
