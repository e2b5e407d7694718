// Who did what, newest first, for those who administer.

import { get, path } from "../parts/api.js";
import { field, h, table, when } from "../parts/dom.js";
import { AUDIT, go } from "../parts/links.js";

const SHOWN = 100;

/** @type {(id: null, query: URLSearchParams, signal: AbortSignal) => Promise<(Node | string)[]>} */
export async function show(_id, query, signal) {
  const object = query.get("object");
  const { data, next } = await get("/audit", { order: "newest", limit: SHOWN, object, after: Number(query.get("after")) || null }, signal);
  const asked = h("input", { id: "object", value: object ?? "", placeholder: "ds_…, job_…, mdl_…, 7", maxlength: 100 });
  asked.addEventListener("change", () => go(path(AUDIT, { object: asked.value.trim() })));
  /** @param {Schemas["AuditBody"]} line */
  const row = (line) => h("tr", {},
    h("th", { scope: "row" }, line.action),
    h("td", { class: "named" }, line.objects.join(" ") || "–"),
    h("td", {}, line.status === null ? "done" : String(line.status)),
    h("td", {}, line.key_id ?? "no key"),
    h("td", {}, line.address ?? "–"),
    h("td", { class: "time" }, when(line.created_at)));
  return [h("h1", {}, "Audit"),
    h("div", { class: "filters" }, field("About", asked)),
    data.length
      ? table("Who did what", ["What", "About", "Answer", "Key", "From", "When"], data.map(row))
      : h("p", {}, "There are no such lines."),
    next ? h("p", {}, h("a", { href: path(AUDIT, { object, after: next }) }, "Earlier ones")) : ""];
}
