// Where each round's encoder looks in an image: computed by a job when it is first asked for, and then a strip of maps.

import { at, get, post } from "../parts/api.js";
import { guarded, h } from "../parts/dom.js";

let offered = null;  // the routes of this service

/** The part of an image's panel, where the service has the route. */
export async function attention(id, model, signal) {
  offered ??= get("/openapi.json").then((document) => new Set(Object.keys(document.paths)));
  if (!(await offered).has("/images/{image_id}/attention")) return null;
  const strip = h("div", {});
  const { data } = await get(`/models/${model}/attention`, { after: id - 1, limit: 1 }, signal);
  if (data[0]?.image_id === id) await show(strip, id, model, signal);
  else {
    const start = guarded(async (event) => {
      event.target.disabled = true;
      event.target.textContent = "Looking…";
      try {
        await computed(id, model, signal);
        await show(strip, id, model, signal);
      } catch (error) {
        event.target.disabled = false;
        event.target.textContent = "Show it";
        throw error;
      }
    });
    strip.append(h("button", { type: "button", onclick: start }, "Show it"));
  }
  return h("div", { id: "attention" }, h("h3", {}, "Where the encoder looks"), strip);
}

async function computed(id, model, signal) {
  let job = await post(`/models/${model}/attention`, { image_ids: [id] });
  for (let wait = 200; job.status === "queued" || job.status === "running"; wait = Math.min(wait * 1.5, 2000)) {
    await new Promise((resolve) => setTimeout(resolve, wait));
    job = await get(`/jobs/${job.id}`, {}, signal);
  }
  if (job.status !== "succeeded") throw new Error(job.error?.message ?? `the job was ${job.status}`);
}

async function show(strip, id, model, signal) {
  const { neighbour_id: neighbour, rounds } = await get(`/images/${id}/attention`, { model_id: model }, signal);
  strip.replaceChildren(h("p", { class: "soft" }, `By what it has in common with image ${neighbour}: red most, blue least.`),
    h("ul", { class: "thumbs" }, rounds.map(({ round, similarity }) => h("li", {}, h("img", {
      src: at(`/images/${id}/attention/${round}?model_id=${model}`), alt: `Where the encoder of round ${round} looks`,
    }), h("small", {}, `round ${round}: ${similarity.toFixed(2)}`)))));
}
