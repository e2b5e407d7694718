"""The page's shell: uploads that outlive their view, drops, addresses that lead nowhere, keys that may only read."""

import io
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Browser, CDPSession, JSHandle, Page, expect

from core.settings import Settings
from core.store import keys, migrate
from core.store.db import Database
from core.store.keys import Scope
from tests.browser.conftest import PATIENCE, Errors, Site, until, wait_decoded
from tests.browser.layout import assert_tidy, resized
from tests.browser.test_upload import noise
from tests.conftest import image_bytes, write_zip
from tests.service.serving import ready_dataset, serving

pytestmark = pytest.mark.browser
CASES = Path(__file__).parents[3] / "shared/cases"


def throttle(page: Page, speed: int) -> CDPSession:
    """Uploads at that many bytes a second, -1 for as fast as it goes."""
    connection = page.context.new_cdp_session(page)
    connection.send("Network.enable")
    connection.send(
        "Network.emulateNetworkConditions",
        {"offline": False, "latency": 0, "downloadThroughput": -1, "uploadThroughput": speed},
    )
    return connection


def test_an_upload_outlives_its_view_and_a_closing_window_asks(page: Page, site: Site, tmp_path: Path) -> None:
    file = write_zip(tmp_path / "slow.zip", noise(40))
    page.goto("/")
    throttle(page, 200_000)
    page.locator("#archive").set_input_files(file)
    until(page, "document.querySelector('.sending progress')?.value > 0")
    page.get_by_role("link", name="Jobs").click()
    page.get_by_role("heading", name="Jobs").click()  # without any click a browser never asks
    for width in (390, 1440):
        resized(page, width)
        assert_tidy(page, "an upload beside the jobs")
    before = page.locator(".sending progress").evaluate("bar => bar.value")
    until(page, "(before) => document.querySelector('.sending progress').value > before", before)
    asked = []
    page.once("dialog", lambda dialog: (asked.append(dialog.type), dialog.dismiss()))
    page.evaluate("setTimeout(() => location.reload())")
    until_true(page, lambda: bool(asked))
    assert asked == ["beforeunload"]
    expect(page.locator(".sending")).to_have_count(1)
    throttle(page, -1)
    expect(page.locator(".notice")).to_contain_text("slow has been uploaded")
    assert "#/jobs" in page.url
    expect(page.locator(".sending")).to_have_count(0)
    page.get_by_role("link", name="look at it").click()
    wait_decoded(page, ".tile img", 20)


def until_true(page: Page, condition: object) -> None:
    for _ in range(PATIENCE // 100):
        if condition():  # type: ignore[operator]
            return
        page.wait_for_timeout(100)
    raise AssertionError("waited in vain")


def test_an_upload_is_stopped_from_another_view(page: Page, site: Site, tmp_path: Path) -> None:
    file = write_zip(tmp_path / "stopped.zip", noise(40))
    page.goto("/")
    throttle(page, 100_000)
    page.locator("#archive").set_input_files(file)
    until(page, "document.querySelector('.sending progress')?.value > 0")
    page.get_by_role("link", name="Train").click()
    expect(page.get_by_role("heading", name="Train")).to_be_visible()
    page.locator(".sending").get_by_role("button", name="Stop").click()
    expect(page.locator(".sending")).to_have_count(0)
    assert "stopped" not in [dataset["name"] for dataset in site.live.get("/datasets?limit=1000")["data"]]


def transfer_of(page: Page, name: str, content: bytes) -> JSHandle:
    return page.evaluate_handle(
        """([name, bytes]) => {
            const transfer = new DataTransfer();
            transfer.items.add(new File([new Uint8Array(bytes)], name, {type: "image/png"}));
            return transfer;
        }""",
        [name, list(content)],
    )


@pytest.mark.parametrize("view", ["#/datasets", "#/jobs", "#/train"])
def test_a_drop_beside_the_box_does_not_leave_the_page(page: Page, site: Site, view: str) -> None:
    page.goto(f"/{view}")
    page.locator("h1").wait_for()
    transfer = transfer_of(page, "beside.png", image_bytes(1, 32))
    for kind in ("dragover", "drop"):
        kept = page.locator("h1").evaluate(
            "(heading, [kind, dataTransfer]) => !heading.dispatchEvent(new DragEvent(kind, {dataTransfer, bubbles: true, "
            "cancelable: true}))",
            [kind, transfer],
        )
        assert kept, f"{kind} is left to the browser, which opens the file in the page's place"


def test_what_cannot_be_read_is_named_and_the_rest_uploaded(page: Page, site: Site, errors: Errors, tmp_path: Path) -> None:
    """The files are real ones of the disk, and one of them is gone by the time that they are dropped."""
    files = [tmp_path / f"{number}.png" for number in range(6)]
    for number, file in enumerate(files):
        file.write_bytes(image_bytes(7000 + number, 32))
    page.goto("/")
    page.evaluate("document.body.insertAdjacentHTML('beforeend', '<input type=file multiple id=other aria-label=other>')")
    page.locator("#other").set_input_files(files)
    files[2].unlink()
    transfer = page.locator("#other").evaluate_handle(
        """(input) => {
            const transfer = new DataTransfer();
            for (const file of input.files) transfer.items.add(file);
            return transfer;
        }"""
    )
    page.dispatch_event(".drop", "drop", {"dataTransfer": transfer})
    page.wait_for_url(re.compile("#/dataset/ds_"))
    expect(page.locator(".notice.error")).to_contain_text("2.png")
    wait_decoded(page, ".tile img", 5)
    errors.found.clear()


@pytest.mark.parametrize(
    ("address", "says"),
    [
        ("#/dataset/", "does not say which dataset"),
        ("#/job", "does not say which job"),
        ("#/nonsense", "leads to no view"),
        ("#/datasets/one/two", "leads to no view"),
        ("#/look/%2e%2e", "leads to no view"),
        ("#/constructor", "leads to no view"),
    ],
)
def test_an_address_that_leads_nowhere_says_so(page: Page, address: str, says: str) -> None:
    page.goto(f"/{address}")
    expect(page.get_by_role("heading", name="There is nothing here")).to_be_visible()
    expect(page.locator("main")).to_contain_text(says)
    assert_tidy(page, address)
    page.get_by_role("link", name=re.compile("To all")).click()
    expect(page.get_by_role("heading", name=re.compile("^(Datasets|Jobs)$"))).to_be_visible()


def test_a_dataset_that_is_not_there(page: Page, errors: Errors) -> None:
    page.goto("/#/dataset/ds_nope")
    expect(page.locator("main")).to_contain_text("There is no dataset ds_nope")
    page.get_by_role("link", name="To all datasets").click()
    expect(page.get_by_role("heading", name="Datasets")).to_be_visible()
    errors.found.clear()  # the 404, which the browser reports by itself


def test_names_with_html_are_texts(page: Page, site: Site) -> None:
    dataset = site.live.upload(CASES / "28-html.zip", labels="folders")
    paths = [row["path"] for row in site.live.get(f"/datasets/{dataset}/images")["data"]]
    assert any("<" in path for path in paths)
    page.goto(f"/#/dataset/{dataset}")
    wait_decoded(page, ".tile img", 3)
    assert page.locator("main script, main b, main iframe, main img[onerror], main svg").count() == 0


def test_a_failed_dataset_says_why_and_can_be_deleted(page: Page, site: Site, errors: Errors) -> None:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for number in range(3):
            archive.writestr(f"{number}.txt", "no picture")
        archive.writestr("cut.png", noise(1)["0.png"][:20_000])
    page.goto("/")
    page.locator("#archive").set_input_files({"name": "texts.zip", "mimeType": "application/zip", "buffer": file.getvalue()})
    page.wait_for_url(re.compile("#/dataset/ds_"))
    expect(page.locator("#why")).to_have_text("None of its files can be used; below it says why.")
    for name, words in [
        ("0.txt", "This is not a picture, or one of a kind that is not read here."),
        ("cut.png", "The file is cut off"),
    ]:
        row = page.locator("#refused tbody tr", has_text=name)
        expect(row).to_contain_text(words)
        expect(row.locator("code")).to_be_hidden()
    expect(page.locator("#refused tbody tr")).to_have_count(4)
    dataset = page.url.rpartition("/")[2]
    assert site.live.get(f"/datasets/{dataset}")["status"] == "failed"
    for width in (1440, 390):
        resized(page, width)
        assert_tidy(page, "a failed dataset")
    page.get_by_role("button", name="Delete").click()
    page.get_by_role("dialog").get_by_role("button", name="Back").click()
    assert site.live.get(f"/datasets/{dataset}")["status"] == "failed"
    page.get_by_role("button", name="Delete").click()
    page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    expect(page.get_by_role("heading", name="Datasets")).to_be_visible()
    assert site.live.client.get(f"/datasets/{dataset}").status_code == 404
    errors.found.clear()


@pytest.fixture
def reading(settings: Settings, tmp_path: Path) -> Iterator[tuple[httpx.Client, str, str]]:
    """A service that asks for a key, a dataset of it, and a key that may read."""
    migrate.upgrade(settings.database)
    db = Database(settings.database)
    dataset = ready_dataset(db, settings)
    text = keys.generate()
    with db.write() as session:
        keys.add(session, "reader", Scope.READ, text)
    with serving(settings, db) as client:
        yield client, text, dataset
    db.dispose()


def test_a_read_key_is_not_offered_what_it_may_not_do(chromium: Browser, reading: tuple[httpx.Client, str, str]) -> None:
    client, key, dataset = reading
    context = chromium.new_context(base_url=str(client.base_url))
    context.set_default_timeout(PATIENCE)
    page = context.new_page()
    page.goto("/")
    page.get_by_label("API key").fill(key)
    page.get_by_role("button", name="Enter").click()
    expect(page.get_by_role("cell", name="ready")).to_be_visible()
    expect(page.locator(".drop")).to_have_count(0)
    expect(page.locator("nav").get_by_role("link", name="Train")).to_have_count(0)
    page.get_by_role("link", name="test").click()
    wait_decoded(page, ".tile img", 10)
    expect(page.get_by_role("button", name="Delete")).to_have_count(0)
    expect(page.get_by_role("link", name="Train on it")).to_have_count(0)
    page.goto(f"/#/train?dataset={dataset}")
    expect(page.locator("main")).to_contain_text("one that may write")
    expect(page.locator("form")).to_have_count(0)
    context.close()


def test_a_folder_becomes_one_dataset_whatever_its_size(page: Page, site: Site, tmp_path: Path) -> None:
    """Many files are read at once, and every one of them arrives."""
    folder = tmp_path / "many"
    for number in range(200):
        file = folder / f"{number % 7}" / f"{number}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(image_bytes(20_000 + number, 8))
    page.goto("/")
    page.locator("#folder").set_input_files(folder)
    page.wait_for_url(re.compile("#/dataset/ds_"))
    wait_decoded(page, ".tile img", 10)
    assert site.live.get(f"/datasets/{page.url.rpartition('/')[2]}")["images"] == 200
