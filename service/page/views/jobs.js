// Jobs, newest first, and how far each is.

import { all, get, path } from "../parts/api.js";
import { field, h, percent, select, sentence, table, when } from "../parts/dom.js";
import { go, JOBS, toDataset, toJob } from "../parts/links.js";
import { repeat } from "../parts/live.js";
import { KINDS, PHASES } from "../parts/words.js";

const SHOWN = 100;
const LOOK = 2000;  // milliseconds between two looks at the list
const QUICK = ["classify", "attention"];  // what looking at a dataset starts by itself, many a day
const CHOICES = [["work", "trainings and images"], ["all", "everything"], ...Object.entries(KINDS)];
const TITLES = Object.fromEntries(PHASES);

/** @type {(id: null, query: URLSearchParams, signal: AbortSignal) => Promise<(Node | string)[]>} */
export async function show(_id, query, signal) {
  const dataset = query.get("dataset");
  const [asked] = CHOICES.find(([key]) => key === query.get("kind")) ?? ["work"];
  const choose = () => go(path(JOBS, { kind: kinds.value, dataset }));
  /** @type {HTMLSelectElement} */
  const kinds = select(CHOICES, asked, { id: "kind", onchange: choose });
  const list = h("div", {});
  /** @type {Map<string, string>} */
  let names = new Map();
  let before = "";
  const look = async () => {
    const { jobs, more } = await newest(kinds.value, dataset, signal);
    if (jobs.some((job) => !names.has(job.dataset_id))) {
      names = new Map((await all("/datasets", {}, signal)).map(({ id, name }) => [id, name]));
    }
    const now = JSON.stringify(jobs);
    if (now !== before) list.replaceChildren(...shown(jobs, names, more));
    before = now;
  };
  await look();
  repeat(LOOK, look, signal);
  return [h("h1", {}, "Jobs"),
    dataset
      ? h("p", {}, "Of ", h("a", { href: toDataset(dataset) }, names.get(dataset) ?? "one dataset"), "; ",
        h("a", { href: JOBS }, "show all"))
      : "",
    h("div", { class: "filters" }, field("Show", kinds)), list];
}

/**
 * The newest of a choice of kinds, and whether there are more.
 * @type {(choice: string, dataset: string | null, signal: AbortSignal) => Promise<{ jobs: Job[], more: boolean }>}
 */
async function newest(choice, dataset, signal) {
  const work = Object.keys(KINDS).filter((kind) => !QUICK.includes(kind));
  /** @type {any[]} */
  const kinds = choice === "all" ? [null] : choice === "work" ? work : [choice];
  const common = { order: /** @type {const} */ ("newest"), limit: SHOWN, dataset_id: dataset };
  const pages = await Promise.all(kinds.map((kind) => get("/jobs", { ...common, kind }, signal)));
  const jobs = pages.flatMap(({ data }) => data).sort((a, b) => (a.created_at < b.created_at ? 1 : -1));
  return { jobs: jobs.slice(0, SHOWN), more: jobs.length > SHOWN || pages.some(({ next }) => next !== null) };
}

/** @type {(jobs: Job[], names: Map<string, string>, more: boolean) => (Node | string)[]} */
function shown(jobs, names, more) {
  if (!jobs.length) return [h("p", {}, "There are no such jobs yet.")];
  /** @param {Job} job */
  const earlier = (job) => h("li", {}, h("a", { href: toJob(job.id) }, when(job.created_at)), ` ${job.status}`);
  /** @param {Job[]} group */
  const row = ([job, ...others]) => h("tr", {},
    h("th", { scope: "row" }, h("a", { href: toJob(job.id) }, job.name ?? sentence(KINDS[job.kind])),
      others.length ? h("details", {}, h("summary", {}, `and ${others.length} before it`), h("ul", {}, others.map(earlier))) : null),
    h("td", {}, h("span", { class: `state ${job.status}` }, job.status)),
    h("td", {}, job.status === "running" ? stage(job.progress) : "–"),
    h("td", { class: "named" }, h("a", { href: toDataset(job.dataset_id) }, names.get(job.dataset_id) ?? job.dataset_id)),
    h("td", {}, KINDS[job.kind]),
    h("td", { class: "time" }, when(job.created_at)));
  return [table("Jobs", ["Job", "State", "Progress", "Dataset", "What", "Submitted"], grouped(jobs).map(row)),
    more ? h("p", { class: "soft" }, `The newest ${SHOWN}; GET /jobs has all of them.`) : ""];
}

/** @param {Job[]} jobs Quick ones of one kind and dataset that follow on each other are one row. */
function grouped(jobs) {
  /** @type {Job[][]} */
  const groups = [];
  for (const job of jobs) {
    const last = groups.at(-1);
    const same = last && QUICK.includes(job.kind) && last[0].kind === job.kind && last[0].dataset_id === job.dataset_id;
    if (same) last.push(job);
    else groups.push([job]);
  }
  return groups;
}

/** @param {Job["progress"]} progress Where a running job is, shortly. */
function stage(progress) {
  const part = progress?.fraction ?? null;
  return [TITLES[progress?.phase ?? ""] ?? null, part === null ? null : percent(part, 0)].filter(Boolean).join(", ") || "–";
}
