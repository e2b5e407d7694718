"""Nothing overflows or overlaps in the views of datasets, training and jobs: at a desk's and a phone's width, light and dark,
at the first visit and at the second."""

import pytest
from playwright.sync_api import Page

from tests.browser.conftest import Site
from tests.browser.layout import SCHEMES, WIDTHS, assert_tidy, resized
from tests.browser.test_access import READY, VIEWS

pytestmark = pytest.mark.browser
OWN = ("datasets", "dataset", "train", "jobs", "job")


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("view", OWN)
def test_nothing_overflows_or_overlaps(page: Page, site: Site, view: str, width: int, scheme: str) -> None:
    page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
    resized(page, width)
    for visit in (1, 2):
        page.goto("/" + VIEWS[view].format(dataset=site.dataset, job=site.job))
        page.locator("h1").wait_for()
        if view in READY:
            page.locator(READY[view]).first.wait_for()
        assert_tidy(page, f"{view}, visit {visit}")
        page.locator("nav a").first.click() if view != "datasets" else page.locator("nav a").nth(1).click()
        page.locator("h1").wait_for()
        page.wait_for_timeout(100)
