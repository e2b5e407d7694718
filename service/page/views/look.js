// A wall of a dataset's images, searched by one of them, by a picture from outside, or by good and bad examples.

import { get, post, postForm } from "../parts/api.js";
import { Address, packed } from "../parts/address.js";
import { labelOf, passing, selection } from "../parts/collection.js";
import { collectionView } from "../parts/collection-view.js";
import { dropPlace, guarded, h, notice, number } from "../parts/dom.js";
import { filterForm, fold } from "../parts/filters.js";
import { go, toLabels, toWall } from "../parts/links.js";
import { panel, unseen } from "./panel.js";
import { kept, keep } from "../uploads/picture.js";
import { Wall } from "../graphics/wall.js";

const FOUND = 100;  // neighbours shown
/** @param {string | null} text */
const ids = (text) => (text ?? "").split(",").filter((id) => /^\d+$/.test(id)).map(Number);

/** @type {(id: string | null, query: URLSearchParams, signal: AbortSignal) => Promise<Node[]>} */
export const show = (id, query, signal) =>
  collectionView("Look", id, signal, (dataset, map) => new Look(dataset, map, query, signal).elements());

class Look {
  /**
   * @param {Dataset} dataset
   * @param {Columns} map
   * @param {URLSearchParams} query
   * @param {AbortSignal} signal
   */
  constructor(dataset, map, query, signal) {
    this.dataset = dataset;
    this.map = map;
    this.signal = signal;
    /** @type {Schemas["NeighboursBody"] | null} */
    this.found = null;
    this.address = new Address("look", dataset.id, query, signal);
    this.good = new Set(ids(query.get("good")));
    this.bad = new Set(ids(query.get("bad")));
    const image = query.get("image");
    /** @type {any} */
    this.image = /^\d+$/.test(image ?? "") ? Number(image) : image;  // the service says what is wrong with another
    this.picture = query.get("picture");
    this.file = kept(this.picture);
    const click = query.get("click") ?? "";
    this.mode = ["good", "bad"].includes(click) ? click : "open";
    /** @type {Map<number, number>} */
    this.scores = new Map();
    this.wall = new Wall({
      label: `Images of ${dataset.name}`, act: (one) => this.clicked(one), note: (one) => this.note(one),
      changed: (chosen) => {
        Object.assign(selection, { dataset: dataset.id, ids: [...chosen] });
        this.selected();
      }, moved: (place) => this.address.scrolled(place),
    });
    this.wall.selected = new Set(this.address.ids("selected") ?? []);
    this.filters = filterForm(map, query, guarded(async () => {
      this.address.step({ ...this.filters.changes(), at: null });
      await this.search();
      this.wall.top();
    }));
    this.what = h("p", { role: "status", id: "what" });
    this.chosen = h("p", { class: "buttons", hidden: true });
    this.side = h("div", { class: "asked" });
    this.back = h("a", { class: "button", href: toWall(dataset.id) }, "Back to all images");
    this.refine = h("button", { type: "button", class: "primary", id: "refine", onclick: guarded(() => this.refined()) }, "Search by the marks");
  }

  async elements() {
    const asks = this.image !== null || this.picture !== null;
    const searched = this.search().catch((error) => {
      if (![404, 409, 422].includes(error.status)) throw error;
      this.what.replaceChildren(h("span", { class: "error" }, error.message));
    });
    this.side.replaceChildren(...(await Promise.all([this.query(), searched]))[0]);
    this.wall.to(this.address.place);
    this.selected();
    const parts = asks ? [this.side, this.wall.element] : [this.wall.element, this.side];
    return [h("h1", {}, `Look: ${this.dataset.name}`),
      ...fold("Filter and mark", this.filters.element, this.marking()),
      h("div", { class: "buttons" }, this.what, this.refine, this.back), this.chosen,
      h("div", { class: asks ? "split query" : "split" }, parts)];
  }

  marking() {
    /** @type {(value: string, text: string) => HTMLElement} */
    const choice = (value, text) => h("label", {}, h("input", {
      type: "radio", name: "click", value, checked: value === this.mode, onchange: () => {
        this.mode = value;
        this.address.drift({ click: value === "open" ? null : value });
      },
    }), ` ${text}`);
    return h("fieldset", { class: "marking" }, h("legend", {}, "A click"),
      choice("open", "shows its neighbours"), choice("good", "marks it good"), choice("bad", "marks it bad"));
  }

  /** @returns {Promise<Node[]>} What is searched by, or how to. */
  async query() {
    if (this.file) {
      const url = URL.createObjectURL(this.file);
      this.signal.addEventListener("abort", () => URL.revokeObjectURL(url));
      const whole = h("img", { class: "whole", src: url, alt: "The picture searched by" });
      whole.addEventListener("error", () => whole.replaceWith(unseen()));
      return [h("section", { class: "side", id: "panel", "aria-label": "The picture searched by" }, h("h2", {}, this.file.name),
        h("div", { class: "picture" }, whole)), this.invitation()];
    }
    if (this.picture !== null) {
      return [h("p", { class: "soft" }, "The picture that this address searched by is kept in the tab where it was chosen; choose it again."), this.invitation()];
    }
    if (this.image === null) return [this.invitation()];
    const more = { open: this.address.now.has("more"), turned: (/** @type {boolean} */ isOpen) => this.address.drift({ more: isOpen }), gone: () => go(this.back.hash) };
    return [await panel(this.image, this.dataset, this.map, more, this.signal).catch((error) => {
      if (![404, 422].includes(error.status)) throw error;
      return h("p", { class: "error" }, `There is no image ${this.image} any more, or there never was one.`);
    })];
  }

  invitation() {
    const take = guarded((/** @type {FileList | null} */ files) => this.byFile(files?.[0]));
    /** @type {HTMLInputElement} */
    const input = h("input", { type: "file", accept: "image/*", id: "picture", class: "hidden-input", onchange: () => take(input.files) });
    return dropPlace("Search by a picture", (transfer) => take(transfer.files), h("p", { class: "big" }, "Drop a picture here to search by it"), input, h("label", { for: "picture", class: "button" }, "Choose a picture"),
    h("p", { class: "soft" }, "Or click an image for its neighbours. Mark good and bad ones and search by the marks to refine."));
  }

  /** @param {number} image */
  note(image) {
    const kind = this.good.has(image) ? "good" : this.bad.has(image) ? "bad" : "";
    const score = this.scores.get(image);
    const label = labelOf(this.map, image) ?? "";
    const mark = kind ? `${kind}, ` : "";
    return { text: score === undefined ? `${mark}${label}` : `${mark}${score.toFixed(3)} ${label}`, kind };
  }

  /** @param {number} image */
  clicked(image) {
    if (this.mode === "open") {
      this.address.go({ at: null, selected: null, pending: this.good.size > 0, picture: null, image });
      return;
    }
    const [chosen, other] = this.mode === "good" ? [this.good, this.bad] : [this.bad, this.good];
    other.delete(image);
    if (!chosen.delete(image)) chosen.add(image);
    this.address.drift({ good: [...this.good].join(), bad: [...this.bad].join(), pending: true });
    this.wall.refresh();
    this.tell();
  }

  refined() {
    if (!this.good.size) throw new Error("Mark at least one good image first");
    this.address.go({ pending: null, image: null, picture: null, at: null, more: null });
  }

  /** @param {File | undefined} file */
  async byFile(file) {
    if (!file) return;
    this.address.go({ picture: await keep(file), image: null, at: null, more: null });
  }

  /** Shows what is asked for: neighbours of a file, of marked images or of one image, or all that pass the filter. */
  async search() {
    const filter = this.filters.filter();
    const common = { k: FOUND, dataset_id: this.dataset.id };
    const label = filter.label.length ? filter.label : null;
    const given = Object.fromEntries(Object.entries({ ...common, ...filter, label }).filter(([, value]) => value !== null && value !== false));
    /** @type {any} */  // of one query, not of several
    let found = null;
    if (this.file) {
      const form = new FormData();
      for (const [name, value] of Object.entries(given)) form.append(name, String(value));
      form.append("file", this.file);
      found = await postForm("/neighbours", form);
    } else if (this.image !== null) {
      found = await get("/neighbours", { image_id: this.image, ...given }, this.signal);
    } else if (this.good.size && !this.address.now.has("pending")) {
      found = await post("/neighbours", { positive: [...this.good], negative: [...this.bad], ...given });
    }
    this.found = found;
    const near = this.found?.neighbours ?? [];
    this.scores = new Map(near.map(({ image_id, score }) => [image_id, score]));
    this.wall.show(found ? near.map(({ image_id }) => image_id) : passing(this.map, filter));
    this.tell();
    if (found && !near.length) notice("Nothing passes this filter");
  }

  tell() {
    const count = number(this.wall.count);
    const by = this.file ? this.file.name : this.image !== null ? `image ${this.image}` : "the good and far from the bad";
    const marks = this.good.size + this.bad.size ? ` Marked: ${this.good.size} good, ${this.bad.size} bad.` : "";
    this.refine.hidden = !marks;
    this.back.hidden = !this.found && !marks;
    this.what.textContent = this.found
      ? `The ${count} nearest to ${by}, best first (1.000: the same).${marks}`
      : `${count} images.${marks}`;
  }

  selected() {
    const { size } = this.wall.selected;
    this.address.drift({ selected: packed(this.wall.selected) });
    this.chosen.hidden = !size;
    this.chosen.replaceChildren(`${number(size)} selected.`, h("a", { class: "button", href: toLabels(this.dataset.id) }, "To their labels"),
      h("button", { type: "button", onclick: () => this.wall.choose([]) }, "Select none"));
  }
}
