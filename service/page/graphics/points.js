// Points on a canvas with zoom, hover and a lasso. Plotly's own for so many points (scattergl) compiles code as it runs, which the
// page's policy forbids.

import { h } from "../parts/dom.js";
import { Plane } from "./plane.js";

const NEAR = 9;  // pixels around the pointer in which a point is meant
const STEP = 1.25;  // of a zoom
const FAINT = 0.15;

/**
 * `act(row)`: a click on a point; `hover(row, event)`: the point under the pointer, null for none; `lasso(polygon)`: what was
 * drawn, a polygon in the map's own coordinates; `seen(view)`: what is in sight, as `Plane` tells it.
 * @typedef {{
 *   x: number[], y: number[], label: string, act: (row: number) => unknown, hover: (row: number | null, event?: PointerEvent) => unknown,
 *   lasso: (polygon: Place[]) => unknown, seen: (view: number[] | null) => unknown,
 * }} Options
 */
export class Points {
  /** @param {Options} options */
  constructor({ x, y, label, act, hover, lasso, seen }) {
    this.does = { act, hover, lasso };
    this.x = x;
    this.y = y;
    this.ratio = 1;
    this.due = 0;
    /** @type {Set<number> | null} */
    this.selected = null;
    /** @type {Pick<Group, "rows" | "colour">[]} */
    this.groups = [];
    /** @type {Map<number, Place>} */
    this.pointers = new Map();
    /** @type {Place[] | null} */
    this.path = null;
    this.plane = new Plane(x, y, { seen, draw: () => this.later() });
    this.canvas = h("canvas", { tabindex: 0, role: "img", "aria-label": label, id: "points" });
    this.above = h("canvas", { class: "above", "aria-hidden": "true" });
    /** @type {(text: string, name: string, action: () => void) => HTMLElement} */
    const button = (text, name, action) => h("button", { type: "button", "aria-label": name, title: name, onclick: action }, text);
    this.element = h("div", { class: "map", id: "map" }, this.canvas, this.above, h("div", { class: "zoom" },
      button("+", "Zoom in", () => this.plane.zoom(STEP)), button("−", "Zoom out", () => this.plane.zoom(1 / STEP)),
      button("⤢", "Show the whole map", () => this.plane.whole())));
    this.canvas.addEventListener("pointerdown", (event) => this.down(event));
    this.canvas.addEventListener("pointermove", (event) => this.moved(event));
    this.canvas.addEventListener("pointerup", (event) => this.up(event));
    this.canvas.addEventListener("pointercancel", (event) => this.up(event, true));
    this.canvas.addEventListener("pointerleave", () => this.does.hover(null));
    this.canvas.addEventListener("wheel", (event) => this.wheel(event), { passive: false });
    this.canvas.addEventListener("keydown", (event) => this.key(event));
    new ResizeObserver(() => this.resize()).observe(this.element);
    Object.assign(this.element, { placeOf: (/** @type {number} */ row) => this.placeOf(row) });  // so that a script can point at an image
  }

  /** @param {Pick<Group, "rows" | "colour">[]} groups Draws them. */
  show(groups) {
    this.groups = groups;
    this.later();
  }

  /** @param {number[] | null} rows Draws all but these faintly; null: none is. */
  select(rows) {
    this.selected = rows && new Set(rows);
    this.later();
  }

  resize() {
    const { clientWidth: width, clientHeight: height } = this.element;
    if (!width) return;
    this.ratio = window.devicePixelRatio || 1;
    for (const canvas of [this.canvas, this.above]) {
      canvas.width = width * this.ratio;
      canvas.height = height * this.ratio;
    }
    this.plane.resize(width, height);
  }

  /** @param {number} row */
  at(row) {
    return this.plane.at(this.x[row], this.y[row]);
  }

  /** @param {number} row */
  placeOf(row) {
    const box = this.canvas.getBoundingClientRect();
    const [x, y] = this.at(row);
    return [box.left + x, box.top + y];
  }

  later() {
    if (this.plane.width) this.due ||= requestAnimationFrame(() => this.draw());
  }

  /** @param {HTMLCanvasElement} canvas A brush on it, emptied. */
  brush(canvas) {
    const brush = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
    brush.setTransform(this.ratio, 0, 0, this.ratio, 0, 0);
    brush.clearRect(0, 0, this.plane.width, this.plane.height);
    return brush;
  }

  draw() {
    this.due = 0;
    const brush = this.brush(this.canvas);
    const { width, height } = this.plane;
    const side = Math.max(2, Math.min(9, 90 / Math.sqrt(this.x.length) + 2));
    for (const chosen of this.selected ? [false, true] : [true]) {  // the selected ones above the others
      brush.globalAlpha = chosen ? 0.85 : FAINT;
      for (const { rows, colour } of this.groups) {
        brush.fillStyle = colour;
        for (const row of rows) {
          if (this.selected && this.selected.has(row) !== chosen) continue;
          const [x, y] = this.at(row);
          if (x > -side && y > -side && x < width + side && y < height + side) {
            brush.fillRect(x - side / 2, y - side / 2, side, side);
          }
        }
      }
    }
  }

  /** @type {(place: Place) => number | null} the row of the nearest point, where one is near */
  nearest([x, y]) {
    const { left, top, scale } = this.plane;
    /** @type {number | null} */
    let best = null;
    let least = NEAR * NEAR;
    for (let row = 0; row < this.x.length; row += 1) {
      const across = left + scale * this.x[row] - x;
      const down = top - scale * this.y[row] - y;
      const distance = across * across + down * down;
      if (distance < least) [best, least] = [row, distance];
    }
    return best;
  }

  /** @param {MouseEvent} event @returns {Place} */
  place(event) {
    const box = this.canvas.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  }

  /** @param {PointerEvent} event */
  down(event) {
    this.canvas.setPointerCapture(event.pointerId);
    this.pointers.set(event.pointerId, this.place(event));
    this.does.hover(null);
    const panning = event.shiftKey || event.button === 1 || this.pointers.size > 1;
    this.path = panning ? null : [this.place(event)];
    this.trace();
  }

  /** @param {PointerEvent} event */
  moved(event) {
    const place = this.place(event);
    const before = this.pointers.get(event.pointerId);
    if (!before) {
      this.does.hover(this.nearest(place), event);
      return;
    }
    const other = [...this.pointers].find(([id]) => id !== event.pointerId)?.[1];
    this.pointers.set(event.pointerId, place);
    if (this.path) {
      this.path.push(place);
      this.trace();
    } else if (other) {  // two fingers
      /** @param {Place} one */
      const spread = (one) => Math.hypot(one[0] - other[0], one[1] - other[1]) || 1;
      this.plane.zoom(spread(place) / spread(before), ...other);
    } else this.plane.pan(place[0] - before[0], place[1] - before[1]);
  }

  /** @param {PointerEvent} event @param {boolean} cancelled */
  up(event, cancelled = false) {
    this.pointers.delete(event.pointerId);
    const path = this.path;
    this.path = null;
    this.trace();
    if (!path || cancelled) return;
    const [x, y] = path[0];
    const row = this.nearest(path[0]);
    if (path.some((place) => Math.hypot(place[0] - x, place[1] - y) > NEAR)) {
      this.does.lasso(path.map((place) => this.plane.inside(place)));
    } else if (row !== null) this.does.act(row);
    else this.does.lasso([]);
  }

  trace() {
    const brush = this.brush(this.above);
    if (!this.path) return;
    brush.beginPath();
    for (const [x, y] of this.path) brush.lineTo(x, y);
    brush.closePath();
    brush.strokeStyle = getComputedStyle(this.element).color;
    brush.setLineDash([5, 4]);
    brush.stroke();
    brush.globalAlpha = 0.08;
    brush.fillStyle = brush.strokeStyle;
    brush.fill();
    brush.globalAlpha = 1;
  }

  /** @param {WheelEvent} event */
  wheel(event) {
    event.preventDefault();
    this.plane.zoom(STEP ** (-event.deltaY / 100), ...this.place(event));
  }

  /** @param {KeyboardEvent} event */
  key(event) {
    /** @type {{ [key: string]: Place }} */
    const moves = { ArrowLeft: [60, 0], ArrowRight: [-60, 0], ArrowUp: [0, 60], ArrowDown: [0, -60] };
    if (event.key in moves) this.plane.pan(...moves[event.key]);
    else if (event.key === "+" || event.key === "=") this.plane.zoom(STEP);
    else if (event.key === "-") this.plane.zoom(1 / STEP);
    else if (event.key === "0") this.plane.whole();
    else return;
    event.preventDefault();
  }
}
