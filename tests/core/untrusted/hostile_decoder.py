"""A decoder that a hostile picture has taken over: started as the real one is, it tries to get out and answers what it got.

The picture is a JSON object: ``secret``, a file that it wants to read, ``parent``, the process that started it, and ``only``, the
beginnings of the attempts' names. It is run with a decoder's arguments; tests/compose runs it in the containers, too.
"""

import ctypes
import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from typing import Any

from core.untrusted import decoder

_libc = ctypes.CDLL(None, use_errno=True)
_PTRACE_SEIZE, _IO_URING_SETUP, _PIDFD_OPEN = 0x4206, 425, 434  # none of them stops the parent where it works
_MEMORY = ctypes.create_string_buffer(16)


def _called(name: str, *arguments: Any) -> str:
    """A function of the C library, past everything that Python checks itself."""
    result = getattr(_libc, name)(*arguments)
    if result == -1:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return f"{name} gave {result}"


class _Span(ctypes.Structure):
    _fields_ = (("start", ctypes.c_void_p), ("length", ctypes.c_size_t))


def attempts(secret: str, parent: int) -> dict[str, Callable[[], Any]]:
    """What it tries, by name."""
    span, one = ctypes.byref(_Span(ctypes.cast(_MEMORY, ctypes.c_void_p), 16)), ctypes.c_ulong(1)
    return {
        "read the secret": lambda: open(secret).read(),
        "read the secret by openat": lambda: _called("openat", -100, secret.encode(), 0),
        "read its parent's environment": lambda: open(f"/proc/{parent}/environ", "rb").read(),
        "read its parent's memory": lambda: open(f"/proc/{parent}/mem", "rb").read(1),
        "copy its parent's memory": lambda: _called(
            "process_vm_readv", parent, span, one, span, one, ctypes.c_ulong(0)
        ),
        "trace its parent": lambda: _called("ptrace", _PTRACE_SEIZE, parent, None, None),
        "stop its parent": lambda: os.kill(parent, 0),
        "write a file": lambda: open("/tmp/written-by-a-decoder", "w").write("x"),
        "write to its folder": lambda: open("written-by-a-decoder", "w").write("x"),
        "delete a file": lambda: os.unlink(secret),
        "list a folder": lambda: os.listdir("/"),
        "run a program": lambda: subprocess.run(["/bin/true"], check=True),
        "become a program": lambda: os.execv("/bin/true", ["true"]),
        "fork": lambda: os.fork() or os._exit(0),
        "open a socket": lambda: socket.socket().connect(("127.0.0.1", 9)),
        "open a socket of this machine": lambda: socket.socket(socket.AF_UNIX),
        "hand over a descriptor": lambda: _called("sendmsg", 0, None, 0),
        "take a descriptor of its parent": lambda: _called("syscall", _PIDFD_OPEN, parent, 0),
        "change its root": lambda: os.chroot("/"),
        "work past the filter": lambda: _called("syscall", _IO_URING_SETUP, 1, _MEMORY),
        "run code that it wrote": lambda: _called(
            "mmap", None, ctypes.c_size_t(4096), 7, 0x22, -1, ctypes.c_long(0)
        ),
        "become root": lambda: os.setuid(0) if os.getuid() else os.setgid(12345),
        "open more": lambda: os.dup(0),
    }  # fmt: skip


def take_over(data: bytes, *_: Any) -> tuple[list[Any], bytes]:
    wanted, got = json.loads(data), {}
    for name, attempt in attempts(wanted["secret"], wanted["parent"]).items():
        if not name.startswith(tuple(wanted["only"])):
            continue
        try:
            got[name] = f"worked: {str(attempt())[:60]}"
        except OSError as error:
            got[name] = error.strerror
        except Exception as error:  # such as the failing import of what an attempt needs
            got[name] = f"{type(error).__name__}: {error}"
    environment = {name: value for name, value in os.environ.items() if name.startswith("ANCHORHOOD")}
    return ["taken over", json.dumps({"got": got, "environment": environment, "python": sys.executable})], b""


if __name__ == "__main__":
    decoder.WORK["check"] = take_over
    decoder.main()
