// Looks again and again at what changes by itself: short questions, so that any number of windows and any proxy can have them.

import { get } from "./api.js";

const UNDER_WAY = ["queued", "running"];

/** @type {(milliseconds: number) => Promise<void>} */
const pause = (milliseconds) => new Promise((resolve) => { setTimeout(resolve, milliseconds); });

/** @param {AbortSignal} signal Resolves when somebody can see the page. */
function inSight(signal) {
  if (!document.hidden) return null;
  return new Promise((resolve) => {
    document.addEventListener("visibilitychange", resolve, { once: true, signal });
    signal.addEventListener("abort", resolve);
  });
}

/**
 * Runs `look`, first now, until it answers false or the view is left; what fails is told to `lost` and tried again.
 * @type {(milliseconds: number, look: () => Promise<unknown>, signal: AbortSignal, lost?: (error: Error) => void) => Promise<void>}
 */
export async function repeat(milliseconds, look, signal, lost = () => {}) {
  while (!signal.aborted) {
    await inSight(signal);
    if (signal.aborted) return;
    try {
      if ((await look()) === false) return;
    } catch (error) {
      if (error.name === "AbortError") return;
      lost(error);
    }
    await pause(milliseconds);
  }
}

/** @param {Job["status"]} status */
export const underWay = (status) => UNDER_WAY.includes(status);

/**
 * A job when it is over.
 * @type {(job: Job, first: number, signal?: AbortSignal) => Promise<Job>} `first` milliseconds until the first look
 */
export async function finished(job, first, signal) {
  for (let wait = first; underWay(job.status); wait = Math.min(wait * 1.5, 2000)) {
    await pause(wait);
    job = await get(`/jobs/${job.id}`, {}, signal);
  }
  return job;
}
