"""The commands that README, CONTRIBUTING and docs name: those of code blocks, and those between backquotes in the text."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = ("README.md", "CONTRIBUTING.md", "ARCHITECTURE.md", *sorted(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md")))
_SHELLS = ("", "sh", "bash", "console")
_DRAWN = ("ARCHITECTURE.md",)  # its blocks are drawings
_PROGRAMS = r"(?:[A-Z_]+=\S+ )*(?:bash|anchorhood|make|docker|pip|curl|torchrun|npm|python|export|DATA=|\.venv/bin/\S+)"
_COMMAND = re.compile(rf"{_PROGRAMS} \S")


def blocks(page: str, language: str) -> list[str]:
    """A page's code blocks in a language, or those without one."""
    every = re.findall(r"^```(\w*)\n(.*?)^```", (ROOT / page).read_text(), re.DOTALL | re.MULTILINE)
    return [text for name, text in every if name == language]


def commands(page: str, language: str = "") -> list[str]:
    """The lines of a page's code blocks in a language, continued ones joined, comments cut off."""
    lines = "".join(blocks(page, language)).replace("\\\n", " ").splitlines()
    return [" ".join(re.sub(r"\s+# .*", "", line).split()) for line in lines if line.strip()]


def inline(page: str) -> list[str]:
    """What stands between backquotes in a page's text and begins with the name of a program and an argument."""
    text = re.sub(r"^```.*?^```", "", (ROOT / page).read_text(), flags=re.DOTALL | re.MULTILINE)
    found = [" ".join(each.split()) for each in re.findall(r"(?<!`)`([^`]+)`(?!`)", text)]
    return [each for each in found if _COMMAND.match(each)]


def every_command() -> list[str]:
    """All of them, each once, in the order in which they are first named."""
    found: list[str] = []
    for page in PAGES:
        found += [each for name in _SHELLS if page not in _DRAWN for each in commands(page, name)] + inline(page)
    return list(dict.fromkeys(found))
