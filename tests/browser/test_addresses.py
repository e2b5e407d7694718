"""Look, Map and Label keep what they show in the address: a reload, Back and a link opened elsewhere show the same."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.conftest import COUNT, PATIENCE, Errors, Site, until, wait_decoded
from tests.browser.test_map_and_labels import lasso, open_map, places
from tests.conftest import picture_zip, write_zip

pytestmark = pytest.mark.browser
SMALL = {"width": 700, "height": 500}  # so that a wall of COUNT pictures scrolls


def scrolled(page: Page) -> float:
    top: float = page.evaluate("document.querySelector('.wall').scrollTop")
    return top


def elsewhere(chromium: Browser, page: Page, look: Callable[[Page], Any]) -> Any:
    """What ``look`` sees where another person opens the address."""
    other = chromium.new_context(viewport=page.viewport_size)
    other.set_default_timeout(PATIENCE)
    shown = other.new_page()
    shown.goto(page.url)
    seen = look(shown)
    other.close()
    return seen


def test_the_wall_is_found_again_where_it_was_left(chromium: Browser, page: Page, site: Site) -> None:
    page.set_viewport_size(SMALL)
    page.goto(f"/#/look/{site.dataset}?label=class-1")
    wait_decoded(page, ".tile img", 3)
    expect(page.locator("#what")).to_contain_text(f"{COUNT // 3} images")
    page.evaluate("document.querySelector('.wall').scrollTop = 333")
    expect(page).to_have_url(re.compile(r"label=class-1.*at=\d"))
    before = scrolled(page)
    assert before > 100

    def same(shown: Page) -> None:
        expect(shown.locator("#what")).to_contain_text(f"{COUNT // 3} images")
        until(shown, f"Math.abs(document.querySelector('.wall')?.scrollTop - {before}) < 2")
        expect(shown.locator("#filter-label")).to_have_value("=class-1")

    page.reload()
    same(page)
    elsewhere(chromium, page, same)
    box = page.locator(".wall").bounding_box()
    assert box is not None
    page.mouse.click(box["x"] + 60, box["y"] + box["height"] / 2)  # in sight: Playwright would scroll to another
    expect(page.locator("#what")).to_contain_text("nearest to image")
    page.go_back()
    same(page)


def test_back_undoes_a_filter(page: Page, site: Site) -> None:
    page.goto(f"/#/look/{site.dataset}")
    page.locator("#filter-label").select_option("=class-1")
    expect(page.locator("#what")).to_contain_text(f"{COUNT // 3} images")
    page.go_back()
    expect(page.locator("#what")).to_contain_text(f"{COUNT} images")
    expect(page.locator("#filter-label")).to_have_value("*")
    page.go_forward()
    expect(page.locator("#what")).to_contain_text(f"{COUNT // 3} images")


def test_a_selection_and_marks_stay(page: Page, site: Site) -> None:
    page.goto(f"/#/look/{site.dataset}")
    wait_decoded(page, ".tile img", 12)
    page.locator(".tile").nth(2).click(modifiers=["Control"])
    page.locator(".tile").nth(4).click(modifiers=["Control"])
    page.get_by_label("marks it good").check()
    page.locator(".tile").nth(6).click()
    expect(page).to_have_url(re.compile(r"(?=.*selected=)(?=.*good=\d+)(?=.*click=good)"))
    page.reload()
    expect(page.locator(".tile[aria-selected='true']")).to_have_count(2)
    expect(page.locator(".tile[data-kind='good']")).to_have_count(1)
    expect(page.locator("#what")).to_contain_text(f"{COUNT} images. Marked: 1 good, 0 bad")
    assert page.get_by_label("marks it good").is_checked()


def test_a_picture_from_outside_is_searched_by_again(page: Page, site: Site, tmp_path: Path) -> None:
    from tests.conftest import image_bytes

    file = tmp_path / "query.png"
    file.write_bytes(image_bytes(7, 32))
    page.goto(f"/#/look/{site.dataset}")
    page.locator("#picture").set_input_files(file)
    expect(page.locator("#what")).to_contain_text("nearest to query.png")
    page.reload()
    expect(page.locator("#what")).to_contain_text("nearest to query.png")
    wait_decoded(page, "#panel img.whole")


def test_the_map_is_found_again(chromium: Browser, page: Page, site: Site) -> None:
    box = open_map(page, site.dataset)
    page.locator("#colour").select_option("round")
    page.mouse.move(box["x"] + 200, box["y"] + 200)
    page.mouse.wheel(0, -200)
    corner = (box["x"] + 3, box["y"] + 3)
    lasso(page, [corner, (corner[0] + 400, corner[1]), (corner[0] + 400, corner[1] + 380), (corner[0], corner[1] + 380)])
    expect(page.locator("#chosen")).to_contain_text("images selected")
    expect(page).to_have_url(re.compile(r"(?=.*view=)(?=.*lasso=)(?=.*colour=round)"))
    chosen = page.locator("#chosen").text_content() or ""
    where = places(page)[0]

    def same(shown: Page) -> None:
        expect(shown.locator("#chosen")).to_have_text(chosen)
        expect(shown.locator("#colour")).to_have_value("round")
        until(shown, "document.querySelector('#map')?.placeOf(0)[0] > 0")
        assert places(shown)[0] == pytest.approx(where, abs=1)

    page.reload()
    same(page)
    elsewhere(chromium, page, same)
    page.locator(".tile:visible").first.click()
    expect(page.locator("#panel")).to_be_visible()
    page.go_back()
    same(page)
    page.go_back()
    expect(page.locator("#chosen")).to_contain_text("All images")


def test_the_label_view_is_found_again(chromium: Browser, page: Page, site: Site) -> None:
    page.goto(f"/#/label/{site.dataset}")
    wait_decoded(page, ".tile img", 12)
    page.locator("#filter-label").select_option("=class-2")
    page.locator("#order").select_option("unsure")
    page.locator("#voters").fill("3")
    page.locator("#sure").fill("40")
    page.locator("#sure").blur()
    page.get_by_role("button", name="Select all shown").click()
    expect(page.locator("#what")).to_contain_text(f"{COUNT // 3} selected")
    expect(page).to_have_url(re.compile(r"(?=.*selected=)(?=.*order=unsure)(?=.*k=3)(?=.*sure=40)(?=.*label=class-2)"))

    def same(shown: Page) -> None:
        expect(shown.locator("#what")).to_contain_text(f"{COUNT // 3} images shown, {COUNT // 3} selected")
        for field, value in {"order": "unsure", "voters": "3", "sure": "40", "filter-label": "=class-2"}.items():
            expect(shown.locator(f"#{field}")).to_have_value(value)
        expect(shown.locator("#judged")).to_contain_text("of the 3 nearest others")

    page.reload()
    same(page)
    elsewhere(chromium, page, same)


def test_selections_of_thousands_have_an_address(page: Page, site: Site) -> None:
    page.goto("/#/datasets")
    found = page.evaluate(
        """async () => {
            const { packed, unpacked } = await import(new URL("page/parts/address.js", document.baseURI));
            const sets = [[], [7], [...Array(50000).keys()], [...Array(3000).keys()].map((id) => 3 * id + (id % 2)),
                [...Array(50000).keys()].filter((id) => (id * 7919) % 11 < 4)];
            return sets.map((ids) => [packed(ids).length, JSON.stringify(unpacked(packed(ids))) === JSON.stringify(ids)]);
        }"""
    )
    assert all(same for _, same in found)
    assert all(length <= 6000 for length, _ in found)
    assert found[2][0] < 20


def test_unknown_datasets_and_those_without_a_model_say_so(page: Page, site: Site, errors: Errors, tmp_path: Path) -> None:
    bare = site.live.upload(picture_zip(tmp_path / "bare.zip", 4, first=600))
    broken = site.live.upload(write_zip(tmp_path / "broken.zip", {"a.png": b"no image", "b.png": b"none either"}))
    for view in ("look", "map", "label"):
        page.goto(f"/#/{view}/ds_nowhere")
        expect(page.locator("main")).to_contain_text("There is no dataset ds_nowhere")
        expect(page.get_by_role("link", name="All datasets")).to_be_visible()
        page.goto(f"/#/{view}/{bare}")
        expect(page.locator("main")).to_contain_text("No encoder has been trained on it yet")
        expect(page.get_by_role("link", name="Train on it")).to_be_visible()
        page.goto(f"/#/{view}/{broken}")
        expect(page.locator("main")).to_contain_text("Its validation failed")
        expect(page.get_by_role("link", name="See why")).to_be_visible()
    page.goto(f"/#/look/{site.dataset}?image=999999")
    expect(page.locator("main")).to_contain_text("There is no image 999999")
    page.get_by_role("link", name="Back to all images").click()
    expect(page.locator("#what")).to_contain_text(f"{COUNT} images")
    assert errors.found and all("status of 4" in error for error in errors.found)
    errors.found.clear()
