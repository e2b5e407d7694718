// One dataset: how its validation went, what was refused, and a wall of its images.

import { get, picture, remove, rows } from "../parts/api.js";
import { bytes, confirmed, facts, guarded, h, number, sentence, when } from "../parts/dom.js";
import { button, DATASETS, go, JOBS, toImage, toTraining, viewButtons } from "../parts/links.js";
import { repeat } from "../parts/live.js";
import { refused } from "./refused.js";
import { may } from "../parts/session.js";
import { Wall } from "../graphics/wall.js";

const LOOK = 1000;  // milliseconds between two looks at a validation
/** @type {{ [name: string]: string }} */
const COUNTED = { images: "images are in it", rejected: "files were refused", duplicates: "are there already" };

/** @type {(id: string, query: URLSearchParams, signal: AbortSignal) => Promise<Node[]>} */
export async function show(id, _query, signal) {
  const dataset = await get(`/datasets/${id}`, {}, signal);
  const page = h("div", {});
  if (dataset.status === "validating") watch(dataset, page, signal);
  else await result(dataset, page, signal);
  return [h("h1", {}, dataset.name), page];
}

/**
 * Follows the job that validates it.
 * @type {(dataset: Dataset, page: HTMLElement, signal: AbortSignal) => void}
 */
function watch(dataset, page, signal) {
  const bar = h("progress", { "aria-label": "Checking the upload" });
  const told = h("p", { id: "told" }, "Waiting for a worker…");
  page.replaceChildren(h("p", {}, "Every file is opened once, so that training meets no surprise."), bar, told);
  const look = async () => {
    const [newest, jobs] = await Promise.all([
      get(`/datasets/${dataset.id}`, {}, signal),
      get("/jobs", { dataset_id: dataset.id, kind: "ingest", order: "newest", limit: 1 }, signal)]);
    if (newest.status !== "validating") {
      await result(newest, page, signal);
      return false;
    }
    const { progress } = jobs.data[0] ?? {};
    const counts = Object.entries(COUNTED).filter(([name]) => progress?.[name] !== undefined);
    if (progress?.fraction !== null && progress?.fraction !== undefined) bar.value = progress.fraction;
    const texts = counts.map(([name, words]) => `${number(Number(progress?.[name]))} ${words}`);
    if (texts.length) told.textContent = `${texts.join(", ")}.`;
    return true;
  };
  repeat(LOOK, look, signal, (error) => { told.textContent = `${error.message}; trying again`; });
}

/** @type {(dataset: Dataset, page: HTMLElement, signal: AbortSignal) => Promise<void>} */
async function result(dataset, page, signal) {
  const left = await refused(dataset, signal);
  const buttons = h("div", { class: "buttons" }, actions(dataset, signal));
  const notices = (dataset.notices ?? []).map(({ message }) => h("p", { class: "soft remark" }, message));
  if (dataset.status === "failed") {
    const { code, message = "it failed" } = dataset.error ?? {};
    const none = left && code === "bad_archive";
    const why = none ? "None of its files can be used; below it says why." : sentence(message);
    const reason = none ? h("details", { class: "soft" }, h("summary", {}, "More"), message) : null;
    page.replaceChildren(h("p", { class: "error", id: "why" }, why), buttons, ...notices, left ?? "", reason ?? "");
    return;
  }
  const { wall, filling } = images(dataset, signal);
  page.replaceChildren(
    facts([["Images", number(dataset.images)], ["Refused files", number(dataset.rejected)],
      ["Duplicates", number(dataset.duplicates)],
      ["Classes", number(dataset.classes)], ["Size", bytes(dataset.bytes)], ["Uploaded", when(dataset.created_at)]]),
    buttons, ...notices, ...(left ? [left] : []), h("h2", {}, "Images"), wall.element);
  filling();
}

/**
 * What may be done with it by whoever looks at it.
 * @type {(dataset: Dataset, signal: AbortSignal) => Child[]}
 */
function actions(dataset, signal) {
  const erase = guarded(async () => {
    const text = "Its images, jobs and models are deleted with it. That cannot be taken back.";
    if (!(await confirmed({ title: `Delete ${dataset.name}?`, text, yes: "Delete", danger: true, signal }))) return;
    await remove(`/datasets/${dataset.id}`);
    go(DATASETS);
  });
  const trained = dataset.model_id !== null;
  return [
    trained ? viewButtons(dataset.id) : null,
    dataset.status === "ready" && may("write") ? button("Train on it", toTraining(dataset.id), !trained) : null,
    button("Its jobs", `${JOBS}?dataset=${dataset.id}`),
    may("admin") ? h("button", { type: "button", class: "danger", onclick: erase }, "Delete") : null];
}

/**
 * A wall that asks for the list of images as far as it is scrolled.
 * @type {(dataset: Dataset, signal: AbortSignal) => { wall: Wall, filling: () => Promise<void> }}
 */
function images(dataset, signal) {
  /** @type {number[]} */
  const ids = [];
  /** @type {Map<number, string>} */
  const labels = new Map();
  /** @type {Map<number, string>} */
  const pictures = new Map();
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
      if (dataset.model_id) go(toImage(dataset.id, id));
      else window.open(pictures.get(id), "_blank", "noopener");
    },
  });
  const filling = async () => {
    wall.show(ids, dataset.images);
    try {
      for await (const page of rows(`/datasets/${dataset.id}/images`, {}, signal)) {
        for (const image of page) {
          ids.push(image.id);
          pictures.set(image.id, picture(image));
          if (image.label !== null) labels.set(image.id, image.label);
        }
        wall.refresh();
        if (ids.length > wanted) await new Promise((resolve) => { wake = () => resolve(null); });
      }
      wall.show(ids);  // some may have been added or deleted in between
    } catch (error) {
      if (error.name !== "AbortError") throw error;
    }
  };
  return { wall, filling };
}
