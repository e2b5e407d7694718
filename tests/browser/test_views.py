"""How Look, Map and Label look: no overflow, no overlap, pictures before filters, colours, broken pictures, labels as text."""

import re
from itertools import combinations
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import Errors, Site, wait_decoded
from tests.browser.layout import SCHEMES, WIDTHS, assert_tidy, resized
from tests.browser.test_access import READY, VIEWS
from tests.conftest import image_bytes, picture_zip, write_zip

pytestmark = pytest.mark.browser
OWN = {name: VIEWS[name] for name in ("look", "map", "label")} | {
    "wall": "#/look/{dataset}",
    "voted": "#/map/{dataset}?colour=predicted",
}
GREY = "rgb(138, 147, 160)"


def swatches(page: Page) -> dict[str, str]:
    """The colour of each entry of the legend."""
    found: dict[str, str] = page.evaluate(
        """() => Object.fromEntries([...document.querySelectorAll(".legend button")].map((button) =>
            [button.title, getComputedStyle(button.querySelector(".swatch")).backgroundColor]))"""
    )
    return found


def distance(one: str, other: str) -> int:
    return sum(abs(int(a) - int(b)) for a, b in zip(re.findall(r"\d+", one), re.findall(r"\d+", other), strict=True))


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("view", OWN)
def test_nothing_overflows_or_overlaps(page: Page, site: Site, view: str, width: int, scheme: str) -> None:
    page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
    resized(page, width)
    for visit in (1, 2):
        page.goto("/" + OWN[view].format(dataset=site.dataset))
        page.locator(READY.get(view, ".tile.seen")).first.wait_for()
        assert_tidy(page, f"{view}, visit {visit}")
        fold = page.locator("button.fold")
        if fold.is_visible():
            fold.click()
        for more in page.locator(".fold-body .more > summary").all():
            more.click()
        assert_tidy(page, f"{view} with everything open, visit {visit}")
        page.goto("/#/jobs")
        page.locator("table").first.wait_for()


@pytest.mark.parametrize("view", ["look", "map", "label"])
def test_a_phone_shows_pictures_before_filters(page: Page, site: Site, view: str) -> None:
    resized(page, 390)
    page.goto(f"/#/{view}/{site.dataset}")
    picture = page.locator("#points" if view == "map" else ".tile.seen").first
    picture.wait_for()
    box = picture.bounding_box()
    assert box is not None and box["y"] < 844 / 2
    expect(page.locator("#filter-label")).to_be_hidden()
    page.locator("button.fold").click()
    expect(page.locator("#filter-label")).to_be_visible()


@pytest.mark.parametrize("width", WIDTHS)
def test_what_is_searched_by_comes_before_what_is_found(page: Page, site: Site, width: int) -> None:
    resized(page, width)
    page.goto(f"/#/look/{site.dataset}?image=3")
    wait_decoded(page, "#panel img.whole")
    query, wall = page.locator("#panel").bounding_box(), page.locator(".wall").bounding_box()
    assert query and wall
    assert query["x"] + query["width"] <= wall["x"] if width == 1440 else query["y"] + query["height"] <= wall["y"]
    assert wall["y"] < 844 * 0.75, "what is found begins in sight"


def test_the_methods_words_are_behind_more(page: Page, site: Site) -> None:
    for view in ("look", "map", "label"):
        page.goto(f"/#/{view}/{site.dataset}?image=3" if view == "look" else f"/#/{view}/{site.dataset}")
        page.locator(".tile.seen").first.wait_for()
        for word in ("entropy", "anchor"):
            texts = page.locator("main").get_by_text(re.compile(word, re.I)).filter(visible=True)
            assert [text for text in texts.all_text_contents() if "More" not in text] == []


def test_fifty_classes_and_none_have_colours_of_their_own(page: Page, site: Site, unlabelled: tuple[str, int]) -> None:
    dataset, _ = unlabelled
    images = [row["id"] for row in site.live.get(f"/datasets/{dataset}/images?limit=1000")["data"]]
    wanted = [{"image_id": id_, "label": f"class {number}"} for number, id_ in enumerate(images[:52])]
    wanted[0]["label"] = "<img src=x onerror=alert(1)>"  # stays a text
    assert site.live.client.put(f"/datasets/{dataset}/labels", json=wanted).status_code == 200
    page.goto(f"/#/map/{dataset}")
    page.locator(".legend button").first.wait_for()
    colours = swatches(page)
    assert len(colours) == 52 and colours.pop("none") == GREY
    assert all(distance(one, other) > 20 for one, other in combinations([*colours.values(), GREY], 2))
    expect(page.locator("#grey")).to_have_text("Grey: no label.")
    for view in ("map", "look", "label"):
        page.goto(f"/#/{view}/{dataset}")
        expect(page.locator(".tile span", has_text="<img src=x onerror=alert(1)>").first).to_be_visible()
    assert page.locator("main img[src='x']").count() == 0


def test_no_two_rounds_share_a_colour(page: Page, site: Site) -> None:
    page.goto("/#/datasets")
    colours: list[str] = page.evaluate(
        """async () => {
            const { coloured } = await import(new URL("page/graphics/colours.js", document.baseURI));
            const ids = [...Array(20).keys()];
            return coloured({ ids, rounds: 20, anchor_round: ids }, "round").map(({ colour }) => colour);
        }"""
    )
    assert len(set(colours)) == 20


def test_a_picture_that_cannot_be_had_leaves_a_placeholder(page: Page, site: Site, errors: Errors) -> None:
    page.route("**/images/4/thumbnail*", lambda route: route.abort())
    page.goto(f"/#/look/{site.dataset}")
    tile = page.locator(".tile[data-image='4']")
    expect(tile).to_have_class(re.compile("broken"))
    assert "no preview" in tile.evaluate("tile => getComputedStyle(tile, '::before').content")
    assert len(errors.found) == 1 and "/images/4/thumbnail" in errors.found.pop()


def test_deleting_asks_first(page: Page, site: Site, unlabelled: tuple[str, int]) -> None:
    dataset, count = unlabelled
    page.goto(f"/#/label/{dataset}")
    wait_decoded(page, ".tile img", 12)
    page.locator(".tile").nth(1).click()
    asked: list[str] = []
    answer = [False]

    def answered(dialog: object) -> None:
        asked.append(dialog.message)  # type: ignore[attr-defined]
        dialog.accept() if answer[0] else dialog.dismiss()  # type: ignore[attr-defined]

    page.on("dialog", answered)
    page.locator("#erase").click()
    assert "Delete this image" in asked[0]
    assert site.live.get(f"/datasets/{dataset}")["images"] == count
    answer[0] = True
    page.locator("#erase").click()
    expect(page.locator("#what")).to_contain_text(f"{count - 1} images shown, 0 selected")
    assert site.live.get(f"/datasets/{dataset}")["images"] == count - 1


def test_formats_that_browsers_do_not_show_are_rendered(page: Page, site: Site, tmp_path: Path) -> None:
    files = {f"{number}.tif": image_bytes(9800 + number, 32, "TIFF") for number in range(24)}
    dataset = site.live.upload(write_zip(tmp_path / "tiffs.zip", files))
    image = site.live.get(f"/datasets/{dataset}/images")["data"][0]["id"]
    page.goto(f"/#/dataset/{dataset}")
    wait_decoded(page, f".tile[data-image='{image}'] img")
    with page.context.expect_page() as opened:
        page.locator(f".tile[data-image='{image}']").click()
    wait_decoded(opened.value, "img")
    assert opened.value.url.endswith(f"/images/{image}/rendering")
    assert site.live.finished(site.live.train(dataset, rounds=1))["status"] == "succeeded"
    page.goto(f"/#/look/{dataset}?image={image}")
    wait_decoded(page, "#panel img.whole")
    expect(page.locator("#panel img.whole")).to_have_attribute("src", re.compile(f"/images/{image}/rendering$"))


def test_a_picture_that_browsers_show_is_shown_as_its_file(page: Page, site: Site, tmp_path: Path) -> None:
    dataset = site.live.upload(picture_zip(tmp_path / "pngs.zip", 3, first=9900))
    page.goto(f"/#/dataset/{dataset}")
    wait_decoded(page, ".tile img", 3)
    with page.context.expect_page() as opened:
        page.locator(".tile").first.click()
    wait_decoded(opened.value, "img")
    assert opened.value.url.endswith("/file")
