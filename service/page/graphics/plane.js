// Which part of a map is in sight of a box of pixels: fitted, moved and zoomed.

const MARGIN = 14;

/** @param {number[]} values @returns {Extent} */
const extent = (values) => values.reduce(([least, most], value) => [Math.min(least, value), Math.max(most, value)],
  /** @type {Extent} */ (values.length ? [Infinity, -Infinity] : [0, 1]));

export class Plane {
  /**
   * `draw()` is called when it has to be drawn anew, and before it `seen(view)` when another part is in sight: its middle, in the
   * map's own coordinates, and how many times larger it is than the whole map; null is the whole map.
   * @param {number[]} x
   * @param {number[]} y
   * @param {{ seen: (view: number[] | null) => void, draw: () => void }} told
   */
  constructor(x, y, told) {
    this.told = told;
    this.ranges = { x: extent(x), y: extent(y) };
    this.width = 0;
    this.height = 0;
    this.fitted = 1;
    this.scale = 1;
    this.left = 0;
    this.top = 0;
    /** @type {number[] | null} */
    this.kept = null;
    /** @type {number[] | null} */
    this.wanted = null;
  }

  /** @type {(width: number, height: number) => void} in pixels; what is in sight stays so */
  resize(width, height) {
    const view = this.width ? this.kept : this.wanted;
    this.width = width;
    this.height = height;
    this.whole();
    if (view) this.look(view);
  }

  whole() {
    const [[left, right], [low, high]] = [this.ranges.x, this.ranges.y];
    this.fitted = Math.min((this.width - 2 * MARGIN) / (right - left || 1), (this.height - 2 * MARGIN) / (high - low || 1));
    this.middle((left + right) / 2, (low + high) / 2, this.fitted);
    this.keep(null);
  }

  /** @type {(x: number, y: number, scale: number) => void} */
  middle(x, y, scale) {
    this.scale = scale;
    this.left = this.width / 2 - scale * x;
    this.top = this.height / 2 + scale * y;
  }

  /** @param {number[]} view Shows `[x, y, times]`, at once or when there is room. */
  look(view) {
    this.wanted = view;
    if (!this.width) return;
    this.middle(view[0], view[1], this.fitted * view[2]);
    this.keep(view);
  }

  /** @param {number[] | null} view */
  keep(view) {
    if (JSON.stringify(view) !== JSON.stringify(this.kept)) this.told.seen(view);
    this.kept = view;
    this.told.draw();
  }

  moved() {
    this.keep([...this.inside([this.width / 2, this.height / 2]), this.scale / this.fitted]);
  }

  /** @type {(factor: number, x?: number, y?: number) => void} around a point of the box */
  zoom(factor, x = this.width / 2, y = this.height / 2) {
    this.scale *= factor;
    this.left = x + (this.left - x) * factor;
    this.top = y + (this.top - y) * factor;
    this.moved();
  }

  /** @type {(x: number, y: number) => void} */
  pan(x, y) {
    this.left += x;
    this.top += y;
    this.moved();
  }

  /** @type {(x: number, y: number) => Place} where a point of the map is in the box */
  at(x, y) {
    return [this.left + this.scale * x, this.top - this.scale * y];
  }

  /** @type {(place: Place) => Place} where a point of the box is on the map */
  inside([x, y]) {
    return [(x - this.left) / this.scale, (this.top - y) / this.scale];
  }
}
