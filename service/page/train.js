// The form that starts a training.

import { all, post } from "./api.js";
import { field, guarded, h, number, select } from "./dom.js";
import { GROUPS, PRESETS } from "./presets.js";
import { may } from "./session.js";

export async function show(_id, query, signal) {
  if (!may("write")) return [h("h1", {}, "Train"), h("p", {}, "The key in use may read: training needs one that may write.")];
  const datasets = (await all("/datasets", {}, signal)).filter((dataset) => dataset.status !== "failed");
  if (!datasets.length) {
    return [h("h1", {}, "Train"), h("p", {}, "There is nothing to train on yet: ", h("a", { href: "#/datasets" }, "upload images"), " first.")];
  }
  datasets.sort((a, b) => (a.created_at < b.created_at ? 1 : -1));
  const named = (dataset) => [dataset.id, `${dataset.name} (${dataset.status === "ready" ? `${number(dataset.images)} images` : "validating"})`];
  const wanted = datasets.find(({ id }) => id === query.get("dataset")) ?? datasets[0];
  const dataset = select(datasets.map(named), wanted.id, { id: "dataset", required: true });
  const judge = select([["", "its own labels, each image left out in turn"], ...datasets.map(named)], "", { id: "judge" });
  const name = h("input", { id: "name", maxlength: 200, autocomplete: "off" });
  const presets = PRESETS.map(([key, title, about]) => h("label", { class: "card" },
    h("input", { type: "radio", name: "preset", value: key, checked: key === "quick" }), h("strong", {}, title), h("span", {}, about)));
  const controls = [];
  const control = ([key, label, help, allowed]) => {
    const made = Array.isArray(allowed)
      ? select(allowed, "", { id: key })
      : h("input", { id: key, type: "number", placeholder: "by the preset", ...allowed });
    controls.push(made);
    return field(label, made, help);
  };
  let [asked, attempt] = ["", ""];  // pressing the button twice, or again after a lost answer, starts one job

  const start = guarded(async () => {
    const params = { preset: form.elements.preset.value };
    for (const made of controls) {
      if (made.value !== "") params[made.id] = made.type === "number" ? Number(made.value) : made.value;
    }
    const request = { dataset_id: dataset.value, evaluation_dataset_id: judge.value || null, params, name: name.value.trim() || null };
    const text = JSON.stringify(request);
    if (text !== asked) [asked, attempt] = [text, `${Date.now()}-${Math.random()}`];
    const job = await post("/jobs", request, { "Idempotency-Key": attempt });
    location.hash = `#/job/${job.id}`;
  });
  const form = h("form", { class: "form", onsubmit: start },
    field("Dataset", dataset),
    h("fieldset", {}, h("legend", {}, "How thoroughly"), h("div", { class: "cards" }, presets)),
    field("Judge the result by", judge, "Another labelled dataset shows how well it does on images that it never saw. Labels are never trained on."),
    field("Name", name, "To recognise it by; may be empty."),
    h("details", {}, h("summary", {}, "More: parameters, if the preset is not to decide"),
      GROUPS.map(([title, parameters]) => h("fieldset", {}, h("legend", {}, title), h("div", { class: "fields" }, parameters.map(control))))),
    h("button", { class: "primary" }, "Start training"));
  return [h("h1", {}, "Train"),
    h("p", {}, "The computer looks at the images until it can tell which of them look alike. Nothing has to be labelled."),
    h("details", { class: "about" }, h("summary", {}, "More: how it learns"),
      h("p", { class: "soft" }, "An encoder turns each image into a point. In the first round every image is a class of its own; then, round by round, "
        + "the surest images (anchors) are pulled to their nearest neighbours, more of them each time (Anchor Neighbourhood Discovery).")),
    form];
}
