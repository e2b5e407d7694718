// Where a key is needed, it is asked for and exchanged for a cookie that scripts cannot read.

import { get, post, remove } from "./api.js";
import { field, guarded, h } from "./dom.js";

/** @type {Scope[]} */
const SCOPES = ["read", "write", "admin"];  // each may do what those before it may
/** @type {Promise<void> | null} */
let asking = null;
/** @type {Scope} */
let held = "admin";  // until the service says otherwise; it refuses what must not be

/**
 * Whether the key in use may do what needs this scope: write to change things, admin to delete a dataset or a model.
 * @param {Scope} scope
 */
export const may = (scope) => SCOPES.indexOf(held) >= SCOPES.indexOf(scope);

/**
 * Resolves when requests may be sent; `again` shows the view anew after a key was given in between.
 * @param {() => unknown} again
 * @returns {Promise<void>}
 */
export async function openSession(again) {
  if (asking) {
    await asking;
    return;
  }
  const session = await get("/session").catch(() => ({ required: false, scope: null }));  // the view says what is wrong
  if (session.required && !session.scope) {
    asking = ask();
    await asking;
    asking = null;
    again();
    await new Promise(() => {});  // shown already
  }
  held = session.scope ?? held;
  if (session.required) offerToLeave(held);
}

/** @returns {Promise<void>} */
function ask() {
  return new Promise((resolve) => {
    const key = h("input", { type: "password", autocomplete: "current-password", required: true });
    const wrong = h("p", { class: "error", role: "alert" });
    /** @param {Event} event */
    const enter = async (event) => {
      event.preventDefault();
      try {
        const { scope } = await post("/session", { key: key.value.trim() });
        dialog.close();
        dialog.remove();
        held = scope ?? held;
        offerToLeave(held);
        resolve();
      } catch (error) {
        if (error.status !== 401) throw error;
        wrong.textContent = error.message;
      }
    };
    /** @type {HTMLDialogElement} */
    const dialog = h("dialog", { "aria-labelledby": "key-title", oncancel: (event) => event.preventDefault() },
      h("form", { onsubmit: enter },
        h("h2", { id: "key-title" }, "A key is needed"),
        field("API key", key, "As `anchorhood keys create` printed it, or in the file admin-key of a docker compose set-up."),
        wrong, h("button", { class: "primary" }, "Enter")));
    document.body.append(dialog);
    dialog.showModal();
  });
}

/** @param {Scope} scope */
function offerToLeave(scope) {
  document.getElementById("leave")?.remove();
  const forget = guarded(async () => {
    await remove("/session");
    location.reload();
  });
  document.querySelector("header.top")?.append(
    h("button", { type: "button", id: "leave", class: "plain", title: `It may ${scope}`, onclick: forget }, "Forget the key"));
}
