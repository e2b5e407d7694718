"""Map and Label: points and their images, a lasso, labels, votes of the rest, how well labels predict each other."""

import csv
import io
import re
import time
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import COUNT, PATIENCE, Site, until, wait_decoded

pytestmark = pytest.mark.browser


def open_map(page: Page, dataset: str) -> dict[str, float]:
    """Shows the map and gives its place on the screen."""
    page.goto(f"/#/map/{dataset}")
    expect(page.locator(".legend button").first).to_be_visible()
    until(page, "document.querySelector('#points').width > 300 && document.querySelector('#map').placeOf(0)[0] > 0")
    box = page.locator("#points").bounding_box()
    assert box is not None
    return dict(box)


def places(page: Page) -> list[tuple[float, float]]:
    """Where on the screen the point of each row is."""
    rows = f"[...Array({COUNT}).keys()]"
    return [tuple(place) for place in page.evaluate(f"{rows}.map((row) => document.querySelector('#map').placeOf(row))")]


def drawn_colours(page: Page) -> int:
    """How many colours the points have on the screen."""
    found: int = page.evaluate(
        """() => {
            const canvas = document.querySelector("#points");
            const pixels = new Uint32Array(canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data.buffer);
            return new Set(pixels.filter((pixel) => pixel >>> 24 > 200)).size;
        }"""
    )
    return found


def until_drawn(page: Page, least: int) -> None:
    deadline = time.monotonic() + PATIENCE / 1000
    while (count := drawn_colours(page)) < least:
        assert time.monotonic() < deadline, f"{count} colours are on the screen, not {least}"
        page.wait_for_timeout(100)


def lasso(page: Page, corners: list[tuple[float, float]]) -> None:
    page.mouse.move(*corners[0])
    page.mouse.down()
    for corner in [*corners[1:], corners[0]]:
        page.mouse.move(*corner, steps=8)
    page.mouse.up()


def test_a_lasso_shows_its_points_as_a_wall(page: Page, site: Site) -> None:
    box = open_map(page, site.dataset)
    model = site.live.get(f"/datasets/{site.dataset}")["model_id"]
    ids = site.live.get(f"/models/{model}/map")["ids"]
    middle = box["x"] + box["width"] / 2
    inside = {id_ for id_, (x, _) in zip(ids, places(page), strict=True) if x < middle}
    assert 0 < len(inside) < COUNT
    left, top, bottom = box["x"] + 2, box["y"] + 2, box["y"] + box["height"] - 2
    lasso(page, [(left, top), (middle, top), (middle, bottom), (left, bottom)])
    expect(page.locator("#chosen")).to_have_text(f"{len(inside)} images selected.")
    wait_decoded(page, ".tile img", min(len(inside), 4))
    shown = page.locator(".tile:visible").evaluate_all("tiles => tiles.map(tile => +tile.dataset.image)")
    assert set(shown) <= inside


def test_hovering_shows_the_image_and_a_click_opens_it(page: Page, site: Site) -> None:
    open_map(page, site.dataset)
    x, y = places(page)[5]
    page.mouse.move(x + 40, y + 40)
    page.mouse.move(x, y, steps=3)
    wait_decoded(page, ".peek img")
    expect(page.locator(".peek")).to_contain_text("nats")
    shown = page.locator(".peek img").get_attribute("src")
    assert shown is not None
    page.mouse.click(x, y)
    image = shown.rpartition("/images/")[2].split("/")[0]
    page.wait_for_url(re.compile(rf"#/look/ds_\w+\?image={image}$"))


@pytest.mark.parametrize(
    ("colour", "least", "names"),
    [
        ("label", 3, ["class-0", "class-1", "class-2"]),
        ("round", 3, ["never", "round 1", "round 2"]),
        ("predicted", 2, ["class-"]),
        ("entropy", 5, []),
    ],
)
def test_the_map_is_coloured_by(page: Page, site: Site, colour: str, least: int, names: list[str]) -> None:
    open_map(page, site.dataset)
    page.get_by_label("Colour by").select_option("round")
    expect(page.locator(".legend")).to_contain_text("never")
    page.get_by_label("Colour by").select_option(colour)
    if colour == "entropy":
        expect(page.locator(".legend.scale")).to_be_visible()
    for name in names:
        expect(page.locator(".legend")).to_contain_text(name)
    until_drawn(page, least)


def test_zoom_and_keys_move_the_map(page: Page, site: Site) -> None:
    box = open_map(page, site.dataset)

    def spread() -> float:
        across = [x for x, _ in places(page)]
        return max(across) - min(across)

    whole = spread()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.mouse.wheel(0, -300)
    assert spread() > 1.5 * whole
    page.locator("#points").focus()
    before = places(page)[0][0]
    page.keyboard.press("ArrowLeft")
    assert places(page)[0][0] == pytest.approx(before + 60)
    page.keyboard.press("0")
    assert spread() == pytest.approx(whole)


def test_a_colour_or_the_filter_selects_without_a_mouse(page: Page, site: Site) -> None:
    open_map(page, site.dataset)
    page.locator(".legend button", has_text="class-1").focus()
    page.keyboard.press("Enter")
    expect(page.locator("#chosen")).to_have_text(f"{COUNT // 3} images selected.")
    wait_decoded(page, ".tile img", 4)
    page.get_by_text("More: how it was learned").click()
    page.get_by_label("Became an anchor in").select_option("0")
    expect(page.locator("#chosen")).not_to_have_text(f"{COUNT // 3} images selected.")


def test_a_selection_of_the_map_is_labelled(page: Page, site: Site, unlabelled: tuple[str, int]) -> None:
    dataset, count = unlabelled
    page.goto(f"/#/map/{dataset}")
    page.locator(".legend button", has_text=f"none ({count})").click()
    form = page.get_by_role("form", name="Label the selection")
    form.get_by_label("Label").fill("disc")
    form.get_by_role("button", name="Label the selection").click()
    expect(page.locator(".legend")).to_contain_text(f"disc ({count})")
    assert {row["label"] for row in site.live.get(f"/datasets/{dataset}/images")["data"]} == {"disc"}


def test_labels_for_a_few_give_classes_to_the_rest(page: Page, site: Site, unlabelled: tuple[str, int]) -> None:
    dataset, count = unlabelled
    page.goto(f"/#/label/{dataset}")
    wait_decoded(page, ".tile img", 12)
    expect(page.locator("#votes")).to_contain_text("Nothing is labelled yet")
    form = page.get_by_role("form", name="Label the selection")
    for first, label in ((0, "dress"), (4, "shoe, left")):
        for number in range(3):
            page.locator(f".tile[aria-posinset='{first + number + 1}']").click()
        expect(page.locator("#what")).to_contain_text("3 selected")
        form.get_by_label("Label").fill(label)
        form.get_by_role("button", name="Label the selection").click()
        expect(page.locator("#what")).to_contain_text("0 selected")
    expect(page.locator("#what")).to_contain_text(f"6 of {count} labelled")
    expect(page.locator("#votes")).to_contain_text(f"{count - 6} others have a class")
    voted = page.locator(".tile[data-kind='voted'] span").first
    expect(voted).to_have_text(re.compile(r"(dress|shoe, left)\? \d+ %"))
    judged = site.live.get(f"/datasets/{dataset}/leave-one-out")
    expect(page.locator("#accuracy")).to_have_text(f"{100 * judged['accuracy']:.1f} %")
    cells = page.locator(".confusion tbody td").all_text_contents()
    counts = {(one["label"], one["voted"]): one["count"] for one in judged["confusions"]}
    counts |= {(one["label"], one["label"]): one["right"] for one in judged["classes"]}
    names = [one["label"] for one in judged["classes"]]
    assert [int(cell or 0) for cell in cells] == [counts.get((given, voted), 0) for given in names for voted in names]
    with page.expect_download() as download:
        page.locator("#download").click()
    rows: list[dict[str, Any]] = list(csv.DictReader(io.StringIO(Path(download.value.path()).read_text())))
    known = {row["path"]: row["label"] for row in site.live.get(f"/datasets/{dataset}/images")["data"] if row["label"]}
    assert {row["path"]: row["label"] for row in rows} == known
    assert sorted(known.values()) == ["dress"] * 3 + ["shoe, left"] * 3
    page.get_by_label("Order").select_option("sure")
    page.locator(".tile:visible").first.click()
