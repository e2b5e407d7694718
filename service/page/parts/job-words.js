// A job's figures and events as texts.

import { duration, number, percent, when } from "./dom.js";
import { PHASES } from "./words.js";

/** @template T @param {T} value @returns {value is NonNullable<T>} */
const given = (value) => value !== null && value !== undefined;
/** @param {unknown} value */
const text = (value) => (typeof value === "number" ? number(value) : typeof value === "string" ? value : JSON.stringify(value));
/** @type {(values: { [name: string]: unknown }) => string[][]} */
const pairs = (values) => Object.entries(values).filter(([, value]) => given(value)).map(([name, value]) => [name, text(value)]);

// What is judged: its name, its figures, and where evaluations of earlier versions have its kNN accuracy.
const JUDGED = [
  ["This embedding", "trained", "knn_accuracy"], ["After adapting (not published)", "adapted", ""],
  ["The pretrained encoder as it is", "frozen", "frozen_accuracy"], ["An untrained encoder", "untrained", "untrained_accuracy"],
  ["Raw pixels", "raw_pixels", "raw_pixel_accuracy"]];
/** @type {[string, string | number][]} */
const MEASURES = [
  ["1 label a class", 1], ["5 labels", 5], ["10 labels", 10], ["Mean average precision", "mean_average_precision"],
  ["Recall at 1", "recall_at_1"], ["kNN", "knn_accuracy"], ["Linear", "linear_embedding"]];
const COMPARED = 5;  // labels a class

/**
 * @typedef {{ labels: number, mean: number, low: number, high: number }} FewLabel
 * @typedef {{ few_label?: FewLabel[], [measure: string]: any }} Judged
 * @type {(judged: Judged | null | undefined, labels?: number) => FewLabel | undefined}
 */
export const fewLabel = (judged, labels = COMPARED) => judged?.few_label?.find((one) => one.labels === labels);

/**
 * What a person asks first: how far it is, and when it will be done.
 * @param {Job} job
 */
export function figures({ kind, status, progress, started_at: began, finished_at: ended }) {
  if (kind !== "train") return pairs(progress ?? {});
  const shown = [];
  if (status === "running") {
    const about = PHASES.find(([code]) => code === progress?.phase)?.[2];
    if (about) shown.push(["Now", about]);
    shown.push(["Left", given(progress?.eta_seconds) ? `about ${duration(progress.eta_seconds)}` : "not known yet"]);
  }
  if (ended && began) shown.push(["Took", duration((Date.parse(ended) - Date.parse(began)) / 1000)]);
  if (progress?.rounds) {
    shown.push(["Round", `${(progress.round ?? 0) + 1} of ${progress.rounds}`]);
    shown.push(["Epoch", `${(progress.epoch ?? 0) + 1} of ${progress.epochs}`]);
  }
  if (status === "running" && given(progress?.images_per_second)) {
    shown.push(["Images/s", number(Math.round(progress.images_per_second))]);
  }
  return shown;
}

/**
 * How well the embedding did, beside its baselines: heads, and rows of texts; what an evaluation lacks is left out.
 * @param {{ [name: string]: any } | null} evaluation
 * @returns {{ heads: string[], rows: string[][] }}
 */
export function scores(evaluation) {
  if (!evaluation || !given(evaluation.knn_accuracy)) return { heads: [], rows: [] };
  /** @param {FewLabel} found */
  const few = ({ mean, low, high }) => `${percent(mean)} (${percent(low, 0).replace(" %", "")} to ${percent(high, 0)})`;
  /** @type {(judged: Judged | undefined, accuracy: string, measure: string | number) => string | null} */
  const cell = (judged, accuracy, measure) => {
    if (typeof measure === "number") {
      const found = fewLabel(judged, measure);
      return found ? few(found) : null;
    }
    const value = judged?.[measure] ?? (measure === "knn_accuracy" ? evaluation[accuracy] : null);
    return given(value) ? percent(value) : null;
  };
  const all = JUDGED.map(([name, key, accuracy]) => ({ name, cells: MEASURES.map(([, measure]) => cell(evaluation[key], accuracy, measure)) }));
  const rows = all.filter(({ cells }) => cells.some(given));
  const columns = MEASURES.map((_, at) => at).filter((at) => rows.some(({ cells }) => given(cells[at])));
  return {
    heads: ["", ...columns.map((at) => MEASURES[at][0])],
    rows: rows.map(({ name, cells }) => [name, ...columns.map((at) => cells[at] ?? "–")]),
  };
}

/**
 * The method's own figures and the job's parameters.
 * @param {Job} job
 */
export function details({ id, attempt, progress, params, created_at: made, started_at: began, finished_at: ended }) {
  const times = [["Submitted", when(made)], ["Started", when(began)], ["Ended", when(ended)]];
  const shown = [["Job", id], ...times, ["Attempts", number(attempt)]];
  if (given(progress?.loss)) shown.push(["Loss", progress.loss.toFixed(3)]);
  if (given(progress?.anchors)) shown.push(["Anchors", percent(progress.anchors, 0)]);
  return [...shown, ...pairs(params)];
}

/**
 * What is said of an event beside its name.
 * @type {(type: string, data: JobEvent["data"]) => string}
 */
export function told(type, data) {
  if (type === "epoch") {
    const speed = number(Math.round(data.images_per_second));
    return `${data.epoch + 1} of ${data.epochs} in round ${data.round}: loss ${data.loss.toFixed(3)}, ${speed} images/s`;
  }
  if (type === "round") {
    const [entropy, rank] = [data.mean_entropy.toFixed(2), data.effective_rank.toFixed(1)];
    return `${data.round} has ended: mean entropy ${entropy} nats, effective rank ${rank}`;
  }
  if (type === "started") {
    const { image_size: side, backbone, device, method } = data.config ?? {};
    return `${number(data.images)} images, ${side} pixels, method ${method}, ${backbone}, on ${device}`;
  }
  if (type === "running") return data.attempt > 1 ? `attempt ${data.attempt}` : "";
  if (data.message) return data.message;
  const short = JSON.stringify(data);
  return short === "{}" ? "" : short.slice(0, 300);
}
