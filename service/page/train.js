// The form that starts a training.

import { all, post } from "./api.js";
import { field, guarded, h, number, select } from "./dom.js";
import { PARAMETERS, PRESETS } from "./presets.js";

export async function show(_id, query) {
  const datasets = (await all("/datasets")).filter((dataset) => dataset.status !== "failed");
  if (!datasets.length) {
    return [h("h1", {}, "Train"), h("p", {}, "There is nothing to train on yet: ", h("a", { href: "#/datasets" }, "upload images"), " first.")];
  }
  datasets.sort((a, b) => (a.created_at < b.created_at ? 1 : -1));
  const named = (dataset) => [dataset.id, `${dataset.name} (${dataset.status === "ready" ? `${number(dataset.images)} images` : "validating"})`];
  const dataset = select(datasets.map(named), query.get("dataset") ?? datasets[0].id, { id: "dataset", required: true });
  const judge = select([["", "its own labels, each image left out in turn"], ...datasets.map(named)], "", { id: "judge" });
  const name = h("input", { id: "name", maxlength: 200, autocomplete: "off" });
  const presets = PRESETS.map(([key, title, about]) => h("label", { class: "card" },
    h("input", { type: "radio", name: "preset", value: key, checked: key === "quick" }), h("strong", {}, title), h("span", {}, about)));
  const controls = PARAMETERS.map(([key, , , allowed]) => (Array.isArray(allowed)
    ? select(allowed, "", { id: key })
    : h("input", { id: key, type: "number", placeholder: "by the preset", ...allowed })));
  let [asked, attempt] = ["", ""];  // pressing the button twice, or again after a lost answer, starts one job

  const start = guarded(async () => {
    const params = { preset: form.elements.preset.value };
    for (const control of controls) {
      if (control.value !== "") params[control.id] = control.type === "number" ? Number(control.value) : control.value;
    }
    const request = { dataset_id: dataset.value, evaluation_dataset_id: judge.value || null, params, name: name.value.trim() || null };
    const text = JSON.stringify(request);
    if (text !== asked) [asked, attempt] = [text, `${Date.now()}-${Math.random()}`];
    const job = await post("/jobs", request, { "Idempotency-Key": attempt });
    location.hash = `#/job/${job.id}`;
  });
  const form = h("form", { class: "form", onsubmit: start },
    field("Dataset", dataset),
    h("fieldset", {}, h("legend", {}, "Preset"), h("div", { class: "cards" }, presets)),
    h("details", {}, h("summary", {}, "Parameters, if the preset is not to decide"),
      h("div", { class: "fields" }, PARAMETERS.map(([, label, help], at) => field(label, controls[at], help)))),
    field("Judge the result by", judge, "Another labelled dataset shows how well it does on images that it never saw. Labels are never trained on."),
    field("Name", name, "To recognise it by; may be empty."),
    h("button", { class: "primary" }, "Start training"));
  return [h("h1", {}, "Train"),
    h("p", {}, "An encoder learns from the images alone which of them are alike: first every image is a class of its own, then "
      + "the surest images (anchors) are pulled to their nearest neighbours, more of them in each round."), form];
}
