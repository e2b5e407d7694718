// The files that somebody chose or dropped, those in folders too, many at once.

const AT_ONCE = 64;

/**
 * @typedef {{ path: string, file?: File, entry?: FileSystemEntry, reader?: FileSystemDirectoryReader }} Item
 */

/**
 * Does `work(item)` for all of a queue that may grow meanwhile.
 * @type {(queue: Item[], work: (item: Item) => Promise<void>, signal: AbortSignal) => Promise<void>}
 */
function drained(queue, work, signal) {
  return new Promise((resolve, reject) => {
    let busy = 0;
    const next = () => {
      if (signal.aborted) reject(new DOMException("the upload was stopped", "AbortError"));
      while (!signal.aborted && busy < AT_ONCE && queue.length) {
        busy += 1;
        work(/** @type {Item} */ (queue.pop())).catch(reject).finally(() => {
          busy -= 1;
          next();
        });
      }
      if (!busy && !queue.length) resolve();
    };
    signal.addEventListener("abort", next);
    next();
  });
}

/**
 * @template T
 * @param {(done: (value: T) => void, failed: (error: Error) => void) => void} ask
 * @returns {Promise<T>}
 */
const asked = (ask) => new Promise((resolve, reject) => { ask(resolve, reject); });

/**
 * The files of a queue of paths with a `file`, an `entry` or a folder's `reader`, and the paths that could not be read.
 * @type {(queue: Item[], found: (count: number) => void, signal: AbortSignal) => ReturnType<Gather>}
 */
async function gathered(queue, found, signal) {
  /** @type {Entry[]} */
  const entries = [];
  /** @type {string[]} */
  const unread = [];
  /** @param {Item} item */
  const take = async ({ path, file, entry, reader }) => {
    try {
      if (entry?.isDirectory) queue.push({ path, reader: /** @type {FileSystemDirectoryEntry} */ (entry).createReader() });
      else if (reader) {
        /** @type {FileSystemEntry[]} */
        const some = await asked((done, failed) => reader.readEntries(done, failed));  // at most 100 at a time
        if (some.length) queue.push({ path, reader }, ...some.map((child) => ({ path: child.fullPath.slice(1), entry: child })));
      } else {
        /** @type {File} */
        const one = file ?? (await asked((done, failed) => /** @type {FileSystemFileEntry} */ (entry).file(done, failed)));
        await (one.size ? one.slice(0, 1) : one).arrayBuffer();  // what cannot be read would break the whole upload later
        entries.push({ path, file: one });
        found(entries.length);
      }
    } catch {
      unread.push(path);  // for whatever reason: it is named at the end
    }
  };
  await drained(queue, take, signal);
  return { entries, unread: unread.sort() };
}

/**
 * The files of an input; `found` is told how many were found so far.
 * @type {(input: HTMLInputElement) => Gather}
 */
export function chosen(input) {
  const queue = [...(input.files ?? [])].map((file) => ({ path: file.webkitRelativePath || file.name, file }));
  return (found, signal) => gathered(queue, found, signal);
}

/**
 * The files of a drop; has to be called while the event is handled.
 * @type {(transfer: DataTransfer) => Gather}
 */
export function dropped(transfer) {
  const roots = [...transfer.items].map((item) => item.webkitGetAsEntry()).filter((entry) => entry !== null);
  const queue = roots.length
    ? roots.map((entry) => ({ path: entry.fullPath.slice(1), entry }))
    : [...transfer.files].map((file) => ({ path: file.name, file }));  // not of a file system
  return (found, signal) => gathered(queue, found, signal);
}
