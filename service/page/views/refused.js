// Files that are not in a dataset, and why, in a person's words.

import { get } from "../parts/api.js";
import { h, number, table } from "../parts/dom.js";
import { whyRefused } from "../parts/words.js";

const SHOWN = 200;  // rows shown at once
const OPEN = 20;  // of so few all are shown without a click

/**
 * What the upload, and what was added later, left out; null where that is nothing.
 * @type {(dataset: Dataset, signal: AbortSignal) => Promise<HTMLElement | null>}
 */
export async function refused(dataset, signal) {
  const { data, next, more = [] } = await get(`/datasets/${dataset.id}/rejections`, { limit: SHOWN }, signal);
  if (!data.length) return null;
  const reasons = new Map();
  for (const file of data) reasons.set(whyRefused(file), (reasons.get(whyRefused(file)) ?? 0) + 1);
  /** @param {Schemas["RejectionBody"]} file */
  const row = (file) => h("tr", {},
    h("th", { scope: "row" }, file.path),
    h("td", {}, whyRefused(file), h("details", {}, h("summary", {}, "More"), h("code", {}, file.code), ` ${file.reason}`)));
  const list = table("Files that are not in it", ["File", "Why"], data.map(row), { id: "refused" });
  list.classList.add("low");
  const count = next || more.length ? `More than ${number(data.length)}` : number(data.length);
  return h("details", { open: data.length <= OPEN, class: "refused" },
    h("summary", {}, `${count} ${data.length === 1 ? "file is" : "files are"} not in it`),
    reasons.size > 1 || data.length > OPEN
      ? h("ul", {}, [...reasons].map(([why, times]) => h("li", {}, `${number(times)}: ${why}`)))
      : null,
    list,
    more.length ? h("ul", {}, more.map(({ code, count: times }) =>
      h("li", {}, `And ${number(times)} more of this reason: ${whyRefused({ code, reason: code })}`))) : null,
    next ? h("p", {}, `The first ${number(data.length)}; GET /datasets/${dataset.id}/rejections has more of them.`) : null);
}
