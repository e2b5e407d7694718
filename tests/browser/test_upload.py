"""Datasets: a folder and a zip, progress, refused files and why, and a wall that loads as one scrolls; then the training."""

import io
import re
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Page, expect

from tests.browser.conftest import PATIENCE, Errors, Site, folder_of_pictures, until, wait_decoded
from tests.conftest import image_bytes, picture_zip, write_zip

pytestmark = pytest.mark.browser


def dataset_of(page: Page) -> str:
    """The dataset that the page went to after an upload."""
    page.wait_for_url(re.compile("#/dataset/ds_"))
    return page.url.rpartition("/")[2]


def test_a_folder_becomes_a_dataset_with_its_refused_files(page: Page, site: Site, tmp_path: Path) -> None:
    page.goto("/")
    page.get_by_label("Folders inside").select_option("folders")
    page.locator("#folder").set_input_files(folder_of_pictures(tmp_path / "holiday", 14, first=1000))
    dataset = dataset_of(page)
    expect(page.get_by_role("heading", name="holiday")).to_be_visible()
    refused = page.locator("#refused tbody tr")
    expect(refused).to_have_count(1)
    expect(refused).to_contain_text("notes.txt")
    expect(refused).to_contain_text("not_an_image")
    wait_decoded(page, ".tile img", 14)
    body = site.live.get(f"/datasets/{dataset}")
    assert (body["images"], body["rejected"], body["classes"]) == (14, 1, 2)
    paths = [row["path"] for row in site.live.get(f"/datasets/{dataset}/images")["data"]]
    assert f"class-1/{'é' * 60}3.png" in paths


def test_hidden_files_of_a_dropped_folder_are_not_sent_and_no_class(page: Page, site: Site, tmp_path: Path) -> None:
    folder = folder_of_pictures(tmp_path / "shelf", 6, first=1500)
    hidden = [".ipynb_checkpoints/0-checkpoint.png", "class-0/.hidden.png", "__MACOSX/class-1/._1.png", "class-1/Thumbs.db"]
    for number, name in enumerate(hidden):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(image_bytes(1600 + number, 32))
    page.add_init_script(
        """const append = FormData.prototype.append;
        FormData.prototype.append = function (name, value, ...rest) {
            if (value instanceof Blob) window.sent = value;
            append.call(this, name, value, ...rest);
        };"""
    )
    page.goto("/")
    page.get_by_label("Folders inside").select_option("folders")
    box = page.locator(".drop").bounding_box()
    assert box is not None
    drop = {"x": box["x"] + 9, "y": box["y"] + 9, "data": {"items": [], "files": [str(folder)], "dragOperationsMask": 1}}
    connection = page.context.new_cdp_session(page)
    for kind in ("dragEnter", "dragOver", "drop"):
        connection.send("Input.dispatchDragEvent", {"type": kind, **drop})
    dataset = dataset_of(page)
    wait_decoded(page, ".tile img", 6)
    sent = page.evaluate("window.sent.text()")
    assert "class-0/2.png" in sent and "notes.txt" in sent
    assert [name for name in hidden if name.rpartition("/")[2] in sent] == []
    body = site.live.get(f"/datasets/{dataset}")
    assert (body["name"], body["images"], body["rejected"], body["classes"]) == ("shelf", 6, 1, 2)


def test_a_zip_that_is_dropped(page: Page, site: Site, tmp_path: Path) -> None:
    file = picture_zip(tmp_path / "dropped.zip", 20, first=2000)
    page.goto("/")
    transfer = page.evaluate_handle(
        """(bytes) => {
            const transfer = new DataTransfer();
            transfer.items.add(new File([new Uint8Array(bytes)], "dropped.zip", {type: "application/zip"}));
            return transfer;
        }""",
        list(file.read_bytes()),
    )
    page.dispatch_event(".drop", "drop", {"dataTransfer": transfer})
    dataset = dataset_of(page)
    wait_decoded(page, ".tile img", 20)
    assert site.live.get(f"/datasets/{dataset}")["name"] == "dropped"


def noise(count: int) -> dict[str, bytes]:
    """Pictures that no compression makes smaller: 48 KiB each."""
    found = {}
    for number in range(count):
        file = io.BytesIO()
        pixels = np.random.default_rng(number).integers(0, 256, (128, 128, 3), np.uint8)
        Image.fromarray(pixels).save(file, "PNG")
        found[f"{number}.png"] = file.getvalue()
    return found


def test_a_bar_shows_how_far_the_upload_is_and_it_can_be_stopped(page: Page, site: Site, tmp_path: Path) -> None:
    file = write_zip(tmp_path / "slow.zip", noise(40))
    page.goto("/")
    slow = {"offline": False, "latency": 0, "downloadThroughput": -1, "uploadThroughput": 400_000}  # bytes a second
    connection = page.context.new_cdp_session(page)
    connection.send("Network.enable")
    connection.send("Network.emulateNetworkConditions", slow)
    before = len(site.live.get("/datasets?limit=1000")["data"])
    page.locator("#archive").set_input_files(file)
    until(page, "() => { const bar = document.querySelector('.sending progress'); return bar?.value > 0.1 * bar?.max }")
    part = page.evaluate("() => { const bar = document.querySelector('.sending progress'); return bar.value / bar.max }")
    assert part < 1
    expect(page.locator(".sending")).to_contain_text("MiB")
    page.get_by_role("button", name="Stop").click()
    expect(page.locator(".sending")).to_be_hidden()
    assert len(site.live.get("/datasets?limit=1000")["data"]) == before
    connection.send("Network.emulateNetworkConditions", {**slow, "uploadThroughput": -1})
    page.locator("#archive").set_input_files(file)
    dataset = dataset_of(page)
    wait_decoded(page, ".tile img", 20)
    assert site.live.get(f"/datasets/{dataset}")["images"] == 40


def test_what_is_no_archive_is_refused_in_words(page: Page, errors: Errors, tmp_path: Path) -> None:
    file = tmp_path / "broken.zip"
    file.write_bytes(b"this is no archive" * 100)
    page.goto("/")
    page.locator("#archive").set_input_files(file)
    expect(page.locator(".notice.error")).to_contain_text("not a zip, tar or tar.gz")
    assert all("422" in error for error in errors.found)  # which the browser reports by itself
    errors.found.clear()


def numbered(count: int) -> bytes:
    """A zip of that many tiny pictures."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for number in range(count):
            picture = io.BytesIO()
            pixel = Image.new("RGB", (8, 8), (number % 256, number // 256, 90))
            pixel.putpixel((0, 0), (255, 255, 255))
            pixel.save(picture, "PNG")
            archive.writestr(f"{number:05}.png", picture.getvalue())
    return file.getvalue()


def test_thumbnails_load_as_one_scrolls(page: Page, site: Site, tmp_path: Path) -> None:
    count = 2500  # three pages of the list
    file = tmp_path / "many.zip"
    file.write_bytes(numbered(count))
    dataset = site.live.upload(file, labels="none")
    asked: set[str] = set()
    page.on("request", lambda request: asked.add(request.url) if "/thumbnail" in request.url else None)
    page.goto(f"/#/dataset/{dataset}")
    page.locator(".wall").scroll_into_view_if_needed()
    wait_decoded(page, ".tile img", 10)
    assert len(asked) < 200
    page.locator(".wall").evaluate("wall => { wall.scrollTop = wall.scrollHeight }")
    last = page.locator(f".tile[aria-posinset='{count}'] img")
    expect(last).to_be_visible()
    wait_decoded(page, f".tile[aria-posinset='{count}'] img")
    assert len(asked) < 500
    assert page.locator(".tile").count() < 200


def test_train_and_follow_it_through_a_reload_and_a_lost_connection(
    page: Page, site: Site, errors: Errors, tmp_path: Path
) -> None:
    dataset = site.live.upload(picture_zip(tmp_path / "pictures.zip", 90, first=4000, side=32))
    page.goto(f"/#/dataset/{dataset}")
    page.get_by_role("link", name="Train on it").click()
    page.get_by_label("Start from what is already learned").uncheck()
    page.get_by_text("Parameters, if the preset").click()
    for name, value in (
        ("Rounds", "3"),
        ("Epochs of round 0", "12"),
        ("Epochs of each later round", "6"),
        ("Images a step", "8"),
    ):
        page.get_by_label(name, exact=True).fill(value)
    page.get_by_role("button", name="Start training").click()
    page.wait_for_url(re.compile("#/job/job_"))
    job = page.url.rpartition("/")[2]
    bar = page.get_by_role("progressbar")
    until(page, "document.querySelector('main progress')?.value > 0")
    before = float(bar.evaluate("bar => bar.value"))
    expect(page.locator(".facts")).to_contain_text("Images/s")
    page.reload()
    until(page, f"document.querySelector('main progress')?.value >= {before}")
    expect(page.locator("#log li.epoch").first).to_be_visible()

    site.live.stop()
    expect(page.locator(".lost")).to_be_visible()
    site.live.start()
    expect(page.locator(".state").first).to_have_text("succeeded", timeout=3 * PATIENCE)
    expect(page.locator(".lost")).to_be_hidden()
    assert errors.found and all("net::ERR_" in error for error in errors.found)  # which the browser reports by itself
    errors.found.clear()
    assert float(bar.evaluate("bar => bar.value")) == 1
    assert site.live.get(f"/jobs/{job}")["params"]["rounds"] == 3
    events = site.live.events(job)
    assert page.locator("#log li").count() == len(events), "every event once, none lost with the connection"
    for title in ("Loss", "Anchors", "Entropy"):
        expect(page.locator("figure", has_text=title).locator("svg.main-svg").first).to_be_visible()
    lines = page.locator("figure", has_text="Loss").locator(".scatterlayer .trace")
    expect(lines).to_have_count(3)
    expect(page.locator("figure", has_text="Entropy").locator(".scatterlayer .trace")).to_have_count(3)
    expect(page.locator("figure", has_text="Anchors").locator(".barlayer .point")).to_have_count(3)
    expect(page.locator("figure", has_text="Accuracy").locator(".scatterlayer .trace")).to_have_count(4)
    page.get_by_role("link", name="Map").last.click()
    expect(page.locator(".legend button").first).to_be_visible()


def test_a_running_job_is_cancelled(page: Page, site: Site) -> None:
    job = site.live.train(site.dataset, epochs_first=5000)
    page.goto(f"/#/job/{job}")
    expect(page.locator("#log li.epoch").first).to_be_visible()
    page.locator("#cancel").click()
    page.get_by_role("button", name="Let it run").click()
    expect(page.get_by_role("dialog")).to_have_count(0)
    assert site.live.get(f"/jobs/{job}")["status"] == "running"
    page.locator("#cancel").click()
    page.get_by_role("button", name="Cancel the job").click()
    expect(page.locator(".state").first).to_have_text("cancelled")
    expect(page.locator("#cancel")).to_have_count(0)
    assert site.live.get(f"/jobs/{job}")["status"] == "cancelled"


def test_pictures_without_an_archive(page: Page, site: Site, tmp_path: Path) -> None:
    files = [tmp_path / f"{number}.png" for number in range(5)]
    for number, file in enumerate(files):
        file.write_bytes(image_bytes(6000 + number, 32))
    page.goto("/")
    page.locator("#archive").set_input_files(files)
    dataset = dataset_of(page)
    wait_decoded(page, ".tile img", 5)
    assert site.live.get(f"/datasets/{dataset}")["images"] == 5
