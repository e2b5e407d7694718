import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def test_whatever_writes_json_refuses_numbers_that_are_none() -> None:
    """Either itself or by ``core.ground.finite``."""
    files = [path for name in ("core", "service", "worker", "trainer", "anchorhood") for path in (ROOT / name).rglob("*.py")]
    lenient = [f"{path.relative_to(ROOT)}:{call.lineno}" for path in files for call in lenient_calls(path)]
    assert files and lenient == []


def test_names_are_given_where_they_are_synced() -> None:
    """A rename that is not followed by a sync of its folder may be lost: ``core.ground.durable`` does both."""
    files = [path for name in ("core", "service", "worker", "trainer") for path in (ROOT / name).rglob("*.py")]
    renaming = ("os.replace", "os.rename", "os.renames", "shutil.move")
    found = [str(path.relative_to(ROOT)) for path in files for call in calls(path) if ast.unparse(call.func) in renaming]
    found += [str(path.relative_to(ROOT)) for path in files for call in calls(path) if ast.unparse(call.func).endswith(".rename")]
    assert set(found) == {"core/ground/durable.py", "core/files/thumbnails.py"}  # the latter can be made anew


def lenient_calls(path: Path) -> list[ast.Call]:
    writing = [call for call in calls(path) if ast.unparse(call.func) in ("json.dumps", "json.dump")]
    return [call for call in writing if "allow_nan" not in {each.arg for each in call.keywords}]


def calls(path: Path) -> list[ast.Call]:
    return [node for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.Call)]


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
