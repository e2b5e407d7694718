"""Swagger UI at /docs: without internet, under the page's policy, with and without keys, below a path of a proxy."""

from collections.abc import Iterator
from urllib.parse import urlsplit

import httpx
import pytest
from playwright.sync_api import Browser, Page, Request, expect

from core.settings import Settings
from core.store.db import Database
from core.store.keys import Scope
from tests.browser.conftest import PATIENCE, Errors
from tests.service.keys import bearer, make
from tests.service.middleware.test_prefix import proxy
from tests.service.serving import serving

pytestmark = pytest.mark.browser


@pytest.fixture
def service(settings: Settings, db: Database) -> Iterator[httpx.Client]:
    with serving(settings, db) as client:
        yield client


@pytest.fixture
def docs(chromium: Browser, errors: Errors) -> Iterator[Page]:
    """A page that asks one address alone and whose console stays empty."""
    context = chromium.new_context(viewport={"width": 1280, "height": 900})
    context.set_default_timeout(PATIENCE)
    page = context.new_page()
    errors.watch(page)
    asked: list[Request] = []
    page.on("request", lambda request: asked.append(request))
    yield page
    assert {urlsplit(request.url).netloc for request in asked if not request.url.startswith("data:")} == {
        urlsplit(page.url).netloc
    }
    assert not [request.url for request in asked if request.url.startswith("data:")]
    context.close()
    assert errors.found == []


def tried(page: Page, url: str, operation: str, button: str = "Execute") -> str:
    """Opens an operation, sends it as it stands, and gives the address asked and the answer's status."""
    block = page.locator(f"[id$='{operation}']")
    block.locator("button.opblock-summary-control").click()
    block.get_by_role("button", name=button).click()
    expect(block.locator(".request-url pre")).to_contain_text(url)
    return block.locator(".live-responses-table tbody .response-col_status").inner_text()


def opened(page: Page, url: str) -> None:
    answer = page.goto(f"{url}docs")
    assert answer is not None
    policy = answer.headers["content-security-policy"]
    assert policy == page.request.get(url).headers["content-security-policy"]
    assert "unsafe-eval" not in policy
    expect(page.locator(".opblock")).not_to_have_count(0)
    expect(page.get_by_text("/datasets", exact=True).first).to_be_visible()


def test_an_operation_is_tried_without_keys(docs: Page, service: httpx.Client, errors: Errors) -> None:
    url = f"{service.base_url}/"
    opened(docs, url)
    assert "200" in tried(docs, f"{url}datasets?limit=100", "list_datasets")
    assert errors.found == []
    assert "404" in tried(docs, f"{url}datasets/ds_3f9c", "get_dataset")
    assert all("404" in error for error in errors.found)
    errors.found.clear()
    assert docs.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_an_operation_is_tried_with_a_key(docs: Page, service: httpx.Client, db: Database, errors: Errors) -> None:
    text = make(db, Scope.READ)
    url = f"{service.base_url}/"
    opened(docs, url)
    assert "401" in tried(docs, f"{url}datasets", "list_datasets")
    assert all("401" in error for error in errors.found)
    errors.found.clear()
    docs.locator("button.authorize").first.click()
    docs.locator("#auth-bearer-value").fill(text)
    docs.locator(".auth-btn-wrapper button.authorize").first.click()
    docs.locator(".close-modal").click()
    docs.locator("[id$='list_datasets']").get_by_role("button", name="Execute").click()
    expect(docs.locator("[id$='list_datasets'] .live-responses-table tbody .response-col_status")).to_contain_text("200")


@pytest.mark.parametrize("tells", [True, False])
def test_an_operation_is_tried_below_a_path(docs: Page, service: httpx.Client, db: Database, tells: bool) -> None:
    if tells:  # which without keys is refused
        docs.context.set_extra_http_headers(bearer(make(db, Scope.READ)))
    with proxy(service.base_url, tells=tells) as url:
        opened(docs, url)
        assert "200" in tried(docs, f"{url}datasets?limit=100", "list_datasets")
