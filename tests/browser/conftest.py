"""Real Chromium on a live embedded system: what a person does on the page, judged by what is on the screen."""

import os
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, expect, sync_playwright

from tests.conftest import image_bytes, picture_zip
from tests.live import Live

PATIENCE = 60_000  # milliseconds; what is waited for is a condition, and a busy machine is slow
COUNT = 60
expect.set_options(timeout=PATIENCE)


@dataclass
class Site:
    """A live system with a trained dataset of ``COUNT`` pictures, labelled by their folders."""

    live: Live
    dataset: str
    job: str

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.live.port}"


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    root = tmp_path_factory.mktemp("site")
    live = Live(root / "data").start()
    try:
        dataset = live.upload(picture_zip(root / "pictures.zip", COUNT, classes=3, side=32))
        job = live.train(dataset, rounds=3, select_rate=0.25)
        assert live.finished(job)["status"] == "succeeded"
        yield Site(live, dataset, job)
    finally:
        live.close()


@pytest.fixture(scope="session")
def playground(site: Site, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A trained dataset for tests that change labels or delete images, so that one training does for all of them."""
    path = tmp_path_factory.mktemp("playground") / "playground.zip"
    dataset = site.live.upload(picture_zip(path, 56, first=8000, side=32), labels="none")
    assert site.live.finished(site.live.train(dataset, rounds=1))["status"] == "succeeded"
    return dataset


@pytest.fixture
def unlabelled(site: Site, playground: str) -> tuple[str, int]:
    """The playground without a label, and how many images it has left: at least 54."""
    images = site.live.get(f"/datasets/{playground}/images?limit=1000")["data"]
    none = [{"image_id": image["id"], "label": None} for image in images]
    assert site.live.client.put(f"/datasets/{playground}/labels", json=none).status_code == 200
    return playground, len(images)


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    path = os.environ.get("CHROMIUM") or shutil.which("chromium")
    assert path, "chromium is not installed: apt-get install chromium"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])  # which root in a container cannot use
        yield browser
        browser.close()


class Errors:
    """What the console complained of."""

    def __init__(self) -> None:
        self.found: list[str] = []

    def watch(self, page: Page) -> None:
        page.on("console", self._told)
        page.on("pageerror", lambda error: self.found.append(f"uncaught: {error}"))

    def _told(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.found.append(f"{message.type}: {message.text} ({message.location.get('url')})")


@pytest.fixture
def context(chromium: Browser, site: Site) -> Iterator[BrowserContext]:
    context = chromium.new_context(base_url=site.url, viewport={"width": 1280, "height": 900})
    context.set_default_timeout(PATIENCE)
    yield context
    context.close()


@pytest.fixture
def errors() -> Errors:
    return Errors()


@pytest.fixture
def page(context: BrowserContext, errors: Errors) -> Iterator[Page]:
    """A page on which no error, warning or refusal of its Content-Security-Policy may appear."""
    page = context.new_page()
    errors.watch(page)
    yield page
    page.close()
    assert errors.found == []


def decoded(page: Page, selector: str) -> int:
    """How many of the selected images are in sight with pixels that are not all of one colour."""
    found: int = page.evaluate(
        """async (selector) => {
            let count = 0;
            for (const image of document.querySelectorAll(selector)) {
                const box = image.getBoundingClientRect();
                const inSight = box.width > 0 && box.bottom > 0 && box.top < innerHeight;
                if (!inSight || !image.complete || !image.naturalWidth) continue;
                const canvas = new OffscreenCanvas(16, 16);
                const brush = canvas.getContext("2d");
                brush.drawImage(image, 0, 0, 16, 16);
                const pixels = new Uint32Array(brush.getImageData(0, 0, 16, 16).data.buffer);
                if (new Set(pixels).size > 1) count += 1;
            }
            return count;
        }""",
        selector,
    )
    return found


def until(page: Page, expression: str, arg: object = None) -> None:
    """Wait until JavaScript says true; Playwright's own way would evaluate texts in the page, which its policy forbids."""
    deadline = time.monotonic() + PATIENCE / 1000
    while not page.evaluate(expression, arg):
        assert time.monotonic() < deadline, f"waited in vain for {expression}"
        page.wait_for_timeout(100)


def wait_decoded(page: Page, selector: str, least: int = 1) -> None:
    """Wait until at least that many images are on the screen."""
    deadline = time.monotonic() + PATIENCE / 1000
    while (count := decoded(page, selector)) < least:
        assert time.monotonic() < deadline, f"{count} images of {selector} are on the screen, not {least}"
        page.wait_for_timeout(100)


def folder_of_pictures(path: Path, count: int, first: int) -> Path:
    """A folder of images in two folders, and one file that is none."""
    for number in range(count):
        file = path / f"class-{number % 2}" / f"{'é' * 60 if number == 3 else ''}{number}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(image_bytes(first + number, 32))
    (path / "notes.txt").write_text("not an image")
    return path
