// The public API: requests, pages of a list, uploads with progress.

const BASE = new URL("../..", import.meta.url);  // this file is `page/parts/api.js` of the service, whatever path a proxy puts before it

/**
 * The address of one of the service's paths, such as `/datasets`, below the prefix that a proxy may serve it under.
 * @param {string} route
 */
export const at = (route) => new URL(`.${route}`, BASE).href;

/** A problem document (RFC 9457), or that the service was not reached (status 0). */
export class Problem extends Error {
  /** @param {number} status @param {string} code @param {string} detail */
  constructor(status, code, detail) {
    super(detail);
    this.status = status;
    this.code = code;
  }
}

/**
 * A path with a query; values that are null or empty are left out, lists are repeated.
 * @param {string} base
 * @param {{ [name: string]: any }} query
 */
export function path(base, query = {}) {
  const given = new URLSearchParams();
  for (const [name, value] of Object.entries(query)) {
    for (const one of Array.isArray(value) ? value : [value]) {
      if (one !== null && one !== undefined && one !== "" && one !== false) given.append(name, one);
    }
  }
  return given.size ? `${base}?${given}` : base;
}

/** @param {number} status @param {string} text */
function problem(status, text) {
  /** @type {Partial<Schemas["Error"] & { detail: string }>} */
  let body = {};
  try {
    body = JSON.parse(text);
  } catch {
    // what stands between here and the service may answer with a page of its own
  }
  if (status === 401) window.dispatchEvent(new Event("unauthorized"));
  return new Problem(status, body.code ?? `http_${status}`, body.detail ?? `the service answered ${status}`);
}

/**
 * @typedef {{ json?: unknown, body?: BodyInit, headers?: { [name: string]: string }, signal?: AbortSignal }} Sending
 * @param {string} method
 * @param {string} url
 * @param {Sending} sending
 */
async function request(method, url, { json, body, headers, signal } = {}) {
  const given = json === undefined ? { headers } : { headers: { "Content-Type": "application/json", ...headers } };
  let response;
  try {
    response = await fetch(at(url), { method, signal, body: json === undefined ? body : JSON.stringify(json), ...given });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Problem(0, "unreachable", "the service cannot be reached at the moment");
  }
  if (!response.ok) throw problem(response.status, await response.text());
  return response;
}

/** @param {Response} response */
function parsed(response) {
  return response.status === 204 ? null : response.json();
}

/** @type {<P extends string>(base: P, query?: Query<P>, signal?: AbortSignal) => Promise<Answer<P, "get">>} */
export const get = async (base, query, signal) => parsed(await request("GET", path(base, query), { signal }));
/** @type {(base: string) => Promise<string>} */
export const getText = async (base) => (await request("GET", base)).text();
/** @type {<P extends string>(url: P, json?: Sent<P, "post">, headers?: { [name: string]: string }) => Promise<Answer<P, "post">>} */
export const post = async (url, json, headers) => parsed(await request("POST", url, { json, headers }));
/** @type {<P extends string>(url: P, body: FormData) => Promise<Answer<P, "post">>} */
export const postForm = async (url, body) => parsed(await request("POST", url, { body }));
/** @type {<P extends string>(url: P, json: Sent<P, "put">) => Promise<Answer<P, "put">>} */
export const put = async (url, json) => parsed(await request("PUT", url, { json }));
/** @type {<P extends string>(url: P, body: Blob, type: string) => Promise<Answer<P, "put">>} */
export const putFile = async (url, body, type) => parsed(await request("PUT", url, { body, headers: { "Content-Type": type } }));
/** @type {(url: string) => Promise<null>} */
export const remove = async (url) => parsed(await request("DELETE", url));

/**
 * All rows of a list, page by page.
 * @template {string} P
 * @param {P} base
 * @param {Query<P> & { after?: any }} query
 * @param {AbortSignal} [signal]
 * @returns {AsyncGenerator<Row<P>[]>}
 */
export async function* rows(base, query, signal) {
  let after = query.after ?? null;
  do {
    /** @type {any} */
    const page = await get(base, { limit: 1000, ...query, after }, signal);
    yield page.data;
    after = page.next;
  } while (after !== null);
}

/**
 * All rows of a list.
 * @template {string} P
 * @param {P} base
 * @param {Query<P> & { after?: any }} query
 * @param {AbortSignal} [signal]
 */
export async function all(base, query, signal) {
  /** @type {Row<P>[]} */
  const found = [];
  for await (const page of rows(base, query, signal)) found.push(...page);
  return found;
}

/**
 * Sends a form and tells how much of it has gone; fetch cannot.
 * @template {string} P
 * @param {P} url
 * @param {FormData} form
 * @param {(sent: number, total: number) => void} onProgress
 * @param {AbortSignal} signal
 * @returns {Promise<Answer<P, "post">>}
 */
export function upload(url, form, onProgress, signal) {
  return new Promise((resolve, reject) => {
    const sending = new XMLHttpRequest();
    sending.open("POST", at(url));
    sending.upload.onprogress = (event) => onProgress(event.loaded, event.total);
    sending.onload = () => {
      if (sending.status >= 200 && sending.status < 300) resolve(JSON.parse(sending.responseText));
      else reject(problem(sending.status, sending.responseText));
    };
    sending.onerror = () => reject(new Problem(0, "unreachable", "the connection broke while the file was being sent"));
    sending.onabort = () => reject(new DOMException("the upload was stopped", "AbortError"));
    signal.addEventListener("abort", () => sending.abort());
    sending.send(form);
  });
}

const SHOWN = ["image/jpeg", "image/png", "image/gif", "image/webp", "image/bmp", "image/avif"];  // by every browser

/**
 * The whole picture of an image: its file, or a rendering where that is of a format that not every browser shows.
 * @param {ImageOf} image
 */
export const picture = ({ id, media_type: type }) => at(`/images/${id}/${SHOWN.includes(type) ? "file" : "rendering"}`);
/** @param {number} id */
export const thumbnail = (id) => at(`/images/${id}/thumbnail?size=${window.devicePixelRatio > 1.5 ? 256 : 128}`);
