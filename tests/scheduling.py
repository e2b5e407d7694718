"""Which test runs in which of several processes, in which order, and which files need not be imported at all.

What is dear to make is made once: tests that ask for the session's live system run in one process, and so do the tests of a file
that share a fixture of it. Slow tests that share nothing go one by one to whichever process is free, the longest first.
"""

import re
from pathlib import Path

import pytest

_OF_SESSION = ("published",)  # fixtures of which there should be one
# Begun first, since whatever is begun last alone decides when the whole ends; minutes on two cores.
_LONG = (
    "published",
    "tests/service/routes/test_conformance.py",
    "tests/e2e/test_kill.py",
    "tests/e2e/test_backup.py",
    "tests/service/operations/test_backup.py",
    "tests/e2e/test_readme.py",
    "tests/e2e/test_documented_commands.py",
    "tests/e2e/test_demo.py",
    "tests/benchmarks/",
    "tests/e2e/",
    "tests/trainer/test_",
    "tests/trainer/",
)
_OF_MODULE = re.compile(r"^pytestmark = .*", re.MULTILINE)
_SCHEMATHESIS = "schemathesis.pytest.plugin"


def _left_out(config: pytest.Config, mark: str) -> bool:
    return bool(re.search(rf"\bnot {mark}\b", config.option.markexpr))


def pytest_configure(config: pytest.Config) -> None:
    """Load schemathesis's plugin where slow tests are asked for; pyproject.toml keeps it from being imported in all others."""
    if not _left_out(config, "slow"):
        config.pluginmanager.unblock("schemathesis")
        config.pluginmanager.import_plugin(_SCHEMATHESIS)


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """A file all of whose tests bear a mark that is left out is not imported."""
    if collection_path.suffix == ".py" and collection_path.name.startswith("test_"):
        own = _OF_MODULE.search(collection_path.read_text(encoding="utf-8"))
        if own and any(_left_out(config, mark) for mark in re.findall(r"pytest\.mark\.(\w+)", own.group())):
            return True
    return None


def pytest_itemcollected(item: pytest.Item) -> None:
    """Name the group of tests that stay together: the session's, the file's, or this one alone."""
    assert isinstance(item, pytest.Function)
    group = item.nodeid.partition("::")[0]
    shared = [name for name in _OF_SESSION if name in item.fixturenames]
    if shared:
        group = shared[0]
    elif item.get_closest_marker("slow") and not _shares_a_fixture(item):
        group = item.nodeid
    item.add_marker(pytest.mark.xdist_group(group))


def _shares_a_fixture(item: pytest.Function) -> bool:
    definitions = item._fixtureinfo.name2fixturedefs.values()  # pytest has no public way to ask
    return any(each[-1].scope in ("module", "class", "package") for each in definitions)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Long groups first; each group in one piece, and within it the order of the files."""

    def place(item: pytest.Item) -> tuple[int, str]:
        mark = item.get_closest_marker("xdist_group")
        assert mark
        group = str(mark.args[0])
        return next((at for at, start in enumerate(_LONG) if group.startswith(start)), len(_LONG)), group.partition("::")[0]

    items.sort(key=place)
