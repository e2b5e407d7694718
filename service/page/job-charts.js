// What a training's figures look like: loss, anchors, entropy from round to round, accuracy.

import { chart, layout, roundColour } from "./charts.js";
import { h } from "./dom.js";

function figure(title, about) {
  const place = h("div", { class: "plot", role: "img", "aria-label": `${title}. ${about}` });
  return { place, element: h("figure", {}, h("figcaption", {}, h("strong", {}, title), ` ${about}`), place) };
}

const LINE = { type: "scatter", mode: "lines+markers", marker: { size: 5 } };

/** Charts of a job's `state` (`metrics, rounds, evaluation, images`); `update()` draws what has changed. */
export function jobCharts(state, signal) {
  const loss = figure("Loss", "of every epoch, coloured by round");
  const anchors = figure("Anchors", "the share of the images that are pulled to neighbours, by round");
  const entropy = figure("Entropy", "how many images are how sure of their place (low is sure), at the end of each round");
  const accuracy = figure("Accuracy", "of a kNN vote, judged when the training is over; labels never reach it");

  const perRound = () => {
    const rounds = new Map();
    state.metrics.forEach((row, at) => {
      const one = rounds.get(row.round) ?? { x: [], y: [], anchors: row.anchors };
      one.x.push(at);
      one.y.push(row.loss);
      rounds.set(row.round, one);
    });
    return rounds;
  };
  const legend = { showlegend: true, legend: { orientation: "h", y: 1.15 } };
  const draws = [
    chart(loss.place, signal, () => [
      [...perRound()].map(([round, { x, y }]) => ({
        ...LINE, mode: x.length < 60 ? "lines+markers" : "lines", x, y, name: `round ${round}`, line: { color: roundColour(round) },
        marker: { color: roundColour(round), size: 5 },
      })),
      layout(["epoch", "loss"], legend)]),
    chart(anchors.place, signal, () => {
      const rounds = [...perRound()];
      return [[{
        type: "bar", x: rounds.map(([round]) => round), y: rounds.map(([, one]) => one.anchors),
        marker: { color: rounds.map(([round]) => roundColour(round)) },
      }], layout(["round", "share of the images"], { xaxis: { dtick: 1 }, yaxis: { range: [0, 1], tickformat: ".0%" } })];
    }),
    chart(entropy.place, signal, () => {
      const told = state.rounds.filter((round) => round.entropy_histogram);
      const most = Math.log(Math.max(state.images, 2));
      return [told.map(({ round, entropy_histogram: counts }) => ({
        type: "scatter", mode: "lines", fill: "tozeroy", fillcolor: `${roundColour(round)}22`, name: `round ${round}`,
        x: counts.map((_, bin) => ((bin + 0.5) * most) / counts.length), y: counts,
        line: { shape: "hvh", color: roundColour(round), width: 1.5 },
      })), layout(["entropy, nats", "images"], legend)];
    }),
    chart(accuracy.place, signal, () => {
      const judged = (state.evaluation?.rounds ?? []).filter((row) => row.knn_accuracy !== null);
      const flat = (value, name) => ({
        type: "scatter", mode: "lines", name, x: judged.map((row) => row.round), y: judged.map(() => value), line: { dash: "dot" },
      });
      const traces = judged.length ? [
        { ...LINE, name: "this encoder", x: judged.map((row) => row.round), y: judged.map((row) => row.knn_accuracy) },
        flat(state.evaluation.untrained_accuracy, "untrained"), flat(state.evaluation.raw_pixel_accuracy, "raw pixels")] : [];
      return [traces, layout(["round", "accuracy"], { ...legend, xaxis: { dtick: 1 }, yaxis: { tickformat: ".0%", rangemode: "tozero" } })];
    }),
  ];
  const show = () => {
    accuracy.element.hidden = !(state.evaluation?.rounds ?? []).some((row) => row.knn_accuracy !== null);
    entropy.element.hidden = !state.rounds.some((round) => round.entropy_histogram);
    for (const [at, draw] of draws.entries()) if (![false, false, entropy.element.hidden, accuracy.element.hidden][at]) draw();
  };
  return { elements: [loss, anchors, entropy, accuracy].map(({ element }) => element), update: show };
}
