// Labels for a few, classes for the rest: select, label, and see at once what the nearest labelled images vote for.

import { Address, packed } from "../parts/address.js";
import { labelOf, passing, read, selection } from "../parts/collection.js";
import { collectionView } from "../parts/collection-view.js";
import { guarded, h, number, percent, select } from "../parts/dom.js";
import { filterForm, fold } from "../parts/filters.js";
import { labelForm } from "../parts/label-form.js";
import { labelTable } from "./label-table.js";
import { go, toImage } from "../parts/links.js";
import { may } from "../parts/session.js";
import { ask, judge, predict, votingForm } from "../parts/votes.js";
import { Wall } from "../graphics/wall.js";

const ORDERS = [["id", "as uploaded"], ["sure", "surest class first"], ["unsure", "least sure class first"], ["class", "by class"]];
const [MATRIX, LARGEST] = [20, 100];  // classes of a matrix, and confusions told of more

/** @type {(id: string | null, query: URLSearchParams, signal: AbortSignal) => Promise<Node[]>} */
export const show = (id, query, signal) =>
  collectionView("Label", id, signal, (dataset, map) => new Labelling(dataset, map, query, signal).elements());

class Labelling {
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
    this.asked = 0;
    /** @type {number[]} */
    this.shown = [];
    /** @type {LeaveOneOut | null} what judges each image by itself, where not all were classified */
    this.each = null;
    this.address = new Address("label", dataset.id, query, signal);
    const [given] = ORDERS.find(([key]) => key === query.get("order")) ?? ["id"];
    this.order = select(ORDERS, given, {
      id: "order", onchange: () => {
        this.address.step({ order: this.order.value === "id" ? null : this.order.value, at: null });
        this.wall.top();
        this.fill();
      },
    });
    this.filters = filterForm(map, query, () => {
      this.address.step({ ...this.filters.changes(), at: null });
      this.wall.top();
      this.fill();
    });
    this.voting = votingForm(query, guarded((changes) => {
      this.address.step(changes);
      return this.judge();
    }));
    this.what = h("p", { role: "status", id: "what" });
    this.votes = h("p", { role: "status", id: "votes" });
    this.judged = h("section", { id: "judged", "aria-label": "How well the labels predict each other" });
    /** @type {Wall} */
    this.wall = new Wall({
      label: `Images of ${dataset.name}, to select`, selects: may("write"), note: (image) => this.note(image), changed: () => this.chosen(),
      act: (image, index, event) => (may("write") ? this.wall.toggle(index, event.shiftKey) : go(toImage(dataset.id, image))),
      moved: (place) => this.address.scrolled(place),
      sight: guarded((ids) => this.sight(ids)),
    });
    this.form = labelForm(dataset, map, () => this.wall.selected, { labelled: () => this.labelled(), erased: () => this.changed() });
  }

  elements() {
    const ids = this.address.ids("selected");
    const chosen = ids?.length || this.address.now.has("selected") || selection.dataset !== this.dataset.id ? ids ?? [] : selection.ids;
    this.wall.selected = new Set(chosen.filter((id) => this.map.rowOf.has(id)));
    this.fill();
    this.wall.to(this.address.place);
    if (ids === null) this.what.append(" The selection of this address is too long for one, and is kept in the tab where it was made.");
    else this.chosen();
    this.judge();
    const all = h("button", { type: "button", onclick: () => this.wall.choose(this.shown) }, "Select all shown");
    const none = h("button", { type: "button", onclick: () => this.wall.choose([]) }, "Select none");
    const about = may("write")
      ? "Click images to select them (shift: all in between; space with the keyboard), give them a label, and every other image gets the class "
        + "that its nearest labelled ones vote for."
      : "The labels given so far, and the classes that the nearest labelled images vote for. This key may look, but not give labels.";
    return [h("h1", {}, `Label: ${this.dataset.name}`), h("p", { class: "soft about" }, about),
      ...fold("Filter, order, select", this.filters.element, h("div", { class: "buttons" }, h("label", { for: "order" }, "Order"), this.order, ...(may("write") ? [all, none] : []))),
      this.form.element, this.what, this.votes, this.wall.element,
      this.voting.element, this.judged, labelTable(this.dataset, this.map, () => this.changed())];
  }

  /** @type {(image: number) => Vote | undefined} The vote for an image, without a label where it is less sure than was asked for. */
  vote(image) {
    const vote = this.map.predicted.get(image);
    return vote && vote.confidence < this.voting.sure() ? { ...vote, label: null } : vote;
  }

  /** @param {number} image */
  note(image) {
    const label = labelOf(this.map, image);
    if (label !== null) return { text: `✓ ${label}`, kind: "labelled" };
    const vote = this.vote(image);
    return vote?.label ? { text: `${vote.label}? ${percent(vote.confidence, 0)}`, kind: "voted" } : { text: "" };
  }

  fill() {
    const ids = passing(this.map, this.filters.filter());
    /** @param {number} id */
    const sure = (id) => this.map.predicted.get(id)?.confidence ?? 0;
    /** @param {number} id */
    const classOf = (id) => labelOf(this.map, id) ?? this.vote(id)?.label ?? "\uffff";
    /** @type {{ [order: string]: (a: number, b: number) => number }} */
    const orders = {
      sure: (a, b) => sure(b) - sure(a),
      unsure: (a, b) => sure(a) - sure(b),
      class: (a, b) => classOf(a).localeCompare(classOf(b)),
    };
    const by = orders[this.order.value];
    this.shown = by ? ids.sort(by) : ids;
    this.wall.show(this.shown);
    this.tell();
  }

  chosen() {
    this.address.drift({ selected: packed(this.wall.selected) });
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
    Object.assign(selection, { dataset: null, ids: [] });
    this.wall.choose([]);
    this.fill();
    await this.judge();
  }

  /** Labels or images changed in ways that only the service knows. */
  async changed() {
    await read(this.dataset, this.map, this.signal);
    this.form.offer();
    await this.labelled();
  }

  /** Votes for the rest, and how well the labels predict each other. */
  async judge() {
    const turn = ++this.asked;
    /** @param {string} text */
    const say = (text) => { if (turn === this.asked) this.votes.textContent = text; };
    this.each = null;
    try {
      say("Voting…");
      const one = await judge(this.dataset, this.voting.k(), this.signal);
      if (turn !== this.asked) return;
      this.voting.tell(one);
      if (one.abstained) this.map.predicted.clear();
      else if (!await predict(this.dataset, this.map, this.voting.k(), this.signal)) this.each = one;
      if (turn !== this.asked) return;
      say(this.sentence(one));
      this.fill();
      this.wall.refresh();
      this.judged.replaceChildren(...(one.accuracy === null ? [] : matrix(one)));
    } catch (error) {
      if (error.name !== "AbortError") say(error.message);
    }
  }

  /** @param {LeaveOneOut} one What is said of it. */
  sentence({ abstained, k }) {
    const nothing = this.map.labels.every((label) => label < 0);
    if (abstained) return nothing ? `Nothing is labelled yet, so nothing can be voted: ${abstained}.` : `No votes yet: ${abstained}.`;
    const how = `by the votes of ${k === 1 ? "its nearest labelled image" : `its ${number(k)} nearest labelled images`}`;
    if (this.each) return `What is in sight gets its class ${how}.`;
    const rest = this.map.ids.filter((_, row) => this.map.labels[row] < 0).flatMap((id) => this.vote(id) ?? []);
    if (!rest.length) return "Every image has a label.";
    const known = rest.filter(({ label }) => label);
    const mean = known.reduce((sum, { confidence }) => sum + confidence, 0) / Math.max(known.length, 1);
    const unknown = rest.length - known.length;
    return `${number(known.length)} others have a class, each ${how}, with a mean confidence of ${percent(mean, 0)}.`
      + (unknown ? ` ${number(unknown)} stay unknown: their votes are less sure than ${percent(this.voting.sure(), 0)}.` : "");
  }

  /** @param {number[]} ids Where this key may not start a classification of all, what is in sight is asked for. */
  async sight(ids) {
    const { each, map } = this;
    if (!each) return;
    const open = ids.filter((id) => labelOf(map, id) === null && !map.predicted.has(id));
    if (!open.length) return;
    await ask(this.dataset, map, each.k, open, this.signal);
    this.wall.remark();
  }
}

/** @param {LeaveOneOut} one Its accuracy, and its confusion matrix or, of many classes, the largest confusions. */
function matrix(one) {
  const shown = one.class_count <= MATRIX ? square(one) : largest(one);
  return [h("h2", {}, "How well the labels predict each other"),
    h("p", {}, h("strong", { id: "accuracy" }, percent(one.accuracy)), ` of ${number(one.judged)} labelled images get their own label from the votes of the ${number(one.k)} nearest others.`),
    h("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "Confusion matrix" }, shown)];
}

/** @param {LeaveOneOut} one A cell for each class given and voted. */
function square({ classes, confusions }) {
  const wrong = new Map(confusions.map(({ label, voted, count }) => [JSON.stringify([label, voted]), count]));
  /** @type {(count: number, total: number, right: boolean) => HTMLElement} */
  const cell = (count, total, right) => {
    const share = total ? count / total : 0;
    const tint = `color-mix(in srgb, ${right ? "var(--good)" : "var(--bad)"} ${Math.round(40 * share)}%, transparent)`;
    const td = h("td", {}, count ? number(count) : "");
    td.style.background = tint;
    return td;
  };
  return h("table", { class: "confusion" },
    h("caption", {}, "Rows: the label given. Columns: the label voted."),
    h("thead", {}, h("tr", {}, h("td", {}), classes.map(({ label }) => h("th", { scope: "col" }, label)))),
    h("tbody", {}, classes.map(({ label, judged, right }) => h("tr", {}, h("th", { scope: "row" }, label),
      classes.map(({ label: voted }) => cell(label === voted ? right : wrong.get(JSON.stringify([label, voted])) ?? 0, judged, label === voted))))));
}

/** @param {LeaveOneOut} one The pairs of classes that are taken for each other most. */
function largest({ confusions, confusion_count, class_count }) {
  const shown = confusions.slice(0, LARGEST);
  const rest = confusion_count - shown.length;
  return h("table", { class: "confusion" },
    h("caption", {}, `The largest confusions of ${number(class_count)} classes` + (rest ? `; ${number(rest)} more are smaller or as large.` : ".")),
    h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "Label given"), h("th", { scope: "col" }, "Label voted"), h("th", { scope: "col" }, "Images"))),
    h("tbody", {}, shown.map(({ label, voted, count }) => h("tr", {}, h("th", { scope: "row" }, label), h("td", {}, voted), h("td", {}, number(count))))));
}
