// Which view is shown: the address after # says it, so that a reload and the browser's back button work.

import { get } from "./api.js";
import { h } from "./dom.js";
import { openSession } from "./session.js";

const VIEWS = {  // loaded when first wanted
  datasets: () => import("./datasets.js"),
  dataset: () => import("./dataset.js"),
  train: () => import("./train.js"),
  jobs: () => import("./jobs.js"),
  job: () => import("./job.js"),
  look: () => import("./look.js"),
  map: () => import("./map.js"),
  label: () => import("./label.js"),
};
const TITLES = { datasets: "Datasets", train: "Train", jobs: "Jobs", look: "Look", map: "Map", label: "Label" };
const BELONGS = { dataset: "datasets", job: "jobs" };
const OF_A_DATASET = ["look", "map", "label"];

let leave = () => {};
let shown = 0;
let current = null;  // the dataset that was looked at last

function address() {
  const [path, query] = location.hash.slice(2).split("?");
  const [name, id] = path.split("/");
  return { name: name in VIEWS ? name : "datasets", id: id ?? null, query: new URLSearchParams(query) };
}

function navigation(name) {
  const links = Object.entries(TITLES).map(([key, title]) => {
    const id = current && (OF_A_DATASET.includes(key) ? `/${current}` : key === "train" ? `?dataset=${current}` : "");
    const here = key === (BELONGS[name] ?? name);
    return h("a", { href: `#/${key}${id || ""}`, "aria-current": here ? "page" : null }, title);
  });
  document.getElementById("views").replaceChildren(...links);
}

/** The first dataset with a model, where a view of one is asked for without saying which. */
async function anyDataset() {
  const { data } = await get("/datasets", { limit: 1000 });
  return (data.find((dataset) => dataset.model_id) ?? data[0])?.id ?? null;
}

async function show() {
  const turn = ++shown;
  const main = document.getElementById("main");
  leave();
  leave = () => {};
  const where = address();
  try {
    if (OF_A_DATASET.includes(where.name) && !where.id) where.id = current ?? (await anyDataset());
    if (where.id?.startsWith("ds_")) current = where.id;
    navigation(where.name);
    document.title = `${TITLES[BELONGS[where.name] ?? where.name]} – Anchorhood`;
    const view = await VIEWS[where.name]();
    const away = new AbortController();
    leave = () => away.abort();
    const page = await view.show(where.id, where.query, away.signal);
    if (turn !== shown) return;
    main.replaceChildren(...page);
  } catch (error) {
    if (turn !== shown || error.name === "AbortError") return;
    main.replaceChildren(h("h1", {}, "That did not work"), h("p", { class: "error" }, error.message),
      h("button", { type: "button", onclick: show }, "Try again"));
  }
  if (turn > 1) main.focus({ preventScroll: true });  // so that a screen reader starts with the new view
}

window.addEventListener("hashchange", show);
window.addEventListener("unauthorized", () => openSession(show));
openSession(show).then(show);
