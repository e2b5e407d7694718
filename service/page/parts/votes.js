// Votes of the labelled images: how well they predict each other, and the class of every other image.

import { get, getText, post } from "./api.js";
import { csv, labelOf } from "./collection.js";
import { field, h, percent } from "./dom.js";
import { finished, underWay } from "./live.js";
import { may } from "./session.js";

const [TEMPERATURE, LABELS] = [0.1, 3];  // the API's own
const RECENT = 50;  // classifications looked through for one that fits
const CONFUSIONS = 1000;  // asked for: all those of as many classes as a matrix shows
const SOON = 100;  // milliseconds
const AT_ONCE = 6;  // questions, where each image is asked for by itself
/**
 * @typedef {{ id: number, given: string | null, label: string | null, confidence: number }} Line
 * @type {{ job: string | null, lines: Line[] }}
 */
let table = { job: null, lines: [] };  // the one read last

/**
 * `GET …/leave-one-out`; `abstained` says why there are no votes. `k` null: the best of some.
 * @type {(dataset: Dataset, k: number | null, signal: AbortSignal) => Promise<LeaveOneOut>}
 */
export const judge = (dataset, k, signal) => get(`/datasets/${dataset.id}/leave-one-out`, { k, limit: CONFUSIONS }, signal);

/**
 * The classes of all images into `map.predicted`: from the newest classification that fits the model, the labels and `k`, or from a
 * new one. False: there is none, and this key may not ask for one.
 * @type {(dataset: Dataset, map: Columns, k: number | null, signal: AbortSignal) => Promise<boolean>}
 */
export async function predict(dataset, map, k, signal) {
  const known = await get("/jobs", { dataset_id: dataset.id, kind: "classify", order: "newest", limit: RECENT }, signal);
  /** @type {(job: Job) => boolean} */
  const fits = ({ params, status }) => params.model_id === dataset.model_id && (params.k ?? null) === k && params.temperature === TEMPERATURE
    && params.min_confidence === 0 && params.min_labels === LABELS && (status === "succeeded" || underWay(status));
  const newest = known.data.find(fits);
  if (newest && take(map, await lines(await finished(newest, SOON, signal)))) return true;
  if (!may("write")) return false;
  const job = await finished(await post(`/datasets/${dataset.id}/classifications`, { k }), SOON, signal);
  if (job.status !== "succeeded") throw new Error(job.error?.message ?? `the classification was ${job.status}`);
  take(map, await lines(job), true);
  return true;
}

/** @param {Job} job */
async function lines(job) {
  if (job.status !== "succeeded") return null;
  if (table.job !== job.id) {
    const [head, ...rest] = csv(await getText(`/jobs/${job.id}/classifications`));
    const at = Object.fromEntries(head.map((name, column) => [name, column]));
    table = { job: job.id, lines: rest.map((line) => ({
      id: Number(line[at.image_id]), given: line[at.label] || null, label: line[at.predicted] || null, confidence: Number(line[at.confidence]),
    })) };
  }
  return table.lines;
}

/**
 * Puts a table into the map if it was made of the same images with the same labels.
 * @type {(map: Columns, found: Line[] | null, anyway?: boolean) => boolean}
 */
function take(map, found, anyway = false) {
  const same = found && found.length === map.ids.length && found.every(({ id, given }) => map.rowOf.has(id) && labelOf(map, id) === given);
  if (!same && !anyway) return false;
  map.predicted.clear();
  for (const { id, label, confidence } of found ?? []) map.predicted.set(id, { label, confidence });
  return true;
}

/**
 * Asks for the classes of a few images, one by one.
 * @type {(dataset: Dataset, map: Columns, k: number | null, ids: number[], signal: AbortSignal) => Promise<void>}
 */
export async function ask(dataset, map, k, ids, signal) {
  const open = ids.filter((id) => !map.predicted.has(id)).values();  // shared: each takes the next
  const one = async () => {
    for (const id of open) {
      const { label, confidence } = await get("/classify", { image_id: id, dataset_id: dataset.id, k }, signal);
      map.predicted.set(id, { label, confidence });
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, one));
}

/**
 * How the votes are made: `k` null is «the best by leave-one-out», `sure` is the least confidence, 0 to 1.
 * @param {URLSearchParams} query
 * @param {(changes: { k: number | null, sure: number | null }) => unknown} onChange
 */
export function votingForm(query, onChange) {
  /** @type {(name: string, most: number) => number | ""} */
  const given = (name, most) => {
    const value = Number(query.get(name));
    return value > 0 && value <= most ? value : "";
  };
  const voters = h("input", { id: "voters", type: "number", min: 1, max: 1000, step: 1, placeholder: "automatic", value: given("k", 1000) });
  const least = h("input", { id: "sure", type: "number", min: 0, max: 100, step: 1, placeholder: "0", value: given("sure", 100) });
  const k = () => (voters.value === "" || !voters.checkValidity() ? null : Number(voters.value));
  const sure = () => (least.checkValidity() ? Number(least.value) / 100 : 0);
  const change = () => onChange({ k: k(), sure: least.checkValidity() && Number(least.value) ? Number(least.value) : null });
  const tried = h("p", { class: "soft" });
  const element = h("form", { class: "filters", "aria-label": "How the votes are made", onchange: change, onsubmit: (event) => event.preventDefault() },
    field("Nearest ones that vote (K)", voters, "Empty: the number that is right most often."),
    field("Leave out votes below (%)", least, "What is less sure stays unknown."), tried);
  /** @param {LeaveOneOut} one Shows what leave-one-out found. */
  const tell = (one) => {
    voters.placeholder = k() === null && one.k ? `automatic: ${one.k}` : "automatic";
    tried.textContent = one.by_k?.length ? `Right by K: ${one.by_k.map((row) => `${row.k}: ${percent(row.accuracy, 0)}`).join(", ")}.` : "";
  };
  return { element, k, sure, tell };
}
