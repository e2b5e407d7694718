"""Map and Label: points and their images, a lasso, labels, votes of the rest, how well labels predict each other."""

import csv
import io
import re
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import COUNT, Site, wait_decoded
from tests.conftest import picture_zip

pytestmark = pytest.mark.browser


def open_map(page: Page, dataset: str) -> dict[str, float]:
    """Shows the map and gives its place on the screen."""
    page.goto(f"/#/map/{dataset}")
    expect(page.locator("#map canvas").first).to_be_visible()
    page.wait_for_function("document.querySelector('#map')._fullLayout?._size")
    box = page.locator("#map .nsewdrag").bounding_box()
    assert box is not None
    return dict(box)


def places(page: Page) -> list[dict[str, float]]:
    """Where on the screen each point is."""
    found: list[dict[str, float]] = page.evaluate(
        """() => {
            const map = document.querySelector("#map"), box = map.getBoundingClientRect(), {xaxis, yaxis} = map._fullLayout;
            return map.data.flatMap(({x, y, customdata}) => customdata.map((id, at) => ({id,
                x: box.left + xaxis._offset + xaxis.d2p(x[at]), y: box.top + yaxis._offset + yaxis.d2p(y[at])})));
        }"""
    )
    return found


def lasso(page: Page, corners: list[tuple[float, float]]) -> None:
    page.mouse.move(*corners[0])
    page.mouse.down()
    for corner in [*corners[1:], corners[0]]:
        page.mouse.move(*corner, steps=8)
    page.mouse.up()


def test_a_lasso_shows_its_points_as_a_wall(page: Page, site: Site) -> None:
    box = open_map(page, site.dataset)
    points = places(page)
    assert len({point["id"] for point in points}) == COUNT
    middle = box["x"] + box["width"] / 2
    inside = {point["id"] for point in points if point["x"] < middle}
    left, top, bottom = box["x"] + 2, box["y"] + 2, box["y"] + box["height"] - 2
    lasso(page, [(left, top), (middle, top), (middle, bottom), (left, bottom)])
    expect(page.locator("#chosen")).to_have_text(f"{len(inside)} images selected.")
    assert 0 < len(inside) < COUNT
    wait_decoded(page, ".tile img", min(len(inside), 4))
    shown = page.locator(".tile:visible").evaluate_all("tiles => tiles.map(tile => +tile.dataset.image)")
    assert set(shown) <= inside


def test_hovering_shows_the_image_and_a_click_opens_it(page: Page, site: Site) -> None:
    open_map(page, site.dataset)
    for point in places(page):
        page.mouse.move(point["x"], point["y"], steps=3)
        if page.locator(".peek").is_visible():
            break
    wait_decoded(page, ".peek img")
    expect(page.locator(".peek")).to_contain_text("nats")


@pytest.mark.parametrize(("colour", "traces"), [("label", 3), ("round", 3), ("predicted", 3), ("entropy", 1)])
def test_the_map_is_coloured_by(page: Page, site: Site, colour: str, traces: int) -> None:
    open_map(page, site.dataset)
    page.get_by_label("Colour by").select_option(colour)
    page.wait_for_function(
        "([count, names]) => { const data = document.querySelector('#map').data; return data?.length === count && "
        "names.some((name) => data.some((trace) => trace.name.startsWith(name))) }",
        arg=[traces, {"label": ["class-0"], "predicted": ["class-0"], "round": ["round 1"], "entropy": ["entropy"]}[colour]],
    )
    colours: int = page.evaluate(
        """() => {
            const seen = new Set();
            for (const {marker} of document.querySelector("#map").data) [marker.color].flat().forEach((one) => seen.add(one));
            return seen.size;
        }"""
    )
    assert colours >= 3
    drawn: int = page.evaluate(
        """async () => {
            const url = await Plotly.toImage(document.querySelector("#map"), {format: "png", width: 300, height: 200});
            const image = new Image();
            image.src = url;
            await image.decode();
            const canvas = new OffscreenCanvas(300, 200), brush = canvas.getContext("2d");
            brush.drawImage(image, 0, 0);
            return new Set(new Uint32Array(brush.getImageData(0, 0, 300, 200).data.buffer)).size;
        }"""
    )
    assert drawn > 10


def test_the_filter_selects_on_the_map_without_a_mouse(page: Page, site: Site) -> None:
    open_map(page, site.dataset)
    page.get_by_label("Label", exact=True).first.select_option("class-2")
    expect(page.locator("#chosen")).to_have_text(f"{COUNT // 3} images selected.")
    marked: int = page.evaluate(
        "document.querySelector('#map').data.reduce((sum, trace) => sum + (trace.selectedpoints?.length ?? 0), 0)"
    )
    assert marked == COUNT // 3


def test_labels_for_a_few_give_classes_to_the_rest(page: Page, site: Site, tmp_path: Path) -> None:
    dataset = site.live.upload(picture_zip(tmp_path / "unlabelled.zip", 24, first=7000, side=32), labels="none")
    assert site.live.finished(site.live.train(dataset, rounds=1))["status"] == "succeeded"
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
    expect(page.locator("#what")).to_contain_text("6 of 24 labelled")
    expect(page.locator("#votes")).to_contain_text("18 others have a class")
    voted = page.locator(".tile[data-kind='voted'] span").first
    expect(voted).to_have_text(re.compile(r"(dress|shoe, left)\? \d+ %"))
    judged = site.live.get(f"/datasets/{dataset}/leave-one-out")
    expect(page.locator("#accuracy")).to_have_text(f"{100 * judged['accuracy']:.1f} %")
    cells = page.locator(".confusion tbody td").all_text_contents()
    assert [int(cell or 0) for cell in cells] == [count for row in judged["confusion"] for count in row]
    with page.expect_download() as download:
        page.locator("#download").click()
    rows: list[dict[str, Any]] = list(csv.DictReader(io.StringIO(Path(download.value.path()).read_text())))
    known = {row["path"]: row["label"] for row in site.live.get(f"/datasets/{dataset}/images")["data"] if row["label"]}
    assert {row["path"]: row["label"] for row in rows} == known
    assert sorted(known.values()) == ["dress"] * 3 + ["shoe, left"] * 3
    page.get_by_label("Order").select_option("sure")
    page.locator(".tile:visible").first.click()
