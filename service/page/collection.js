// A dataset with its model's map: ids, places, labels and how each image was learned, as columns that views draw and filter.

import { get, getText, post, put } from "./api.js";
import { h } from "./dom.js";

const NO_LABEL = -1;
let kept = null;

/** What was selected on one view, for the next one. */
export const selection = { dataset: null, ids: [] };

/** The dataset and its columns; read anew where the model or anything else may have changed. */
export async function open(id, signal) {
  const dataset = await get(`/datasets/${id}`, {}, signal);
  if (!dataset.model_id) return { dataset, map: null };
  const map = await get(`/models/${dataset.model_id}/map`, {}, signal);
  map.rowOf = new Map(map.ids.map((image, row) => [image, row]));
  map.rounds = map.entropy.length;
  map.predicted = kept?.id === id ? kept.predicted : new Map();
  kept = { id, predicted: map.predicted };
  return { dataset, map };
}

/** What a view shows of a dataset without a model. */
export function untrained(dataset, title) {
  return [h("h1", {}, `${title}: ${dataset.name}`),
    h("p", {}, "No encoder has been trained on it yet, so nothing is known of which images are alike."),
    h("p", {}, h("a", { class: "button primary", href: `#/train?dataset=${dataset.id}` }, "Train on it"))];
}

export function nothing(title) {
  return [h("h1", {}, title), h("p", {}, "There is no dataset yet: ", h("a", { href: "#/datasets" }, "upload images"), " first.")];
}

export const labelOf = (map, id) => {
  const row = map.rowOf.get(id);
  const label = row === undefined ? NO_LABEL : map.labels[row];
  return label === NO_LABEL ? null : map.names[label];
};

/** Ids of the images that pass a filter, as `filters.js` makes one. */
export function passing(map, filter) {
  const wanted = filter.label.map((name) => map.names.indexOf(name));
  const byLabel = wanted.length > 0 || filter.unlabelled;
  const entropy = map.entropy[filter.entropy_round ?? map.rounds - 1] ?? [];
  return map.ids.filter((_, row) => {
    const label = map.labels[row];
    if (byLabel && !(label === NO_LABEL ? filter.unlabelled : wanted.includes(label))) return false;
    if (filter.anchor_round !== null && map.anchor_round[row] !== filter.anchor_round) return false;
    const value = entropy[row];
    if (filter.min_entropy !== null && !(value !== null && value >= filter.min_entropy)) return false;
    return filter.max_entropy === null || (value !== null && value <= filter.max_entropy);
  });
}

/** Gives images a label (or takes it away) and puts it into the columns. */
export async function giveLabel(dataset, map, ids, label) {
  await put(`/datasets/${dataset.id}/labels`, ids.map((image_id) => ({ image_id, label: label || null })));
  if (label && !map.names.includes(label)) map.names.push(label);
  for (const id of ids) {
    const row = map.rowOf.get(id);
    if (row !== undefined) map.labels[row] = label ? map.names.indexOf(label) : NO_LABEL;
  }
}

/** The kNN classes of all images, by a classification job: a Map of id to `{label, confidence}`. */
export async function predict(dataset, map, signal) {
  let job = await post(`/datasets/${dataset.id}/classifications`, {});
  for (let wait = 100; job.status === "queued" || job.status === "running"; wait = Math.min(wait * 1.5, 2000)) {
    await new Promise((resolve) => setTimeout(resolve, wait));
    job = await get(`/jobs/${job.id}`, {}, signal);
  }
  if (job.status !== "succeeded") throw new Error(job.error?.message ?? `the classification was ${job.status}`);
  map.predicted.clear();
  const [head, ...lines] = csv(await getText(`/jobs/${job.id}/classifications`));
  const at = Object.fromEntries(head.map((name, column) => [name, column]));
  for (const line of lines) {
    map.predicted.set(Number(line[at.image_id]), { label: line[at.predicted], confidence: Number(line[at.confidence]) });
  }
  return map.predicted;
}

/** Rows of a CSV text (RFC 4180). */
export function csv(text) {
  const rows = [];
  const cell = /("(?:[^"]|"")*"|[^,\r\n]*)(,|\r?\n|$)/gy;
  let row = [];
  while (cell.lastIndex < text.length) {
    const [, value, end] = cell.exec(text);
    row.push(value.startsWith('"') ? value.slice(1, -1).replaceAll('""', '"') : value);
    if (end === ",") continue;
    rows.push(row);
    row = [];
  }
  return rows;
}

export const quoted = (value) => (/[",\r\n]/.test(value) ? `"${value.replaceAll('"', '""')}"` : value);
