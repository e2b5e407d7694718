// A job's figures and events as texts.

import { duration, number, percent, when } from "./dom.js";
import { PHASES } from "./words.js";

const given = (value) => value !== null && value !== undefined;
const text = (value) => (typeof value === "number" ? number(value) : typeof value === "string" ? value : JSON.stringify(value));

/** What a person asks first: how far it is, when it will be done, and how well it did. */
export function figures({ kind, status, progress, evaluation, started_at: began, finished_at: ended }) {
  if (kind !== "train") return Object.entries(progress ?? {}).filter(([, value]) => given(value)).map(([name, value]) => [name, text(value)]);
  const shown = [];
  if (status === "running") {
    const about = PHASES.find(([code]) => code === progress?.phase)?.[2];
    if (about) shown.push(["Now", about]);
    shown.push(["Left", given(progress?.eta_seconds) ? `about ${duration(progress.eta_seconds)}` : "not known yet"]);
  }
  if (ended && began) shown.push(["Took", duration((new Date(ended) - new Date(began)) / 1000)]);
  if (progress?.rounds) shown.push(["Round", `${progress.round + 1} of ${progress.rounds}`], ["Epoch", `${progress.epoch + 1} of ${progress.epochs}`]);
  if (status === "running" && given(progress?.images_per_second)) shown.push(["Images/s", number(Math.round(progress.images_per_second))]);
  const scores = [["kNN accuracy", "knn_accuracy"], ["Untrained encoder", "untrained_accuracy"], ["Raw pixels", "raw_pixel_accuracy"]];
  return [...shown, ...scores.filter(([, key]) => given(evaluation?.[key])).map(([name, key]) => [name, percent(evaluation[key])])];
}

/** The method's own figures and the job's parameters. */
export function details({ id, attempt, progress, params, created_at: made, started_at: began, finished_at: ended }) {
  const shown = [["Job", id], ["Submitted", when(made)], ["Started", when(began)], ["Ended", when(ended)], ["Attempts", number(attempt)]];
  if (given(progress?.loss)) shown.push(["Loss", progress.loss.toFixed(3)]);
  if (given(progress?.anchors)) shown.push(["Anchors", percent(progress.anchors, 0)]);
  return [...shown, ...Object.entries(params).filter(([, value]) => given(value)).map(([name, value]) => [name, text(value)])];
}

/** What is said of an event beside its name. */
export function told(type, data) {
  if (type === "epoch") {
    return `${data.epoch + 1} of ${data.epochs} in round ${data.round}: loss ${data.loss.toFixed(3)}, ${number(Math.round(data.images_per_second))} images/s`;
  }
  if (type === "round") return `${data.round} has ended: mean entropy ${data.mean_entropy.toFixed(2)} nats, effective rank ${data.effective_rank.toFixed(1)}`;
  if (type === "started") return `${number(data.images)} images, ${data.config?.image_size} pixels, ${data.config?.backbone}, on ${data.config?.device}`;
  if (data.message) return data.message;
  const short = JSON.stringify(data);
  return short === "{}" ? "" : short.slice(0, 300);
}
