// One place in sight of a wall: an element that serves other images as the wall is scrolled.

import { thumbnail } from "../parts/api.js";
import { h } from "../parts/dom.js";

export class Tile {
  constructor() {
    this.image = h("img", { alt: "", decoding: "async", draggable: "false" });
    this.text = h("span");
    this.element = h("div", { role: "option", class: "tile" }, this.image, this.text);
    this.image.addEventListener("load", () => this.element.classList.add("seen"));
    this.image.addEventListener("error", () => this.element.classList.add("broken"));
  }

  /**
   * Serves the image `id` (undefined: not known yet) at place `index` of `count` in a wall.
   * @param {string} wall
   * @param {number} index
   * @param {number} count
   * @param {number | undefined} id
   */
  assign(wall, index, count, id) {
    const { element, image } = this;
    element.id = `${wall}-${index}`;
    element.dataset.index = String(index);
    element.dataset.image = String(id ?? "");
    element.setAttribute("aria-posinset", String(index + 1));
    element.setAttribute("aria-setsize", String(count));
    if (image.dataset.of === String(id)) return;
    image.removeAttribute("src");  // what was still loading is not wanted any more
    image.dataset.of = "";
    element.classList.remove("seen", "broken");
  }

  /** @type {(x: number, y: number, width: number, height: number, active: boolean) => void} in pixels of the wall */
  place(x, y, width, height, active) {
    const { style, classList } = this.element;
    style.transform = `translate(${x}px, ${y}px)`;
    style.width = `${width}px`;
    style.height = `${height}px`;
    classList.toggle("active", active);
  }

  /** @type {(id: number | undefined, note: Note | null, selected: boolean) => void} */
  mark(id, note, selected) {
    this.text.textContent = note?.text ?? "";
    this.element.dataset.kind = note?.kind ?? "";
    this.element.setAttribute("aria-selected", String(selected));
    this.element.setAttribute("aria-label", `Image ${id ?? "not loaded yet"}${note?.text ? `, ${note.text}` : ""}`);
  }

  /** @param {number} id */
  load(id) {
    if (this.image.dataset.of === String(id)) return;
    this.image.dataset.of = String(id);
    this.image.src = thumbnail(id);
  }
}
