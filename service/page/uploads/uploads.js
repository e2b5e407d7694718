// Uploads that run: they belong to no view, so that one may go elsewhere meanwhile, and a closing window asks first.

import { get, upload } from "../parts/api.js";
import { byId, bytes, duration, guarded, h, notice, number } from "../parts/dom.js";
import { go, toDataset } from "../parts/links.js";
import { packed } from "./pack.js";

const NAMED = 5;  // files that were left out, named at once
let running = 0;

/** @param {Event} event */
const asks = (event) => event.preventDefault();

/** @param {number} by */
function counted(by) {
  running += by;
  if (running) window.addEventListener("beforeunload", asks);
  else window.removeEventListener("beforeunload", asks);
}

/**
 * Uploads what `gather(found, signal)` finds and goes to the dataset that it becomes, unless another view is open by then.
 * @type {(upload: { gather: Gather, labels: string }) => Promise<void>}
 */
export const send = guarded(async ({ gather, labels }) => {
  const stop = new AbortController();
  const before = location.hash;
  const title = h("strong", {}, "Reading the folder");
  const bar = h("progress", { "aria-label": "Upload" });
  const told = h("span", {}, "");
  const row = h("section", { class: "sending", "aria-label": "Upload" }, title, bar, told,
    h("button", { type: "button", onclick: () => stop.abort() }, "Stop"));
  byId("uploads").append(row);
  counted(1);
  try {
    const { entries, unread } = await gather((count) => { told.textContent = `${number(count)} files found`; }, stop.signal);
    const ignored = new RegExp((await get("/formats", {}, stop.signal)).ignored, "u");  // what the service would pass over anyway
    const archive = packed(entries, ignored);
    const missed = unread.filter((path) => !ignored.test(path));
    if (!archive && missed.length) throw new Error(`Nothing could be read: ${named(missed)}`);
    if (!archive) throw new Error("There is no file in it that could be an image");
    title.textContent = archive.files ? `${archive.name}: ${number(archive.files)} files` : archive.name;
    const dataset = await upload("/datasets", form(archive, labels), telling(bar, told), stop.signal);
    if (missed.length) notice(`Left out, since it could not be read (${number(missed.length)}): ${named(missed)}`, true);
    if (location.hash === before) go(toDataset(dataset.id));
    else notice([`${dataset.name} has been uploaded: `, h("a", { href: toDataset(dataset.id) }, "look at it")]);
  } finally {
    counted(-1);
    row.remove();
  }
});

/** @param {string[]} paths */
function named(paths) {
  const first = paths.slice(0, NAMED).join(", ");
  return paths.length > NAMED ? `${first} and ${number(paths.length - NAMED)} more` : first;
}

/** @type {(archive: import("./pack.js").Archive, labels: string) => FormData} */
function form(archive, labels) {
  const made = new FormData();
  made.append("labels", labels);
  made.append("name", archive.name.replace(/\.(zip|tar|tgz|tar\.gz)$/i, ""));
  made.append("file", archive.blob, archive.name);
  return made;
}

/** @type {(bar: HTMLProgressElement, told: HTMLElement) => (sent: number, total: number) => void} */
function telling(bar, told) {
  const started = performance.now();
  return (sent, total) => {
    bar.max = total || 1;
    bar.value = sent;
    const left = ((performance.now() - started) / 1000) * (total / Math.max(sent, 1) - 1);
    told.textContent = `${bytes(sent)} of ${bytes(total)}${left > 2 ? `, ${duration(left)} left` : ""}`;
  };
}

/** A file that is dropped beside a place for it must not take the page's place. */
export function keepDrops() {
  window.addEventListener("dragover", (event) => {
    if (event.defaultPrevented) return;
    event.preventDefault();
    if (event.dataTransfer) event.dataTransfer.dropEffect = "none";
  });
  window.addEventListener("drop", (event) => event.preventDefault());
}
