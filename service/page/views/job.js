// One job, live: what has happened so far, and what happens while somebody looks.

import { all, at as urlOf, get, post } from "../parts/api.js";
import { rules } from "../parts/description.js";
import { clock, confirmed, facts, field, guarded, h, notice, number, sentence, table } from "../parts/dom.js";
import { jobCharts } from "../graphics/job-charts.js";
import { details, figures, scores, told } from "../parts/job-words.js";
import { button, go, toDataset, toJob, toTraining, viewButtons } from "../parts/links.js";
import { repeat } from "../parts/live.js";
import { may } from "../parts/session.js";
import { EVENTS, KINDS, PHASES, PUBLISHED_FIRST } from "../parts/words.js";

/**
 * @typedef {{
 *   job: Job, dataset: Dataset, metrics: Schemas["MetricBody"][], rounds: any[], evaluation: Job["evaluation"], images: number,
 *   judgedFirst: boolean, last: number,
 * }} State
 * @typedef {{ elements: Node[], connected: (open: boolean) => void, happened: (event: JobEvent) => void, update: () => void }} Page
 */

const OVER = ["succeeded", "failed", "cancelled"];
const LOOK = 1000;  // milliseconds between two looks at it
const LOGGED = 400;  // lines of the log

/** @type {(id: string, query: URLSearchParams, signal: AbortSignal) => Promise<Node[]>} */
export async function show(id, _query, signal) {
  const [job, metrics, events] = await Promise.all([
    get(`/jobs/${id}`, {}, signal), get(`/jobs/${id}/metrics`, {}, signal), all(`/jobs/${id}/events`, {}, signal)]);
  const dataset = await get(`/datasets/${job.dataset_id}`, {}, signal);
  const state = { job, dataset, metrics: metrics.data, rounds: [], evaluation: job.evaluation, images: 0, judgedFirst: false, last: 0 };
  const page = layout(state, signal);
  for (const event of events) page.happened(event);
  page.update();
  if (!OVER.includes(job.status)) follow(state, page, signal);
  return page.elements;
}

/**
 * Asks what is new until the job is over.
 * @type {(state: State, page: Page, signal: AbortSignal) => void}
 */
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

/** @type {(state: State, signal: AbortSignal) => Page} */
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
  const cameFrom = job.continues ? h("a", { href: toJob(job.continues) }, "The job that it goes on from") : null;
  const given = actions(state, signal, () => page.update());
  /** @type {Page} */
  const page = {
    elements: [h("h1", {}, job.name ?? sentence(KINDS[job.kind])),
      h("p", { class: "line" }, status, link, h("a", { href: toDataset(job.dataset_id) }, dataset.name), cameFrom),
      bar, phases, short, verdict, measured, problem, next, ...charts.elements,
      h("details", {}, h("summary", {}, "More: figures and parameters"), long), h("h2", {}, "Log"), log],
    connected: (open) => { link.hidden = open; },
    happened({ type, data, created_at: at, seq }) {
      if (seq <= state.last) return;
      state.last = seq;
      if (type === "started") {
        const { init, epochs_first: first, rounds } = data.config;
        Object.assign(state, { images: data.images, judgedFirst: init !== "random" && first === 0 && rounds > 1 });
      }
      if (type === "round") state.rounds = [...state.rounds.filter(({ round }) => round !== data.round), data];
      const what = h("strong", {}, EVENTS[type] ?? type);
      log.prepend(h("li", { class: type }, h("time", {}, clock(at)), " ", what, " ", told(type, data)));
      while (log.children.length > LOGGED) log.lastChild?.remove();
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
      phases.replaceChildren(...steps(now, state.judgedFirst ? PHASES : PUBLISHED_FIRST));
      phases.hidden = !training || over;
      short.replaceChildren(facts(figures(now)));
      long.replaceChildren(facts(details(now), { class: "figures" }));
      measured.replaceChildren(...judged(now), ...generated(now));
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
/** @param {Job} job @returns {Node[]} */
function judged({ evaluation }) {
  const { heads, rows } = scores(evaluation);
  if (!evaluation || !rows.length) return [];
  /** @param {string[]} texts */
  const row = ([name, ...cells]) => h("tr", {}, h("th", { scope: "row" }, name), cells.map((cell) => h("td", { class: "figure" }, cell)));
  const of = evaluation.unseen_classes ? "held-out images of classes that it was not trained on, each left out of its own vote"
    : evaluation.held_out ? "held-out images" : "images of the dataset, each left out of its own vote";
  const few = /** @type {any} */ (evaluation).trained?.few_label?.length ? " With few labels: the mean of 20 draws, and between what 95 % of them lie." : "";
  return [table("How well it did", heads, rows.map(row)),
    h("p", {}, h("small", {}, `On ${number(Number(evaluation.queries))} ${of}; kNN: a vote of ${evaluation.k}.${few}`))];
}

/** What a method that generates pictures has learned to make. */
/** @param {Job} job @returns {Node[]} */
function generated({ params, model_id: model }) {
  if (params.method !== "bigan" || !model) return [];
  return [h("h2", {}, "Pictures that it makes"),
    h("img", { class: "samples", src: urlOf(`/models/${model}/files/samples.png`), alt: "64 pictures that the generator makes of random codes" }),
    h("p", {}, h("small", {}, "None of them is in the collection: the more they look like it, the more the generator knows of it."))];
}

/**
 * The parts of a training, which of them is being done, and how much of that.
 * @param {Job} job
 * @param {string[][]} phases in their order
 */
function steps({ progress }, phases) {
  const at = phases.findIndex(([code]) => code === progress?.phase);
  const part = progress?.phase_fraction;
  return phases.map(([, title, about], step) => h("li", {
    class: step < at ? "done" : step === at ? "now" : "", "aria-current": step === at ? "step" : null, title: about,
  }, title, step < at ? " ✓" : "", step === at && typeof part === "number" ? ` ${Math.floor(100 * part)} %` : ""));
}

/**
 * What can be done with a job, as buttons; the function that is returned gives those that a job allows now.
 * @type {(state: State, signal: AbortSignal, changed: () => void) => (job: Job, over: boolean) => Node[]}
 */
function actions(state, signal, changed) {
  const { id } = state.job;
  /** @type {(name: string, kind: string, text: string, action: () => Promise<void>) => HTMLElement} */
  const press = (name, kind, text, action) =>
    h("button", { type: "button", id: name, class: kind, onclick: guarded(action) }, text);
  /** @param {Schemas["Continue"]} request */
  const goOn = async (request) => {
    const made = await post(`/jobs/${id}/continue`, request);
    go(toJob(made.id));
  };
  const cancel = press("cancel", "danger", "Cancel", async () => {
    const text = state.job.kind === "train" && state.job.status === "running"
      ? state.job.model_id ? "Its model stays; it is not judged to the end."
        : "It stops within seconds. What it has learned until its last checkpoint is kept, and it can go on from there."
      : "It stops within seconds.";
    const question = { title: "Cancel this job?", text, yes: "Cancel the job", no: "Let it run", danger: true, signal };
    if (!(await confirmed(question))) return;
    state.job = await post(`/jobs/${id}/cancel`);
    notice("The job is being cancelled");
    changed();
  });
  const resume = press("resume", "primary", "Go on from its checkpoint", () => goOn({}));
  const more = press("more", "", "More rounds", async () => {
    const { min, max } = (await rules("Continue")).add_rounds;
    const rounds = h("input", { type: "number", min, max, value: 2, required: true, autofocus: true });
    const control = field("Rounds to add", rounds, `${min} to ${max}. It starts from what has been learned, as a job of its own.`);
    const sure = await confirmed({ title: "More rounds", yes: "Go on", control, signal });
    if (sure) await goOn({ add_rounds: Number(rounds.value) });
  });
  const links = viewButtons(state.job.dataset_id);
  const again = button("Train anew", toTraining(state.job.dataset_id));
  return (job, over) => [
    ...(job.model_id ? links : []),
    ...(may("write") ? [
      ...(over ? [] : [cancel]),
      ...(job.continuation === "resume" ? [resume] : job.continuation === "more_rounds" ? [more] : []),
      ...(over && job.kind === "train" && job.status !== "succeeded" ? [again] : [])] : [])];
}
