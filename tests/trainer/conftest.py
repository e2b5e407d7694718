"""Fixtures of the trainer's tests."""

from pathlib import Path

import pytest
import torch

from tests.conftest import picture_zip


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return picture_zip(tmp_path_factory.mktemp("pictures") / "pictures.zip", 40)
