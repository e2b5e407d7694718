// A picture from outside that is searched by: kept in this tab, so that a reload and Back search by it again.

const KEPT = "anchorhood-picture:";
const MOST = 3 << 20;  // characters that a browser surely keeps for a page
/** @type {Map<string, File>} */
const held = new Map();  // of this visit, of any size

/** @param {File} file Keeps it and gives its key. */
export async function keep(file) {
  const key = `${Date.now().toString(36)}`;
  held.set(key, file);
  const bytes = new Uint8Array(await file.arrayBuffer());
  let text = "";
  for (let at = 0; at < bytes.length && text.length < MOST; at += 8192) text += String.fromCharCode(...bytes.subarray(at, at + 8192));
  for (const name of Object.keys(sessionStorage)) if (name.startsWith(KEPT)) sessionStorage.removeItem(name);
  try {
    if (text.length * 1.4 < MOST) sessionStorage.setItem(KEPT + key, JSON.stringify({ name: file.name, type: file.type, data: btoa(text) }));
  } catch {
    // full: it is there until a reload
  }
  return key;
}

/**
 * The file of a key; null where it was kept in another tab, or was too large to be kept over a reload.
 * @param {string | null} key
 */
export function kept(key) {
  if (key === null) return null;
  const here = held.get(key);
  if (here) return here;
  const stored = sessionStorage.getItem(KEPT + key);
  if (stored === null) return null;
  const { name, type, data } = JSON.parse(stored);
  const file = new File([Uint8Array.from(atob(data), (sign) => sign.charCodeAt(0))], name, { type });
  held.set(key, file);
  return file;
}
