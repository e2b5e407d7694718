// What a view shows stands in the address after #, so that a reload, Back and a shared link show the same.

const QUIET = 200;  // milliseconds without a change after which scrolling and zooming are written down: browsers limit how often
const LONGEST = 6000;  // characters of a selection in an address; a longer one is kept in this tab, under a key
const KEPT = "anchorhood-selection:";

export class Address {
  /**
   * `view` and `id` as in `#/view/id?query`.
   * @param {string} view
   * @param {string} id
   * @param {URLSearchParams} query
   * @param {AbortSignal} signal
   */
  constructor(view, id, query, signal) {
    this.path = `#/${view}/${id}`;
    this.now = new URLSearchParams(query);
    this.timer = 0;
    document.addEventListener("click", () => this.settle(), { capture: true, signal });  // before a link is followed
    window.addEventListener("pagehide", () => this.settle(), { signal });
    signal.addEventListener("abort", () => clearTimeout(this.timer));
  }

  /**
   * The address with some values changed; those that are null, empty or false are taken out, and changed ones come last.
   * @param {Changes} changes
   */
  with(changes) {
    const wanted = new URLSearchParams(this.now);
    for (const [name, value] of Object.entries(changes)) {
      wanted.delete(name);
      if (value !== null && value !== undefined && value !== "" && value !== false) wanted.set(name, value === true ? "1" : String(value));
    }
    return wanted;
  }

  /** @param {Changes} changes */
  href(changes = {}) {
    const query = this.with(changes).toString().replaceAll("%2C", ",");
    return query ? `${this.path}?${query}` : this.path;
  }

  /** @param {Changes} changes A step that a person took: Back undoes it. */
  step(changes) {
    this.settle();
    this.now = this.with(changes);
    if (this.href() !== location.hash) history.pushState(null, "", this.href());
  }

  /** @param {Changes} changes What changes by and by, as a place in a wall does. */
  drift(changes) {
    this.now = this.with(changes);
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.settle(), QUIET);
  }

  /** @param {number} place The place that a wall was scrolled to. */
  scrolled(place) {
    this.drift({ at: place.toFixed(2) === "0.00" ? null : place.toFixed(2) });
  }

  /** The place that a wall has to be scrolled to. */
  get place() {
    return this.number("at") ?? 0;
  }

  settle() {
    if (!this.timer) return;
    clearTimeout(this.timer);
    this.timer = 0;
    if (location.hash.split("?")[0] !== this.path) return;  // another view is on its way, and the address is that one's
    if (this.href() !== location.hash) history.replaceState(null, "", this.href());
  }

  /** @param {Changes} changes Shows another address as a view anew. */
  go(changes) {
    this.settle();
    location.hash = this.href(changes);
  }

  /** @param {string} name */
  number(name) {
    const value = Number.parseFloat(this.now.get(name) ?? "");
    return Number.isFinite(value) ? value : null;
  }

  /** @param {string} name */
  ids(name) {
    return unpacked(this.now.get(name));
  }
}

/**
 * Ids as text: gaps and lengths of runs in base 36; many scattered ones are kept in the tab, and the text is their key.
 * @param {Iterable<number>} ids
 */
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

/**
 * The ids of a text; null where it is a key of another tab.
 * @param {string | null} text
 */
export function unpacked(text) {
  if (!text) return [];
  const kept = text.startsWith("_") ? sessionStorage.getItem(KEPT + text) : text;
  if (kept === null) return null;
  /** @type {number[]} */
  const ids = [];
  let last = 0;
  for (const part of kept.split(".")) {
    const [gap, more] = part.split("-").map((number) => Number.parseInt(number, 36));
    if (Number.isNaN(gap)) continue;
    for (let step = 0; step <= Math.min(more ?? 0, 1e6); step += 1) ids.push(last + gap + step);
    last = ids[ids.length - 1];
  }
  return ids;
}
