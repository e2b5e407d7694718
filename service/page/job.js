// One job, live: what has happened so far is asked for, and then followed as server-sent events.

import { all, at, get, post } from "./api.js";
import { clock, duration, guarded, h, notice, number, percent } from "./dom.js";
import { jobCharts } from "./job-charts.js";
import { share } from "./jobs.js";

const TYPES = ["queued", "running", "started", "epoch", "round", "warning", "evaluating", "exporting", "finished", "publishing",
  "succeeded", "failed", "cancelled"];
const OVER = ["succeeded", "failed", "cancelled"];
const AGAIN = 3000;  // milliseconds until a stream that an error ended is opened anew
const LOGGED = 400;  // lines of the log

export async function show(id, _query, signal) {
  const [job, metrics, events] = await Promise.all([
    get(`/jobs/${id}`, {}, signal), get(`/jobs/${id}/metrics`, {}, signal), all(`/jobs/${id}/events`)]);
  const state = { job, metrics: metrics.data, rounds: [], evaluation: job.evaluation, images: 0, last: 0 };
  const page = layout(state, signal);
  for (const event of events) page.happened(event.type, event.data, event.created_at, event.seq);
  page.update();
  if (!OVER.includes(job.status)) follow(state, page, signal);
  return page.elements;
}

/** Listens until the job is over. A browser opens a lost stream anew by itself, unless it was answered with an error. */
function follow(state, page, signal) {
  const stream = new EventSource(at(`/jobs/${state.job.id}/events?after=${state.last}`));
  const refresh = async () => {
    try {
      const [job, metrics] = await Promise.all([
        get(`/jobs/${state.job.id}`, {}, signal), get(`/jobs/${state.job.id}/metrics`, {}, signal)]);
      Object.assign(state, { job, metrics: metrics.data, evaluation: job.evaluation });
      if (OVER.includes(job.status)) {
        stream.close();
        const rest = await all(`/jobs/${job.id}/events`, { after: state.last });  // a stream that broke may not have told them
        for (const event of rest) page.happened(event.type, event.data, event.created_at, event.seq);
      }
      page.update();
    } catch (error) {
      if (error.name !== "AbortError") page.connected(false);
    }
  };
  signal.addEventListener("abort", () => stream.close());
  stream.onopen = () => {
    page.connected(true);
    refresh();
  };
  stream.onerror = () => {
    if (signal.aborted) return;
    page.connected(false);
    if (stream.readyState === EventSource.CLOSED) setTimeout(() => signal.aborted || follow(state, page, signal), AGAIN);
  };
  let asked = null;
  for (const type of TYPES) {
    stream.addEventListener(type, (event) => {
      page.happened(type, JSON.parse(event.data), new Date().toISOString(), Number(event.lastEventId));
      asked ??= setTimeout(() => {  // many events at once are one look
        asked = null;
        refresh();
      }, 100);
    });
  }
}

function layout(state, signal) {
  const { job } = state;
  const training = job.kind === "train";
  const status = h("span", {});
  const link = h("span", { class: "lost", hidden: true, role: "status" }, "The connection is lost; trying again…");
  const bar = h("progress", { max: 1, value: 0, "aria-label": "Progress" });
  const facts = h("dl", { class: "facts" });
  const next = h("div", { class: "buttons" });
  const problem = h("p", { class: "error" });
  const log = h("ol", { class: "log", id: "log", tabindex: 0, "aria-label": "Log" });
  const charts = training ? jobCharts(state, signal) : { elements: [], update() {} };
  const cancel = h("button", {
    type: "button", class: "danger", id: "cancel",
    onclick: guarded(async () => {
      state.job = await post(`/jobs/${job.id}/cancel`);
      notice("The job is being cancelled");
      page.update();
    }),
  }, "Cancel");
  const page = {
    elements: [h("h1", {}, job.name ?? `${training ? "Training" : job.kind} ${job.id}`),
      h("p", { class: "line" }, status, link, h("a", { href: `#/dataset/${job.dataset_id}` }, "Its dataset")),
      bar, facts, problem, next, h("div", { class: "plots" }, charts.elements), h("h2", {}, "Log"), log],
    connected: (open) => { link.hidden = open; },
    happened(type, data, at, seq) {
      if (seq <= state.last) return;
      state.last = seq;
      if (type === "started") state.images = data.images;
      if (type === "round") state.rounds = [...state.rounds.filter(({ round }) => round !== data.round), data];
      log.prepend(h("li", { class: type }, h("time", {}, clock(at)), " ", h("strong", {}, type), " ", told(type, data)));
      while (log.children.length > LOGGED) log.lastChild.remove();
    },
    update() {
      const now = state.job;
      const over = OVER.includes(now.status);
      status.className = `state ${now.status}`;
      status.textContent = now.status;
      if (over) link.hidden = true;
      bar.value = now.status === "succeeded" ? 1 : now.progress?.rounds ? share(now.progress) : 0;
      facts.replaceChildren(...figures(now).map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value))));
      problem.textContent = now.error?.message ?? "";
      problem.hidden = !now.error;
      next.replaceChildren(...(over ? [] : [cancel]), ...(now.model_id ? links(now) : []));
      charts.update();
    },
  };
  return page;
}

const links = (job) => [["look", "Look"], ["map", "Map"], ["label", "Label"]].map(([view, text]) =>
  h("a", { class: "button primary", href: `#/${view}/${job.dataset_id}` }, text));

function figures(job) {
  const { progress, evaluation } = job;
  if (job.kind !== "train") return Object.entries(progress ?? {}).map(([name, value]) => [name, number(value)]);
  if (!progress) return [["Round", "–"], ["Images/s", "–"], ["Left", "–"]];
  const shown = [["Round", `${progress.round + 1} of ${progress.rounds}`], ["Epoch", `${progress.epoch + 1} of ${progress.epochs}`],
    ["Images/s", number(Math.round(progress.images_per_second))], ["Loss", progress.loss.toFixed(3)], ["Anchors", percent(progress.anchors, 0)]];
  if (job.status === "running") shown.push(["Left", duration(progress.eta_seconds)]);
  if (evaluation?.knn_accuracy != null) shown.push(["kNN accuracy", percent(evaluation.knn_accuracy)]);
  if (evaluation?.untrained_accuracy != null) shown.push(["Untrained", percent(evaluation.untrained_accuracy)]);
  return shown;
}

function told(type, data) {
  if (type === "epoch") {
    return `round ${data.round}, epoch ${data.epoch + 1} of ${data.epochs}: loss ${data.loss.toFixed(3)}, ${number(Math.round(data.images_per_second))} images/s`;
  }
  if (type === "round") return `${data.round} has ended: mean entropy ${data.mean_entropy.toFixed(2)} nats, effective rank ${data.effective_rank.toFixed(1)}`;
  if (type === "started") return `${number(data.images)} images, ${data.config?.image_size} pixels, ${data.config?.backbone}, on ${data.config?.device}`;
  if (data.message) return data.message;
  const short = JSON.stringify(data);
  return short === "{}" ? "" : short.slice(0, 300);
}
