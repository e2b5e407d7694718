"""``python -m service.openapi FILE``: write the OpenAPI document that the service serves."""

import json
import sys
from pathlib import Path

from core.settings import Settings
from service.app import create_app


def document() -> str:
    """The OpenAPI document as it is committed in ``docs/openapi.json``."""
    return json.dumps(create_app(Settings.load()).openapi(), indent=1, ensure_ascii=False, allow_nan=False) + "\n"


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(document(), encoding="utf-8")
