"""Keys, axe, a phone's width, light and dark."""

from collections.abc import Iterator

import httpx
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

from core.settings import Settings
from core.store import keys
from core.store.db import Database
from core.store.keys import Scope
from tests.browser.conftest import PATIENCE, Errors, Site, wait_decoded
from tests.service.serving import ready_dataset, serving

pytestmark = pytest.mark.browser
VIEWS = {
    "datasets": "#/datasets",
    "dataset": "#/dataset/{dataset}",
    "train": "#/train?dataset={dataset}",
    "jobs": "#/jobs",
    "job": "#/job/{job}",
    "look": "#/look/{dataset}?image=3",
    "map": "#/map/{dataset}",
    "label": "#/label/{dataset}",
    "audit": "#/audit",
}
READY = {
    "job": "figure svg.main-svg",
    "look": "#panel img",
    "map": ".legend button",
    "label": "#accuracy",
    "dataset": ".tile img",
}


@pytest.fixture(params=["light", "dark"])
def themed(request: pytest.FixtureRequest, page: Page) -> Page:
    page.emulate_media(color_scheme=request.param)
    return page


def show(page: Page, site: Site, view: str) -> None:
    page.goto("/" + VIEWS[view].format(dataset=site.dataset, job=site.job))
    page.locator("h1").wait_for()
    if view in READY:
        page.locator(READY[view]).first.wait_for()


@pytest.mark.parametrize("view", VIEWS)
def test_axe_finds_nothing_serious(themed: Page, site: Site, view: str) -> None:
    show(themed, site, view)
    found = Axe().run(themed).response
    assert len(found["passes"]) > 10
    serious = [rule for rule in found["violations"] if rule["impact"] in ("serious", "critical")]
    assert not serious, [(rule["id"], rule["help"], [node["html"] for node in rule["nodes"]]) for rule in serious]


def test_light_and_dark_differ(page: Page, site: Site) -> None:
    grounds = []
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
        show(page, site, "datasets")
        grounds.append(page.evaluate("getComputedStyle(document.body).backgroundColor"))
    assert grounds[0] != grounds[1]


@pytest.mark.parametrize("view", VIEWS)
def test_a_phone_shows_every_view_without_scrolling_sideways(page: Page, site: Site, view: str) -> None:
    page.set_viewport_size({"width": 360, "height": 740})
    show(page, site, view)
    assert page.evaluate("document.documentElement.scrollWidth") <= 360


@pytest.fixture
def guarded(settings: Settings, tmp_path: object) -> Iterator[tuple[httpx.Client, str]]:
    """A service that asks for a key, with a dataset, and a key that may write."""
    from core.store import migrate

    migrate.upgrade(settings.database)
    db = Database(settings.database)
    ready_dataset(db, settings)
    text = keys.generate()
    with db.write() as session:
        keys.add(session, "page", Scope.WRITE, text)
    with serving(settings, db) as client:
        yield client, text
    db.dispose()


def test_a_key_is_asked_for_and_exchanged_for_a_cookie(
    chromium: Browser, guarded: tuple[httpx.Client, str], errors: Errors
) -> None:
    client, key = guarded
    context = chromium.new_context(base_url=str(client.base_url))
    context.set_default_timeout(PATIENCE)
    page = context.new_page()
    errors.watch(page)
    page.goto("/")
    page.get_by_label("API key").fill(keys.generate())
    page.get_by_role("button", name="Enter").click()
    expect(page.get_by_role("alert")).to_contain_text("wrong, was revoked or has expired")
    assert all("401" in error for error in errors.found)
    errors.found.clear()
    page.get_by_label("API key").fill(key)
    page.get_by_role("button", name="Enter").click()
    expect(page.get_by_role("cell", name="ready")).to_be_visible()
    page.get_by_role("link", name="test").click()
    wait_decoded(page, ".tile img", 10)
    assert page.evaluate("document.cookie") == "", "scripts cannot read the key"
    page.reload()
    wait_decoded(page, ".tile img", 10)
    page.get_by_role("button", name="Forget the key").click()
    expect(page.get_by_label("API key")).to_be_visible()
    assert errors.found == []
    context.close()
