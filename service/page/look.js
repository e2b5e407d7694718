// A wall of a dataset's images, searched by one of them, by a picture from outside, or by good and bad examples.

import { get, post, postForm } from "./api.js";
import { labelOf, nothing, open, passing, untrained } from "./collection.js";
import { guarded, h, notice, number } from "./dom.js";
import { filterForm } from "./filters.js";
import { panel } from "./panel.js";
import { Wall } from "./wall.js";

const FOUND = 100;  // neighbours shown
const ids = (text) => (text ? text.split(",").map(Number) : []);

export async function show(id, query, signal) {
  if (!id) return nothing("Look");
  const { dataset, map } = await open(id, signal);
  if (!map) return untrained(dataset, "Look");
  return new Look(dataset, map, query, signal).elements();
}

class Look {
  constructor(dataset, map, query, signal) {
    Object.assign(this, { dataset, map, signal });
    this.good = new Set(ids(query.get("good")));
    this.bad = new Set(ids(query.get("bad")));
    this.image = query.has("image") ? Number(query.get("image")) : null;
    this.file = null;
    this.scores = new Map();
    this.wall = new Wall({ label: `Images of ${dataset.name}`, act: (image) => this.clicked(image), note: (image) => this.note(image) });
    this.filters = filterForm(map, guarded(() => this.search()));
    this.what = h("p", { role: "status", id: "what" });
    this.side = h("div", {});
    this.back = h("a", { class: "button", href: `#/look/${dataset.id}` }, "Back to all images");
    this.refine = h("button", { type: "button", class: "primary", id: "refine", onclick: guarded(() => this.refined()) }, "Search by the marks");
  }

  async elements() {
    await this.search();
    if (this.image !== null) this.side.replaceChildren(await panel(this.image, this.dataset, this.map, this.signal));
    else this.side.replaceChildren(this.invitation());
    return [h("h1", {}, `Look: ${this.dataset.name}`), this.filters.element,
      h("div", { class: "buttons" }, this.marking(), this.refine, this.back), this.what,
      h("div", { class: "split" }, this.wall.element, this.side)];
  }

  marking() {
    const choice = (value, text) => h("label", {}, h("input", {
      type: "radio", name: "click", value, checked: value === "open", onchange: () => { this.mode = value; },
    }), ` ${text}`);
    this.mode = "open";
    return h("fieldset", { class: "marking" }, h("legend", {}, "A click"),
      choice("open", "shows its neighbours"), choice("good", "marks it good"), choice("bad", "marks it bad"));
  }

  invitation() {
    const take = guarded((event) => this.byFile((event.dataTransfer ?? event.target).files[0]));
    const input = h("input", { type: "file", accept: "image/*", id: "picture", class: "hidden-input", onchange: take });
    const box = h("section", {
      class: "drop", "aria-label": "Search by a picture",
      ondragover: (event) => { event.preventDefault(); box.classList.add("over"); },
      ondragleave: () => box.classList.remove("over"),
      ondrop: (event) => { box.classList.remove("over"); take(event); },
    }, h("p", { class: "big" }, "Drop a picture here to search by it"), input, h("label", { for: "picture", class: "button" }, "Choose a picture"),
    h("p", { class: "soft" }, "Or click an image for its neighbours. Mark good and bad ones and search by the marks to refine."));
    return box;
  }

  note(image) {
    const kind = this.good.has(image) ? "good" : this.bad.has(image) ? "bad" : "";
    const score = this.scores.get(image);
    const label = labelOf(this.map, image) ?? "";
    const mark = kind ? `${kind}, ` : "";
    return { text: score === undefined ? `${mark}${label}` : `${mark}${score.toFixed(3)} ${label}`, kind };
  }

  clicked(image) {
    if (this.mode === "open") {
      location.hash = `#/look/${this.dataset.id}?image=${image}`;
      return;
    }
    const [chosen, other] = this.mode === "good" ? [this.good, this.bad] : [this.bad, this.good];
    other.delete(image);
    if (!chosen.delete(image)) chosen.add(image);
    this.wall.refresh();
    this.tell();
  }

  refined() {
    if (!this.good.size) throw new Error("Mark at least one good image first");
    const before = location.hash;
    location.hash = `#/look/${this.dataset.id}?good=${[...this.good]}${this.bad.size ? `&bad=${[...this.bad]}` : ""}`;
    return before === location.hash ? this.search() : undefined;
  }

  async byFile(file) {
    if (!file) return;
    this.file = file;
    await this.search();
    const url = URL.createObjectURL(file);
    this.signal.addEventListener("abort", () => URL.revokeObjectURL(url));
    this.side.replaceChildren(h("section", { class: "side", "aria-label": "The picture searched by" },
      h("h2", {}, file.name), h("img", { class: "whole", src: url, alt: "The picture searched by" })), this.invitation());
  }

  /** Shows what is asked for: neighbours of a file, of marked images or of one image, or all that pass the filter. */
  async search() {
    const filter = this.filters.filter();
    const common = { k: FOUND, dataset_id: this.dataset.id };
    const label = filter.label.length ? filter.label : null;
    const given = Object.fromEntries(Object.entries({ ...common, ...filter, label }).filter(([, value]) => value !== null && value !== false));
    let found = null;
    if (this.file) {
      const form = new FormData();
      for (const [name, value] of Object.entries(given)) form.append(name, value);
      form.append("file", this.file);
      found = await postForm("/neighbours", form);
    } else if (this.image !== null) {
      found = await get("/neighbours", { image_id: this.image, ...given }, this.signal);
    } else if (this.good.size) {
      found = await post("/neighbours", { positive: [...this.good], negative: [...this.bad], ...given });
    }
    this.scores = new Map(found?.neighbours.map(({ image_id, score }) => [image_id, score]));
    const shown = found ? found.neighbours.map(({ image_id }) => image_id) : passing(this.map, filter);
    this.took = found?.took_ms;
    this.wall.top();
    this.wall.show(shown);
    this.tell();
    if (found && !shown.length) notice("Nothing passes this filter");
  }

  tell() {
    const count = number(this.wall.count);
    const by = this.file ? this.file.name : this.image !== null ? `image ${this.image}` : null;
    const marks = this.good.size + this.bad.size ? ` Marked: ${this.good.size} good, ${this.bad.size} bad.` : "";
    this.refine.hidden = !marks;
    this.back.hidden = !this.scores.size && !marks;
    this.what.textContent = this.scores.size
      ? `The ${count} nearest to ${by ?? "the good and far from the bad"}, best first, with their cosine similarity (${this.took?.toFixed(1)} ms).${marks}`
      : `${count} images.${marks}`;
  }
}
