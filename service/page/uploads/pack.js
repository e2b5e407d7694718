// A folder as an uncompressed tar: a Blob of headers and of the files themselves, which the browser reads as it sends them.

const BLOCK = 512;
const text = new TextEncoder();

/** @type {(name: Uint8Array, size: number, kind: string) => Uint8Array<ArrayBuffer>} */
function header(name, size, kind) {
  const block = new Uint8Array(BLOCK);
  /** @type {(offset: number, bytes: Uint8Array) => void} */
  const put = (offset, bytes) => block.set(bytes, offset);
  /** @type {(offset: number, width: number, value: number) => void} */
  const octal = (offset, width, value) => put(offset, text.encode(value.toString(8).padStart(width - 1, "0")));
  put(0, name.subarray(0, 100));
  octal(100, 8, 0o644);
  octal(108, 8, 0);
  octal(116, 8, 0);
  octal(124, 12, size);
  octal(136, 12, 0);
  put(148, text.encode("        "));  // the checksum counts as spaces
  block[156] = kind.charCodeAt(0);
  put(257, text.encode("ustar\x0000"));
  octal(148, 7, block.reduce((sum, byte) => sum + byte, 0));
  return block;
}

/** @param {number} size */
const padding = (size) => new Uint8Array((BLOCK - (size % BLOCK)) % BLOCK);

/** @param {string} name The extended header (POSIX pax) of one that is too long for 100 bytes, or not ASCII. */
function extended(name) {
  const rest = ` path=${name}\n`;
  const length = text.encode(rest).length;
  let total = length + 1;
  while (String(total).length + length !== total) total = String(total).length + length;
  const record = text.encode(`${total}${rest}`);
  return [header(text.encode("pax"), record.length, "x"), record, padding(record.length)];
}

/** @param {Entry[]} entries The tar of them. */
export function tar(entries) {
  /** @type {BlobPart[]} */
  const parts = [];
  for (const { path, file } of entries) {
    const name = text.encode(path);
    if (name.length > 100 || name.length !== path.length) parts.push(...extended(path));
    parts.push(header(name, file.size, "0"), file, padding(file.size));
  }
  parts.push(new Uint8Array(2 * BLOCK));
  return new Blob(parts, { type: "application/x-tar" });
}

const ARCHIVE = /\.(zip|tar|tgz|tar\.gz)$/i;

/**
 * What to upload: one archive as it is, all else packed but for paths that `ignored` fits; null: nothing.
 * @typedef {{ name: string, blob: Blob, files?: number }} Archive
 * @type {(entries: Entry[], ignored: RegExp) => Archive | null}
 */
export function packed(entries, ignored) {
  if (entries.length === 1 && ARCHIVE.test(entries[0].path)) return { name: entries[0].file.name, blob: entries[0].file };
  const tops = new Set(entries.map(({ path }) => (path.includes("/") ? path.split("/")[0] : "")));
  const [top] = tops;
  const whole = tops.size === 1 && top !== "";  // one folder: its own folders are the classes, and its name the dataset's
  const kept = entries.map(({ path, file }) => ({ path: whole ? path.slice(top.length + 1) : path, file }))
    .filter(({ path }) => !ignored.test(path)).sort((a, b) => (a.path < b.path ? -1 : 1));
  return kept.length ? { name: `${whole ? top : "images"}.tar`, blob: tar(kept), files: kept.length } : null;
}
