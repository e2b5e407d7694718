"""The page's files: what they may load, that they are whole, and that they are in a wheel. What they do is for tests/browser."""

import re
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import httpx
import pytest

from core.settings import Settings
from core.store import keys, migrate
from core.store.db import Database
from core.store.keys import Scope
from tests.service.serving import serving

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "service/page"
FILES = sorted(path for path in PAGE.rglob("*") if path.is_file() and path.suffix != ".ts")  # types are for `make check` alone
MODULES = 15  # at most, in a folder


@pytest.fixture
def client(settings: Settings) -> Iterator[httpx.Client]:
    """A service that asks for a key, of a client without one."""
    migrate.upgrade(settings.database)
    db = Database(settings.database)
    with db.write() as session:
        keys.add(session, "page", Scope.READ, keys.generate())
    with serving(settings, db) as client:
        yield client
    db.dispose()


def test_the_page_may_load_from_here_alone(client: httpx.Client) -> None:
    answer = client.get("/")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/html; charset=utf-8")
    policy = dict(part.split(" ", 1) for part in answer.headers["content-security-policy"].split("; "))
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == policy["connect-src"] == "'self'"
    assert policy["img-src"] == "'self' blob:"
    assert policy["frame-ancestors"] == "'none'"
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_a_file_is_sent_once_and_then_only_compared(client: httpx.Client) -> None:
    first = client.get("/page/app.js")
    assert first.headers["content-type"] == "text/javascript; charset=utf-8"
    assert first.content == (ROOT / "service/page/app.js").read_bytes()
    again = client.get("/page/app.js", headers={"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", first.headers["etag"])
    assert client.get("/page/app.js", headers={"If-None-Match": '"of-yesterday"'}).status_code == 200


def test_plotly_comes_from_its_package(client: httpx.Client) -> None:
    answer = client.get("/page/plotly.min.js")
    assert answer.status_code == 200
    assert b"plotly.js v" in answer.content[:200]


def test_nothing_but_the_pages_files_is_sent(client: httpx.Client) -> None:
    names = (
        "nothing.js",
        "look.js",
        "views",
        "views/",
        "views/nothing.js",
        "/app.js",
        "types.d.ts",
        "views//look.js",
        "__init__.py",
        "page.py",
    )
    out = ("%2e%2e%2fauth.py", "..%2f..%2fpyproject.toml", "views/%2e%2e/app.js", "views/..%2f..%2fapp.py", "%2fetc%2fpasswd")
    for name in (*names, *out):
        assert client.get(f"/page/{name}").status_code == 404, name


def imported(file: Path) -> set[str]:
    """Names of the modules that one imports, at once or later."""
    paths = re.findall(r'(?:from|[^.]import\() ?"(\.\.?/[\w./-]+)"', file.read_text())
    return {(file.parent / path).resolve().relative_to(PAGE).as_posix() for path in paths}


def test_every_file_that_one_names_is_there(client: httpx.Client) -> None:
    named = set()
    for file in FILES:
        named |= imported(file) | set(re.findall(r'"/?page/([\w./-]+)"', text := file.read_text()))
        assert not re.findall(r'(?:href|src)="/', text), f"{file.name} names a path that a proxy's prefix would not precede"
    assert {"graphics/wall.js", "views/look.js", "plotly.min.js", "base.css"} <= named
    for name in named:
        assert client.get(f"/page/{name}").status_code == 200, name


def test_no_module_imports_itself_in_a_circle() -> None:
    TopologicalSorter({file.relative_to(PAGE).as_posix(): imported(file) for file in FILES}).prepare()


def test_folders_import_downward() -> None:
    floors = ["", "views", "uploads", "graphics", "parts"]  # uploads and graphics know nothing of each other
    for file in FILES:
        own = floors.index(file.parent.name if file.parent != PAGE else "")
        for name in imported(file):
            other = floors.index(name.rpartition("/")[0])
            assert other >= own, f"{file.name} imports {name}"
            assert {own, other} != {2, 3}, f"{file.name} imports {name}"


def test_a_folder_can_be_looked_through() -> None:
    for folder in (PAGE, *(path for path in PAGE.iterdir() if path.is_dir())):
        assert len(list(folder.glob("*.js"))) <= MODULES, folder


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.relative_to(PAGE).as_posix())
def test_no_file_asks_anybody_else_and_each_can_be_read(file: Path) -> None:
    text = file.read_text()
    assert not re.findall(r"(?:https?:)?//(?!www\.w3\.org/2000/svg)\w+\.\w+", text)
    assert len(text.splitlines()) <= 250


def test_the_documentation_asks_nobody_else_and_has_the_pages_policy(client: httpx.Client) -> None:
    answer = client.get("/docs")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert answer.headers["content-security-policy"] == client.get("/").headers["content-security-policy"]
    assert "<script>" not in answer.text
    named = re.findall(r'(?:src|href)="([^"]+)"', answer.text)
    assert {"page/swagger-ui-bundle.js", "page/swagger-ui.css", "page/docs.js"} <= set(named)
    for name in named:
        assert name.startswith("page/"), "relative, so that it is found below a path of a proxy"
        assert client.get(f"/{name}").status_code == 200, name
    assert b"SwaggerUIBundle" in client.get("/page/swagger-ui-bundle.js").content
    assert client.get("/openapi.json").json()["openapi"].startswith("3.1")
    assert client.get("/redoc").status_code == 401  # as whatever is not there
