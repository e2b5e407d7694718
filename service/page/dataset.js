// One dataset: how its validation went, what was refused, and a wall of its images.

import { at, get, remove, rows } from "./api.js";
import { bytes, guarded, h, number, when } from "./dom.js";
import { Wall } from "./wall.js";

const LOOK = 1000;  // milliseconds between two looks at a validation
const REFUSED = 200;  // rows shown at once

export async function show(id, _query, signal) {
  const dataset = await get(`/datasets/${id}`, {}, signal);
  const page = h("div", {});
  if (dataset.status === "validating") watch(dataset, page, signal);
  else await result(dataset, page, signal);
  return [h("h1", {}, dataset.name), page];
}

/** Follows the job that validates it. */
async function watch(dataset, page, signal) {
  const bar = h("progress", { "aria-label": "Validation" });
  const told = h("p", { role: "status" }, "Waiting for a worker…");
  page.replaceChildren(h("p", {}, "Every file is opened and decoded once, so that training meets no surprise."), bar, told);
  while (!signal.aborted) {
    try {
      const [newest, jobs] = await Promise.all([
        get(`/datasets/${dataset.id}`, {}, signal),
        get("/jobs", { dataset_id: dataset.id, kind: "ingest", order: "newest", limit: 1 }, signal)]);
      if (newest.status !== "validating") {
        await result(newest, page, signal);
        return;
      }
      const progress = jobs.data[0]?.progress;
      if (progress) told.textContent = Object.entries(progress).map(([name, count]) => `${name}: ${number(count)}`).join(", ");
    } catch (error) {
      if (error.name === "AbortError") return;
      told.textContent = `${error.message}; trying again`;
    }
    await new Promise((resolve) => setTimeout(resolve, LOOK));
  }
}

async function result(dataset, page, signal) {
  if (dataset.status === "failed") {
    page.replaceChildren(h("p", { class: "error" }, dataset.error?.message ?? "The validation failed."), ...(await refused(dataset)));
    return;
  }
  const facts = [["Images", number(dataset.images)], ["Refused files", number(dataset.rejected)],
    ["Duplicates", number(dataset.duplicates)], ["Classes", number(dataset.classes)], ["Size", bytes(dataset.bytes)],
    ["Uploaded", when(dataset.created_at)]];
  const links = dataset.model_id
    ? [["look", "Look"], ["map", "Map"], ["label", "Label"]].map(([view, text]) =>
      h("a", { class: "button primary", href: `#/${view}/${dataset.id}` }, text))
    : [];
  const erase = guarded(async () => {
    if (!confirm(`Delete ${dataset.name} with its images, jobs and models?`)) return;
    await remove(`/datasets/${dataset.id}`);
    location.hash = "#/datasets";
  });
  const { wall, filling } = images(dataset, signal);
  page.replaceChildren(
    h("dl", { class: "facts" }, facts.map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value)))),
    h("div", { class: "buttons" }, links,
      h("a", { class: dataset.model_id ? "button" : "button primary", href: `#/train?dataset=${dataset.id}` }, "Train on it"),
      h("a", { class: "button", href: `#/jobs?dataset=${dataset.id}` }, "Its jobs"),
      h("button", { type: "button", class: "danger", onclick: erase }, "Delete")),
    ...(await refused(dataset)),
    h("h2", {}, "Images"), wall.element);
  filling();
}

async function refused(dataset) {
  if (!dataset.rejected && !dataset.duplicates && dataset.status !== "failed") return [];
  const { data, next } = await get(`/datasets/${dataset.id}/rejections`, { limit: REFUSED });
  if (!data.length) return [];
  const row = (file) => h("tr", {}, h("th", { scope: "row" }, file.path), h("td", {}, h("code", {}, file.code)), h("td", {}, file.reason));
  return [h("details", { open: data.length <= 20 },
    h("summary", {}, `Files that are not in it (${number(dataset.rejected)} refused, ${number(dataset.duplicates)} duplicates)`),
    h("div", { class: "scroll low", tabindex: 0, role: "region", "aria-label": "Refused files" },
      h("table", { id: "refused" },
        h("thead", {}, h("tr", {}, ["File", "Code", "Why"].map((head) => h("th", { scope: "col" }, head)))),
        h("tbody", {}, data.map(row)))),
    next ? h("p", {}, `The first ${number(data.length)}; GET /datasets/${dataset.id}/rejections has all of them.`) : null)];
}

/** A wall that asks for the list of images as far as it is scrolled. */
function images(dataset, signal) {
  const ids = [];
  const labels = new Map();
  let wanted = 0;
  let wake = () => {};
  const wall = new Wall({
    label: `Images of ${dataset.name}`,
    note: (id) => ({ text: labels.get(id) ?? "" }),
    need: (index) => {
      wanted = Math.max(wanted, index);
      if (wanted >= ids.length) wake();
    },
    act: (id) => {
      location.hash = dataset.model_id ? `#/look/${dataset.id}?image=${id}` : location.hash;
      if (!dataset.model_id) window.open(at(`/images/${id}/file`), "_blank", "noopener");
    },
  });
  const filling = async () => {
    wall.show(ids, dataset.images);
    try {
      for await (const page of rows(`/datasets/${dataset.id}/images`, {}, signal)) {
        for (const image of page) {
          ids.push(image.id);
          if (image.label !== null) labels.set(image.id, image.label);
        }
        wall.refresh();
        if (ids.length > wanted) await new Promise((resolve) => { wake = resolve; });
      }
      wall.show(ids);  // some may have been added or deleted in between
    } catch (error) {
      if (error.name !== "AbortError") throw error;
    }
  };
  return { wall, filling };
}
