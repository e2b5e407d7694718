// Which colour an image has on the map: groups of rows with a name, a colour and a count.

import { roundColour, SERIES } from "./charts.js";

const GREY = "#8a93a0";
const STEPS = 24;  // of the colour scale of a number
const SCALE = [[68, 1, 84], [71, 44, 122], [59, 81, 139], [44, 113, 142], [33, 144, 141], [39, 173, 129], [92, 200, 99], [170, 220, 50], [253, 231, 37]];

/** Viridis, a part from 0 to 1. */
function viridis(part) {
  const place = Math.min(Math.max(part, 0), 1) * (SCALE.length - 1);
  const at = Math.min(Math.floor(place), SCALE.length - 2);
  const mixed = SCALE[at].map((value, channel) => Math.round(value + (place - at) * (SCALE[at + 1][channel] - value)));
  return `rgb(${mixed.join(" ")})`;
}

function named(map, nameOf) {
  const found = new Map();
  map.ids.forEach((_, row) => {
    const name = nameOf(row);
    if (!found.has(name)) found.set(name, []);
    found.get(name).push(row);
  });
  const none = found.get(null) ?? [];
  found.delete(null);
  const sorted = [...found].sort((a, b) => b[1].length - a[1].length);
  const others = sorted.slice(SERIES.length).flatMap(([, rows]) => rows);
  return [{ name: "none", colour: GREY, rows: none },
    ...sorted.slice(0, SERIES.length).map(([name, rows], at) => ({ name, colour: SERIES[at], rows })),
    { name: "others", colour: GREY, rows: others }];
}

function scaled(map) {
  const values = map.entropy[map.rounds - 1];
  const [low, high] = values.reduce(([least, most], value) => (value === null ? [least, most] : [Math.min(least, value), Math.max(most, value)]),
    [Infinity, -Infinity]);
  const groups = Array.from({ length: STEPS }, (_, step) => ({
    name: `${(low + ((high - low) * step) / STEPS).toFixed(2)}`, colour: viridis(step / (STEPS - 1)), rows: [],
  }));
  const unknown = { name: "none", colour: GREY, rows: [] };
  values.forEach((value, row) => {
    const step = Math.min(STEPS - 1, Math.floor(((value - low) / (high - low || 1)) * STEPS));
    (value === null ? unknown : groups[step]).rows.push(row);
  });
  return [unknown, ...groups];
}

/** Groups of all rows by `label`, `predicted`, `round` or `entropy`; empty ones are left out. */
export function coloured(map, by) {
  const groups = {
    label: () => named(map, (row) => map.names[map.labels[row]] ?? null),
    predicted: () => named(map, (row) => map.predicted.get(map.ids[row])?.label || null),
    entropy: () => scaled(map),
    round: () => [...Array(map.rounds).keys()].map((round) => ({
      name: round ? `round ${round}` : "never", colour: roundColour(round),
      rows: [...map.ids.keys()].filter((row) => map.anchor_round[row] === round),
    })),
  }[by]();
  return groups.filter(({ rows }) => rows.length);
}
