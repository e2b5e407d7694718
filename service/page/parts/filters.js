// The form that narrows a wall, a map or a search: by label, and behind «more» by how images were learned.

import { field, h, select } from "./dom.js";

const ANY = "*";
const NONE = "";
/** @param {string | null} text */
const whole = (text) => (/^\d+$/.test(text ?? "") ? Number(text) : null);
/** @param {string | null} text */
const real = (text) => (text && Number.isFinite(Number(text)) ? Number(text) : null);

/**
 * `query` has the API's names and says what is chosen at first; `onChange(filter)` gets the same; `options()` has to be called
 * when there are new labels. `changes()` is what the address has to say.
 * @param {Columns} map
 * @param {URLSearchParams} query
 * @param {(filter: Filter) => unknown} onChange
 */
export function filterForm(map, query, onChange) {
  const rounds = [...Array(map.rounds).keys()];
  const asked = query.get("label");
  const label = h("select", { id: "filter-label" });
  const became = select([[ANY, "any round"], ...rounds.slice(1).map((round) => [round, `round ${round}`]), [0, "never"]], ANY, { id: "filter-round" });
  /** @type {(id: string, value: number | null) => HTMLInputElement} */
  const bound = (id, value) => h("input", { id, type: "number", min: 0, step: "any", placeholder: "any", value });
  const [low, high] = [bound("filter-low", real(query.get("min_entropy"))), bound("filter-high", real(query.get("max_entropy")))];
  const at = select(rounds.map((round) => [round, `round ${round}`]), map.rounds - 1, { id: "filter-at" });
  for (const [control, name] of /** @type {const} */ ([[became, "anchor_round"], [at, "entropy_round"]])) {
    const round = whole(query.get(name));
    if (round !== null && rounds.includes(round)) control.value = String(round);
  }
  const options = (wanted = label.value || ANY) => {
    const names = new Set([...map.names].sort());
    if (wanted.startsWith("=")) names.add(wanted.slice(1));  // the last of its images may have lost it
    label.replaceChildren(...[[ANY, "any"], [NONE, "without a label"], ...[...names].map((name) => [`=${name}`, name])]
      .map(([value, text]) => h("option", { value }, text)));
    label.value = wanted;
  };
  options(asked === null ? ANY : `=${asked}`);
  if (query.get("unlabelled")) label.value = NONE;
  /** @returns {Filter} */
  const filter = () => ({
    label: label.value.startsWith("=") ? [label.value.slice(1)] : [],
    unlabelled: label.value === NONE,
    anchor_round: became.value === ANY ? null : Number(became.value),
    min_entropy: low.value === "" ? null : Number(low.value),
    max_entropy: high.value === "" ? null : Number(high.value),
    entropy_round: low.value === "" && high.value === "" ? null : Number(at.value),
  });
  const changes = () => {
    const now = filter();
    return { ...now, label: now.label[0] ?? null };
  };
  const active = () => Object.values(changes()).some((value) => value !== null && value !== false);  // something narrows
  const clear = () => {
    [label.value, became.value, low.value, high.value, at.value] = [ANY, ANY, "", "", String(map.rounds - 1)];
    onChange(filter());
  };
  const learned = [became.value !== ANY, low.value, high.value].some(Boolean);
  const element = h("form", {
    class: "filters", "aria-label": "Filter", onchange: () => onChange(filter()), onsubmit: (event) => event.preventDefault(),
  },
  field("Label", label), h("button", { type: "button", onclick: clear }, "Show all"),
  h("details", { class: "more", open: learned }, h("summary", {}, "More: how it was learned"),
    h("div", { class: "filters" },
      field("Became an anchor in", became), field("Entropy from", low), field("to", high), field("at the end of", at)),
    h("p", { class: "soft" }, "An anchor is an image whose place was sure enough for its nearest others to be pulled towards it. Entropy (nats) "
      + "is how unsure its place was: low ones have clear neighbours.")));
  return { element, filter, options, changes, active };
}

/**
 * On a narrow window a button shows and hides these; on a wide one they are always there.
 * @param {string} title
 * @param {...Child} content
 */
export function fold(title, ...content) {
  const body = h("div", { class: "fold-body", id: "fold" }, content);
  /** @type {HTMLButtonElement} */
  const button = h("button", {
    type: "button", class: "fold", "aria-expanded": "false", "aria-controls": "fold", onclick: () => {
      button.setAttribute("aria-expanded", String(body.classList.toggle("open")));
    },
  }, title);
  return [button, body];
}
