// A wall of thumbnails of which only those in sight are elements: a listbox, so that one tab stop reaches it and arrows move in it.

import { h } from "../parts/dom.js";
import { Tile } from "./tile.js";

const SETTLED = 80;  // milliseconds without scrolling after which thumbnails that were only flown past load
let walls = 0;

/** @type {(ids: (number | undefined)[]) => number[]} */
const known = (ids) => ids.filter((id) => id !== undefined);

/**
 * `act(id, index, event)` is what a click or Enter does; `note(id)` gives what stands under an image; `need(index)` is told
 * of places whose id is not known yet; `selected` is a set of ids, which Space and (where `selects`) a click change; `moved(place)`
 * tells where it was scrolled to, as a place in the list and a part of it; `sight(ids)` which images came into sight.
 * @typedef {{
 *   label: string, act?: (id: number, index: number, event: MouseEvent | KeyboardEvent) => unknown, note?: (id: number) => Note | null,
 *   need?: (index: number) => void, selects?: boolean, changed?: (selected: Set<number>) => void, moved?: (place: number) => void,
 *   sight?: (ids: number[]) => unknown,
 * }} Options
 */
export class Wall {
  /** @param {Options} options */
  constructor({
    label, act = () => {}, note = () => null, need = () => {}, selects = false, changed = () => {}, moved = () => {}, sight = () => {},
  }) {
    this.does = { act, note, need, selects, changed, moved, sight };
    this.id = `wall${++walls}`;
    /** @type {(number | undefined)[]} */
    this.ids = [];
    this.count = 0;
    this.active = 0;
    /** @type {Set<number>} */
    this.selected = new Set();
    /** @type {Map<number, Tile>} */
    this.tiles = new Map();
    /** @type {Tile[]} */
    this.spare = [];
    /** @type {number | null} */
    this.wanted = null;
    /** @type {number | null} */
    this.anchor = null;
    this.width = 0;
    this.columns = 0;
    this.side = 0;
    this.row = 0;
    this.due = 0;
    this.timer = 0;
    /** @type {number | null} */
    this.seen = null;
    this.inner = h("div", { class: "wall-inner", role: "presentation" });
    this.element = h("div", {
      class: "wall", id: this.id, role: "listbox", tabindex: 0, "aria-label": label, "aria-multiselectable": "true",
      onscroll: () => this.later(), onkeydown: (event) => this.key(event), onclick: (event) => this.click(event),
    }, this.inner);
    new ResizeObserver(() => this.measure()).observe(this.element);
  }

  /** @type {(ids: (number | undefined)[], count?: number) => void} Shows these ids; of `count` the last may be unknown yet. */
  show(ids, count = ids.length) {
    this.ids = ids;
    this.count = count;
    this.active = Math.min(this.active, Math.max(0, count - 1));
    this.measure();
    this.refresh();
  }

  top() {
    this.active = 0;
    this.anchor = null;
    this.wanted = null;
    this.element.scrollTop = 0;
  }

  /** Where it is scrolled to: the place in the list that is at the top, whatever its width. */
  get position() {
    return this.columns ? (this.element.scrollTop / this.row) * this.columns : 0;
  }

  /** @param {number} place Scrolls to it, at once or when there is room for it. */
  to(place) {
    this.wanted = place;
    this.measure();
  }

  measure() {
    const width = this.element.clientWidth;
    if (!width) return;
    const place = this.wanted ?? (width === this.width ? null : this.position);  // turned or made wider: the same images stay in sight
    this.width = width;
    this.columns = Math.max(2, Math.floor(width / (width < 500 ? 92 : 124)));
    this.side = width / this.columns;
    this.row = this.side + 20;
    this.inner.style.height = `${Math.ceil(this.count / this.columns) * this.row}px`;
    if (place !== null) this.element.scrollTop = (place / this.columns) * this.row;
    this.wanted = null;
    this.draw(true);
  }

  later() {
    this.due ||= requestAnimationFrame(() => {
      this.draw(false);
      this.does.moved(this.position);
    });
  }

  /** Everything about the tiles in sight may have changed. */
  refresh() {
    for (const [index, tile] of this.tiles) if (index < this.count) this.assign(tile, index);
    this.draw(false);
  }

  /** @param {boolean} moved whether the tiles in sight have another place */
  draw(moved) {
    this.due = 0;
    if (!this.columns) return;
    const top = this.element.scrollTop;
    const height = this.element.clientHeight;
    const first = Math.max(0, Math.floor(top / this.row) - 1) * this.columns;
    const last = Math.min(this.count, (Math.ceil((top + height) / this.row) + 1) * this.columns);
    for (const [index, tile] of this.tiles) {
      if (index < first || index >= last) {
        this.tiles.delete(index);
        this.spare.push(tile);
      } else if (moved) this.place(tile, index);
    }
    for (let index = first; index < last; index += 1) if (!this.tiles.has(index)) this.fill(index);
    for (const tile of this.spare) tile.element.hidden = true;
    if (last > first) this.does.need(last - 1);
    const flying = Math.abs(top - (this.seen ?? top)) > height;
    this.seen = top;
    clearTimeout(this.timer);
    if (flying) this.timer = setTimeout(() => this.load(), SETTLED);
    else this.load();
    this.element.setAttribute("aria-activedescendant", this.tiles.has(this.active) ? `${this.id}-${this.active}` : "");
  }

  /** @param {number} index */
  fill(index) {
    let tile = this.spare.pop();
    if (!tile) {
      tile = new Tile();
      this.inner.append(tile.element);
    }
    tile.element.hidden = false;
    this.tiles.set(index, tile);
    this.assign(tile, index);
  }

  /** @param {Tile} tile @param {number} index */
  assign(tile, index) {
    tile.assign(this.id, index, this.count, this.ids[index]);
    this.place(tile, index);
    this.mark(tile, this.ids[index]);
  }

  /** @param {Tile} tile @param {number} index */
  place(tile, index) {
    const [row, column] = [Math.floor(index / this.columns), index % this.columns];
    tile.place(column * this.side, row * this.row, this.side, this.row, index === this.active);
  }

  /** @param {Tile} tile @param {number | undefined} id */
  mark(tile, id) {
    tile.mark(id, id === undefined ? null : this.does.note(id), id !== undefined && this.selected.has(id));
  }

  /** What stands under the images in sight, or which are selected, may have changed. */
  remark() {
    for (const [index, tile] of this.tiles) this.mark(tile, this.ids[index]);
  }

  load() {
    this.does.sight(known([...this.tiles.keys()].map((index) => this.ids[index])));
    for (const [index, tile] of this.tiles) {
      const id = this.ids[index];
      if (id !== undefined) tile.load(id);
    }
  }

  /** @param {number} index */
  move(index) {
    this.active = Math.max(0, Math.min(this.count - 1, index));
    const row = Math.floor(this.active / this.columns) * this.row;
    const { scrollTop, clientHeight } = this.element;
    if (row < scrollTop) this.element.scrollTop = row;
    else if (row + this.row > scrollTop + clientHeight) this.element.scrollTop = row + this.row - clientHeight;
    this.draw(true);
  }

  /** @param {KeyboardEvent} event */
  key(event) {
    const page = Math.max(1, Math.floor(this.element.clientHeight / this.row)) * this.columns;
    /** @type {{ [key: string]: number }} */
    const steps = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: this.columns, ArrowUp: -this.columns, PageDown: page, PageUp: -page };
    const here = this.ids[this.active];
    if (event.key in steps) this.move(this.active + steps[event.key]);
    else if (event.key === "Home") this.move(0);
    else if (event.key === "End") this.move(this.count - 1);
    else if (event.key === " ") this.toggle(this.active, event.shiftKey);
    else if (event.key === "Enter" && here !== undefined) this.does.act(here, this.active, event);
    else if (event.key === "a" && (event.ctrlKey || event.metaKey)) this.choose(known(this.ids));
    else return;
    event.preventDefault();
  }

  /** @param {MouseEvent} event */
  click(event) {
    const tile = event.target instanceof Element ? event.target.closest(".tile") : null;
    if (!(tile instanceof HTMLElement) || tile.dataset.image === "") return;
    this.active = Number(tile.dataset.index);
    if (this.does.selects || event.shiftKey || event.ctrlKey || event.metaKey) this.toggle(this.active, event.shiftKey);
    else {
      this.draw(true);
      this.does.act(Number(tile.dataset.image), this.active, event);
    }
  }

  /** @type {(index: number, range: boolean) => void} Selects one, or takes it out; with a range all from the one before to it. */
  toggle(index, range) {
    const start = range ? (this.anchor ?? index) : index;
    const ids = known(this.ids.slice(Math.min(start, index), Math.max(start, index) + 1));
    const add = range || !this.selected.has(this.ids[index] ?? NaN);
    for (const id of ids) this.selected[add ? "add" : "delete"](id);
    this.anchor = index;
    this.choose(this.selected);
  }

  /** @param {Iterable<number>} ids */
  choose(ids) {
    this.selected = new Set(ids);
    this.remark();
    this.draw(true);
    this.does.changed(this.selected);
  }
}
