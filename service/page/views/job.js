// One job, live: what has happened so far, and what happens while somebody looks.

import { all, get, post } from "../parts/api.js";
import { clock, confirmed, facts, field, guarded, h, notice, number, sentence, table } from "../parts/dom.js";
import { jobCharts } from "../charts/job-charts.js";
import { details, figures, scores, told } from "../parts/job-words.js";
import { repeat } from "../parts/live.js";
import { may } from "../parts/session.js";
import { EVENTS, KINDS, PHASES } from "../parts/words.js";

const OVER = ["succeeded", "failed", "cancelled"];
const LOOK = 1000;  // milliseconds between two looks at it
const LOGGED = 400;  // lines of the log

export async function show(id, _query, signal) {
  const [job, metrics, events] = await Promise.all([
    get(`/jobs/${id}`, {}, signal), get(`/jobs/${id}/metrics`, {}, signal), all(`/jobs/${id}/events`, {}, signal)]);
  const dataset = await get(`/datasets/${job.dataset_id}`, {}, signal);
  const state = { job, dataset, metrics: metrics.data, rounds: [], evaluation: job.evaluation, images: 0, last: 0 };
  const page = layout(state, signal);
  for (const event of events) page.happened(event);
  page.update();
  if (!OVER.includes(job.status)) follow(state, page, signal);
  return page.elements;
}

/** Asks what is new until the job is over. */
function follow(state, page, signal) {
  const { id } = state.job;
  const look = async () => {
    const job = await get(`/jobs/${id}`, {}, signal);  // before its events: those of its end are there then
    const events = await all(`/jobs/${id}/events`, { after: state.last }, signal);
    if (events.some(({ type }) => type === "epoch")) state.metrics = (await get(`/jobs/${id}/metrics`, {}, signal)).data;
    Object.assign(state, { job, evaluation: job.evaluation });
    for (const event of events) page.happened(event);
    page.connected(true);
    page.update();
    return !OVER.includes(job.status);
  };
  repeat(LOOK, look, signal, () => page.connected(false));
}

function layout(state, signal) {
  const { job, dataset } = state;
  const training = job.kind === "train";
  const status = h("span", {});
  const link = h("span", { class: "lost", hidden: true, role: "status" }, "The connection is lost; trying again…");
  const bar = h("progress", { max: 1, "aria-label": "Progress" });
  const phases = h("ol", { class: "phases", "aria-label": "Parts of the job" });
  const short = h("div", {});
  const verdict = h("p", { id: "verdict" });
  const measured = h("div", { id: "scores" });
  const long = h("div", {});
  const next = h("div", { class: "buttons" });
  const problem = h("p", { class: "error" });
  const log = h("ol", { class: "log", id: "log", tabindex: 0, "aria-label": "Log" });
  const charts = training ? jobCharts(state, signal) : { elements: [], update() {} };
  const cameFrom = job.continues ? h("a", { href: `#/job/${job.continues}` }, "The job that it goes on from") : null;
  const given = actions(state, signal, () => page.update());
  const page = {
    elements: [h("h1", {}, job.name ?? sentence(KINDS[job.kind])),
      h("p", { class: "line" }, status, link, h("a", { href: `#/dataset/${job.dataset_id}` }, dataset.name), cameFrom),
      bar, phases, short, verdict, measured, problem, next, ...charts.elements,
      h("details", {}, h("summary", {}, "More: figures and parameters"), long), h("h2", {}, "Log"), log],
    connected: (open) => { link.hidden = open; },
    happened({ type, data, created_at: at, seq }) {
      if (seq <= state.last) return;
      state.last = seq;
      if (type === "started") state.images = data.images;
      if (type === "round") state.rounds = [...state.rounds.filter(({ round }) => round !== data.round), data];
      const what = h("strong", {}, EVENTS[type] ?? type);
      log.prepend(h("li", { class: type }, h("time", {}, clock(at)), " ", what, " ", told(type, data)));
      while (log.children.length > LOGGED) log.lastChild.remove();
    },
    update() {
      const now = state.job;
      const over = OVER.includes(now.status);
      const part = now.status === "succeeded" ? 1 : (now.progress?.fraction ?? null);
      status.className = `state ${now.status}`;
      status.textContent = now.status;
      if (over) link.hidden = true;
      if (part === null && !over) bar.removeAttribute("value");  // something happens, and how much of it is not known
      else bar.value = part ?? 0;
      bar.hidden = over && now.status !== "succeeded";
      phases.replaceChildren(...steps(now));
      phases.hidden = !training || over;
      short.replaceChildren(facts(figures(now)));
      long.replaceChildren(facts(details(now), { class: "figures" }));
      measured.replaceChildren(...judged(now));
      verdict.textContent = now.verdict?.sentence ?? "";
      verdict.hidden = !now.verdict;
      const better = [now.verdict?.better_than_frozen, now.verdict?.better_than_untrained, now.verdict?.better_than_raw_pixels];
      verdict.className = `verdict ${better.includes(false) ? "worse" : better.includes(true) ? "better" : ""}`;
      problem.textContent = now.error?.message ?? "";
      problem.hidden = !now.error;
      const buttons = given(now, over);  // put anew only where others are: a press on one would be lost, and its focus
      if (buttons.length !== next.children.length || buttons.some((one, at) => one !== next.children[at])) next.replaceChildren(...buttons);
      charts.update();
    },
  };
  return page;
}

/** The evaluation as a table, and what was judged. */
function judged({ evaluation }) {
  const { heads, rows } = scores(evaluation);
  if (!rows.length) return [];
  const row = ([name, ...cells]) => h("tr", {}, h("th", { scope: "row" }, name), cells.map((cell) => h("td", { class: "figure" }, cell)));
  const of = evaluation.held_out ? "held-out images" : "images of the dataset, each left out of its own vote";
  const few = evaluation.trained?.few_label?.length ? " With few labels: the mean of 20 draws, and between what 95 % of them lie." : "";
  return [table("How well it did", heads, rows.map(row)),
    h("p", {}, h("small", {}, `On ${number(evaluation.queries)} ${of}; kNN: a vote of ${evaluation.k}.${few}`))];
}

/** The parts of a training, which of them is being done, and how much of that. */
function steps({ progress }) {
  const at = PHASES.findIndex(([code]) => code === progress?.phase);
  const part = progress?.phase_fraction;
  return PHASES.map(([, title, about], step) => h("li", {
    class: step < at ? "done" : step === at ? "now" : "", "aria-current": step === at ? "step" : null, title: about,
  }, title, step < at ? " ✓" : "", step === at && (part ?? null) !== null ? ` ${Math.floor(100 * part)} %` : ""));
}

/** What can be done with a job, as buttons; `given(job, over)` gives those that it allows now. */
function actions(state, signal, changed) {
  const { id } = state.job;
  const button = (name, kind, text, action) =>
    h("button", { type: "button", id: name, class: kind, onclick: guarded(action) }, text);
  const goOn = async (request) => {
    const made = await post(`/jobs/${id}/continue`, request);
    location.hash = `#/job/${made.id}`;
  };
  const cancel = button("cancel", "danger", "Cancel", async () => {
    const text = state.job.kind === "train" && state.job.status === "running"
      ? "It stops within seconds. What it has learned until its last checkpoint is kept, and it can go on from there."
      : "It stops within seconds.";
    const question = { title: "Cancel this job?", text, yes: "Cancel the job", no: "Let it run", danger: true, signal };
    if (!(await confirmed(question))) return;
    state.job = await post(`/jobs/${id}/cancel`);
    notice("The job is being cancelled");
    changed();
  });
  const resume = button("resume", "primary", "Go on from its checkpoint", () => goOn({}));
  const more = button("more", "", "More rounds", async () => {
    const rounds = h("input", { type: "number", min: 1, max: 20, value: 2, required: true, autofocus: true });
    const control = field("Rounds to add", rounds, "1 to 20. It starts from what has been learned, as a job of its own.");
    const sure = await confirmed({ title: "More rounds", yes: "Go on", control, signal });
    if (sure) await goOn({ add_rounds: Number(rounds.value) });
  });
  const links = [["look", "Look"], ["map", "Map"], ["label", "Label"]].map(([view, text]) =>
    h("a", { class: "button primary", href: `#/${view}/${state.job.dataset_id}` }, text));
  const again = h("a", { class: "button", href: `#/train?dataset=${state.job.dataset_id}` }, "Train anew");
  return (job, over) => [
    ...(job.model_id ? links : []),
    ...(may("write") ? [
      ...(over ? [] : [cancel]),
      ...(job.continuation === "resume" ? [resume] : job.continuation === "more_rounds" ? [more] : []),
      ...(over && job.kind === "train" && job.status !== "succeeded" ? [again] : [])] : [])];
}
