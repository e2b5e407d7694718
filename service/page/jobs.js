// Jobs, newest first, and how far each is.

import { all, get } from "./api.js";
import { field, h, percent, select, table, when } from "./dom.js";
import { repeat } from "./live.js";
import { KINDS, PHASES } from "./words.js";

const SHOWN = 100;
const LOOK = 2000;  // milliseconds between two looks at the list
const QUICK = ["classify", "attention"];  // what looking at a dataset starts by itself, many a day
const CHOICES = [["work", "trainings and images"], ["all", "everything"], ...Object.entries(KINDS)];
const TITLES = Object.fromEntries(PHASES);

export async function show(_id, query, signal) {
  const dataset = query.get("dataset");
  const kinds = select(CHOICES, CHOICES.some(([key]) => key === query.get("kind")) ? query.get("kind") : "work", {
    id: "kind", onchange: () => { location.hash = `#/jobs?${new URLSearchParams({ kind: kinds.value, ...(dataset ? { dataset } : {}) })}`; },
  });
  const list = h("div", {});
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
    dataset ? h("p", {}, "Of ", h("a", { href: `#/dataset/${dataset}` }, names.get(dataset) ?? "one dataset"), "; ", h("a", { href: "#/jobs" }, "show all")) : "",
    h("div", { class: "filters" }, field("Show", kinds)), list];
}

/** The newest of a choice of kinds, and whether there are more. */
async function newest(choice, dataset, signal) {
  const kinds = choice === "all" ? [null] : choice === "work" ? Object.keys(KINDS).filter((kind) => !QUICK.includes(kind)) : [choice];
  const pages = await Promise.all(kinds.map((kind) => get("/jobs", { order: "newest", limit: SHOWN, dataset_id: dataset, kind }, signal)));
  const jobs = pages.flatMap(({ data }) => data).sort((a, b) => (a.created_at < b.created_at ? 1 : -1));
  return { jobs: jobs.slice(0, SHOWN), more: jobs.length > SHOWN || pages.some(({ next }) => next !== null) };
}

function shown(jobs, names, more) {
  if (!jobs.length) return [h("p", {}, "No job of these yet. ", h("a", { href: "#/train" }, "Train"), " on a dataset.")];
  const row = ([job, ...others]) => h("tr", {},
    h("th", { scope: "row" }, h("a", { href: `#/job/${job.id}` }, job.name ?? `${KINDS[job.kind]}`),
      others.length ? h("details", {}, h("summary", {}, `and ${others.length} before it`),
        h("ul", {}, others.map((one) => h("li", {}, h("a", { href: `#/job/${one.id}` }, when(one.created_at)), ` ${one.status}`)))) : null),
    h("td", {}, names.get(job.dataset_id) ?? job.dataset_id),
    h("td", {}, KINDS[job.kind]),
    h("td", {}, h("span", { class: `state ${job.status}` }, job.status)),
    h("td", {}, job.status === "running" ? stage(job.progress) : "–"),
    h("td", {}, when(job.created_at)));
  return [table("Jobs", ["Job", "Dataset", "What", "State", "Progress", "Submitted"], grouped(jobs).map(row)),
    more ? h("p", { class: "soft" }, `The newest ${SHOWN}; GET /jobs has all of them.`) : ""];
}

/** Quick ones of one kind and dataset that follow on each other are one row. */
function grouped(jobs) {
  const groups = [];
  for (const job of jobs) {
    const last = groups.at(-1);
    const same = last && QUICK.includes(job.kind) && last[0].kind === job.kind && last[0].dataset_id === job.dataset_id;
    if (same) last.push(job);
    else groups.push([job]);
  }
  return groups;
}

/** Where a running job is, shortly. */
function stage(progress) {
  const part = share(progress);
  return [TITLES[progress?.phase] ?? null, part === null ? null : percent(part, 0)].filter(Boolean).join(", ") || "–";
}

/** The part of a job that is done, 0 to 1; null where it is not known. */
export function share(progress) {
  if (progress?.fraction !== null && progress?.fraction !== undefined) return progress.fraction;
  if (!progress?.rounds) return null;
  return (progress.round + (progress.epoch + 1) / progress.epochs) / progress.rounds;
}
