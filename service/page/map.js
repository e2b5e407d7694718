// The stored 2-D projection: a point is an image, near ones are alike.

import { thumbnail } from "./api.js";
import { labelOf, nothing, open, passing, predict, selection, untrained } from "./collection.js";
import { coloured } from "./colours.js";
import { field, guarded, h, number, percent, select } from "./dom.js";
import { filterForm } from "./filters.js";
import { labelForm } from "./label-form.js";
import { Points } from "./points.js";
import { Wall } from "./wall.js";

const BY = [["label", "label"], ["entropy", "entropy at the end"], ["round", "round in which it became an anchor"], ["predicted", "predicted label"]];
const HELP = "All images. Draw a lasso around points, click a colour or set the filter to see some.";

export async function show(id, _query, signal) {
  if (!id) return nothing("Map");
  const { dataset, map } = await open(id, signal);
  if (!map) return untrained(dataset, "Map");
  return new MapView(dataset, map, signal).elements();
}

class MapView {
  constructor(dataset, map, signal) {
    Object.assign(this, { dataset, map, signal });
    const look = (image) => { location.hash = `#/look/${dataset.id}?image=${image}`; };
    const ids = (rows) => rows.map((row) => map.ids[row]);
    this.points = new Points({
      x: map.x, y: map.y, label: "Map of all images. Arrows move it, plus and minus zoom, 0 shows all; the colours below select.",
      act: (row) => look(map.ids[row]), hover: (row, event) => this.hover(row, event), lasso: (rows) => this.select(ids(rows)),
    });
    this.peek = h("div", { class: "peek", hidden: true, "aria-hidden": "true" });
    this.legend = h("div", { class: "legend", role: "group", "aria-label": "Colours" });
    this.colour = select(BY, "label", { id: "colour", onchange: guarded(() => this.draw()) });
    this.chosen = h("p", { role: "status", id: "chosen" }, HELP);
    this.wall = new Wall({ label: "Selected images", note: (image) => ({ text: labelOf(map, image) ?? "" }), act: look });
    this.filters = filterForm(map, (filter) => this.select(passing(map, filter)));
    this.form = labelForm(dataset, map, () => this.wall.ids, () => this.relabelled());
    this.pick = (rows) => this.select(ids(rows));
  }

  async elements() {
    await this.draw();
    this.wall.show(this.map.ids);
    const below = h("section", { "aria-label": "Selection" }, this.chosen, this.form.element, this.wall.element);
    return [h("h1", {}, `Map: ${this.dataset.name}`),
      h("div", { class: "filters" }, field("Colour by", this.colour)), this.filters.element,
      h("div", { class: "split even" },
        h("div", {}, this.points.element, this.legend,
          h("p", { class: "soft" }, "Near points are alike; distances between far ones mean little. The wheel zooms, shift and drag moves."), this.peek),
        below)];
  }

  async draw() {
    const by = this.colour.value;
    if (by === "predicted" && !this.map.predicted.size) {
      this.chosen.textContent = "Classifying all images by the labelled ones…";
      await predict(this.dataset, this.map, this.signal);
      this.chosen.textContent = "Every image has the class that its nearest labelled ones vote for.";
    }
    const groups = coloured(this.map, by);
    this.points.show(groups);
    this.legend.classList.toggle("scale", by === "entropy");
    this.legend.replaceChildren(...groups.map(({ name, colour, rows }) => {
      const swatch = h("span", { class: "swatch" });
      swatch.style.background = colour;
      return h("button", {
        type: "button", class: "plain", "aria-label": `${name}: select ${number(rows.length)} images`, title: name, onclick: () => this.pick(rows),
      }, swatch, h("span", {}, `${name} (${number(rows.length)})`));
    }));
  }

  hover(row, event) {
    this.peek.hidden = row === null;
    if (row === null || this.shown === row) return;
    const id = this.map.ids[row];
    const predicted = this.map.predicted.get(id);
    const entropy = this.map.entropy[this.map.rounds - 1][row];
    const lines = [labelOf(this.map, id), predicted?.label ? `voted: ${predicted.label}, ${percent(predicted.confidence, 0)}` : null,
      entropy === null ? null : `${entropy.toFixed(2)} nats`];
    this.peek.replaceChildren(h("img", { src: thumbnail(id), alt: "" }), ...lines.filter(Boolean).map((line) => h("div", {}, line)));
    const [width, height] = [140, 190];
    this.peek.style.left = `${Math.min(event.clientX + 14, innerWidth - width)}px`;
    this.peek.style.top = `${Math.min(event.clientY + 14, innerHeight - height)}px`;
  }

  select(ids) {
    const all = ids.length === this.map.ids.length;
    this.points.select(ids.length && !all ? ids.map((id) => this.map.rowOf.get(id)) : null);
    Object.assign(selection, { dataset: this.dataset.id, ids });
    this.chosen.textContent = ids.length ? `${number(ids.length)} images selected.` : HELP;
    this.form.show(ids.length);
    this.wall.top();
    this.wall.show(ids.length ? ids : this.map.ids);
  }

  async relabelled() {
    this.filters.options();
    this.map.predicted.clear();
    this.wall.refresh();
    await this.draw();
  }
}
