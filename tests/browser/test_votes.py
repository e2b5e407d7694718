"""Votes on the page: when they abstain, which classification they come from, K and least confidence, a key that only reads."""

import re
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from core.settings import Settings
from core.store import keys
from core.store.db import Database
from core.store.keys import Scope
from tests.browser.conftest import PATIENCE, Errors, Site, wait_decoded
from tests.conftest import picture_zip
from tests.service.serving import serving

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def few(site: Site, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A trained dataset of 24 images without labels."""
    path = tmp_path_factory.mktemp("few") / "few.zip"
    dataset = site.live.upload(picture_zip(path, 24, first=5000, side=32), labels="none")
    assert site.live.finished(site.live.train(dataset, rounds=1))["status"] == "succeeded"
    return dataset


def paths(site: Site, dataset: str) -> list[str]:
    return [row["path"] for row in site.live.get(f"/datasets/{dataset}/images")["data"]]


def classifications(site: Site, dataset: str) -> int:
    return len(site.live.get(f"/jobs?kind=classify&dataset_id={dataset}")["data"])


def test_nothing_is_voted_before_there_is_evidence(page: Page, site: Site, few: str) -> None:
    page.goto(f"/#/label/{few}")
    expect(page.locator("#votes")).to_contain_text("needs at least two classes with three labels each")
    page.locator("#voters").fill("5")
    page.locator("#voters").blur()
    expect(page).to_have_url(re.compile("k=5"))
    expect(page.locator("#votes")).to_contain_text("needs at least two classes with three labels each")
    expect(page.locator("#judged")).to_be_empty()
    page.goto(f"/#/map/{few}?colour=predicted")
    expect(page.locator("#votes")).to_contain_text("needs at least two classes with three labels each")
    assert classifications(site, few) == 0


def test_a_table_is_sent_as_it_is_and_read_by_the_service(
    page: Page, site: Site, few: str, tmp_path: Path, errors: Errors
) -> None:
    names = paths(site, few)
    page.goto(f"/#/label/{few}")
    wait_decoded(page, ".tile img", 12)
    bad = tmp_path / "bad.csv"
    bad.write_text(f"path,label\n{names[0]},dress\nnowhere.png,shoe\n")
    with page.expect_request(re.compile("/labels$")) as sent:
        page.locator("#table").set_input_files(bad)
    assert sent.value.headers["content-type"] == "text/csv"
    expect(page.locator("#table-error")).to_contain_text("nowhere.png")
    assert "422" in errors.found.pop()
    good = tmp_path / "good.csv"
    rows = [f"{name},{'dress' if number < 4 else 'shoe'}" for number, name in enumerate(names[:8])]
    good.write_text("\n".join(["path,label", *rows]) + "\n")
    page.locator("#table").set_input_files(good)
    expect(page.locator("#what")).to_contain_text("8 of 24 labelled")
    expect(page.locator("#table-error")).to_be_hidden()
    expect(page.locator("#votes")).to_contain_text("16 others have a class")
    page.goto(f"/#/map/{few}")
    expect(page.locator(".legend")).to_contain_text("shoe (4)")


def test_a_visit_makes_no_job_unless_labels_changed(page: Page, site: Site, few: str) -> None:
    page.goto(f"/#/label/{few}")
    expect(page.locator("#votes")).to_contain_text("others have a class")
    before = classifications(site, few)
    for view in ("map/{}?colour=predicted", "label/{}", "look/{}", "label/{}"):
        page.goto("/#/" + view.format(few))
        page.reload()
        page.locator(".tile.seen").first.wait_for()
        if "look" not in view:
            expect(page.locator("#votes")).to_contain_text(re.compile("others have a class|nearest labelled ones vote"))
    assert classifications(site, few) == before
    named = paths(site, few)[10]
    assert site.live.client.put(f"/datasets/{few}/labels", json=[{"path": named, "label": "shoe"}]).status_code == 200
    page.reload()
    expect(page.locator("#votes")).to_contain_text("15 others have a class")
    assert classifications(site, few) == before + 1


def test_k_is_shown_and_set_and_so_is_the_least_confidence(page: Page, site: Site, few: str) -> None:
    page.goto(f"/#/label/{few}")
    expect(page.locator("#votes")).to_contain_text("others have a class")
    judged = site.live.get(f"/datasets/{few}/leave-one-out")
    expect(page.locator("#voters")).to_have_attribute("placeholder", f"automatic: {judged['k']}")
    page.locator("#voters").fill("2")
    page.locator("#voters").blur()
    expect(page.locator("#votes")).to_contain_text("its 2 nearest labelled images")
    asked: dict[str, Any] = site.live.get(f"/datasets/{few}/leave-one-out?k=2")
    expect(page.locator("#accuracy")).to_have_text(f"{100 * asked['accuracy']:.1f} %")
    page.locator("#sure").fill("100")
    page.locator("#sure").blur()
    expect(page.locator("#votes")).to_contain_text("stay unknown")


@pytest.fixture
def reader(site: Site, tmp_path: Path) -> Iterator[tuple[str, str]]:
    """The same data served to those with a key alone: its address, and a key that may only read."""
    root = tmp_path / "copy"
    root.mkdir()
    for name in ("datasets", "models", "runs"):
        shutil.copytree(site.live.data_dir / name, root / name)
    with (
        sqlite3.connect(site.live.data_dir / "anchorhood.sqlite3") as source,
        sqlite3.connect(root / "anchorhood.sqlite3") as target,
    ):
        source.backup(target)
    settings = Settings(data_dir=root, host="0.0.0.0", threads=1)  # what others can reach asks for a key
    db = Database(settings.database)
    text = keys.generate()
    with db.write() as session:
        keys.add(session, "reader", Scope.READ, text)
    with serving(settings, db) as client:
        yield str(client.base_url), text
    db.dispose()


def test_a_read_key_sees_votes_and_is_offered_nothing_it_may_not_do(
    chromium: Browser, site: Site, few: str, reader: tuple[str, str], errors: Errors
) -> None:
    url, key = reader
    context = chromium.new_context(base_url=url)
    context.set_default_timeout(PATIENCE)
    page = context.new_page()
    page.goto(f"/#/label/{few}")
    page.get_by_label("API key").fill(key)
    page.get_by_role("button", name="Enter").click()
    errors.watch(page)
    for again in range(2):
        expect(page.locator(".tile[data-kind='voted']").first).to_be_visible()
        expect(page.locator("#accuracy")).to_contain_text("%")
        for name in ("Upload a label table", "Select all shown", "Label the selection"):
            expect(page.get_by_text(name, exact=True).filter(visible=True)).to_have_count(0)
        page.locator("#voters").fill(str(7 + again))  # of which there is no classification
        page.locator("#voters").blur()
        expect(page.locator("#votes")).to_contain_text(f"its {7 + again} nearest")
    page.goto(f"/#/map/{few}?colour=predicted")
    expect(page.locator(".legend")).to_contain_text("shoe")
    page.locator(".legend button").first.click()
    expect(page.locator("#chosen")).to_contain_text("selected")
    expect(page.get_by_role("button", name="Delete the images")).to_have_count(0)
    page.goto(f"/#/look/{site.dataset}?image=3")
    expect(page.locator("#panel .label")).to_contain_text("voted:")
    expect(page.locator("#erase")).to_have_count(0)
    assert errors.found == []
    context.close()
