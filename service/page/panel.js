// One image: its file, and how it was learned.

import { at, get, thumbnail } from "./api.js";
import { attention } from "./attention.js";
import { h, number, percent } from "./dom.js";

/** The side panel of an image of a dataset. */
export async function panel(id, dataset, map, signal) {
  const image = await get(`/images/${id}`, {}, signal);
  const learned = image.provenance;
  const vote = map.names.length ? await get("/classify", { image_id: id, dataset_id: dataset.id }, signal).catch(() => null) : null;
  return h("section", { class: "side", id: "panel", "aria-label": `Image ${id}` },
    h("h2", {}, image.path.split("/").pop()),
    h("a", { href: at(`/images/${id}/file`), target: "_blank", rel: "noopener" },
      h("img", { class: "whole", src: at(`/images/${id}/file`), alt: `Image ${id}: ${image.path}` })),
    h("p", { class: "soft" }, `${image.path}, ${image.width} × ${image.height}, image ${id}`),
    h("p", {}, h("strong", {}, "Label: "), image.label ?? "none",
      vote ? h("span", { class: "soft" }, ` (voted: ${vote.label ?? "unknown"}, ${percent(vote.confidence, 0)})`) : null),
    learned ? history(learned, dataset, map) : h("p", { class: "soft" }, "It was added after the training, so nothing is known of how it was learned."),
    await attention(id, dataset.model_id, signal));
}

function history({ entropy, anchor_round: became, neighbours }, dataset, map) {
  const most = Math.log(Math.max(map.ids.length, 2));
  const bars = entropy.map((value, round) => [
    h("span", {}, `round ${round}`),
    h("meter", { min: 0, max: most, value, "aria-label": `Entropy at the end of round ${round}` }),
    h("span", {}, `${value.toFixed(2)} nats`)]);
  const link = (id) => h("li", {}, h("a", { href: `#/look/${dataset.id}?image=${id}` },
    h("img", { src: thumbnail(id), alt: `Image ${id}`, loading: "lazy" }), `image ${id}`));
  return h("div", { id: "history" },
    h("h3", {}, "How it was learned"),
    h("p", {}, became ? `It became an anchor in round ${number(became)}.` : "It never became an anchor: each round left it a class of its own."),
    h("h3", {}, "Entropy: how unsure its place was"), h("div", { class: "bars" }, bars),
    neighbours.length ? [h("h3", {}, "It was pulled to"), h("ul", { class: "thumbs", id: "pulled" }, neighbours.map(link))] : null);
}
