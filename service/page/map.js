// The stored 2-D projection: a point is an image, near ones are alike.

import { plotly, CONFIG, layout, roundColour, SERIES } from "./charts.js";
import { thumbnail } from "./api.js";
import { labelOf, nothing, open, passing, predict, selection, untrained } from "./collection.js";
import { field, guarded, h, number, percent, select } from "./dom.js";
import { filterForm } from "./filters.js";
import { labelForm } from "./label-form.js";
import { Wall } from "./wall.js";

const NAMED = SERIES.length;  // classes with a colour of their own; the others share a grey
const GREY = "#8a93a0";

export async function show(id, _query, signal) {
  if (!id) return nothing("Map");
  const { dataset, map } = await open(id, signal);
  if (!map) return untrained(dataset, "Map");
  return new MapView(dataset, map, signal).elements();
}

class MapView {
  constructor(dataset, map, signal) {
    Object.assign(this, { dataset, map, signal });
    this.webgl = Boolean(document.createElement("canvas").getContext("webgl"));
    this.place = h("div", { class: "map", id: "map", role: "img", "aria-label": "Map of all images; the filter selects without a mouse" });
    this.peek = h("div", { class: "peek", hidden: true, "aria-hidden": "true" });
    this.colour = select([["label", "label"], ["entropy", "entropy"], ["round", "round in which it became an anchor"],
      ["predicted", "predicted label"]], "label", { id: "colour", onchange: guarded(() => this.draw()) });
    this.chosen = h("p", { role: "status", id: "chosen" }, "Draw a lasso around points, or set the filter, to see them as a wall.");
    this.wall = new Wall({
      label: "Selected images", note: (image) => ({ text: labelOf(map, image) ?? "" }),
      act: (image) => { location.hash = `#/look/${dataset.id}?image=${image}`; },
    });
    this.filters = filterForm(map, (filter) => this.select(passing(map, filter)));
    this.form = labelForm(dataset, map, () => this.wall.ids, () => this.relabelled());
    signal.addEventListener("abort", () => window.Plotly?.purge(this.place));
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.draw(), { signal });
  }

  elements() {
    const below = h("section", { "aria-label": "Selection" }, this.chosen, this.form.element, this.wall.element);
    requestAnimationFrame(() => this.draw().then(() => this.listen(), guarded((error) => { throw error; })));
    return [h("h1", {}, `Map: ${this.dataset.name}`), h("div", { class: "filters" }, field("Colour by", this.colour)), this.filters.element,
      h("div", { class: "split" }, h("div", {}, this.place, this.peek), below)];
  }

  /** Groups of rows with a name and a colour, or numbers for a colour scale. */
  groups() {
    const { map } = this;
    const rows = [...map.ids.keys()];
    if (this.colour.value === "entropy") return { values: map.entropy[map.rounds - 1], title: "nats" };
    if (this.colour.value === "round") {
      return { groups: [...Array(map.rounds).keys()].map((round) => ({
        name: round ? `round ${round}` : "never", colour: roundColour(round), rows: rows.filter((row) => map.anchor_round[row] === round),
      })) };
    }
    const nameOf = this.colour.value === "label"
      ? (row) => map.names[map.labels[row]] ?? null
      : (row) => map.predicted.get(map.ids[row])?.label || null;
    const found = new Map();
    for (const row of rows) {
      const name = nameOf(row);
      if (!found.has(name)) found.set(name, []);
      found.get(name).push(row);
    }
    const none = found.get(null) ?? [];
    found.delete(null);
    const sorted = [...found].sort((a, b) => b[1].length - a[1].length);
    const others = sorted.slice(NAMED).flatMap(([, some]) => some);
    return { groups: [
      { name: "none", colour: GREY, rows: none }, { name: "other", colour: GREY, rows: others },
      ...sorted.slice(0, NAMED).map(([name, some], at) => ({ name, colour: SERIES[at], rows: some }))] };
  }

  async draw() {
    if (this.colour.value === "predicted" && !this.map.predicted.size) {
      this.chosen.textContent = "Classifying all images by the labelled ones…";
      await predict(this.dataset, this.map, this.signal);
      this.chosen.textContent = "Every image has the class that its nearest labelled ones vote for.";
    }
    const Plotly = await plotly();
    if (this.signal.aborted) return;
    const { map } = this;
    const size = map.ids.length > 20000 ? 3 : map.ids.length > 2000 ? 4 : 7;
    const trace = (rows, name, marker) => ({
      type: this.webgl ? "scattergl" : "scatter", mode: "markers", name, hoverinfo: "none", marker: { size, opacity: 0.8, ...marker },
      x: rows.map((row) => map.x[row]), y: rows.map((row) => map.y[row]), customdata: rows.map((row) => map.ids[row]),
      unselected: { marker: { opacity: 0.15 } },
    });
    const { groups, values, title } = this.groups();
    const scale = { color: values, colorscale: "Viridis", showscale: true, colorbar: { title: { text: title }, thickness: 12 } };
    const traces = groups
      ? groups.filter(({ rows }) => rows.length).map(({ name, colour, rows }) => trace(rows, name, { color: colour }))
      : [trace([...map.ids.keys()], "entropy", scale)];
    const bare = { visible: false };
    await Plotly.react(this.place, traces, layout(["", ""], {
      dragmode: "lasso", hovermode: "closest", uirevision: "kept", showlegend: Boolean(groups), margin: { l: 5, r: 5, t: 5, b: 5 },
      legend: { itemsizing: "constant", bgcolor: "rgba(0,0,0,0)" }, xaxis: bare, yaxis: { ...bare, scaleanchor: "x" },
    }), { ...CONFIG, displayModeBar: true, scrollZoom: true, modeBarButtonsToRemove: ["toImage", "autoScale2d"] });
  }

  listen() {
    if (this.signal.aborted) return;
    this.place.on("plotly_selected", (event) => {
      if (event?.points) this.select(event.points.map((point) => point.customdata), true);
    });
    this.place.on("plotly_deselect", () => this.select([]));
    this.place.on("plotly_click", (event) => { location.hash = `#/look/${this.dataset.id}?image=${event.points[0].customdata}`; });
    this.place.on("plotly_hover", ({ points, event }) => this.hover(points[0].customdata, event));
    this.place.on("plotly_unhover", () => { this.peek.hidden = true; });
  }

  hover(id, event) {
    const predicted = this.map.predicted.get(id);
    const row = this.map.rowOf.get(id);
    const entropy = this.map.entropy[this.map.rounds - 1][row];
    const lines = [labelOf(this.map, id), predicted?.label ? `voted: ${predicted.label}, ${percent(predicted.confidence, 0)}` : null,
      entropy === null ? null : `${entropy.toFixed(2)} nats`];
    this.peek.replaceChildren(h("img", { src: thumbnail(id), alt: "" }), ...lines.filter(Boolean).map((line) => h("div", {}, line)));
    this.peek.hidden = false;
    const [width, height] = [130, 190];
    this.peek.style.left = `${Math.min(event.clientX + 14, innerWidth - width)}px`;
    this.peek.style.top = `${Math.min(event.clientY + 14, innerHeight - height)}px`;
  }

  select(ids, drawn = false) {
    if (!drawn) this.highlight(ids);
    Object.assign(selection, { dataset: this.dataset.id, ids });
    this.chosen.textContent = `${number(ids.length)} images selected.`;
    this.form.show(ids.length);
    this.wall.top();
    this.wall.show(ids);
  }

  highlight(ids) {
    const wanted = new Set(ids);
    const whole = wanted.size === 0 || wanted.size === this.map.ids.length;
    const points = (this.place.data ?? []).map(({ customdata }) =>
      (whole ? null : customdata.flatMap((id, at) => (wanted.has(id) ? [at] : []))));
    if (points.length) window.Plotly.restyle(this.place, { selectedpoints: points });
  }

  async relabelled() {
    this.filters.options();
    this.map.predicted.clear();
    this.wall.refresh();
    await this.draw();
  }
}
