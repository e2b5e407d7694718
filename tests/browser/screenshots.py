"""Writes the pictures of the page in the README: `make screenshots` serves, trains on real photographs, and takes them."""

import argparse
import io
import shutil
import tempfile
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, sync_playwright

from tests.browser.conftest import until, wait_decoded
from tests.live import Live

DATA = Path(__file__).parents[3] / "shared/data/clothing-small-train.zip"
SIZE = {"width": 1200, "height": 760}
PARAMS = {"preset": "quick", "rounds": 5, "epochs_first": 30, "epochs": 8, "dim": 128, "batch_size": 32}
_COLOURS = 256  # of a palette: a page has few, and photographs survive it
_MOST_BYTES = 300 * 1024


def save(page: Page, path: Path) -> None:
    """A picture of the window, small enough for a repository."""
    picture = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
    picture.quantize(_COLOURS, dither=Image.Dither.NONE).save(path, optimize=True)
    if path.stat().st_size > _MOST_BYTES:
        picture.quantize(64, dither=Image.Dither.NONE).save(path, optimize=True)
    if path.stat().st_size > _MOST_BYTES:
        raise SystemExit(f"{path} has {path.stat().st_size:,} bytes, more than {_MOST_BYTES:,}")


def take(page: Page, dataset: str, job: str, out: Path) -> None:
    """The job, the neighbours of an image, and a lasso on the map."""
    page.set_viewport_size({"width": SIZE["width"], "height": 1000})
    page.goto(f"/#/job/{job}")
    until(page, "document.querySelectorAll('svg.main-svg').length >= 8")
    page.wait_for_timeout(500)  # for the figures' own transitions
    save(page, out / "page-job.png")
    page.set_viewport_size({"width": SIZE["width"], "height": SIZE["height"]})
    page.goto(f"/#/look/{dataset}")
    page.locator(".tile").nth(8).click()
    page.locator("#panel").wait_for()
    wait_decoded(page, ".tile img", 20)
    wait_decoded(page, "#panel img.whole")
    save(page, out / "page-look.png")
    page.goto(f"/#/map/{dataset}")
    page.locator(".legend button").first.wait_for()
    until(page, "document.querySelector('#points').width > 300")
    box = page.locator("#points").bounding_box()
    assert box is not None
    corners = [(0.05, 0.05), (0.45, 0.02), (0.5, 0.3), (0.3, 0.5), (0.06, 0.45)]
    places = [(box["x"] + across * box["width"], box["y"] + down * box["height"]) for across, down in corners]
    page.mouse.move(*places[0])
    page.mouse.down()
    for place in [*places[1:], places[0]]:
        page.mouse.move(*place, steps=6)
    page.mouse.up()
    wait_decoded(page, ".tile img", 8)
    page.mouse.move(5, 5)
    save(page, out / "page-map.png")


def main() -> None:
    """Serve, train on real photographs, and take the pictures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, nargs="?", default=Path("docs"))
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "anchorhood-screenshots")
    arguments = parser.parse_args()
    chromium = shutil.which("chromium")
    if chromium is None:
        raise SystemExit("chromium is not installed: apt-get install chromium")
    live = Live(arguments.work).start()
    try:
        done = live.get("/jobs?kind=train&status=succeeded")["data"]
        if not done:
            body = {"dataset_id": live.upload(arguments.data), "params": PARAMS, "name": "Clothing"}
            job = live.client.post("/jobs", json=body).raise_for_status().json()["id"]
            assert live.finished(job, 7200)["status"] == "succeeded"
            done = [live.get(f"/jobs/{job}")]
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
            page = browser.new_page(base_url=f"http://127.0.0.1:{live.port}", viewport=SIZE)  # type: ignore[arg-type]
            take(page, done[0]["dataset_id"], done[0]["id"], arguments.out)
            browser.close()
    finally:
        live.close()


if __name__ == "__main__":
    main()
