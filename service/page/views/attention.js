// Where each round's encoder looks in an image: computed by a job when it is first asked for, and then a strip of maps.

import { at, get, post } from "../parts/api.js";
import { serves } from "../parts/description.js";
import { guarded, h } from "../parts/dom.js";
import { finished } from "../parts/live.js";

const SOON = 200;  // milliseconds

/**
 * The part of an image's panel, where the service has the route.
 * @type {(id: number, model: string, signal: AbortSignal) => Promise<HTMLElement | null>}
 */
export async function attention(id, model, signal) {
  if (!(await serves("/images/{image_id}/attention"))) return null;
  const strip = h("div", {});
  const { data } = await get(`/models/${model}/attention`, { after: id - 1, limit: 1 }, signal);
  if (data[0]?.image_id === id) await show(strip, id, model, signal);
  else {
    const start = guarded(async () => {
      button.disabled = true;
      button.textContent = "Looking…";
      try {
        await computed(id, model, signal);
        await show(strip, id, model, signal);
      } catch (error) {
        button.disabled = false;
        button.textContent = "Show it";
        throw error;
      }
    });
    const button = h("button", { type: "button", onclick: start }, "Show it");
    strip.append(button);
  }
  return h("div", { id: "attention" }, h("h3", {}, "Where the encoder looks"), strip);
}

/** @type {(id: number, model: string, signal: AbortSignal) => Promise<void>} */
async function computed(id, model, signal) {
  const job = await finished(await post(`/models/${model}/attention`, { image_ids: [id] }), SOON, signal);
  if (job.status !== "succeeded") throw new Error(job.error?.message ?? `the job was ${job.status}`);
}

/** @type {(strip: HTMLElement, id: number, model: string, signal: AbortSignal) => Promise<void>} */
async function show(strip, id, model, signal) {
  const { neighbour_id: neighbour, rounds } = await get(`/images/${id}/attention`, { model_id: model }, signal);
  strip.replaceChildren(h("p", { class: "soft" }, `By what it has in common with image ${neighbour}: red most, blue least.`),
    h("ul", { class: "thumbs" }, rounds.map(({ round, similarity }) => h("li", {}, h("img", {
      src: at(`/images/${id}/attention/${round}?model_id=${model}`), alt: `Where the encoder of round ${round} looks`,
    }), h("small", {}, `round ${round}: ${similarity.toFixed(2)}`)))));
}
