// The form that narrows a wall, a map or a search by label, round and entropy.

import { field, h, select } from "./dom.js";

const ANY = "*";
const NONE = "";

/** `onChange(filter)` gets the API's names; `options()` has to be called when there are new labels. */
export function filterForm(map, onChange) {
  const rounds = [...Array(map.rounds).keys()];
  const label = h("select", { id: "filter-label" });
  const became = select([[ANY, "any round"], ...rounds.slice(1).map((round) => [round, `round ${round}`]), [0, "never"]], ANY, { id: "filter-round" });
  const bound = (id, about) => h("input", { id, type: "number", min: 0, step: "any", placeholder: about });
  const [low, high] = [bound("filter-low", "any"), bound("filter-high", "any")];
  const at = select(rounds.map((round) => [round, `round ${round}`]), map.rounds - 1, { id: "filter-at" });
  const options = () => {
    const before = label.value || ANY;
    label.replaceChildren(...[[ANY, "any"], [NONE, "without a label"], ...[...map.names].sort().map((name) => [`=${name}`, name])]
      .map(([value, text]) => h("option", { value }, text)));
    label.value = [...label.options].some((option) => option.value === before) ? before : ANY;
  };
  options();
  const filter = () => ({
    label: label.value.startsWith("=") ? [label.value.slice(1)] : [],
    unlabelled: label.value === NONE,
    anchor_round: became.value === ANY ? null : Number(became.value),
    min_entropy: low.value === "" ? null : Number(low.value),
    max_entropy: high.value === "" ? null : Number(high.value),
    entropy_round: low.value === "" && high.value === "" ? null : Number(at.value),
  });
  const clear = () => {
    [label.value, became.value, low.value, high.value, at.value] = [ANY, ANY, "", "", map.rounds - 1];
    onChange(filter());
  };
  const element = h("form", {
    class: "filters", "aria-label": "Filter", onchange: () => onChange(filter()), onsubmit: (event) => event.preventDefault(),
  },
  field("Label", label), field("Became an anchor in", became), field("Entropy from", low), field("to", high), field("at the end of", at),
  h("button", { type: "button", onclick: clear }, "Show all"));
  return { element, filter, options };
}
