"""Each import contract of ``pyproject.toml`` is broken once, in a copy of the packages, and is told; no other is."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parent.parent
CONFIGURATION = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
PACKAGES: list[str] = CONFIGURATION["root_packages"]
CONTRACTS = {contract["name"] for contract in CONFIGURATION["contracts"]}

PACKAGE_LAYERS = "the packages"
SERVICE = "the floors of the service"
CORE = "the rooms of core"
TRAINER = "the trainer stands on core.ground alone"
HTTP = "HTTP is the service's alone"
TORCH = "the API process loads no torch, nor does a worker or the client"
DECODER = "a decoder process loads neither torch nor the database"
CIRCLE = "no circle of imports"
FOR_TYPES = "from typing import TYPE_CHECKING\n\nif TYPE_CHECKING:\n    import "


class Break(NamedTuple):
    """Lines added to files, and the contracts that forbid them."""

    what: str
    lines: dict[str, str]
    broken: set[str]


BREAKS = [
    Break("the worker imports the trainer", {"worker/__init__.py": "import trainer"}, {PACKAGE_LAYERS}),
    Break("the worker imports the service", {"worker/__init__.py": "import service"}, {PACKAGE_LAYERS}),
    Break("the service imports the worker", {"service/__init__.py": "import worker"}, {PACKAGE_LAYERS}),
    Break("core imports the client", {"core/__init__.py": "import anchorhood"}, {PACKAGE_LAYERS}),
    Break("the client imports core", {"anchorhood/__init__.py": "import core"}, {PACKAGE_LAYERS}),
    Break("a route imports an operation", {"service/routes/__init__.py": "import service.operations"}, {SERVICE}),
    Break("a module of the service that no layer names", {"service/cellar.py": ""}, {SERVICE}),
    Break("the ground imports what stands on it", {"core/ground/__init__.py": "import core.store"}, {CORE, CIRCLE}),
    Break("a room of core that no layer names", {"core/cellar/__init__.py": ""}, {CORE}),
    Break("the trainer imports the settings", {"trainer/__init__.py": "import core.settings"}, {TRAINER}),
    Break("the trainer imports a new room", {"trainer/__init__.py": "import core.cellar", "core/cellar.py": ""}, {TRAINER, CORE}),
    Break("core imports FastAPI", {"core/store/__init__.py": "import fastapi"}, {HTTP}),
    Break("what the API imports imports torch", {"core/errors.py": "import torch"}, {TORCH}),
    Break("what a decoder imports imports torch", {"core/ground/pictures/imaging.py": "import torch"}, {TORCH, DECODER}),
    Break("a decoder imports SQLAlchemy", {"core/untrusted/decoder.py": "import sqlalchemy"}, {DECODER}),
    Break("a circle", {"core/ground/one.py": "import core.ground.two", "core/ground/two.py": "import core.ground.one"}, {CIRCLE}),
    Break("a circle for types", {"worker/one.py": "import worker.two", "worker/two.py": f"{FOR_TYPES}worker.one"}, {CIRCLE}),
]


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the packages and of their contracts."""
    folder = tmp_path_factory.mktemp("sources")
    for package in PACKAGES:
        shutil.copytree(ROOT / package, folder / package, ignore=lambda _, names: [n for n in names if not _is_source(n)])
    shutil.copy(ROOT / "pyproject.toml", folder)
    return folder


def _is_source(name: str) -> bool:
    return name.endswith(".py") or ("." not in name and name != "__pycache__")


def broken(folder: Path) -> set[str]:
    """The names of the contracts that lint-imports calls broken."""
    command = [Path(sys.executable).with_name("lint-imports"), "--no-cache"]
    environment = {**os.environ, "PYTHONPATH": str(folder)}
    result = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    verdicts = dict(re.findall(r"^(.+) (KEPT|BROKEN)(?: \(.*\))?$", result.stdout, re.MULTILINE))
    assert set(verdicts) == CONTRACTS, result.stdout + result.stderr
    return {name for name, verdict in verdicts.items() if verdict == "BROKEN"}


@pytest.mark.slow
def test_the_contracts_are_kept(sources: Path) -> None:
    assert broken(sources) == set()


@pytest.mark.slow
@pytest.mark.parametrize("each", BREAKS, ids=lambda each: str(each.what))
def test_a_contract_that_is_broken_is_told(each: Break, sources: Path) -> None:
    before = {name: (sources / name).read_text() if (sources / name).exists() else None for name in each.lines}
    try:
        for name, line in each.lines.items():
            (sources / name).parent.mkdir(exist_ok=True)
            (sources / name).write_text(f"{before[name] or ''}\n{line}\n")
        assert broken(sources) == each.broken
    finally:
        for name, text in before.items():
            if text is None:
                (sources / name).unlink()
                if not any((sources / name).parent.iterdir()):
                    (sources / name).parent.rmdir()
            else:
                (sources / name).write_text(text)


@pytest.mark.drift
def test_every_contract_is_broken_alone_by_one_of_these() -> None:
    assert {name for each in BREAKS if len(each.broken) == 1 for name in each.broken} == CONTRACTS


@pytest.mark.drift
def test_every_package_is_under_contract() -> None:
    assert {path.parent.name for path in ROOT.glob("*/__init__.py")} - {"tests"} == set(PACKAGES)


@pytest.mark.drift
def test_imports_for_type_checking_count() -> None:
    assert CONFIGURATION["exclude_type_checking_imports"] is False
