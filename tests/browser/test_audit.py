"""The view of the audit trail."""

import re

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, expect

from core.settings import Settings
from core.store import keys, migrate
from core.store.db import Database
from core.store.keys import Scope
from tests.browser.conftest import PATIENCE
from tests.service.serving import ready_dataset, serving

pytestmark = pytest.mark.browser


def test_who_did_what_is_shown_to_who_administers(chromium: Browser, settings: Settings) -> None:
    migrate.upgrade(settings.database)
    texts = {scope: keys.generate() for scope in (Scope.WRITE, Scope.ADMIN)}
    with Database(settings.database) as db:
        dataset = ready_dataset(db, settings)
        with db.write() as session:
            for scope, text in texts.items():
                keys.add(session, scope, scope, text)
        with serving(settings, db) as client:
            admin = {"Authorization": f"Bearer {texts[Scope.ADMIN]}"}
            client.patch(f"/datasets/{dataset}", json={"name": "<b>shoes</b>"}, headers=admin)
            client.delete("/models/mdl_0123456789abcdef", headers=admin)
            for scope, text in texts.items():
                page = chromium.new_context(base_url=str(client.base_url)).new_page()
                page.set_default_timeout(PATIENCE)
                page.goto("/")
                page.get_by_label("API key").fill(text)
                page.get_by_role("button", name="Enter").click()
                expect(page.get_by_role("cell", name="ready")).to_be_visible()
                link = page.locator("nav").get_by_role("link", name="Audit")
                expect(link).to_have_count(int(scope is Scope.ADMIN))
            link.click()
            rows = page.get_by_role("region", name="Who did what").locator("tbody tr")
            expect(rows.nth(2)).to_contain_text("delete_model")  # before the two sessions were opened
            expect(rows.nth(2)).to_contain_text("404")
            found = Axe().run(page).response["violations"]
            assert [rule["id"] for rule in found if rule["impact"] in ("serious", "critical")] == []
            page.get_by_label("About").fill(dataset)
            page.get_by_label("About").press("Enter")
            expect(rows).to_have_count(1)
            expect(rows.first).to_contain_text("change_dataset")
            expect(page).to_have_url(re.compile(f"object={dataset}"))
