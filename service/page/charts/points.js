// Points on a canvas with zoom, hover and a lasso. Plotly's own for so many points (scattergl) compiles code as it runs, which the
// page's policy forbids.

import { h } from "../parts/dom.js";

const MARGIN = 14;
const NEAR = 9;  // pixels around the pointer in which a point is meant
const STEP = 1.25;  // of a zoom
const FAINT = 0.15;

/**
 * `act(row)`: a click on a point; `hover(row, event)`: the point under the pointer, null for none; `lasso(polygon)`: what was
 * drawn, a polygon in the map's own coordinates; `seen(view)` tells what is in sight: the middle, in
 * those coordinates, and how many times larger than the whole map.
 */
export class Points {
  constructor({ x, y, label, act, hover, lasso, seen }) {
    Object.assign(this, { x, y, act, hover, lasso, seen, selected: null, groups: [], wanted: null });
    this.canvas = h("canvas", { tabindex: 0, role: "img", "aria-label": label, id: "points" });
    this.above = h("canvas", { class: "above", "aria-hidden": "true" });
    const button = (text, name, action) => h("button", { type: "button", "aria-label": name, title: name, onclick: action }, text);
    this.element = h("div", { class: "map", id: "map" }, this.canvas, this.above, h("div", { class: "zoom" },
      button("+", "Zoom in", () => this.zoom(STEP)), button("−", "Zoom out", () => this.zoom(1 / STEP)),
      button("⤢", "Show the whole map", () => this.whole())));
    const range = (values) => values.reduce(([least, most], value) => [Math.min(least, value), Math.max(most, value)],
      values.length ? [Infinity, -Infinity] : [0, 1]);
    this.ranges = { x: range(x), y: range(y) };
    this.pointers = new Map();
    this.path = null;
    this.kept = null;
    const on = (name, action) => this.canvas.addEventListener(name, action, { passive: false });
    on("pointerdown", (event) => this.down(event));
    on("pointermove", (event) => this.moved(event));
    on("pointerup", (event) => this.up(event));
    on("pointercancel", (event) => this.up(event, true));
    on("pointerleave", () => this.hover(null));
    on("wheel", (event) => this.wheel(event));
    on("keydown", (event) => this.key(event));
    new ResizeObserver(() => this.resize()).observe(this.element);
    this.element.placeOf = (row) => this.placeOf(row);  // so that a script can point at an image
  }

  /** Draws groups of rows `{rows, colour}`. */
  show(groups) {
    this.groups = groups;
    this.later();
  }

  /** Draws all but these rows faintly; null: none is. */
  select(rows) {
    this.selected = rows && new Set(rows);
    this.later();
  }

  resize() {
    const { clientWidth: width, clientHeight: height } = this.element;
    if (!width) return;
    const before = this.width;
    [this.width, this.height, this.ratio] = [width, height, window.devicePixelRatio || 1];
    for (const canvas of [this.canvas, this.above]) {
      canvas.width = width * this.ratio;
      canvas.height = height * this.ratio;
    }
    const view = before ? this.kept : this.wanted;
    this.whole();
    if (view) this.look(view);
  }

  whole() {
    this.fit();
    this.change(null);
  }

  fit() {
    const [[left, right], [low, high]] = [this.ranges.x, this.ranges.y];
    this.fitted = Math.min((this.width - 2 * MARGIN) / (right - left || 1), (this.height - 2 * MARGIN) / (high - low || 1));
    this.middle((left + right) / 2, (low + high) / 2, this.fitted);
  }

  middle(x, y, scale) {
    this.scale = scale;
    this.left = this.width / 2 - scale * x;
    this.top = this.height / 2 + scale * y;
  }

  /** Shows a view `[x, y, times]` as `seen` tells it, at once or when there is room. */
  look(view) {
    this.wanted = view;
    if (!this.width) return;
    this.middle(view[0], view[1], this.fitted * view[2]);
    this.change(view);
  }

  /** Draws; `view` null is the whole map. */
  change(view) {
    if (JSON.stringify(view) !== JSON.stringify(this.kept)) this.seen(view);
    this.kept = view;
    this.later();
  }

  changed() {
    this.change([(this.width / 2 - this.left) / this.scale, (this.top - this.height / 2) / this.scale, this.scale / this.fitted]);
  }

  at(row) {
    return [this.left + this.scale * this.x[row], this.top - this.scale * this.y[row]];
  }

  placeOf(row) {
    const box = this.canvas.getBoundingClientRect();
    const [x, y] = this.at(row);
    return [box.left + x, box.top + y];
  }

  zoom(factor, x = this.width / 2, y = this.height / 2) {
    this.scale *= factor;
    this.left = x + (this.left - x) * factor;
    this.top = y + (this.top - y) * factor;
    this.changed();
  }

  pan(x, y) {
    this.left += x;
    this.top += y;
    this.changed();
  }

  later() {
    if (this.width) this.due ??= requestAnimationFrame(() => this.draw());
  }

  draw() {
    this.due = null;
    const brush = this.canvas.getContext("2d");
    const side = Math.max(2, Math.min(9, 90 / Math.sqrt(this.x.length) + 2));
    brush.setTransform(this.ratio, 0, 0, this.ratio, 0, 0);
    brush.clearRect(0, 0, this.width, this.height);
    for (const chosen of this.selected ? [false, true] : [true]) {  // the selected ones above the others
      brush.globalAlpha = chosen ? 0.85 : FAINT;
      for (const { rows, colour } of this.groups) {
        brush.fillStyle = colour;
        for (const row of rows) {
          if (this.selected && this.selected.has(row) !== chosen) continue;
          const [x, y] = this.at(row);
          if (x > -side && y > -side && x < this.width + side && y < this.height + side) {
            brush.fillRect(x - side / 2, y - side / 2, side, side);
          }
        }
      }
    }
  }

  nearest(x, y) {
    let [best, least] = [null, NEAR * NEAR];
    for (let row = 0; row < this.x.length; row += 1) {
      const across = this.left + this.scale * this.x[row] - x;
      const down = this.top - this.scale * this.y[row] - y;
      const distance = across * across + down * down;
      if (distance < least) [best, least] = [row, distance];
    }
    return best;
  }

  place(event) {
    const box = this.canvas.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  }

  down(event) {
    this.canvas.setPointerCapture(event.pointerId);
    this.pointers.set(event.pointerId, this.place(event));
    this.hover(null);
    const panning = event.shiftKey || event.button === 1 || this.pointers.size > 1;
    this.path = panning ? null : [this.place(event)];
    this.trace();
  }

  moved(event) {
    const place = this.place(event);
    const before = this.pointers.get(event.pointerId);
    if (!before) {
      this.hover(this.nearest(...place), event);
      return;
    }
    const other = [...this.pointers].find(([id]) => id !== event.pointerId)?.[1];
    this.pointers.set(event.pointerId, place);
    if (this.path) {
      this.path.push(place);
      this.trace();
    } else if (other) {  // two fingers
      const spread = (one) => Math.hypot(one[0] - other[0], one[1] - other[1]) || 1;
      this.zoom(spread(place) / spread(before), ...other);
    } else this.pan(place[0] - before[0], place[1] - before[1]);
  }

  up(event, cancelled = false) {
    this.pointers.delete(event.pointerId);
    const path = this.path;
    this.path = null;
    this.trace();
    if (!path || cancelled) return;
    const [x, y] = path[0];
    const row = this.nearest(x, y);
    if (path.some((place) => Math.hypot(place[0] - x, place[1] - y) > NEAR)) {
      this.lasso(path.map((place) => [(place[0] - this.left) / this.scale, (this.top - place[1]) / this.scale]));
    } else if (row !== null) this.act(row);
    else this.lasso([]);
  }

  trace() {
    const brush = this.above.getContext("2d");
    brush.setTransform(this.ratio, 0, 0, this.ratio, 0, 0);
    brush.clearRect(0, 0, this.width, this.height);
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

  wheel(event) {
    event.preventDefault();
    this.zoom(STEP ** (-event.deltaY / 100), ...this.place(event));
  }

  key(event) {
    const moves = { ArrowLeft: [60, 0], ArrowRight: [-60, 0], ArrowUp: [0, 60], ArrowDown: [0, -60] };
    if (event.key in moves) this.pan(...moves[event.key]);
    else if (event.key === "+" || event.key === "=") this.zoom(STEP);
    else if (event.key === "-") this.zoom(1 / STEP);
    else if (event.key === "0") this.whole();
    else return;
    event.preventDefault();
  }
}
