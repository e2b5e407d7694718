// Gives the selected images a label.

import { giveLabel } from "./collection.js";
import { guarded, h, notice, number } from "./dom.js";

/** `selected()` gives the ids, `done(ids)` is called when they have their label. */
export function labelForm(dataset, map, selected, done) {
  const names = h("datalist", { id: "label-names" });
  const offer = () => names.replaceChildren(...[...map.names].sort().map((name) => h("option", { value: name })));
  const input = h("input", { id: "label", list: "label-names", maxlength: 200, autocomplete: "off", required: true, placeholder: "such as: dress" });
  const give = async (label) => {
    const ids = [...selected()];
    if (!ids.length) throw new Error("Select images first");
    await giveLabel(dataset, map, ids, label);
    offer();
    notice(label ? `${number(ids.length)} images are labelled ${label}` : `${number(ids.length)} images have no label any more`);
    await done(ids);
  };
  const element = h("form", { class: "buttons", "aria-label": "Label the selection", onsubmit: guarded(() => give(input.value.trim())) },
    h("label", { for: "label" }, "Label"), input, names, h("button", { class: "primary" }, "Label the selection"),
    h("button", { type: "button", onclick: guarded(() => give("")) }, "Take labels away"));
  const show = (count) => { element.hidden = !count; };
  offer();
  show(0);
  return { element, show };
}
