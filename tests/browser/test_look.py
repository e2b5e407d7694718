"""Look: a wall, neighbours, a picture from outside, marks, filters, and how an image was learned."""

import re
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import COUNT, Site, wait_decoded
from tests.conftest import image_bytes

pytestmark = pytest.mark.browser


def ids(page: Page) -> list[int]:
    """The images on the wall, in the order of their places."""
    tiles = page.locator(".tile:visible").evaluate_all("tiles => tiles.map(tile => [+tile.dataset.index, +tile.dataset.image])")
    return [image for _, image in sorted(tiles)]


def test_a_click_shows_the_neighbours_that_the_api_finds(page: Page, site: Site) -> None:
    page.goto(f"/#/look/{site.dataset}")
    wait_decoded(page, ".tile img", 12)
    expect(page.locator("#what")).to_contain_text(f"{COUNT} images")
    page.locator(".tile").nth(3).click()
    expect(page.locator("#panel")).to_be_visible()
    expect(page.locator("#what")).to_contain_text("nearest to image")
    wait_decoded(page, ".tile img", 12)
    wait_decoded(page, "#panel img.whole")
    image = int(re.search(r"image=(\d+)", page.url)[1])  # type: ignore[index]
    found = site.live.get(f"/neighbours?image_id={image}&k=100")["neighbours"]
    shown = ids(page)
    assert shown == [row["image_id"] for row in found][: len(shown)]
    expect(page.locator(f".tile[data-image='{shown[0]}'] span")).to_contain_text(f"{found[0]['score']:.3f}")
    page.go_back()
    expect(page.locator("#what")).to_contain_text(f"{COUNT} images")


def test_how_an_image_was_learned(page: Page, site: Site) -> None:
    images = site.live.get(f"/datasets/{site.dataset}/images")["data"]
    learned = {row["id"]: site.live.get(f"/images/{row['id']}")["provenance"] for row in images[:30]}
    image, known = next((id_, found) for id_, found in learned.items() if found["anchor_round"] == 1)
    page.goto(f"/#/look/{site.dataset}?image={image}")
    page.locator("#more summary").click()
    history = page.locator("#history")
    expect(history).to_contain_text("became an anchor in round 1")
    assert history.locator("meter").count() == len(known["entropy"]) == 3
    for value in known["entropy"]:
        expect(history).to_contain_text(f"{value:.2f} nats")
    page.locator("#pulled").scroll_into_view_if_needed()
    wait_decoded(page, "#pulled img", len(known["neighbours"]))
    page.locator("#pulled a").first.click()
    expect(page).to_have_url(re.compile(f"image={known['neighbours'][0]}$"))


def test_a_picture_from_outside(page: Page, site: Site, tmp_path: Path) -> None:
    file = tmp_path / "query.png"
    file.write_bytes(image_bytes(7, 32))  # one that is in the dataset
    page.goto(f"/#/look/{site.dataset}")
    wait_decoded(page, ".tile img")
    page.locator("#picture").set_input_files(file)
    expect(page.locator("#what")).to_contain_text("nearest to query.png")
    best = site.live.get(f"/images/{ids(page)[0]}")
    assert best["path"].endswith("0007.png")
    wait_decoded(page, ".side img.whole")


def test_marks_refine_a_search(page: Page, site: Site) -> None:
    page.goto(f"/#/look/{site.dataset}")
    wait_decoded(page, ".tile img", 12)
    images = ids(page)
    page.get_by_label("marks it good").check()
    page.locator(f".tile[data-image='{images[0]}']").click()
    page.locator(f".tile[data-image='{images[4]}']").click()
    page.get_by_label("marks it bad").check()
    page.locator(f".tile[data-image='{images[2]}']").click()
    expect(page.locator("#what")).to_contain_text("Marked: 2 good, 1 bad")
    page.locator("#refine").click()
    expect(page.locator("#what")).to_contain_text("nearest to the good")
    query = {"positive": [images[0], images[4]], "negative": [images[2]], "k": 100}
    wanted = site.live.client.post("/neighbours", json=query).json()["neighbours"]
    shown = ids(page)
    assert shown == [row["image_id"] for row in wanted][: len(shown)]


def test_filters_narrow_the_wall_and_the_search(page: Page, site: Site) -> None:
    page.goto(f"/#/look/{site.dataset}")
    page.get_by_label("Label").select_option("class-1")
    expect(page.locator("#what")).to_contain_text(f"{COUNT // 3} images")
    page.get_by_text("More: how it was learned").click()
    page.get_by_label("Became an anchor in").select_option("1")
    page.locator(".tile:visible").first.wait_for()
    for image in ids(page):
        body = site.live.get(f"/images/{image}")
        assert (body["label"], body["provenance"]["anchor_round"]) == ("class-1", 1)
    page.get_by_role("button", name="Show all").click()
    expect(page.locator("#what")).to_contain_text(f"{COUNT} images")
    entropies = sorted(site.live.get(f"/images/{image}")["provenance"]["entropy"][-1] for image in ids(page))
    page.get_by_label("to", exact=True).fill(f"{entropies[len(entropies) // 2]:.3f}")
    page.get_by_label("to", exact=True).blur()
    expect(page.locator("#what")).not_to_contain_text(f"{COUNT} images")
    assert 0 < len(ids(page)) < COUNT


def test_the_wall_is_used_with_the_keyboard_alone(page: Page, site: Site) -> None:
    page.goto(f"/#/look/{site.dataset}")
    wait_decoded(page, ".tile img")
    wall = page.get_by_role("listbox")
    wall.focus()
    for key in ("ArrowRight", "ArrowDown", "ArrowLeft", "ArrowRight"):
        page.keyboard.press(key)
    active = wall.get_attribute("aria-activedescendant")
    image = page.locator(f"#{active}").get_attribute("data-image")
    page.keyboard.press("Space")
    expect(page.locator(f"#{active}")).to_have_attribute("aria-selected", "true")
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile(f"image={image}$"))
    expect(page.locator("#panel")).to_be_visible()


def test_where_the_encoder_of_each_round_looks(page: Page, site: Site) -> None:
    page.goto(f"/#/look/{site.dataset}?image=9")
    page.locator("#more summary").click()
    strip = page.locator("#attention")
    strip.get_by_role("button", name="Show it").click()
    expect(strip.locator("img")).to_have_count(3)  # one for each round
    strip.scroll_into_view_if_needed()
    wait_decoded(page, "#attention img", 3)
    expect(page).to_have_url(re.compile("more=1"))
    page.reload()
    wait_decoded(page, "#panel img.whole")
    expect(strip.locator("img")).to_have_count(3)
    strip.scroll_into_view_if_needed()
    wait_decoded(page, "#attention img", 3)  # kept with the model, so that nobody has to ask again
