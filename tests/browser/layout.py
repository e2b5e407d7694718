"""What a person would call broken: a page wider than its window, something painted outside of its box, texts one over another."""

from pathlib import Path
from typing import Any, Literal

from playwright.sync_api import Page

WIDTHS = {1440: 900, 390: 844}  # a desk's window and a phone's, and their heights
SCHEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")
_FAULTS = Path(__file__).with_suffix(".js").read_text()


def faults(page: Page) -> list[str]:
    """What is wrong with how the page is laid out at this moment, a line each."""
    found: list[str] = page.evaluate(_FAULTS)
    return found


def assert_tidy(page: Page, what: str = "") -> None:
    """No overflow of the window, nothing painted outside of its box, no text or control over another."""
    settle(page)
    found = faults(page)
    size = page.viewport_size or {}
    assert not found, f"{what} at {size.get('width')} px: {len(found)} faults\n" + "\n".join(found[:12])


def settle(page: Page) -> None:
    """Two frames, after which observers of sizes have had their turn."""
    page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => setTimeout(done, 50))))")


def resized(page: Page, width: int) -> dict[str, Any]:
    """Sets one of ``WIDTHS``."""
    page.set_viewport_size({"width": width, "height": WIDTHS[width]})
    return {"width": width, "height": WIDTHS[width]}
