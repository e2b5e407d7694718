// Looks again and again at what changes by itself: short questions, so that any number of windows and any proxy can have them.

const pause = (milliseconds) => new Promise((resolve) => { setTimeout(resolve, milliseconds); });

/** Resolves when somebody can see the page. */
function inSight(signal) {
  if (!document.hidden) return null;
  return new Promise((resolve) => {
    document.addEventListener("visibilitychange", resolve, { once: true, signal });
    signal.addEventListener("abort", resolve);
  });
}

/** Runs `look`, first now, until it answers false or the view is left; what fails is told to `lost` and tried again. */
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
