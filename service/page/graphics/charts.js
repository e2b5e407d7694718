// Plotly, loaded when a view first plots, in the page's own colours.

import { at } from "../parts/api.js";
import { h } from "../parts/dom.js";

/** @type {Promise<Plotly> | null} */
let loading = null;

export function plotly() {
  loading ??= new Promise((resolve, reject) => {
    const script = document.createElement("script");
    script.src = at("/page/plotly.min.js");
    script.onload = () => resolve(/** @type {Plotly} */ (window.Plotly));
    script.onerror = () => {
      loading = null;
      reject(new Error("Plotly could not be loaded"));
    };
    document.head.append(script);
  });
  return loading;
}

/** @param {string} name */
const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

/**
 * A layout of the page's colours, with the titles of x and y.
 * @param {string[]} titles
 * @param {{ xaxis?: object, yaxis?: object, [name: string]: unknown }} more
 * @returns {Layout}
 */
export function layout([x, y], more = {}) {
  const [ink, faint] = [colour("--ink"), colour("--line")];
  /** @param {string} title */
  const axis = (title) => ({ title: { text: title }, gridcolor: faint, zerolinecolor: faint, linecolor: faint, automargin: true });
  return {
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", font: { color: ink, family: "system-ui, sans-serif", size: 12 },
    margin: { l: 50, r: 12, t: 12, b: 40 }, showlegend: false, colorway: SERIES, hoverlabel: { font: { family: "system-ui" } },
    ...more, xaxis: { ...axis(x), ...more.xaxis }, yaxis: { ...axis(y), ...more.yaxis },
  };
}

export const CONFIG = { displaylogo: false, displayModeBar: false };
export const SERIES = ["#3b8fc4", "#e07b39", "#3fa66b", "#c2528b", "#8a6fd1", "#b59a2d", "#4ab0b5", "#d1605e", "#6b7d1f", "#9c755f"];
const ROUNDS = [  // as far from each other, and from grey, as twenty can be that are seen on light and on dark ground
  "#3c91c3", "#cd8255", "#009173", "#c305a5", "#8c8700", "#7d4baf", "#c80032", "#007300", "#ff3c9b", "#005fd2",
  "#91551e", "#c869dc", "#00aa00", "#416982", "#ff3c1e", "#7878ff", "#af5f82", "#b900ff", "#6e2dff", "#ff00fa",
];
/** @param {number} round */
export const roundColour = (round) => ROUNDS[round % ROUNDS.length];

/**
 * Draws `make()` (traces and a layout) into an element: on each call, when the element gets a size or another one, and when light
 * changes to dark. Without a single point in it `empty` is said instead of axes around nothing.
 * @type {(element: HTMLElement, signal: AbortSignal, empty: string, make: () => [Trace[], Layout]) => () => Promise<void>}
 */
export function chart(element, signal, empty, make) {
  /** @type {string | null} */
  let drawn = null;
  let size = "";
  const draw = async (anew = false) => {
    const { clientWidth: width, clientHeight: height } = element;
    if (signal.aborted || !width) return;  // not on the page or hidden: the observer calls again
    const [traces, look] = make();
    if (!traces.some(({ x }) => x.length)) {
      if (drawn) window.Plotly?.purge(element);
      drawn = null;
      element.replaceChildren(h("p", { class: "empty" }, empty));
      return;
    }
    const [now, box] = [JSON.stringify(traces), `${width} ${height}`];
    if (!anew && now === drawn && box === size) return;
    const Plotly = await plotly();
    if (signal.aborted) return;
    if (!drawn) element.replaceChildren();
    [drawn, size] = [now, box];
    await Plotly.react(element, traces, { ...look, width, height }, CONFIG);
  };
  const observer = new ResizeObserver(() => draw());
  observer.observe(element);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => draw(true), { signal });
  signal.addEventListener("abort", () => {
    observer.disconnect();
    window.Plotly?.purge(element);
  });
  return () => draw();
}
