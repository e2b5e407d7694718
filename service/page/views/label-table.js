// Labels as a table: one that was made elsewhere is read, and those given here are saved.

import { putFile, rows } from "../parts/api.js";
import { quoted } from "../parts/collection.js";
import { download, guarded, h, notice, number } from "../parts/dom.js";
import { may } from "../parts/session.js";

/**
 * The buttons; `changed()` is called after a table was read.
 * @type {(dataset: Dataset, map: Columns, changed: () => Promise<void>) => HTMLElement}
 */
export function labelTable(dataset, map, changed) {
  const wrong = h("p", { class: "error", role: "alert", id: "table-error", hidden: true });
  const input = h("input", { type: "file", accept: ".csv,.tsv,.txt,text/csv", id: "table", class: "hidden-input" });
  input.addEventListener("change", guarded(async () => {
    const file = input.files?.[0];
    input.value = "";  // so that the same file, mended, can be chosen again
    if (!file) return;
    wrong.hidden = true;
    try {
      const { set, removed, ignored } = await putFile(`/datasets/${dataset.id}/labels`, file, "text/csv");  // one reader, the service's
      notice(`${file.name}: ${number(set)} labels given, ${number(removed)} taken away`
        + (ignored ? `, ${number(ignored)} of refused files or duplicates passed over` : ""));
    } catch (error) {
      wrong.textContent = `${file.name}: ${error.message}`;
      wrong.hidden = false;
      return;
    }
    await changed();
  }));
  const save = h("button", { type: "button", id: "download", onclick: guarded(() => saved(dataset, map)) }, "Download the labels");
  const read = may("write") ? [input, h("label", { for: "table", class: "button" }, "Upload a label table")] : [];
  return h("div", {}, h("div", { class: "buttons" }, ...read, save),
    read.length ? h("p", { class: "soft" }, "A table has the columns path,label or image_id,label (CSV, with commas, semicolons or tabs); an empty label takes one away.") : null,
    wrong);
}

/** @type {(dataset: Dataset, map: Columns) => Promise<void>} */
async function saved(dataset, map) {
  const lines = ["path,label"];
  if (map.names.length) {
    for await (const page of rows(`/datasets/${dataset.id}/images`, { label: map.names })) {
      for (const { path, label } of page) lines.push(`${quoted(path)},${quoted(label ?? "")}`);
    }
  }
  download(`${dataset.name}-labels.csv`, `${lines.join("\r\n")}\r\n`, "text/csv");
}
