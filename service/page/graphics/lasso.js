// A polygon drawn on the map, as a text for the address. What it selects is read from the text, so that a link selects the same.

const DIGITS = 4;  // in base 36, for each number
const MOST = 36 ** DIGITS - 1;
const CORNERS = 80;

/**
 * Numbers reach as far beyond the map's range as the range is wide: a lasso goes around its points.
 * @type {(value: number, range: Extent) => string}
 */
const written = (value, [low, high]) => {
  const part = ((value - low) / (high - low || 1) + 1) / 3;
  return Math.round(Math.min(Math.max(part, 0), 1) * MOST).toString(36).padStart(DIGITS, "0");
};
/** @type {(text: string, range: Extent) => number} */
const read = (text, [low, high]) => low + (high - low || 1) * ((Number.parseInt(text, 36) / MOST) * 3 - 1);

/**
 * `path` is a list of `[x, y]`, `ranges` the least and most of `x` and `y` on the map.
 * @typedef {{ x: Extent, y: Extent }} Ranges
 * @type {(path: Place[], ranges: Ranges) => string}
 */
export function lassoText(path, ranges) {
  /** @type {(a: Place, b: Place) => number} */
  const gap = (a, b) => Math.hypot(a[0] - b[0], a[1] - b[1]);
  /** @param {number} least */
  const thinned = (least) => path.reduce((kept, place) => {
    if (!kept.length || gap(kept[kept.length - 1], place) >= least) kept.push(place);
    return kept;
  }, /** @type {Place[]} */ ([]));
  const length = path.reduce((sum, place, at) => sum + (at ? gap(place, path[at - 1]) : 0), 0);
  const kept = path.length > CORNERS ? thinned(length / CORNERS) : path;
  return kept.map(([x, y]) => written(x, ranges.x) + written(y, ranges.y)).join("");
}

/** @type {(text: string, ranges: Ranges) => Place[]} */
export function lassoOf(text, ranges) {
  /** @type {Place[]} */
  const path = [];
  for (let at = 0; at + 2 * DIGITS <= text.length; at += 2 * DIGITS) {
    path.push([read(text.slice(at, at + DIGITS), ranges.x), read(text.slice(at + DIGITS, at + 2 * DIGITS), ranges.y)]);
  }
  return path;
}

/**
 * Rows of the points `x`, `y` that lie inside of a polygon.
 * @type {(path: Place[], x: number[], y: number[]) => number[]}
 */
export function inside(path, x, y) {
  const found = [];
  for (let row = 0; row < x.length; row += 1) {
    let within = false;
    for (let one = 0, other = path.length - 1; one < path.length; other = one++) {
      const [[x1, y1], [x2, y2]] = [path[one], path[other]];
      if (y1 > y[row] !== y2 > y[row] && x[row] < ((x2 - x1) * (y[row] - y1)) / (y2 - y1) + x1) within = !within;
    }
    if (within) found.push(row);
  }
  return found;
}
