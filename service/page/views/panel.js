// One image: its file and its class, and behind «more» how it was learned.

import { get, picture, thumbnail } from "../parts/api.js";
import { attention } from "./attention.js";
import { erase } from "../parts/collection.js";
import { guarded, h, number, percent } from "../parts/dom.js";
import { toImage } from "../parts/links.js";
import { may } from "../parts/session.js";
import { judge } from "../parts/votes.js";

/**
 * The side panel of an image of a dataset; `open` says whether «more» is, `turned(open)` is told, `gone()` after a deletion.
 * @param {number | string} asked its id
 * @param {Dataset} dataset
 * @param {Columns} map
 * @param {{ open: boolean, turned: (open: boolean) => void, gone: () => void }} more
 * @param {AbortSignal} signal
 */
export async function panel(asked, dataset, map, { open, turned, gone }, signal) {
  const image = await get(`/images/${asked}`, {}, signal);
  const { id } = image;
  const shown = picture(image);
  const whole = h("img", { class: "whole", src: shown, alt: `Image ${id}: ${image.path}` });
  whole.addEventListener("error", () => {
    if (whole.src === shown) whole.src = thumbnail(id);
    else whole.replaceWith(unseen());
  });
  const voted = h("span", { class: "soft" });
  vote(id, dataset, map, voted, signal);
  const more = h("details", { class: "more", id: "more", open }, h("summary", {}, "More: how it was learned"));
  const fill = async () => {
    if (more.children.length > 1) return;
    const learned = image.provenance;
    more.append(learned ? history(learned, dataset, map)
      : h("p", { class: "soft" }, "It was added after the training, so nothing is known of how it was learned."));
    const looks = dataset.model_id ? await attention(image.id, dataset.model_id, signal) : null;
    if (looks) more.append(looks);
  };
  more.addEventListener("toggle", guarded(() => {
    turned(more.open);
    return more.open ? fill() : undefined;
  }));
  const away = guarded(async () => {
    if (await erase(dataset, [id])) gone();
  });
  return h("section", { class: "side", id: "panel", "aria-label": `Image ${id}` },
    h("h2", {}, image.path.split("/").pop()),
    h("a", { href: shown, target: "_blank", rel: "noopener", class: "picture" }, whole),
    h("div", { class: "about" },
      h("p", { class: "label" }, h("strong", {}, "Label: "), image.label ?? "none", voted),
      h("p", { class: "soft" }, `${image.path}, ${image.width} × ${image.height}, image ${id}`),
      may("write") ? h("button", { type: "button", class: "danger", id: "erase", onclick: away }, "Delete this image") : null),
    more);
}

/** In place of a picture that this browser cannot show. */
export const unseen = () => h("p", { class: "unseen" }, "This browser cannot show this picture.");

/**
 * What the labelled images vote for; said when it is known.
 * @type {(id: number, dataset: Dataset, map: Columns, voted: HTMLElement, signal: AbortSignal) => Promise<void>}
 */
async function vote(id, dataset, map, voted, signal) {
  if (!map.names.length) return;
  try {
    const { k, abstained } = await judge(dataset, null, signal);
    if (abstained) return;
    const found = await get("/classify", { image_id: id, dataset_id: dataset.id, k }, signal);
    if (found.label !== null) voted.textContent = ` (voted: ${found.label}, ${percent(found.confidence, 0)})`;
  } catch {
    // the page is left, or there is nobody to vote
  }
}

/** @type {(learned: Schemas["Provenance"], dataset: Dataset, map: Columns) => HTMLElement} */
function history({ entropy, anchor_round: became, neighbours }, dataset, map) {
  const most = Math.log(Math.max(map.ids.length, 2));
  const bars = entropy.map((value, round) => [
    h("span", {}, `round ${round}`),
    h("meter", { min: 0, max: most, value, "aria-label": `Entropy at the end of round ${round}` }),
    h("span", {}, `${value.toFixed(2)} nats`)]);
  /** @param {number} id */
  const link = (id) => h("li", {}, h("a", { href: toImage(dataset.id, id, true) },
    h("img", { src: thumbnail(id), alt: `Image ${id}`, loading: "lazy" }), `image ${id}`));
  return h("div", { id: "history" },
    h("h3", {}, "Became an anchor"),
    h("p", {}, became ? `It became an anchor in round ${number(became)}.` : "It never became an anchor: each round left it a class of its own."),
    h("h3", {}, "Entropy: how unsure its place was"), h("div", { class: "bars" }, bars),
    neighbours.length ? [h("h3", {}, "It was pulled to"), h("ul", { class: "thumbs", id: "pulled" }, neighbours.map(link))] : null);
}
