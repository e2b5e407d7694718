import subprocess
import sys

import pytest


def test_the_service_loads_no_torch() -> None:
    check = "import service.app, sys; assert 'torch' not in sys.modules and 'torchvision' not in sys.modules"
    subprocess.run([sys.executable, "-c", check], check=True)


def test_the_worker_loads_no_torch() -> None:
    subprocess.run([sys.executable, "-c", "import worker.tasks, sys; assert 'torch' not in sys.modules"], check=True)


@pytest.mark.slow  # a process with torch; make check has a contract that says the same of what is imported
def test_the_trainer_loads_neither_celery_nor_sqlalchemy() -> None:
    check = (
        "import trainer.__main__, trainer.export, sys; assert not {'celery', 'sqlalchemy', 'fastapi', 'redis'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", check], check=True)


def test_a_decoder_loads_neither_torch_nor_the_database_while_it_works() -> None:
    work = """
import io, sys
from PIL import Image
from core.untrusted import decoder
file = io.BytesIO()
Image.new("RGB", (64, 48)).save(file, "PNG")
for each in decoder.WORK.values():
    each(file.getvalue(), 32, 10_000, {})
loaded = {"torch", "torchvision", "sqlalchemy", "core.store", "core.settings"} & set(sys.modules)
assert not loaded, loaded
"""
    subprocess.run([sys.executable, "-c", work], check=True)
