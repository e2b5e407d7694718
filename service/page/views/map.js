// The stored 2-D projection: a point is an image, near ones are alike.

import { Address } from "../parts/address.js";
import { thumbnail } from "../parts/api.js";
import { labelOf, passing, read, selection } from "../parts/collection.js";
import { collectionView } from "../parts/collection-view.js";
import { coloured, GREY, GREY_IS } from "../graphics/colours.js";
import { guarded, h, number, percent } from "../parts/dom.js";
import { filterForm, fold } from "../parts/filters.js";
import { labelForm } from "../parts/label-form.js";
import { inside, lassoOf, lassoText } from "../graphics/lasso.js";
import { Points } from "../graphics/points.js";
import { go, toImage } from "../parts/links.js";
import { ask, judge, predict, votingForm } from "../parts/votes.js";
import { Wall } from "../graphics/wall.js";

const BY = { label: "label", predicted: "voted label" };
const MORE = { entropy: "how unsure its place is (entropy)", round: "when it was learned (anchor round)" };
const HELP = "All images. Draw a lasso around points, click a colour or set the filter to see some.";
const FEW = 2000;  // images whose classes are asked for one by one, where this key may not start a classification

/** @type {(id: string | null, query: URLSearchParams, signal: AbortSignal) => Promise<Node[]>} */
export const show = (id, query, signal) =>
  collectionView("Map", id, signal, (dataset, map) => new MapView(dataset, map, query, signal).elements());

class MapView {
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
    /** @type {number[]} */
    this.shownIds = [];
    /** @type {Group[]} */
    this.groups = [];
    /** @type {number | null} the row that was shown beside the pointer last */
    this.shown = null;
    this.address = new Address("map", dataset.id, query, signal);
    /** @param {number} image */
    const look = (image) => {
      this.address.settle();
      go(toImage(dataset.id, image));
    };
    this.points = new Points({
      x: map.x, y: map.y, label: "Map of all images. Arrows move it, plus and minus zoom, 0 shows all; the colours below select.",
      act: (row) => look(map.ids[row]), hover: (row, event) => this.hover(row, event), lasso: (path) => this.drawn(path),
      seen: (view) => this.address.drift({ view: view && view.map((one) => Number(one.toPrecision(7))).join() }),
    });
    this.peek = h("div", { class: "peek", hidden: true, "aria-hidden": "true" });
    this.legend = h("div", { class: "legend", role: "group", "aria-label": "Colours" });
    this.grey = h("span", { class: "soft", id: "grey" });
    /** @param {{ [value: string]: string }} names */
    const options = (names) => Object.entries(names).map(([value, text]) => h("option", { value }, text));
    this.colour = h("select", { id: "colour", onchange: guarded(() => this.recolour()) }, options(BY), h("optgroup", { label: "More" }, options(MORE)));
    const by = query.get("colour") ?? "";
    this.colour.value = by in BY || by in MORE ? by : "label";
    this.voting = votingForm(query, guarded((changes) => {
      this.address.step(changes);
      return this.draw();
    }));
    this.votes = h("p", { role: "status", id: "votes", hidden: true });
    this.chosen = h("p", { role: "status", id: "chosen" }, HELP);
    this.wall = new Wall({
      label: "Selected images", note: (image) => ({ text: labelOf(map, image) ?? "" }), act: look,
      moved: (place) => this.address.scrolled(place),
    });
    this.filters = filterForm(map, query, () => {
      this.address.step({ ...this.filters.changes(), ...(this.filters.active() ? {} : { lasso: null, pick: null }), at: null });
      this.select();
    });
    this.form = labelForm(dataset, map, () => this.shownIds, { labelled: () => this.relabelled(), erased: () => this.erased() });
  }

  async elements() {
    const view = (this.address.now.get("view") ?? "").split(",").map(Number);
    if (view.length === 3 && view.every(Number.isFinite) && view[2] > 0) this.points.plane.look(view);
    await this.draw();
    this.wall.to(this.address.place);
    const below = h("section", { "aria-label": "Selection" }, this.chosen, this.form.element, this.wall.element);
    return [h("h1", {}, `Map: ${this.dataset.name}`), ...fold("Filter", this.filters.element),
      h("div", { class: "split even" },
        h("div", {}, this.points.element, h("div", { class: "coloured" }, h("label", { for: "colour" }, "Colour by"), this.colour, this.grey), this.legend, this.voting.element, this.votes,
          h("p", { class: "soft" }, "Near points are alike; distances between far ones mean little. The wheel zooms, shift and drag moves."), this.peek),
        below)];
  }

  recolour() {
    this.address.step({ colour: this.colour.value === "label" ? null : this.colour.value, pick: null });
    return this.draw();
  }

  /** @param {number} id */
  voted(id) {
    const vote = this.map.predicted.get(id);
    return vote && vote.confidence >= this.voting.sure() ? vote.label : null;
  }

  async draw() {
    const by = this.colour.value;
    this.voting.element.hidden = this.votes.hidden = by !== "predicted";
    if (by === "predicted") await this.vote();
    this.groups = coloured(this.map, by, (id) => this.voted(id));
    this.points.show(this.groups);
    this.legend.classList.toggle("scale", by === "entropy");
    this.grey.textContent = this.groups.some(({ colour }) => colour === GREY) ? GREY_IS[by] : "";
    this.legend.replaceChildren(...this.groups.map(({ key, name, colour, rows }) => {
      const swatch = h("span", { class: "swatch" });
      swatch.style.background = colour;
      return h("button", {
        type: "button", class: "plain", "aria-label": `${name}: select ${number(rows.length)} images`, title: name, onclick: () => this.pick(key),
      }, swatch, h("span", {}, `${name} (${number(rows.length)})`));
    }));
    this.select();
  }

  /** Asks for the class of every image, and says how it was found. */
  async vote() {
    const { dataset, map, signal } = this;
    this.votes.textContent = "Classifying all images by the labelled ones…";
    const one = await judge(dataset, this.voting.k(), signal);
    this.voting.tell(one);
    map.predicted.clear();
    this.votes.textContent = one.abstained ? `No votes: ${one.abstained}.` : `Every image has the class that its ${number(one.k)} nearest labelled ones vote for.`;
    if (one.abstained || await predict(dataset, map, this.voting.k(), signal)) return;
    if (map.ids.length <= FEW) await ask(dataset, map, one.k, map.ids, signal);
    else this.votes.textContent = "Nobody has let these labels vote yet; that needs a key that may write.";
  }

  /** @param {number | null} row @param {PointerEvent} [event] */
  hover(row, event) {
    this.peek.hidden = row === null;
    if (row === null || !event || this.shown === row) return;
    this.shown = row;
    const id = this.map.ids[row];
    const voted = this.voted(id);
    const entropy = this.map.entropy[this.map.rounds - 1][row];
    const lines = [labelOf(this.map, id), voted ? `voted: ${voted}, ${percent(this.map.predicted.get(id)?.confidence, 0)}` : null,
      entropy === null ? null : `unsure by ${entropy.toFixed(2)} nats`];
    this.peek.replaceChildren(h("img", { src: thumbnail(id), alt: "" }), ...lines.filter((line) => line).map((line) => h("div", {}, line)));
    const [width, height] = [140, 190];
    this.peek.style.left = `${Math.min(event.clientX + 14, innerWidth - width)}px`;
    this.peek.style.top = `${Math.min(event.clientY + 14, innerHeight - height)}px`;
  }

  /** @param {Place[]} path */
  drawn(path) {
    const lasso = path.length ? lassoText(path, this.points.plane.ranges) : "";
    const any = lasso && inside(lassoOf(lasso, this.points.plane.ranges), this.map.x, this.map.y).length;
    this.address.step({ lasso: any ? lasso : null, pick: null, at: null });
    this.wall.top();
    this.select();
  }

  /** @param {string} key */
  pick(key) {
    this.address.step({ pick: key, lasso: null, at: null });
    this.wall.top();
    this.select();
  }

  /** Selects what the address says: inside of the lasso, or of a colour, and what passes the filter. */
  select() {
    const { map, address } = this;
    const [lasso, pick] = [address.now.get("lasso"), address.now.get("pick")];
    const rows = lasso ? inside(lassoOf(lasso, this.points.plane.ranges), map.x, map.y)
      : pick !== null ? this.groups.find(({ key }) => key === pick)?.rows ?? [] : null;
    const asked = rows !== null || this.filters.active();
    let ids = this.filters.active() ? passing(map, this.filters.filter()) : map.ids;
    if (rows !== null) {
      const within = new Set(rows.map((row) => map.ids[row]));
      ids = ids.filter((id) => within.has(id));
    }
    this.points.select(asked && ids.length < map.ids.length ? ids.flatMap((id) => map.rowOf.get(id) ?? []) : null);
    if (asked) Object.assign(selection, { dataset: this.dataset.id, ids });
    this.chosen.textContent = asked ? `${number(ids.length)} images selected.` : HELP;
    this.form.show(asked ? ids.length : 0);
    this.shownIds = ids;
    this.wall.show(ids);
  }

  async relabelled() {
    this.filters.options();
    this.map.predicted.clear();
    await this.draw();
  }

  async erased() {
    await read(this.dataset, this.map, this.signal);
    Object.assign(this.points, { x: this.map.x, y: this.map.y });
    this.address.step({ lasso: null, pick: null });
    await this.draw();
  }
}
