// Labels for a few, classes for the rest: select, label, and see at once what the nearest labelled images vote for.

import { get, rows } from "./api.js";
import { labelOf, nothing, open, passing, predict, quoted, selection, untrained } from "./collection.js";
import { download, guarded, h, number, percent, select } from "./dom.js";
import { filterForm } from "./filters.js";
import { labelForm } from "./label-form.js";
import { Wall } from "./wall.js";

export async function show(id, _query, signal) {
  if (!id) return nothing("Label");
  const { dataset, map } = await open(id, signal);
  if (!map) return untrained(dataset, "Label");
  return new Labelling(dataset, map, signal).elements();
}

class Labelling {
  constructor(dataset, map, signal) {
    Object.assign(this, { dataset, map, signal });
    this.order = select([["id", "as uploaded"], ["sure", "surest class first"], ["unsure", "least sure class first"], ["class", "by class"]],
      "id", { id: "order", onchange: () => this.fill() });
    this.filters = filterForm(map, () => this.fill());
    this.what = h("p", { role: "status", id: "what" });
    this.votes = h("p", { role: "status", id: "votes" });
    this.judged = h("section", { id: "judged", "aria-label": "How well the labels predict each other" });
    this.wall = new Wall({
      label: `Images of ${dataset.name}, to select`, selects: true, note: (image) => this.note(image), changed: () => this.tell(),
      act: (image, index, event) => this.wall.toggle(index, event.shiftKey),
    });
    this.form = labelForm(dataset, map, () => this.wall.selected, () => this.labelled());
  }

  elements() {
    if (selection.dataset === this.dataset.id) this.wall.selected = new Set(selection.ids);
    this.fill();
    this.judge();
    const all = h("button", { type: "button", onclick: () => this.wall.choose(this.wall.ids) }, "Select all shown");
    const none = h("button", { type: "button", onclick: () => this.wall.choose([]) }, "Select none");
    const save = h("button", { type: "button", id: "download", onclick: guarded(() => this.save()) }, "Download the labels");
    return [h("h1", {}, `Label: ${this.dataset.name}`),
      h("p", { class: "soft" }, "Click images to select them (shift: all in between; space with the keyboard), give them a label, and every other "
        + "image gets the class that its nearest labelled ones vote for."),
      this.filters.element, h("div", { class: "buttons" }, h("label", { for: "order" }, "Order"), this.order, all, none, save), this.form.element, this.what, this.votes, this.wall.element, this.judged];
  }

  note(image) {
    const label = labelOf(this.map, image);
    if (label !== null) return { text: `✓ ${label}`, kind: "labelled" };
    const vote = this.map.predicted.get(image);
    return vote?.label ? { text: `${vote.label}? ${percent(vote.confidence, 0)}`, kind: "voted" } : { text: "" };
  }

  fill() {
    const ids = passing(this.map, this.filters.filter());
    const vote = (id) => this.map.predicted.get(id);
    const by = {
      sure: (a, b) => (vote(b)?.confidence ?? 0) - (vote(a)?.confidence ?? 0),
      unsure: (a, b) => (vote(a)?.confidence ?? 0) - (vote(b)?.confidence ?? 0),
      class: (a, b) => (labelOf(this.map, a) ?? vote(a)?.label ?? "~").localeCompare(labelOf(this.map, b) ?? vote(b)?.label ?? "~"),
    }[this.order.value];
    this.wall.show(by ? ids.sort(by) : ids);
    this.tell();
  }

  tell() {
    const labelled = this.map.labels.filter((label) => label >= 0).length;
    this.what.textContent = `${number(this.wall.count)} images shown, ${number(this.wall.selected.size)} selected, `
      + `${number(labelled)} of ${number(this.map.ids.length)} labelled.`;
    this.form.show(this.wall.selected.size);
  }

  async labelled() {
    this.filters.options();
    this.wall.choose([]);
    this.fill();
    await this.judge();
  }

  /** Votes for the rest, and how well the labels predict each other. */
  async judge() {
    const used = new Set(this.map.labels.filter((label) => label >= 0));
    if (!used.size) {
      this.votes.textContent = "Nothing is labelled yet, so nothing can be voted.";
      this.judged.replaceChildren();
      return;
    }
    try {
      this.votes.textContent = "Voting…";
      await predict(this.dataset, this.map, this.signal);
      const rest = this.map.ids.filter((_, row) => this.map.labels[row] < 0).map((id) => this.map.predicted.get(id)).filter(Boolean);
      const mean = rest.reduce((sum, { confidence }) => sum + confidence, 0) / Math.max(rest.length, 1);
      this.votes.textContent = rest.length ? `${number(rest.length)} others have a class, with a mean confidence of ${percent(mean, 0)}.` : "Every image has a label.";
      this.fill();
      this.wall.refresh();
      const one = await get(`/datasets/${this.dataset.id}/leave-one-out`, {}, this.signal).catch((error) => error);
      this.judged.replaceChildren(...(one instanceof Error ? [h("p", { class: "soft" }, one.message)] : matrix(one)));
    } catch (error) {
      if (error.name === "AbortError") return;
      this.votes.textContent = error.message;
    }
  }

  async save() {
    const lines = ["path,label"];
    if (this.map.names.length) {
      for await (const page of rows(`/datasets/${this.dataset.id}/images`, { label: this.map.names })) {
        for (const { path, label } of page) lines.push(`${quoted(path)},${quoted(label)}`);
      }
    }
    download(`${this.dataset.name}-labels.csv`, `${lines.join("\r\n")}\r\n`, "text/csv");
  }
}

/** Accuracy and confusion matrix of `GET /datasets/{id}/leave-one-out`. */
function matrix({ accuracy, judged, k, classes, confusion }) {
  const cell = (count, total, right) => {
    const share = total ? count / total : 0;
    const tint = `color-mix(in srgb, ${right ? "var(--good)" : "var(--bad)"} ${Math.round(40 * share)}%, transparent)`;
    const td = h("td", {}, count ? number(count) : "");
    td.style.background = tint;
    return td;
  };
  const total = (row) => row.reduce((sum, count) => sum + count, 0);
  return [h("h2", {}, "How well the labels predict each other"),
    h("p", {}, h("strong", { id: "accuracy" }, percent(accuracy)), ` of ${number(judged)} labelled images get their own label from the votes of the ${number(k)} nearest others.`),
    h("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "Confusion matrix" },
      h("table", { class: "confusion" },
        h("caption", {}, "Rows: the label given. Columns: the label voted."),
        h("thead", {}, h("tr", {}, h("td", {}), classes.map((name) => h("th", { scope: "col" }, name)))),
        h("tbody", {}, confusion.map((row, at) => h("tr", {}, h("th", { scope: "row" }, classes[at]),
          row.map((count, column) => cell(count, total(row), at === column)))))))];
}
