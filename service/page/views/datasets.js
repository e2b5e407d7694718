// All datasets, and the upload of another.

import { all } from "../parts/api.js";
import { bytes, dropPlace, field, h, number, select, table, when } from "../parts/dom.js";
import { chosen, dropped } from "../uploads/gather.js";
import { toDataset } from "../parts/links.js";
import { repeat } from "../parts/live.js";
import { may } from "../parts/session.js";
import { send } from "../uploads/uploads.js";

const LOOK = 3000;  // milliseconds between two looks at the list

/** @type {(id: null, query: URLSearchParams, signal: AbortSignal) => Promise<Node[]>} */
export async function show(_id, _query, signal) {
  const list = h("div", {});
  let before = "";
  const look = async () => {
    const datasets = await all("/datasets", {}, signal);
    const now = JSON.stringify(datasets);
    if (now !== before) list.replaceChildren(datasets.length ? shown(datasets) : introduction());
    before = now;
  };
  await look();
  repeat(LOOK, look, signal);
  return [h("h1", {}, "Datasets"), may("write") ? uploader() : reading(), list];
}

const introduction = () => h("p", {},
  "A dataset is a collection of images. ",
  may("write") ? "Drop one above; then train an encoder on it, and look at what it found alike." : "There is none yet.");

const reading = () => h("p", { class: "soft" }, "The key in use may read: uploading and training need one that may write.");

/** @param {Dataset[]} datasets */
function shown(datasets) {
  /** @param {Dataset} dataset */
  const row = (dataset) => h("tr", {},
    h("th", { scope: "row" }, h("a", { href: toDataset(dataset.id) }, dataset.name)),
    h("td", {}, h("span", { class: `state ${dataset.status}` }, dataset.status)),
    h("td", { class: "figure" }, number(dataset.images)),
    h("td", { class: "figure" }, number(dataset.rejected)),
    h("td", { class: "figure" }, number(dataset.classes)),
    h("td", { class: "figure" }, bytes(dataset.bytes)),
    h("td", {}, dataset.model_id ? "yes" : "–"),
    h("td", { class: "time" }, when(dataset.created_at)));
  const heads = ["Name", "State", "Images", "Refused", "Classes", "Size", "Trained", "Uploaded"];
  const newest = [...datasets].sort((a, b) => (a.created_at < b.created_at ? 1 : -1));
  return table("Datasets", heads, newest.map(row));
}

function uploader() {
  const labels = select([["none", "are only folders"], ["folders", "are classes, to judge by"]], "none");
  const accept = ".zip,.tar,.tgz,.gz,image/*";
  const file = h("input", { type: "file", id: "archive", class: "hidden-input", accept, multiple: true });
  const folder = h("input", { type: "file", id: "folder", class: "hidden-input", webkitdirectory: true });
  for (const input of [file, folder]) {
    input.addEventListener("change", () => {
      const gather = chosen(input);
      input.value = "";  // so that the same one can be chosen again
      send({ gather, labels: labels.value });
    });
  }
  return dropPlace("Upload", (transfer) => send({ gather: dropped(transfer), labels: labels.value }),
  h("p", { class: "big" }, "Drop a folder, a zip or a tar of images here"),
  h("div", { class: "buttons" },
    file, h("label", { for: "archive", class: "button" }, "Choose a file"),
    folder, h("label", { for: "folder", class: "button" }, "Choose a folder")),
  field("Folders inside", labels, "Classes are never trained on: they serve to judge the result and to classify."));
}
