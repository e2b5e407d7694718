// Plotly, loaded when a view first plots, in the page's own colours.

import { at } from "./api.js";

let loading = null;

export function plotly() {
  loading ??= new Promise((resolve, reject) => {
    const script = document.createElement("script");
    script.src = at("/page/plotly.min.js");
    script.onload = () => resolve(window.Plotly);
    script.onerror = () => {
      loading = null;
      reject(new Error("Plotly could not be loaded"));
    };
    document.head.append(script);
  });
  return loading;
}

const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

/** A layout of the page's colours; `axes` are the titles of x and y. */
export function layout([x, y], more = {}) {
  const [ink, faint] = [colour("--ink"), colour("--line")];
  const axis = (title) => ({ title: { text: title }, gridcolor: faint, zerolinecolor: faint, linecolor: faint, automargin: true });
  return {
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", font: { color: ink, family: "system-ui, sans-serif", size: 12 },
    margin: { l: 50, r: 12, t: 12, b: 40 }, showlegend: false, colorway: SERIES, hoverlabel: { font: { family: "system-ui" } },
    ...more, xaxis: { ...axis(x), ...more.xaxis }, yaxis: { ...axis(y), ...more.yaxis },
  };
}

export const CONFIG = { displaylogo: false, responsive: true, displayModeBar: false };
export const SERIES = ["#3b8fc4", "#e07b39", "#3fa66b", "#c2528b", "#8a6fd1", "#b59a2d", "#4ab0b5", "#d1605e", "#7b8794", "#9c755f"];
const ROUNDS = ["#9aa5b1", "#6fa8dc", "#3b8fc4", "#8a6fd1", "#c2528b", "#e07b39", "#b59a2d"];
export const roundColour = (round) => ROUNDS[Math.min(round, ROUNDS.length - 1)];

/** Draws `make()` (traces and a layout) into an element, again on each call and when light changes to dark. */
export function chart(element, signal, make) {
  let last = null;
  const draw = async () => {
    const Plotly = await plotly();
    if (signal.aborted) return;
    const [traces, drawn] = make();
    last = JSON.stringify(traces);
    await Plotly.react(element, traces, drawn, CONFIG);
  };
  const theme = matchMedia("(prefers-color-scheme: dark)");
  theme.addEventListener("change", draw, { signal });
  signal.addEventListener("abort", () => window.Plotly?.purge(element));
  return () => (JSON.stringify(make()[0]) === last ? undefined : draw());
}
