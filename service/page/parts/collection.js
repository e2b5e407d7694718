// A dataset with its model's map: ids, places, labels and how each image was learned, as columns that views draw and filter.

import { get, post, put } from "./api.js";
import { h, number } from "./dom.js";
import { may } from "./session.js";

const NO_LABEL = -1;
const MOST_AT_ONCE = 10_000;  // deletions that the API takes
let kept = null;

/** What was selected on one view, for the next one. */
export const selection = { dataset: null, ids: [] };

/** The dataset (null where there is none) and its columns; read anew where the model or anything else may have changed. */
export async function open(id, signal) {
  const dataset = await get(`/datasets/${encodeURIComponent(id)}`, {}, signal).catch((error) => {
    if (error.status === 404) return null;
    throw error;
  });
  if (!dataset?.model_id) return { dataset, map: null };
  const map = { predicted: new Map() };
  await read(dataset, map, signal);
  if (kept?.model === dataset.model_id) map.predicted = kept.predicted;
  kept = { model: dataset.model_id, predicted: map.predicted };
  return { dataset, map };
}

/** Reads the columns of a map anew, as after labels came from a table. */
export async function read(dataset, map, signal) {
  Object.assign(map, await get(`/models/${dataset.model_id}/map`, {}, signal));
  map.rowOf = new Map(map.ids.map((image, row) => [image, row]));
  map.rounds = map.entropy.length;
}

const page = (title, says, ...links) => [h("h1", {}, title), h("p", {}, says),
  h("p", { class: "buttons" }, links.map(([text, href, first]) => h("a", { class: first ? "button primary" : "button", href }, text)))];

/** What a view shows where it has nothing to show: no dataset, an unknown one, or one without a model. */
export async function instead(title, id, dataset, signal) {
  if (!id) return page(title, "There is no dataset yet.", ["Upload images", "#/datasets", true]);
  if (!dataset) return page(title, `There is no dataset ${id}: it was deleted, or the address is wrong.`, ["All datasets", "#/datasets", true]);
  const name = `${title}: ${dataset.name}`;
  const own = ["Its images", `#/dataset/${dataset.id}`];
  if (dataset.status === "validating") return page(name, "Its files are still being validated.", ["See how far it is", own[1], true]);
  if (dataset.status === "failed") return page(name, "Its validation failed, so there is nothing to train on.", ["See why", own[1], true]);
  const { data } = await get("/jobs", { dataset_id: dataset.id, kind: "train", order: "newest", limit: 1 }, signal);
  const why = "No encoder has been trained on it yet, so nothing is known of which images are alike.";
  if (["queued", "running"].includes(data[0]?.status)) {
    return page(name, `${why} A training is under way.`, ["See how far it is", `#/job/${data[0].id}`, true], own);
  }
  if (!may("write")) return page(name, `${why} Someone with a key that may write has to train one.`, own);
  return page(name, why, ["Train on it", `#/train?dataset=${dataset.id}`, true], own);
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

/** Asks, and then deletes images for good; false where the answer was no. */
export async function erase(dataset, ids) {
  const many = ids.length === 1 ? "this image" : `these ${number(ids.length)} images`;
  if (!confirm(`Delete ${many} of ${dataset.name}? That cannot be undone.`)) return false;
  for (let at = 0; at < ids.length; at += MOST_AT_ONCE) {
    await post(`/datasets/${dataset.id}/deletions`, { image_ids: ids.slice(at, at + MOST_AT_ONCE) });
  }
  return true;
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
