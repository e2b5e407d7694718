// Where the views are: addresses of this page, each made here alone.

import { h } from "./dom.js";

export const DATASETS = "#/datasets";
export const JOBS = "#/jobs";
export const AUDIT = "#/audit";

/** @param {string} id */
export const toDataset = (id) => `#/dataset/${id}`;
/** @param {string} id */
export const toJob = (id) => `#/job/${id}`;
/** @param {string} dataset */
export const toTraining = (dataset) => `#/train?dataset=${dataset}`;
/** @param {string} dataset */
export const toWall = (dataset) => `#/look/${dataset}`;
/** @param {string} dataset */
export const toLabels = (dataset) => `#/label/${dataset}`;

/**
 * One image and its neighbours.
 * @param {string} dataset
 * @param {number} image
 * @param {boolean} [more] with how it was learned
 */
export const toImage = (dataset, image, more = false) => `${toWall(dataset)}?${more ? "more=1&" : ""}image=${image}`;

/** @param {string} href */
export function go(href) {
  location.hash = href;
}

/** @param {string} text @param {string} href @param {boolean} [primary] */
export const button = (text, href, primary = false) => h("a", { class: primary ? "button primary" : "button", href }, text);

/** @param {string} dataset one with a model: buttons to its views */
export const viewButtons = (dataset) => [["look", "Look"], ["map", "Map"], ["label", "Label"]]
  .map(([view, text]) => button(text, `#/${view}/${dataset}`, true));
