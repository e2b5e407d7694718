"""What the page costs a browser: its first view, and scrolling through 50,000 thumbnails and over a map of 50,000 points.

``make bench-page`` uploads CIFAR-10's 50,000 training images to a real server, trains on them as briefly as can be (what is
measured is not the model), and reads the figures from Chromium's own performance API; it prints a table and, last, one JSON
object. ``--work`` keeps the data folder, so that a second run measures without preparing anew.
"""

import argparse
import json
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

from playwright.sync_api import Page, sync_playwright

from benchmarks.server import Embedded
from benchmarks.shared_data import shared, some_digits

PARAMS = {"preset": "quick", "rounds": 1, "epochs_first": 1, "batch_size": 512, "image_size": 8, "dim": 16}
# Time between frames while something moves, once a frame; a frame that takes long makes the next one late.
_FRAMES = """async ([start, seconds]) => {
    const step = new Function("return " + start)();
    const times = [];
    const begun = performance.now();
    await new Promise((resolve) => {
        const frame = (now) => {
            times.push(now);
            const part = (performance.now() - begun) / (1000 * seconds);
            if (part >= 1) return resolve();
            step(part);
            requestAnimationFrame(frame);
        };
        requestAnimationFrame(frame);
    });
    return times.slice(1).map((time, at) => time - times[at]);
}"""


def first_view(page: Page, url: str) -> dict[str, float]:
    """Milliseconds from the request to the first paint with content, and until the list of datasets is there."""
    page.goto("about:blank")
    page.goto(f"{url}/")
    page.locator("table tbody tr").first.wait_for()
    found: dict[str, float] = page.evaluate(
        """() => ({
            paint: performance.getEntriesByName("first-contentful-paint")[0].startTime,
            loaded: performance.getEntriesByType("navigation")[0].loadEventEnd,
            complete: Math.max(...performance.getEntriesByType("resource").map((entry) => entry.responseEnd)),
        })"""
    )
    return found


def frames(page: Page, step: str, seconds: float) -> dict[str, float]:
    """Frames while ``step(part)`` is called in each: how many, their median and longest time in ms."""
    times: list[float] = page.evaluate(_FRAMES, [step, seconds])
    return {"frames": len(times), "median": median(times), "longest": max(times)}


def scrolled(page: Page, url: str, dataset: str, brief: float) -> dict[str, Any]:
    """Through all thumbnails slowly (a screen or two a second) and as fast as a hand drags the bar."""
    page.goto(f"{url}/#/look/{dataset}")
    page.locator(".tile.seen:visible").first.wait_for()  # others are kept hidden, to be used again
    wall = "document.querySelector('.wall')"
    slow = frames(page, f"(part) => {{ {wall}.scrollTop = part * 8000 }}", 8 * brief)
    fast = frames(page, f"(part) => {{ const wall = {wall}; wall.scrollTop = part * wall.scrollHeight }}", 8 * brief)
    page.locator(".tile.seen:visible").first.wait_for()  # others are kept hidden, to be used again
    return {"images": page.locator(".tile").first.get_attribute("aria-setsize"), "slow": slow, "fast": fast}


def mapped(page: Page, url: str, dataset: str, brief: float) -> dict[str, Any]:
    """Milliseconds until the map is there, frames while the wheel zooms in and out, and while a lasso is drawn."""
    page.goto(f"{url}/#/datasets")
    page.locator("table tbody tr").first.wait_for()
    started: float = page.evaluate("location.hash = '#/map/" + dataset + "'; performance.now()")
    page.locator(".legend button").first.wait_for()
    shown: float = page.evaluate("performance.now()")
    zoom = """(part) => {
        const canvas = document.querySelector("#points"), box = canvas.getBoundingClientRect();
        canvas.dispatchEvent(new WheelEvent("wheel", {deltaY: part < 0.5 ? -15 : 15, cancelable: true,
            clientX: box.left + box.width / 2, clientY: box.top + box.height / 2}));
    }"""
    zoomed = frames(page, zoom, 5 * brief)
    box = page.locator("#points").bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + 20, box["y"] + 20)
    page.mouse.down()
    trace = """(part) => {
        const canvas = document.querySelector("#points"), box = canvas.getBoundingClientRect();
        canvas.dispatchEvent(new PointerEvent("pointermove", {pointerId: 1, pointerType: "mouse",
            clientX: box.left + box.width * (0.5 + 0.45 * Math.sin(6.28 * part)),
            clientY: box.top + box.height * (0.5 + 0.45 * Math.cos(6.28 * part))}));
    }"""
    lasso = frames(page, trace, 3 * brief)
    before: float = page.evaluate("performance.now()")
    page.mouse.up()
    page.locator("#chosen", has_text="images selected").wait_for()
    after: float = page.evaluate("performance.now()")
    return {"shown": shown - started, "zoom": zoomed, "lasso": lasso, "selected": after - before}


def measure(work: Path, data: Path, port: int, turns: int = 5, brief: float = 1) -> dict[str, Any]:
    """All figures, of the dataset that lies in ``work`` or is made now; ``brief`` shortens what moves."""
    server = Embedded(work, port)
    chromium = shutil.which("chromium")
    if chromium is None:
        raise SystemExit("chromium is not installed: apt-get install chromium")
    with server.serve(), sync_playwright() as playwright:
        known = server.client.get("/datasets").json()["data"]
        dataset = known[0]["id"] if known else server.upload(data)[0]
        if not known or known[0]["model_id"] is None:
            request = {"dataset_id": dataset, "params": PARAMS}
            server.finished(server.client.post("/jobs", json=request).raise_for_status().json()["id"])
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1280, "height": 900}, bypass_csp=True)  # the probe is compiled in the page
        url = f"http://127.0.0.1:{port}"
        first_view(page, url)  # the server's first answer of all is nobody's first view
        cold = []
        for _ in range(turns):
            context = browser.new_context()  # nothing cached
            cold.append(first_view(context.new_page(), url))
            context.close()
        views = {name: median(view[name] for view in cold) for name in cold[0]}
        result = {"first_view": views, "scroll": scrolled(page, url, dataset, brief), "map": mapped(page, url, dataset, brief)}
        browser.close()
    return result


def table(result: dict[str, Any]) -> str:
    """The figures as Markdown."""
    view, scroll = result["first_view"], result["scroll"]
    lines = ["| what | measured | aim |", "|---|---|---|"]
    lines.append(
        f"| first view, nothing cached: first paint; last answer | {view['paint']:.0f} ms; {view['complete']:.0f} ms | 1 s |"
    )
    for name in ("slow", "fast"):
        one = scroll[name]
        lines.append(
            f"| {name} scroll through {int(scroll['images']):,} thumbnails: frames; median; longest | "
            f"{one['frames']}; {one['median']:.0f} ms; {one['longest']:.0f} ms | 100 ms |"
        )
    drawn = result["map"]
    lines.append(f"| map of all images: from the click until it is there | {drawn['shown']:.0f} ms | |")
    for name in ("zoom", "lasso"):
        one = drawn[name]
        lines.append(
            f"| {name} on it: frames; median; longest | {one['frames']}; {one['median']:.0f} ms; {one['longest']:.0f} ms | |"
        )
    lines.append(f"| from the end of a lasso to its images | {drawn['selected']:.0f} ms | |")
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.page", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "anchorhood-page")
    parser.add_argument("--data", type=Path, help="a zip of images, in place of CIFAR-10's 50,000")
    parser.add_argument("--port", type=int, default=8791)
    parser.add_argument("--tiny", action="store_true", help="only whether it runs: digits, one turn, a tenth of each movement")
    arguments = parser.parse_args(argv)
    if arguments.tiny:
        work = arguments.work / "tiny"
        work.mkdir(parents=True, exist_ok=True)
        result = measure(work, some_digits(work), arguments.port, turns=1, brief=0.1)
    else:
        result = measure(arguments.work, arguments.data or shared("cifar10-train.zip"), arguments.port)
    print(table(result))
    print(json.dumps(result))


if __name__ == "__main__":
    main()
