// Elements and texts.

/**
 * An element: `on…` properties are listeners, true is an empty attribute, null and false are left out.
 * @template {keyof HTMLElementTagNameMap} T
 * @param {T} tag
 * @param {Properties} [properties]
 * @param {...Child} children
 * @returns {HTMLElementTagNameMap[T]}
 */
export function h(tag, properties, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties ?? {})) {
    if (typeof value === "function") element.addEventListener(name.slice(2), /** @type {EventListener} */ (value));
    else if (name === "value" && "value" in element) element.value = value ?? "";
    else if (value !== null && value !== undefined && value !== false) element.setAttribute(name, value === true ? "" : String(value));
  }
  append(element, children);
  return element;
}

/** @type {(element: HTMLElement, children: readonly Child[]) => void} */
function append(element, children) {
  for (const child of children) {
    if (child === null || child === undefined || child === false) continue;
    if (typeof child === "object" && !(child instanceof Node)) append(element, child);
    else element.append(child instanceof Node ? child : String(child));
  }
}

/** @param {string} id An element of index.html. */
export function byId(id) {
  const element = document.getElementById(id);
  if (!element) throw new Error(`the page has no element ${id}`);
  return element;
}

let numbered = 0;

/**
 * A labelled control with an explanation that a screen reader reads with it.
 * @param {string} label
 * @param {HTMLInputElement | HTMLSelectElement} control
 * @param {string} [help]
 */
export function field(label, control, help) {
  const id = control.id || `f${++numbered}`;
  control.id = id;
  const about = help ? h("small", { id: `${id}-help` }, help) : null;
  if (help) control.setAttribute("aria-describedby", `${id}-help`);
  return h("div", { class: "field" }, h("label", { for: id }, label), control, about);
}

/**
 * @param {readonly (readonly (string | number)[])[]} options `[value, text]` each
 * @param {string | number} [value]
 * @param {Properties} [properties]
 */
export function select(options, value, properties) {
  const element = h("select", properties, options.map(([key, text]) => h("option", { value: key }, text)));
  element.value = String(value ?? "");
  return element;
}

/**
 * A short message that is read out and goes away; errors stay until they are closed.
 * @param {Child} text
 * @param {boolean} [isError]
 */
export function notice(text, isError = false) {
  const close = () => box.remove();
  /** @type {HTMLElement} */
  const box = h("div", { class: isError ? "notice error" : "notice" }, h("span", {}, text),
    h("button", { type: "button", class: "plain", "aria-label": "Close this message", onclick: close }, "✕"));
  byId("notices").append(box);
  if (!isError) setTimeout(close, 6000);
}

/**
 * Runs what a click asked for; what goes wrong is said.
 * @template E
 * @param {(event: E) => unknown} action
 * @returns {(event: E) => Promise<void>}
 */
export function guarded(action) {
  return async (event) => {
    if (event instanceof Event) event.preventDefault();
    try {
      await action(event);
    } catch (error) {
      if (error.name !== "AbortError") notice(error.message, true);
    }
  };
}

/**
 * Asks in a dialog before something is done; resolves to whether it shall be. `signal` of a view that is left answers no.
 * `control` is an element that stands between the question and its answers.
 * @param {{ title: string, text?: string, yes: string, no?: string, danger?: boolean, control?: HTMLElement | null, signal?: AbortSignal }} question
 * @returns {Promise<boolean>}
 */
export function confirmed({ title, text, yes, no = "Back", danger = false, control = null, signal }) {
  return new Promise((resolve) => {
    let answer = false;
    /** @type {HTMLDialogElement} */
    const dialog = h("dialog", { "aria-labelledby": "ask-title", onclose: () => { dialog.remove(); resolve(answer); } },
      h("form", { onsubmit: (event) => { event.preventDefault(); answer = true; dialog.close(); } },
        h("h2", { id: "ask-title" }, title), text ? h("p", {}, text) : null, control,
        h("div", { class: "buttons" }, h("button", { class: danger ? "danger" : "primary" }, yes),
          h("button", { type: "button", autofocus: !control, onclick: () => dialog.close() }, no))));
    signal?.addEventListener("abort", () => dialog.close());
    document.body.append(dialog);
    dialog.showModal();
  });
}

/**
 * A table with a name for screen readers, that scrolls sideways in itself where it has to.
 * @param {string} label
 * @param {string[]} heads
 * @param {HTMLElement[]} rows
 * @param {Properties} [properties]
 */
export function table(label, heads, rows, properties) {
  /** @type {(column: number) => boolean | undefined} */
  const figures = (column) => rows[0]?.children[column]?.classList.contains("figure");
  return h("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": label },
    h("table", properties, h("thead", {}, h("tr", {}, heads.map((head, at) => h("th", { scope: "col", class: figures(at) ? "figure" : "" }, head)))),
      h("tbody", {}, rows)));
}

/**
 * Names and values, side by side.
 * @param {Child[][]} pairs
 * @param {Properties} [properties]
 */
export const facts = (pairs, properties) => h("dl", properties ?? { class: "facts" },
  pairs.map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value))));

/**
 * A place to drop files on.
 * @param {string} label
 * @param {(transfer: DataTransfer) => unknown} take called while the event is handled
 * @param {...Child} children
 */
export function dropPlace(label, take, ...children) {
  /** @type {HTMLElement} */
  const box = h("section", {
    class: "drop", "aria-label": label,
    ondragover: (event) => { event.preventDefault(); box.classList.add("over"); },
    ondragleave: () => box.classList.remove("over"),
    ondrop: (event) => {
      event.preventDefault();
      box.classList.remove("over");
      if (event.dataTransfer) take(event.dataTransfer);
    },
  }, children);
  return box;
}

/** @param {string} text */
export const sentence = (text) => `${text.charAt(0).toUpperCase()}${text.slice(1)}`;
/** @typedef {number | null | undefined} Figure */
/** @param {Figure} value */
export const number = (value) => (value === null || value === undefined ? "–" : value.toLocaleString("en-GB"));
/** @param {Figure} value @param {number} [digits] */
export const percent = (value, digits = 1) => (value === null || value === undefined ? "–" : `${(100 * value).toFixed(digits)} %`);
/** @param {string | null} iso */
export const when = (iso) => (iso ? new Date(iso).toLocaleString("en-GB", { dateStyle: "medium", timeStyle: "short" }) : "–");
/** @param {string} iso */
export const clock = (iso) => new Date(iso).toLocaleTimeString("en-GB");

/** @param {number} count */
export function bytes(count) {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let unit = 0;
  while (count >= 1024 && unit < units.length - 1) {
    count /= 1024;
    unit += 1;
  }
  return `${count.toFixed(unit && count < 10 ? 1 : 0)} ${units[unit]}`;
}

/** @param {Figure} seconds */
export function duration(seconds) {
  if (seconds === null || seconds === undefined) return "–";
  const whole = Math.max(0, Math.round(seconds));
  const [hours, minutes, rest] = [Math.floor(whole / 3600), Math.floor((whole % 3600) / 60), whole % 60];
  if (hours) return `${hours} h ${minutes} min`;
  return minutes ? `${minutes} min ${rest} s` : `${rest} s`;
}

/**
 * Saves a text as a file of the reader's.
 * @param {string} name
 * @param {string} text
 * @param {string} type
 */
export function download(name, text, type) {
  const link = h("a", { href: URL.createObjectURL(new Blob([text], { type })), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}
