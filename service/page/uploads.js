// Uploads that run: they belong to no view, so that one may go elsewhere meanwhile, and a closing window asks first.

import { get, upload } from "./api.js";
import { bytes, duration, guarded, h, notice, number } from "./dom.js";
import { packed } from "./pack.js";

const NAMED = 5;  // files that were left out, named at once
let running = 0;

const asks = (event) => event.preventDefault();

function counted(by) {
  running += by;
  if (running) window.addEventListener("beforeunload", asks);
  else window.removeEventListener("beforeunload", asks);
}

/** Uploads what `gather(found, signal)` finds and goes to the dataset that it becomes, unless another view was opened meanwhile. */
export const send = guarded(async ({ gather, labels }) => {
  const stop = new AbortController();
  const before = location.hash;
  const title = h("strong", {}, "Reading the folder");
  const bar = h("progress", { "aria-label": "Upload" });
  const told = h("span", {}, "");
  const row = h("section", { class: "sending", "aria-label": "Upload" }, title, bar, told,
    h("button", { type: "button", onclick: () => stop.abort() }, "Stop"));
  document.getElementById("uploads").append(row);
  counted(1);
  try {
    const { entries, unread } = await gather((count) => { told.textContent = `${number(count)} files found`; }, stop.signal);
    const ignored = await passedOver(stop.signal);
    const archive = packed(entries, ignored);
    const missed = unread.filter((path) => !ignored?.test(path));
    if (!archive) throw new Error(missed.length ? `Nothing could be read: ${named(missed)}` : "There is no file in it that could be an image");
    title.textContent = archive.files ? `${archive.name}: ${number(archive.files)} files` : archive.name;
    const dataset = await upload("/datasets", form(archive, labels), telling(bar, told), stop.signal);
    if (missed.length) notice(`${number(missed.length)} ${missed.length > 1 ? "files" : "file"} could not be read and left out: ${named(missed)}`, true);
    if (location.hash === before) location.hash = `#/dataset/${dataset.id}`;
    else notice([`${dataset.name} has been uploaded: `, h("a", { href: `#/dataset/${dataset.id}` }, "look at it")]);
  } finally {
    counted(-1);
    row.remove();
  }
});

/** What the service would pass over anyway, such as hidden files; null where it does not say. */
async function passedOver(signal) {
  try {
    return new RegExp((await get("/formats", {}, signal)).ignored, "u");
  } catch (error) {
    if (error.status !== 404) throw error;
    return null;
  }
}

const named = (paths) => paths.slice(0, NAMED).join(", ") + (paths.length > NAMED ? ` and ${number(paths.length - NAMED)} more` : "");

function form(archive, labels) {
  const made = new FormData();
  made.append("labels", labels);
  made.append("name", archive.name.replace(/\.(zip|tar|tgz|tar\.gz)$/i, ""));
  made.append("file", archive.blob, archive.name);
  return made;
}

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
    event.dataTransfer.dropEffect = "none";
  });
  window.addEventListener("drop", (event) => event.preventDefault());
}
