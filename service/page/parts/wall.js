// A wall of thumbnails of which only those in sight are elements: a listbox, so that one tab stop reaches it and arrows move in it.

import { thumbnail } from "./api.js";
import { h } from "./dom.js";

const SETTLED = 80;  // milliseconds without scrolling after which thumbnails that were only flown past load
let walls = 0;

/**
 * `act(id, index, event)` is what a click or Enter does; `note(id)` gives `{text, kind}` under an image; `need(index)` is told
 * of places whose id is not known yet; `selected` is a set of ids, which Space and (where `selects`) a click change; `moved(place)`
 * tells where it was scrolled to, as a place in the list and a part of it; `sight(ids)` which images came into sight.
 */
export class Wall {
  constructor({ label, act = () => {}, note = () => null, need = () => {}, selects = false, changed = () => {}, moved = () => {}, sight = () => {} }) {
    Object.assign(this, { act, note, need, selects, changed, moved, sight, wanted: null });
    this.id = `wall${++walls}`;
    this.ids = [];
    this.count = 0;
    this.active = 0;
    this.selected = new Set();
    this.tiles = new Map();
    this.spare = [];
    this.inner = h("div", { class: "wall-inner", role: "presentation" });
    this.element = h("div", {
      class: "wall", id: this.id, role: "listbox", tabindex: 0, "aria-label": label, "aria-multiselectable": "true",
      onscroll: () => this.later(), onkeydown: (event) => this.key(event), onclick: (event) => this.click(event),
    }, this.inner);
    new ResizeObserver(() => this.measure()).observe(this.element);
  }

  /** Show these ids; of `count` the first may be unknown yet (undefined). */
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

  /** Scrolls to a place, at once or when there is room for it. */
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
      this.moved(this.position);
    });
  }

  /** Everything about the tiles in sight may have changed. */
  refresh() {
    for (const [index, tile] of this.tiles) if (index < this.count) this.assign(tile, index);
    this.draw(false);
  }

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
    for (const tile of this.spare) tile.hidden = true;
    if (last > first) this.need(last - 1);
    const flying = Math.abs(top - (this.seen ?? top)) > height;
    this.seen = top;
    clearTimeout(this.timer);
    if (flying) this.timer = setTimeout(() => this.load(), SETTLED);
    else this.load();
    this.element.setAttribute("aria-activedescendant", this.tiles.has(this.active) ? `${this.id}-${this.active}` : "");
  }

  fill(index) {
    let tile = this.spare.pop();
    if (!tile) {
      tile = h("div", { role: "option", class: "tile" }, h("img", { alt: "", decoding: "async", draggable: "false" }), h("span"));
      tile.firstChild.addEventListener("load", () => tile.classList.add("seen"));
      tile.firstChild.addEventListener("error", () => tile.classList.add("broken"));
      this.inner.append(tile);
    }
    tile.hidden = false;
    this.tiles.set(index, tile);
    this.assign(tile, index);
  }

  assign(tile, index) {
    const id = this.ids[index];
    tile.id = `${this.id}-${index}`;
    tile.dataset.index = index;
    tile.dataset.image = id ?? "";
    tile.setAttribute("aria-posinset", index + 1);
    tile.setAttribute("aria-setsize", this.count);
    if (tile.firstChild.dataset.of !== String(id)) {
      tile.firstChild.removeAttribute("src");  // what was still loading is not wanted any more
      tile.firstChild.dataset.of = "";
      tile.classList.remove("seen", "broken");
    }
    this.place(tile, index);
    this.mark(tile, id);
  }

  place(tile, index) {
    const [row, column] = [Math.floor(index / this.columns), index % this.columns];
    tile.style.transform = `translate(${column * this.side}px, ${row * this.row}px)`;
    tile.style.width = `${this.side}px`;
    tile.style.height = `${this.row}px`;
    tile.classList.toggle("active", index === this.active);
  }

  mark(tile, id) {
    const note = id === undefined ? null : this.note(id);
    tile.lastChild.textContent = note?.text ?? "";
    tile.dataset.kind = note?.kind ?? "";
    tile.setAttribute("aria-selected", this.selected.has(id));
    tile.setAttribute("aria-label", `Image ${id ?? "not loaded yet"}${note?.text ? `, ${note.text}` : ""}`);
  }

  load() {
    this.sight([...this.tiles.keys()].map((index) => this.ids[index]).filter((id) => id !== undefined));
    for (const [index, tile] of this.tiles) {
      const id = this.ids[index];
      if (id === undefined || tile.firstChild.dataset.of === String(id)) continue;
      tile.firstChild.dataset.of = id;
      tile.firstChild.src = thumbnail(id);
    }
  }

  move(index) {
    this.active = Math.max(0, Math.min(this.count - 1, index));
    const row = Math.floor(this.active / this.columns) * this.row;
    const { scrollTop, clientHeight } = this.element;
    if (row < scrollTop) this.element.scrollTop = row;
    else if (row + this.row > scrollTop + clientHeight) this.element.scrollTop = row + this.row - clientHeight;
    this.draw(true);
  }

  key(event) {
    const page = Math.max(1, Math.floor(this.element.clientHeight / this.row)) * this.columns;
    const steps = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: this.columns, ArrowUp: -this.columns, PageDown: page, PageUp: -page };
    if (event.key in steps) this.move(this.active + steps[event.key]);
    else if (event.key === "Home") this.move(0);
    else if (event.key === "End") this.move(this.count - 1);
    else if (event.key === " ") this.toggle(this.active, event.shiftKey);
    else if (event.key === "Enter" && this.ids[this.active] !== undefined) this.act(this.ids[this.active], this.active, event);
    else if (event.key === "a" && (event.ctrlKey || event.metaKey)) this.choose(this.ids.filter((id) => id !== undefined));
    else return;
    event.preventDefault();
  }

  click(event) {
    const tile = event.target.closest(".tile");
    if (!tile || tile.dataset.image === "") return;
    this.active = Number(tile.dataset.index);
    if (this.selects || event.shiftKey || event.ctrlKey || event.metaKey) this.toggle(this.active, event.shiftKey);
    else {
      this.draw(true);
      this.act(Number(tile.dataset.image), this.active, event);
    }
  }

  /** Selects one, or takes it out; with a range all from the one before to it. */
  toggle(index, range) {
    const start = range ? (this.anchor ?? index) : index;
    const ids = this.ids.slice(Math.min(start, index), Math.max(start, index) + 1).filter((id) => id !== undefined);
    const add = range || !this.selected.has(this.ids[index]);
    for (const id of ids) this.selected[add ? "add" : "delete"](id);
    this.anchor = index;
    this.choose(this.selected);
  }

  choose(ids) {
    this.selected = new Set(ids);
    for (const [index, tile] of this.tiles) this.mark(tile, this.ids[index]);
    this.draw(true);
    this.changed(this.selected);
  }
}
