// What a training's figures look like: loss, anchors, entropy from round to round, accuracy.

import { chart, layout, roundColour } from "./charts.js";
import { h } from "../parts/dom.js";
import { fewLabel } from "../parts/job-words.js";

/** @typedef {import("../parts/job-words.js").Judged} Judged */

/** @param {string} title @param {string} about */
function figure(title, about) {
  const place = h("div", { class: "plot", role: "img", "aria-label": `${title}: ${about}` });
  return { place, element: h("figure", {}, h("figcaption", {}, h("strong", {}, title), ` ${about}`), place) };
}

/** @param {number} round */
function swatch(round) {
  const square = h("span", { class: "swatch" });
  square.style.background = roundColour(round);
  return h("li", {}, square, `round ${round}`);
}

const LINE = { type: "scatter", mode: "lines+markers", marker: { size: 5 } };

/**
 * Charts of a job's state; `update()` draws what has changed.
 * @typedef {{ round: number, entropy_histogram?: number[] }} Round
 * @param {{ job: Job, metrics: Schemas["MetricBody"][], rounds: Round[], evaluation: { [name: string]: any } | null, images: number }} state
 * @param {AbortSignal} signal
 */
export function jobCharts(state, signal) {
  const loss = figure("Loss", "how much it still gets wrong, epoch by epoch; it falls within a round");
  const anchors = figure("Anchors", "the share of the images that each round pulls to look-alikes");
  const entropy = figure("Entropy", "how many images are how sure of their place at the end of each round; left is sure");
  const accuracy = figure("Accuracy", "of a vote of labelled images, five of each class where there are as many; training sees no labels, but by the method Supervised");

  /** @param {number} rounds */
  const axis = (rounds) => (rounds > 10 ? {} : { dtick: 1 });
  const perRound = () => {
    /** @type {Map<number, { x: number[], y: number[], anchors: number }>} */
    const rounds = new Map();
    state.metrics.forEach((row, at) => {
      const one = rounds.get(row.round) ?? { x: [], y: [], anchors: row.anchors };
      one.x.push(at + 1);
      one.y.push(row.loss);
      rounds.set(row.round, one);
    });
    return rounds;
  };
  const judged = () => (/** @type {any[]} */ (state.evaluation?.rounds ?? [])).filter((row) => row.knn_accuracy !== null);
  const colours = h("ul", { class: "rounds", "aria-label": "Colours of the rounds" });
  const legend = { showlegend: true, legend: { orientation: "h", y: 1, yanchor: "bottom" } };
  const untold = ["frozen", "random"].includes(String(state.job.params?.method)) ? "Nothing is trained." : "No epoch has ended yet.";
  const draws = [
    chart(loss.place, signal, untold, () => [
      [...perRound()].map(([round, { x, y }]) => ({
        ...LINE, mode: x.length < 60 ? "lines+markers" : "lines", x, y, name: `round ${round}`,
        line: { color: roundColour(round) }, marker: { color: roundColour(round), size: 5 },
      })),
      layout(["epoch", "loss"], { xaxis: state.metrics.length < 10 ? { dtick: 1 } : {} })]),
    chart(anchors.place, signal, untold, () => {
      const rounds = [...perRound()];
      return [rounds.length ? [{
        type: "bar", x: rounds.map(([round]) => round), y: rounds.map(([, one]) => one.anchors),
        marker: { color: rounds.map(([round]) => roundColour(round)) },
      }] : [], layout(["round", "share of the images"], {
        xaxis: axis(rounds.length), yaxis: { range: [0, 1], tickformat: ".0%" },
      })];
    }),
    chart(entropy.place, signal, "No round has ended yet.", () => {
      const most = Math.log(Math.max(state.images, 2));
      return [state.rounds.flatMap(({ round, entropy_histogram: counts }) => (counts ? [{
        type: "scatter", mode: "lines", fill: "tozeroy", fillcolor: `${roundColour(round)}22`, name: `round ${round}`,
        x: counts.map((_, bin) => ((bin + 0.5) * most) / counts.length), y: counts,
        line: { shape: "hvh", color: roundColour(round), width: 1.5 },
      }] : [])), layout(["entropy, nats", "images"])];
    }),
    chart(accuracy.place, signal, "It is judged at the end, where images have labels.", () => {
      const [rows, found] = [judged(), state.evaluation];
      const few = fewLabel(found?.trained) && rows.every((row) => fewLabel(row));
      /** @type {(figures: Judged, knn: number | null) => number | null | undefined} */
      const score = (figures, knn) => (few ? fewLabel(figures)?.mean : knn);
      /** @type {(value: number | null, name: string) => Trace} */
      const flat = (value, name) => ({
        ...LINE, name, x: rows.map((row) => row.round), y: rows.map(() => value), line: { dash: "dot" },
      });
      const traces = rows.length && found ? [
        { ...LINE, name: "this encoder", x: rows.map((row) => row.round), y: rows.map((row) => score(row, row.knn_accuracy)) },
        ...[[found.frozen, found.frozen_accuracy, "pretrained"], [found.untrained, found.untrained_accuracy, "untrained"],
          [found.raw_pixels, found.raw_pixel_accuracy, "raw pixels"]]
          .map(([figures, knn, name]) => flat(score(figures, knn) ?? null, name))
          .filter(({ y }) => /** @type {unknown[]} */ (y)[0] !== null)] : [];
      return [traces, layout(["round", "accuracy"], {
        ...legend, xaxis: axis(rows.length), yaxis: { tickformat: ".0%", rangemode: "tozero" },
      })];
    }),
  ];
  return {
    elements: [colours, h("div", { class: "plots" }, [loss, anchors, entropy, accuracy].map(({ element }) => element))],
    update() {
      const rounds = new Set([...state.rounds, ...state.metrics].map(({ round }) => round).sort((a, b) => a - b));
      if (colours.children.length !== rounds.size) colours.replaceChildren(...[...rounds].map(swatch));
      for (const draw of draws) draw();
    },
  };
}
