"""Which test runs in which of several processes, in which order, and which files need not be imported at all.

What is dear to make is made once: tests that ask for the session's live system run in one process, and so do the tests of a file
that share a fixture of it. Slow tests that share nothing go one by one to whichever process is free, the longest first.
"""

import re
from functools import cache
from pathlib import Path

import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadFileScheduling

_ROOT = Path(__file__).parents[1]
_OF_SESSION = re.compile(r"\bpublished: Published\b")  # a fixture of which there should be one
_SHARED = re.compile(r'scope="(?:module|class|package)"')
# Begun first, since whatever is begun last alone decides when the whole ends; minutes on two cores.
_LONG = (
    "published",
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


@cache
def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8")


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
        own = _OF_MODULE.search(_text(collection_path))
        if own and any(_left_out(config, mark) for mark in re.findall(r"pytest\.mark\.(\w+)", own.group())):
            return True
    return None


class _Groups(LoadFileScheduling):
    """Gives the tests of a group to one process.

    pytest-xdist's own groups (``--dist loadgroup``) are lost with pytest 9.2, whose test ids it cannot extend; so a group is told
    from the file's text, in the process that gives out the work as in those that do it.
    """

    def _split_scope(self, nodeid: str) -> str:
        return _group(nodeid)


@pytest.hookimpl(optionalhook=True)  # none asks where pytest-xdist is left out
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> _Groups:
    """The scheduler of ``pytest --numprocesses``, whatever ``--dist`` says."""
    return _Groups(config, log)


def _group(nodeid: str) -> str:
    """The name of the tests that stay together with one: those of the session's live system, of its file, or it alone."""
    path = nodeid.partition("::")[0]
    text = _text(_ROOT / path)
    if _OF_SESSION.search(text):
        return "published"
    slow = any("slow" in marks for marks in _OF_MODULE.findall(text))
    return nodeid if slow and not _SHARED.search(text) else path


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Long groups first; each group in one piece, and within it the order of the files."""

    def place(item: pytest.Item) -> tuple[int, str]:
        group = _group(item.nodeid)
        return next((at for at, start in enumerate(_LONG) if group.startswith(start)), len(_LONG)), group.partition("::")[0]

    items.sort(key=place)
