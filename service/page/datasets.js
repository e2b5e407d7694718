// All datasets, and the upload of another.

import { all, upload } from "./api.js";
import { bytes, duration, field, guarded, h, notice, number, select, when } from "./dom.js";
import { chosen, dropped, packed } from "./pack.js";

export async function show(_id, _query, signal) {
  const datasets = await all("/datasets");
  datasets.sort((a, b) => (a.created_at < b.created_at ? 1 : -1));
  return [h("h1", {}, "Datasets"), ...uploader(signal), datasets.length ? table(datasets) : introduction()];
}

const introduction = () => h("p", {},
  "A dataset is a collection of images. Drop one above; then train an encoder on it, and look at what it found alike.");

function table(datasets) {
  const row = (dataset) => h("tr", {},
    h("th", { scope: "row" }, h("a", { href: `#/dataset/${dataset.id}` }, dataset.name)),
    h("td", {}, h("span", { class: `state ${dataset.status}` }, dataset.status)),
    h("td", { class: "figure" }, number(dataset.images)),
    h("td", { class: "figure" }, number(dataset.rejected)),
    h("td", { class: "figure" }, number(dataset.classes)),
    h("td", { class: "figure" }, bytes(dataset.bytes)),
    h("td", {}, dataset.model_id ? "yes" : "–"),
    h("td", {}, when(dataset.created_at)));
  const heads = ["Name", "State", "Images", "Refused", "Classes", "Size", "Trained", "Uploaded"];
  return h("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "Datasets" },
    h("table", {}, h("thead", {}, h("tr", {}, heads.map((head) => h("th", { scope: "col" }, head)))),
      h("tbody", {}, datasets.map(row))));
}

function uploader(signal) {
  const labels = select([["none", "are only folders"], ["folders", "are classes, to judge by"]], "none");
  const file = h("input", { type: "file", id: "archive", class: "hidden-input", accept: ".zip,.tar,.tgz,.gz,image/*", multiple: true });
  const folder = h("input", { type: "file", id: "folder", class: "hidden-input", webkitdirectory: true });
  const state = h("div", { class: "sending", hidden: true });
  const take = (entries) => send(packed(entries), labels.value, state, signal);
  for (const input of [file, folder]) {
    input.addEventListener("change", guarded(async () => {
      const entries = chosen(input);
      input.value = "";  // so that the same one can be chosen again
      await take(entries);
    }));
  }
  const box = h("section", {
    class: "drop", "aria-label": "Upload",
    ondragover: (event) => { event.preventDefault(); box.classList.add("over"); },
    ondragleave: () => box.classList.remove("over"),
    ondrop: guarded(async (event) => {
      box.classList.remove("over");
      await take(await dropped(event.dataTransfer));
    }),
  },
  h("p", { class: "big" }, "Drop a folder, a zip or a tar of images here"),
  h("div", { class: "buttons" },
    file, h("label", { for: "archive", class: "button" }, "Choose a file"),
    folder, h("label", { for: "folder", class: "button" }, "Choose a folder")),
  field("Folders inside", labels, "Classes are never trained on: they serve to judge the result and to classify."),
  state);
  return [box];
}

async function send(archive, labels, state, signal) {
  if (!archive) {
    notice("There is no file in it that could be an image", true);
    return;
  }
  const stop = new AbortController();
  const bar = h("progress", { max: archive.blob.size || 1, value: 0, "aria-label": `Upload of ${archive.name}` });
  const told = h("span", {}, "");
  const started = performance.now();
  state.hidden = false;
  state.replaceChildren(h("span", {}, archive.files ? `${archive.name}: ${number(archive.files)} files` : archive.name), bar, told,
    h("button", { type: "button", onclick: () => stop.abort() }, "Stop"));
  const form = new FormData();
  form.append("labels", labels);
  form.append("name", archive.name.replace(/\.(zip|tar|tgz|tar\.gz)$/i, ""));
  form.append("file", archive.blob, archive.name);
  const progress = (sent, total) => {
    bar.max = total;
    bar.value = sent;
    const left = ((performance.now() - started) / 1000) * (total / Math.max(sent, 1) - 1);
    told.textContent = `${bytes(sent)} of ${bytes(total)}${left > 2 ? `, ${duration(left)} left` : ""}`;
  };
  try {
    const dataset = await upload("/datasets", form, progress, stop.signal);
    if (!signal.aborted) location.hash = `#/dataset/${dataset.id}`;
    else notice(`${dataset.name} has been uploaded`);
  } finally {
    state.hidden = true;
  }
}
