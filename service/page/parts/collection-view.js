// What the views of a trained dataset begin with: its map, or what they show where there is none.

import { get } from "./api.js";
import { open } from "./collection.js";
import { h } from "./dom.js";
import { button, DATASETS, toDataset, toJob, toTraining } from "./links.js";
import { may } from "./session.js";

/**
 * What stands on the page: what `make` makes of a dataset with a model, or what is there instead.
 * @param {string} title
 * @param {string | null} id
 * @param {AbortSignal} signal
 * @param {(dataset: Dataset, map: Columns) => Node[] | Promise<Node[]>} make
 */
export async function collectionView(title, id, signal, make) {
  const { dataset, map } = id ? await open(id, signal) : { dataset: null, map: null };
  return dataset && map ? make(dataset, map) : instead(title, id, dataset, signal);
}

/** @type {(title: string, says: string, ...links: Parameters<typeof button>[]) => HTMLElement[]} */
const page = (title, says, ...links) => [h("h1", {}, title), h("p", {}, says),
  h("p", { class: "buttons" }, links.map((link) => button(...link)))];

/** @type {(title: string, id: string | null, dataset: Dataset | null, signal: AbortSignal) => Promise<HTMLElement[]>} */
async function instead(title, id, dataset, signal) {
  if (!id) return page(title, "There is no dataset yet.", ["Upload images", DATASETS, true]);
  if (!dataset) return page(title, `There is no dataset ${id}: it was deleted, or the address is wrong.`, ["All datasets", DATASETS, true]);
  const name = `${title}: ${dataset.name}`;
  const own = toDataset(dataset.id);
  if (dataset.status === "validating") return page(name, "Its files are still being validated.", ["See how far it is", own, true]);
  if (dataset.status === "failed") return page(name, "Its validation failed, so there is nothing to train on.", ["See why", own, true]);
  const { data } = await get("/jobs", { dataset_id: dataset.id, kind: "train", order: "newest", limit: 1 }, signal);
  const why = "No encoder has been trained on it yet, so nothing is known of which images are alike.";
  if (["queued", "running"].includes(data[0]?.status)) {
    return page(name, `${why} A training is under way.`, ["See how far it is", toJob(data[0].id), true], ["Its images", own]);
  }
  if (!may("write")) return page(name, `${why} Someone with a key that may write has to train one.`, ["Its images", own]);
  return page(name, why, ["Train on it", toTraining(dataset.id), true], ["Its images", own]);
}
