// What a view shows stands in the address after #, so that a reload, Back and a shared link show the same.

const QUIET = 200;  // milliseconds without a change after which scrolling and zooming are written down: browsers limit how often
const LONGEST = 6000;  // characters of a selection in an address; a longer one is kept in this tab, under a key
const KEPT = "anchorhood-selection:";

export class Address {
  /** `view` and `id` as in `#/view/id?query`. */
  constructor(view, id, query, signal) {
    Object.assign(this, { path: `#/${view}/${id}`, now: new URLSearchParams(query), timer: 0 });
    document.addEventListener("click", () => this.settle(), { capture: true, signal });  // before a link is followed
    window.addEventListener("pagehide", () => this.settle(), { signal });
    signal.addEventListener("abort", () => clearTimeout(this.timer));
  }

  /** The address with some values changed; those that are null, empty or false are taken out, and changed ones come last. */
  with(changes) {
    const wanted = new URLSearchParams(this.now);
    for (const [name, value] of Object.entries(changes)) {
      wanted.delete(name);
      if (value !== null && value !== undefined && value !== "" && value !== false) wanted.set(name, value === true ? 1 : value);
    }
    return wanted;
  }

  href(changes = {}) {
    const query = this.with(changes).toString().replaceAll("%2C", ",");
    return query ? `${this.path}?${query}` : this.path;
  }

  /** A step that a person took: Back undoes it. */
  step(changes) {
    this.settle();
    this.now = this.with(changes);
    if (this.href() !== location.hash) history.pushState(null, "", this.href());
  }

  /** What changes by and by, as a place in a wall does. */
  drift(changes) {
    this.now = this.with(changes);
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.settle(), QUIET);
  }

  settle() {
    if (!this.timer) return;
    clearTimeout(this.timer);
    this.timer = 0;
    if (this.href() !== location.hash) history.replaceState(null, "", this.href());
  }

  /** Shows another address as a view anew. */
  go(changes) {
    this.settle();
    location.hash = this.href(changes);
  }

  number(name) {
    const value = Number.parseFloat(this.now.get(name));
    return Number.isFinite(value) ? value : null;
  }

  ids(name) {
    return unpacked(this.now.get(name));
  }
}

/** Ids as text: gaps and lengths of runs in base 36; many scattered ones are kept in the tab, and the text is their key. */
export function packed(ids) {
  const sorted = [...ids].sort((a, b) => a - b);
  const parts = [];
  let last = 0;
  for (let at = 0; at < sorted.length;) {
    let end = at;
    while (sorted[end + 1] === sorted[end] + 1) end += 1;
    const gap = (sorted[at] - last).toString(36);
    parts.push(end > at ? `${gap}-${(end - at).toString(36)}` : gap);
    last = sorted[end];
    at = end + 1;
  }
  const text = parts.join(".");
  if (text.length <= LONGEST) return text;
  let mark = 0;
  for (const part of parts) for (const sign of part) mark = (Math.imul(mark, 31) + sign.charCodeAt(0)) >>> 0;
  const key = `_${sorted.length}_${mark.toString(36)}`;
  try {
    sessionStorage.setItem(KEPT + key, text);
  } catch {  // full of earlier ones
    for (const name of Object.keys(sessionStorage)) if (name.startsWith(KEPT)) sessionStorage.removeItem(name);
    sessionStorage.setItem(KEPT + key, text);
  }
  return key;
}

/** The ids of a text; null where it is a key of another tab. */
export function unpacked(text) {
  if (!text) return [];
  const kept = text.startsWith("_") ? sessionStorage.getItem(KEPT + text) : text;
  if (kept === null) return null;
  const ids = [];
  let last = 0;
  for (const part of kept.split(".")) {
    const [gap, more] = part.split("-").map((number) => Number.parseInt(number, 36));
    if (Number.isNaN(gap)) continue;
    for (let step = 0; step <= Math.min(more ?? 0, 1e6); step += 1) ids.push(last + gap + step);
    last = ids.at(-1);
  }
  return ids;
}
