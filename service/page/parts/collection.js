// A dataset with its model's map: ids, places, labels and how each image was learned, as columns that views draw and filter.

import { get, post, put } from "./api.js";
import { number } from "./dom.js";

const NO_LABEL = -1;
const MOST_AT_ONCE = 10_000;  // deletions that the API takes
/** @type {{ model: string, predicted: Columns["predicted"] } | null} */
let kept = null;

/**
 * What was selected on one view, for the next one.
 * @type {{ dataset: string | null, ids: number[] }}
 */
export const selection = { dataset: null, ids: [] };

/**
 * The dataset (null where there is none) and its columns; read anew where the model or anything else may have changed.
 * @type {(id: string, signal: AbortSignal) => Promise<{ dataset: Dataset | null, map: Columns | null }>}
 */
export async function open(id, signal) {
  const dataset = await get(`/datasets/${encodeURIComponent(id)}`, {}, signal).catch((error) => {
    if (error.status === 404) return null;
    throw error;
  });
  if (!dataset?.model_id) return { dataset, map: null };
  const predicted = kept?.model === dataset.model_id ? kept.predicted : new Map();
  const map = { ...(await columns(dataset.model_id, signal)), predicted };
  kept = { model: dataset.model_id, predicted };
  return { dataset, map };
}

/** @type {(model: string | null, signal: AbortSignal) => Promise<Omit<Columns, "predicted">>} */
async function columns(model, signal) {
  const map = await get(`/models/${model}/map`, {}, signal);
  return { ...map, rowOf: new Map(map.ids.map((image, row) => [image, row])), rounds: map.entropy.length };
}

/**
 * Reads the columns of a map anew, as after labels came from a table.
 * @type {(dataset: Dataset, map: Columns, signal: AbortSignal) => Promise<void>}
 */
export async function read(dataset, map, signal) {
  Object.assign(map, await columns(dataset.model_id, signal));
}

/** @type {(map: Columns, id: number) => string | null} */
export const labelOf = (map, id) => {
  const row = map.rowOf.get(id);
  const label = row === undefined ? NO_LABEL : map.labels[row];
  return label === NO_LABEL ? null : map.names[label];
};

/**
 * Ids of the images that pass a filter, as `filters.js` makes one.
 * @type {(map: Columns, filter: Filter) => number[]}
 */
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

/**
 * Gives images a label (or takes it away) and puts it into the columns.
 * @type {(dataset: Dataset, map: Columns, ids: number[], label: string) => Promise<void>}
 */
export async function giveLabel(dataset, map, ids, label) {
  /** @type {any} */  // the document does not say what stands in a row
  const rows = ids.map((image_id) => ({ image_id, label: label || null }));
  await put(`/datasets/${dataset.id}/labels`, rows);
  if (label && !map.names.includes(label)) map.names.push(label);
  for (const id of ids) {
    const row = map.rowOf.get(id);
    if (row !== undefined) map.labels[row] = label ? map.names.indexOf(label) : NO_LABEL;
  }
}

/**
 * Asks, and then deletes images for good; false where the answer was no.
 * @type {(dataset: Dataset, ids: number[]) => Promise<boolean>}
 */
export async function erase(dataset, ids) {
  const many = ids.length === 1 ? "this image" : `these ${number(ids.length)} images`;
  if (!confirm(`Delete ${many} of ${dataset.name}? That cannot be undone.`)) return false;
  for (let at = 0; at < ids.length; at += MOST_AT_ONCE) {
    await post(`/datasets/${dataset.id}/deletions`, { image_ids: ids.slice(at, at + MOST_AT_ONCE) });
  }
  return true;
}

const FORMULA = /^'*[=+\-@\t\r\n\uff0b\uff0d\uff1d\uff20]/;  // to a spreadsheet; an apostrophe before it is taken off

/**
 * Rows of a CSV text (RFC 4180), without the apostrophes before what would be formulas.
 * @param {string} text
 */
export function csv(text) {
  /** @type {string[][]} */
  const rows = [];
  const cell = /("(?:[^"]|"")*"|[^,\r\n]*)(,|\r?\n|$)/gy;
  /** @type {string[]} */
  let row = [];
  while (cell.lastIndex < text.length) {
    const [, value, end] = cell.exec(text) ?? [];
    const content = value.startsWith('"') ? value.slice(1, -1).replaceAll('""', '"') : value;
    row.push(content.startsWith("'") && FORMULA.test(content) ? content.slice(1) : content);
    if (end === ",") continue;
    rows.push(row);
    row = [];
  }
  return rows;
}

/**
 * A cell of a CSV, which no spreadsheet takes for a formula.
 * @param {string} value
 */
export function quoted(value) {
  const safe = FORMULA.test(value) ? `'${value}` : value;
  return /[",\r\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
}
