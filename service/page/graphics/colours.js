// Which colour an image has on the map: groups of rows with a name, a colour and a count.

import { roundColour } from "./charts.js";

export const GREY = "#8a93a0";  // of what has none of what is shown, and of nothing else
// Chosen one after the other, each as far as possible (in OKLab) from those before, from GREY and from both grounds of the page.
const CLASSES = `
#3b8fc4 #e07b39 #3fa66b #c2528b #8a6fd1 #b59a2d #4ab0b5 #d1605e #5df730 #0f35e5 #675626 #f29df6 #86169d #49f0c2 #d345f2 #fec48c #50537f #a51307
#d9da2a #a4d9f9 #7c3efe #ff53c2 #2c7916 #a2a8ff #e797a3 #893562 #2f736b #7cc949 #533eb5 #2d7cfc #aecc9e #a56204 #fe3671 #bf1da9 #8c6688 #00c1fe
#1965ba #c37df3 #f1c0e0 #828857 #9e38d7 #b90261 #ef2615 #bd8ec7 #3ed9e0 #3bae14 #b88472 #964e49 #ceaa80 #56ca9d
`.trim().split(/\s+/);
const OTHERS = "#5811de";
const STEPS = 24;  // of the colour scale of a number
const SCALE = [[68, 1, 84], [71, 44, 122], [59, 81, 139], [44, 113, 142], [33, 144, 141], [39, 173, 129], [92, 200, 99], [170, 220, 50],
  [253, 231, 37]];

/**
 * What grey says, by what the map is coloured by.
 * @type {{ [by: string]: string }}
 */
export const GREY_IS = {
  label: "Grey: no label.", predicted: "Grey: no class was voted.", round: "Grey: it never became an anchor.",
  entropy: "Grey: added after the training, so not known.",
};

/** @param {number} part Of viridis, from 0 to 1. */
function viridis(part) {
  const place = Math.min(Math.max(part, 0), 1) * (SCALE.length - 1);
  const at = Math.min(Math.floor(place), SCALE.length - 2);
  const mixed = SCALE[at].map((value, channel) => Math.round(value + (place - at) * (SCALE[at + 1][channel] - value)));
  return `rgb(${mixed.join(" ")})`;
}

/** @type {(map: Columns, nameOf: (row: number) => string | null) => Group[]} */
function named(map, nameOf) {
  /** @type {Map<string | null, number[]>} */
  const found = new Map();
  map.ids.forEach((_, row) => {
    const name = nameOf(row);
    const rows = found.get(name);
    if (rows) rows.push(row);
    else found.set(name, [row]);
  });
  const none = found.get(null) ?? [];
  found.delete(null);
  const sorted = [...found].sort((a, b) => b[1].length - a[1].length);
  const others = sorted.slice(CLASSES.length);
  return [{ key: "none", name: "none", colour: GREY, rows: none },
    ...sorted.slice(0, CLASSES.length).map(([name, rows], at) => ({ key: `=${name}`, name: name ?? "", colour: CLASSES[at], rows })),
    { key: "others", name: `${others.length} smaller classes`, colour: OTHERS, rows: others.flatMap(([, rows]) => rows) }];
}

/** @param {Columns} map @returns {Group[]} */
function scaled(map) {
  const values = map.entropy[map.rounds - 1];
  const [low, high] = values.reduce(([least, most], value) => (value === null ? [least, most] : [Math.min(least, value), Math.max(most, value)]),
    /** @type {Extent} */ ([Infinity, -Infinity]));
  /** @type {Group[]} */
  const groups = Array.from({ length: STEPS }, (_, step) => ({
    key: `${step}`, name: `${(low + ((high - low) * step) / STEPS).toFixed(2)}`, colour: viridis(step / (STEPS - 1)), rows: [],
  }));
  /** @type {Group} */
  const unknown = { key: "none", name: "none", colour: GREY, rows: [] };
  values.forEach((value, row) => {
    if (value === null) unknown.rows.push(row);
    else groups[Math.min(STEPS - 1, Math.floor(((value - low) / (high - low || 1)) * STEPS))].rows.push(row);
  });
  return [unknown, ...groups];
}

/**
 * Groups of all rows by `label`, `predicted`, `round` or `entropy`; empty ones are left out. `voted(id)` is a class or null.
 * @type {(map: Columns, by: string, voted: (id: number) => string | null) => Group[]}
 */
export function coloured(map, by, voted) {
  /** @type {{ [by: string]: () => Group[] }} */
  const ways = {
    label: () => named(map, (row) => map.names[map.labels[row]] ?? null),
    predicted: () => named(map, (row) => voted(map.ids[row])),
    entropy: () => scaled(map),
    round: () => [...Array(map.rounds).keys()].map((round) => ({
      key: `${round}`, name: round ? `round ${round}` : "never", colour: round ? roundColour(round) : GREY,
      rows: [...map.ids.keys()].filter((row) => map.anchor_round[row] === round),
    })),
  };
  return ways[by]().filter(({ rows }) => rows.length);
}
