"""A disk after a power cut, told from a record of system calls: what was synced is on it, what was not may be or not.

The model is the strictest that POSIX allows: a file holds what was written to it before its last ``fsync``, and a folder names
what it named at its own last ``fsync``, so that a file whose folder was not synced is lost.
"""

import os
import random
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

CALLS = (
    "open,openat,creat,close,dup,dup2,dup3,fcntl,lseek,write,writev,pwrite64,ftruncate,truncate,fallocate,sendfile,copy_file_range,"
    "fsync,fdatasync,rename,renameat,renameat2,link,linkat,unlink,unlinkat,rmdir,mkdir,mkdirat,fork,vfork,clone,clone3"
)
STRACE = ("strace", "-f", "--seccomp-bpf", "-xx", "-s", str(1 << 28), "-e", f"trace={CALLS}", "-o")
_LINE = re.compile(r"(\d+) +(?:(\w+)\((.*)|<\.\.\. (\w+) resumed>(.*))", re.DOTALL)
_RESULT = re.compile(r"\) += (-?\d+)[^\"]*\Z")
_TEXT = re.compile(r'"((?:\\x[0-9a-f]{2})*)"')
_UNFINISHED = " <unfinished ...>"


@dataclass(eq=False)
class Node:
    """A file or a folder: every change of it with its moment, and how many of them the disk has for sure."""

    is_folder: bool
    changes: list[tuple[int, str, int, bytes]] = field(default_factory=list)  # moment, "write" or "size", offset, data
    names: list[tuple[int, str, "Node | None"]] = field(default_factory=list)  # moment, name, what it names from then on
    synced: int = 0

    def present(self, count: int | None = None) -> "dict[str, Node]":
        """What a folder names after so many changes, by default after all."""
        entries: dict[str, Node] = {}
        for _, name, node in self.names if count is None else self.names[:count]:
            entries.pop(name, None)
            if node is not None:
                entries[name] = node
        return entries

    def content(self, kept: "list[bool] | int | None" = None) -> bytes:
        """A file's bytes after so many changes, or after those that were kept."""
        chosen = self.changes if kept is None else self.changes[:kept] if isinstance(kept, int) else _picked(self.changes, kept)
        data = bytearray()
        for _, kind, at, new in chosen:
            if kind == "size":
                del data[at:]
                data.extend(bytes(at - len(data)))
            else:
                data.extend(bytes(max(0, at - len(data))))
                data[at : at + len(new)] = new
        return bytes(data)


def _picked(changes: list[tuple[int, str, int, bytes]], kept: list[bool]) -> list[tuple[int, str, int, bytes]]:
    return [change for change, keep in zip(changes, kept, strict=True) if keep]


@dataclass
class _Open:
    """An open file; ``dup`` and ``fork`` share it."""

    node: Node
    at: int = 0
    appends: bool = False


class Disk:
    """The folder ``root`` and all in it, as a record of calls changes them; ``root`` itself is there from the beginning."""

    def __init__(self, root: Path) -> None:
        self._root, self.root = str(root), Node(is_folder=True)
        self._tables: dict[int, dict[int, _Open]] = {}

    def play(self, trace: Path, marks: Path) -> Iterator[bytes | None]:
        """Play a record; yields before every sync that puts something on the disk (``None``), and for all that was written to the
        file ``marks``."""
        parents: dict[int, tuple[int, bool]] = {}
        marked: set[tuple[int, int]] = set()  # process and number of open files
        for _, _, process, call, arguments, result in _calls(trace):
            if call in ("fork", "vfork", "clone", "clone3") and result > 0:
                parents[result] = process, "CLONE_FILES" in arguments
        for moment, begun, process, call, arguments, result in _calls(trace):
            if result < 0:
                continue
            texts = [bytes.fromhex(each.replace("\\x", "")) for each in _TEXT.findall(arguments)]
            if call in ("open", "openat") and texts[0] == bytes(marks):
                marked.add((process, result))
            elif call == "write" and (process, _number(arguments)) in marked:
                yield texts[0]
            elif call in ("fsync", "fdatasync"):
                node = self._file(process, arguments, parents)
                if node is not None:
                    done = sum(change[0] <= begun for change in (node.names if node.is_folder else node.changes))
                    if done > node.synced:
                        yield None
                        node.synced = done
            else:
                self._do(moment, self._table(process, parents), call, arguments, texts, result)

    def _table(self, process: int, parents: dict[int, tuple[int, bool]]) -> dict[int, _Open]:
        if process not in self._tables:
            parent, shared = parents.get(process, (0, False))
            table = self._table(parent, parents) if parent else {}
            self._tables[process] = table if shared else dict(table)
        return self._tables[process]

    def _file(self, process: int, arguments: str, parents: dict[int, tuple[int, bool]]) -> Node | None:
        found = self._table(process, parents).get(_number(arguments))
        return found.node if found else None

    def _find(self, table: dict[int, _Open], at: str, path: bytes) -> tuple[Node, str] | None:
        """The folder that a path lies in, and its name there; ``None`` of one elsewhere."""
        text = os.path.normpath(os.fsdecode(path))
        if text == self._root:
            return self.root, "."
        if text.startswith("/"):
            if not text.startswith(f"{self._root}/"):
                return None
            folder, text = self.root, text[len(self._root) + 1 :]
        elif at.isdigit() and int(at) in table:
            folder = table[int(at)].node
        else:
            return None
        *above, name = text.split("/")
        for part in above:
            folder = folder.present()[part]
        return folder, name

    def _do(self, moment: int, table: dict[int, _Open], call: str, arguments: str, texts: list[bytes], result: int) -> None:
        first = arguments.partition(",")[0].strip(" )")
        numbers = [int(each) for each in re.findall(r"(?<![\w\"\\])-?\d+\b", _TEXT.sub("", arguments))]
        paths = [] if call in ("write", "writev", "pwrite64") else texts
        places = [place for path in paths if (place := self._find(table, first, path))]
        if call == "close":
            table.pop(int(first), None)
        elif call in ("dup", "dup2", "dup3") or (call == "fcntl" and "F_DUPFD" in arguments):
            table.pop(result, None)
            if int(first) in table:
                table[result] = table[int(first)]
        elif call in ("open", "openat", "creat"):
            table.pop(result, None)
            if places:
                table[result] = self._opened(moment, *places[0], arguments)
        elif call in ("mkdir", "mkdirat") and places:
            places[0][0].names.append((moment, places[0][1], Node(is_folder=True)))
        elif call in ("unlink", "unlinkat", "rmdir") and places:
            places[0][0].names.append((moment, places[0][1], None))
        elif call.startswith(("rename", "link")) and places:
            (from_folder, from_name), (to_folder, to_name) = places
            node = from_folder.present()[from_name]
            to_folder.names.append((moment, to_name, node))
            if call.startswith("rename"):
                from_folder.names.append((moment, from_name, None))
        elif call == "truncate" and places:
            places[0][0].present()[places[0][1]].changes.append((moment, "size", numbers[-1], b""))
        elif first.isdigit() and int(first) in table:
            self._change(moment, table, table[int(first)], call, numbers, b"".join(texts), result)

    def _opened(self, moment: int, folder: Node, name: str, arguments: str) -> _Open:
        node = folder if name == "." else folder.present().get(name)
        if node is None:
            node = Node(is_folder=False)
            folder.names.append((moment, name, node))
        elif "O_TRUNC" in arguments:
            node.changes.append((moment, "size", 0, b""))
        return _Open(node, appends="O_APPEND" in arguments)

    def _change(
        self, moment: int, table: dict[int, _Open], file: _Open, call: str, numbers: list[int], data: bytes, result: int
    ) -> None:
        changes = file.node.changes
        if call in ("write", "writev"):
            at = len(file.node.content()) if file.appends else file.at
            changes.append((moment, "write", at, data[:result]))
            file.at = at + result
        elif call == "pwrite64":
            changes.append((moment, "write", numbers[-1], data[:result]))
        elif call == "lseek":
            file.at = result
        elif call == "ftruncate":
            changes.append((moment, "size", numbers[-1], b""))
        elif call == "fallocate":
            if numbers[-1] + numbers[-2] > len(file.node.content()):
                changes.append((moment, "size", numbers[-1] + numbers[-2], b""))
        elif call == "sendfile":
            source = table[numbers[1]].node.content()
            changes.append((moment, "write", file.at, source[numbers[2] : numbers[2] + result]))
            file.at += result
        elif call == "copy_file_range":
            raise NotImplementedError(call)


def _number(arguments: str) -> int:
    first = re.match(r"\d+", arguments)
    return int(first.group()) if first else -1


def _calls(trace: Path) -> Iterator[tuple[int, int, int, str, str, int]]:
    """Moment of its end and of its beginning, process, name, arguments and result of every call, in the order of their ends."""
    begun: dict[int, tuple[int, str]] = {}
    with open(trace, encoding="ascii") as lines:
        for moment, line in enumerate(lines):
            match = _LINE.match(line.rstrip("\n"))
            if match is None:
                continue
            process, name, rest, resumed, end = match.groups()
            if rest is not None and rest.endswith(_UNFINISHED):
                begun[int(process)] = moment, rest.removesuffix(_UNFINISHED)
                continue
            start, text = begun.pop(int(process)) if resumed else (moment, "")
            text += end if resumed else rest
            if result := _RESULT.search(text):
                yield moment, start, int(process), resumed or name, text[: result.start()], int(result.group(1))


@dataclass
class Cut:
    """What a power cut leaves of a disk: of what was not synced nothing, all, or what chance keeps."""

    disk: Disk
    pool: Path  # contents that were written once, by hard links

    def write(self, folder: Path, keep: str, seed: int = 0) -> None:
        """Write into a folder what is on the disk.

        Args:
            keep: ``synced``, ``all`` or ``some`` of what was not synced, too.
        """
        self._write(self.disk.root, folder, keep, random.Random(seed))

    def _write(self, node: Node, path: Path, keep: str, rng: random.Random) -> None:
        path.mkdir()
        count = {"synced": node.synced, "all": len(node.names)}.get(keep)
        for name, each in node.present(rng.randint(node.synced, len(node.names)) if count is None else count).items():
            if each.is_folder:
                self._write(each, path / name, keep, rng)
            elif not name.endswith("-shm"):  # made anew by whoever opens the database first
                self._write_file(each, path / name, keep, rng)

    def _write_file(self, node: Node, path: Path, keep: str, rng: random.Random) -> None:
        certain, every = node.synced, len(node.changes)
        if keep == "some" and certain < every:
            path.write_bytes(node.content([at < certain or rng.random() < 0.5 for at in range(every)]))
            return
        count = certain if keep == "synced" else every
        if "sqlite3" in path.name:  # opened, and so written to
            path.write_bytes(node.content(count))
            return
        pooled = self.pool / f"{id(node)}-{count}"
        if not pooled.exists():
            pooled.write_bytes(node.content(count))
        path.hardlink_to(pooled)
