// Which view is shown: the address after # says it, so that a reload and the browser's back button work.

import { get } from "./parts/api.js";
import { byId, h, sentence } from "./parts/dom.js";
import { button, DATASETS, JOBS } from "./parts/links.js";
import { may, openSession } from "./parts/session.js";
import { keepDrops } from "./uploads/uploads.js";

/** @type {{ [name: string]: () => Promise<View> }} */
const VIEWS = {  // loaded when first wanted
  datasets: () => import("./views/datasets.js"),
  dataset: () => import("./views/dataset.js"),
  train: () => import("./views/train.js"),
  jobs: () => import("./views/jobs.js"),
  job: () => import("./views/job.js"),
  look: () => import("./views/look.js"),
  map: () => import("./views/map.js"),
  label: () => import("./views/label.js"),
  audit: () => import("./views/audit.js"),
};
/** @type {{ [name: string]: string }} */
const TITLES = { datasets: "Datasets", train: "Train", jobs: "Jobs", look: "Look", map: "Map", label: "Label", audit: "Audit" };
/** @type {{ [name: string]: Scope }} */
const NEEDS = { train: "write", audit: "admin" };
/** @type {{ [name: string]: string }} */
const BELONGS = { dataset: "datasets", job: "jobs" };  // views of one of them, which have to say which
const OF_A_DATASET = ["look", "map", "label"];

let leave = () => {};
let shown = 0;
/** @type {string | null} */
let current = null;  // the dataset that was looked at last

/**
 * What an address asks for, or what is wrong with it.
 * @returns {{ name: string, id: string | null, query: URLSearchParams, wrong: string | null }}
 */
function address() {
  const text = location.hash.replace(/^#\/?/, "");
  const cut = text.indexOf("?");
  const [name, ...rest] = (cut < 0 ? text : text.slice(0, cut)).split("/");
  const query = new URLSearchParams(cut < 0 ? "" : text.slice(cut + 1));
  const where = { name: name || "datasets", id: rest[0] || null, query };
  const one = Object.hasOwn(BELONGS, where.name);
  const takes = one || OF_A_DATASET.includes(where.name);
  if (!Object.hasOwn(VIEWS, where.name) || rest.length > (takes ? 1 : 0) || !/^\w*$/.test(where.id ?? "")) {
    return { ...where, wrong: `The address ${location.hash} leads to no view of this page.` };
  }
  return { ...where, wrong: one && !where.id ? `The address ${location.hash} does not say which ${where.name}.` : null };
}

/** @param {string} name */
function navigation(name) {
  const links = Object.entries(TITLES).filter(([key]) => may(NEEDS[key] ?? "read")).map(([key, title]) => {
    const id = current && (OF_A_DATASET.includes(key) ? `/${current}` : key === "train" ? `?dataset=${current}` : "");
    const here = key === (BELONGS[name] ?? name);
    return h("a", { href: `#/${key}${id || ""}`, "aria-current": here ? "page" : null }, title);
  });
  byId("views").replaceChildren(...links);
}

/** The first dataset with a model, where a view of one is asked for without saying which. */
async function anyDataset() {
  const { data } = await get("/datasets", { limit: 1000 });
  return (data.find((dataset) => dataset.model_id) ?? data[0])?.id ?? null;
}

/** @param {string} name @param {string} message */
function lost(name, message) {
  return [h("h1", {}, "There is nothing here"), h("p", { class: "error" }, message),
    h("p", {}, button(`To all ${name === "job" ? "jobs" : "datasets"}`, name === "job" ? JOBS : DATASETS, true))];
}

async function show() {
  const turn = ++shown;
  const main = byId("main");
  leave();
  leave = () => {};
  const where = address();
  try {
    if (OF_A_DATASET.includes(where.name) && !where.id && !where.wrong) where.id = current ?? (await anyDataset());
    navigation(where.wrong ? "" : where.name);
    document.title = `${where.wrong ? "Nothing here" : TITLES[BELONGS[where.name] ?? where.name]} – Anchorhood`;
    const away = new AbortController();
    leave = () => away.abort();
    const page = where.wrong
      ? lost(where.name, where.wrong)
      : await (await VIEWS[where.name]()).show(where.id, where.query, away.signal);
    if (turn !== shown) return;
    if (where.id?.startsWith("ds_") && current !== where.id) {
      current = where.id;  // it is there: the view has read it
      navigation(where.name);
    }
    main.replaceChildren(...page);
  } catch (error) {
    if (turn !== shown || error.name === "AbortError") return;
    if (where.id === current) current = null;
    if (error.status === 404) main.replaceChildren(...lost(where.name, `${sentence(error.message)}.`));
    else {
      main.replaceChildren(h("h1", {}, "That did not work"), h("p", { class: "error" }, error.message),
        h("button", { type: "button", onclick: show }, "Try again"));
    }
  }
  if (turn > 1) main.focus({ preventScroll: true });  // so that a screen reader starts with the new view
}

window.addEventListener("hashchange", show);
window.addEventListener("unauthorized", () => openSession(show));
keepDrops();
openSession(show).then(show);
