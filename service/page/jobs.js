// All jobs, newest first.

import { get } from "./api.js";
import { h, percent, when } from "./dom.js";

const SHOWN = 100;

export async function show(_id, query) {
  const dataset = query.get("dataset");
  const { data, next } = await get("/jobs", { order: "newest", limit: SHOWN, dataset_id: dataset });
  const heads = ["Job", "Kind", "State", "Progress", "Submitted"];
  const row = (job) => h("tr", {},
    h("th", { scope: "row" }, h("a", { href: `#/job/${job.id}` }, job.name ?? job.id)),
    h("td", {}, job.kind),
    h("td", {}, h("span", { class: `state ${job.status}` }, job.status)),
    h("td", {}, job.status === "running" && job.progress?.rounds ? percent(share(job.progress), 0) : "–"),
    h("td", {}, when(job.created_at)));
  return [h("h1", {}, "Jobs"),
    dataset ? h("p", {}, "Of ", h("a", { href: `#/dataset/${dataset}` }, "one dataset"), "; ", h("a", { href: "#/jobs" }, "show all")) : "",
    data.length
      ? h("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "Jobs" },
        h("table", {}, h("thead", {}, h("tr", {}, heads.map((head) => h("th", { scope: "col" }, head)))), h("tbody", {}, data.map(row))))
      : h("p", {}, "No job yet. ", h("a", { href: "#/train" }, "Train"), " on a dataset."),
    next ? h("p", {}, `The newest ${SHOWN}; GET /jobs has all of them.`) : ""];
}

/** Of the epochs of a training the part that is done, if all rounds are as long as this one. */
export function share({ round, rounds, epoch, epochs }) {
  return (round + (epoch + 1) / epochs) / rounds;
}
