// Gives the selected images a label, or deletes them; for keys that may.

import { erase, giveLabel } from "./collection.js";
import { guarded, h, notice, number } from "./dom.js";
import { may } from "./session.js";

/**
 * `selected()` gives the ids; `labelled()` and `erased()` are called when that is done.
 * @param {Dataset} dataset
 * @param {Columns} map
 * @param {() => Iterable<number>} selected
 * @param {{ labelled: () => unknown, erased: () => unknown }} done
 */
export function labelForm(dataset, map, selected, { labelled, erased }) {
  const names = h("datalist", { id: "label-names" });
  const offer = () => names.replaceChildren(...[...map.names].sort().map((name) => h("option", { value: name })));
  const input = h("input", { id: "label", list: "label-names", maxlength: 200, autocomplete: "off", required: true, placeholder: "such as: dress" });
  const chosen = () => {
    const ids = [...selected()];
    if (!ids.length) throw new Error("Select images first");
    return ids;
  };
  /** @param {string} label */
  const give = async (label) => {
    const ids = chosen();
    await giveLabel(dataset, map, ids, label);
    offer();
    notice(label ? `${number(ids.length)} images are labelled ${label}` : `${number(ids.length)} images have no label any more`);
    await labelled();
  };
  const away = guarded(async () => {
    const ids = chosen();
    if (!(await erase(dataset, ids))) return;
    notice(`${number(ids.length)} images are deleted`);
    await erased();
  });
  const element = h("form", { class: "buttons", "aria-label": "Label the selection", onsubmit: guarded(() => give(input.value.trim())) },
    h("label", { for: "label" }, "Label"), input, names, h("button", { class: "primary" }, "Label the selection"),
    h("button", { type: "button", onclick: guarded(() => give("")) }, "Take labels away"),
    h("button", { type: "button", class: "danger", id: "erase", onclick: away }, "Delete the images"));
  /** @param {number} count */
  const show = (count) => { element.hidden = !count || !may("write"); };
  offer();
  show(0);
  return { element, show, offer };
}
