"""The page below a path, behind a proxy that takes the path off: every request stays below it, and every view shows."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Page

from tests.browser.conftest import Site, wait_decoded
from tests.browser.prefix import prefixed
from tests.browser.test_access import READY, VIEWS

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def below(site: Site) -> Iterator[str]:
    with prefixed(site.live.port) as url:
        yield url


@pytest.mark.parametrize("view", VIEWS)
def test_every_view_is_shown_below_a_prefix(page: Page, site: Site, below: str, view: str) -> None:
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(below + VIEWS[view].format(dataset=site.dataset, job=site.job))
    page.locator("h1").wait_for()
    if view in READY:
        page.locator(READY[view]).first.wait_for()
    if view in ("dataset", "look", "label"):
        wait_decoded(page, ".tile img", 4)
    assert [url for url in asked if not url.startswith((below, "blob:", "data:"))] == []
