// The form that starts a training.

import { all, post } from "../parts/api.js";
import { rules } from "../parts/description.js";
import { field, guarded, h, number, select, sentence } from "../parts/dom.js";
import { DATASETS, go, toJob } from "../parts/links.js";
import { may } from "../parts/session.js";
import { CALLED, FROM_NOTHING, FROZEN, GROUPS, PRESETS, PUBLISHED } from "./presets.js";

/** @type {(id: null, query: URLSearchParams, signal: AbortSignal) => Promise<Node[]>} */
export async function show(_id, query, signal) {
  const title = h("h1", {}, "Train");
  if (!may("write")) return [title, h("p", {}, "The key in use may read: training needs one that may write.")];
  const datasets = (await all("/datasets", {}, signal)).filter((dataset) => dataset.status !== "failed");
  if (!datasets.length) {
    return [title, h("p", {}, "There is nothing to train on yet: ", h("a", { href: DATASETS }, "upload images"), " first.")];
  }
  const [{ pretrained_missing: missing }, allowed] = await Promise.all([post("/jobs/check", { params: {} }), rules("Params")]);
  const installed = !missing;
  datasets.sort((a, b) => (a.created_at < b.created_at ? 1 : -1));
  /** @param {Dataset} dataset */
  const size = ({ status, images }) => (status === "ready" ? `${number(images)} images` : "validating");
  /** @param {Dataset} dataset */
  const named = (dataset) => [dataset.id, `${dataset.name} (${size(dataset)})`];
  const wanted = datasets.find(({ id }) => id === query.get("dataset")) ?? datasets[0];
  const dataset = select(datasets.map(named), wanted.id, { id: "dataset", required: true });
  const judge = select([["", "its own labels, each image left out in turn"], ...datasets.map(named)], "", { id: "judge" });
  const name = h("input", { id: "name", maxlength: 200, autocomplete: "off" });
  const offered = [...(allowed.method?.choices ?? []), ...(allowed.preset?.choices ?? [])];
  const ways = [FROZEN, ...PRESETS].filter(([key]) => offered.includes(key)).map(([key, called, about]) => h("label", { class: "card" },
    h("input", { type: "radio", name: "way", value: key, checked: key === "quick", disabled: key === "frozen" && !installed }),
    h("strong", {}, called), h("span", {}, about)));
  const known = h("input", { type: "checkbox", id: "known", checked: installed, disabled: !installed,
    "aria-describedby": "known-help" });
  let chosen = installed;
  known.addEventListener("change", () => { chosen = known.checked; });
  const chosenWay = () => /** @type {RadioNodeList} */ (form.elements.namedItem("way")).value;
  const ofMethod = () => /** @type {HTMLSelectElement | undefined} */ (controls.find(({ id }) => id === "method"))?.value ?? "";
  const settle = () => {  // without training there is nothing but what is known; what the paper published starts from nothing
    const way = chosenWay();
    const fromNothing = FROM_NOTHING.includes(ofMethod()) && way !== "frozen";
    known.disabled = !installed || way === "frozen" || fromNothing;
    known.checked = way === "frozen" || (chosen && !PUBLISHED.includes(way) && !fromNothing);
  };
  const parameters = GROUPS.map(([group, own]) => ({
    group, fields: own.filter(([key]) => Object.hasOwn(allowed, key)).map((one) => parameter(one, allowed[one[0]])),
  }));
  const controls = parameters.flatMap(({ fields }) => fields.map(({ control }) => control));
  let [asked, attempt] = ["", ""];  // pressing the button twice, or again after a lost answer, starts one job

  const start = guarded(async () => {
    const way = chosenWay();
    /** @type {any} */  // their types are those of the controls
    const params = { ...(way === "frozen" ? { method: way } : { preset: way }), ...(known.checked ? { init: "imagenet" } : {}) };
    for (const made of controls) {
      if (made.value !== "" && !(way === "frozen" && made.id === "method")) params[made.id] = made.type === "number" ? Number(made.value) : made.value;
    }
    const evaluation = judge.value || null;
    const request = { dataset_id: dataset.value, evaluation_dataset_id: evaluation, params, name: name.value.trim() || null };
    const text = JSON.stringify(request);
    if (text !== asked) [asked, attempt] = [text, `${Date.now()}-${Math.random()}`];
    const job = await post("/jobs", request, { "Idempotency-Key": attempt });
    go(toJob(job.id));
  });
  /** @type {HTMLFormElement} */
  const form = h("form", { class: "form", onsubmit: start },
    field("Dataset", dataset),
    h("div", { class: "tick" }, known,
      h("label", { for: "known" }, "Start from what is already learned (recommended for photographs)"),
      h("small", { id: "known-help" }, missing ? `${sentence(missing)}.`
        : "The encoder knows photographs of a thousand kinds of things from the start. Untick it for pictures unlike "
          + "photographs, such as cells, spectrograms or maps.")),
    h("fieldset", { onchange: settle }, h("legend", {}, "How thoroughly"), h("div", { class: "cards" }, ways)),
    h("details", { onchange: settle }, h("summary", {}, "More: parameters, if the preset is not to decide; what it is judged by; a name"),
      field("Judge the result by", judge,
        "Another labelled dataset shows how well it does on images that it never saw. Labels are never trained on, but by the method Supervised."),
      field("Name", name, "To recognise it by; may be empty."),
      parameters.map(({ group, fields }) =>
        h("fieldset", {}, h("legend", {}, group), h("div", { class: "fields" }, fields.map(({ element }) => element))))),
    h("button", { class: "primary" }, "Start training"));
  return [title,
    h("p", {}, "The computer looks at the images until it can tell which of them look alike. Nothing has to be labelled."),
    h("details", { class: "about" }, h("summary", {}, "More: how it learns"),
      h("p", { class: "soft" }, "An encoder turns each image into a point. In the first round every image is a class of its "
        + "own; then, round by round, the surest images (anchors) are pulled to their nearest neighbours, more of them each time "
        + "(Anchor Neighbourhood Discovery).")),
    form];
}

/**
 * The control of a parameter with its label, within what the service allows.
 * @param {(typeof GROUPS)[number][1][number]} own what the page knows of it
 * @param {import("../parts/description.js").Rule} rule
 */
function parameter([key, label, help, step], { choices, whole, min, max, standard }) {
  const left = standard === null ? "by the preset" : String(standard);
  const control = choices.length
    ? select([["", left], ...choices.map((choice) => [choice, CALLED[choice] ?? choice])], "", { id: key })
    : h("input", { id: key, type: "number", placeholder: left, min, max, step: step ?? (whole ? null : "any") });
  return { control, element: field(label, control, help.replace("{min}", `${min}`).replace("{max}", `${max}`)) };
}
