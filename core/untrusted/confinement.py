"""What a decoder gives up before it sees the first untrusted byte (docs/decisions/0030).

It reads files from a socket that it has open already and answers there. So nothing that it does needs to open, connect, execute
or signal anything, and all of that is refused: by a filter of system calls, by limits, and as another user where root started it.
"""

import codecs
import errno
import importlib
import mmap
import os
import resource
import sys
from contextlib import suppress
from types import ModuleType
from typing import Any

_NOBODY = 65534
_CLONE_THREAD = 0x10000
# What Python, Pillow and NumPy import or look up at first use; afterwards no file can be opened any more.
_MODULES = ("ImageCms", "ImageFilter", "ImagePalette", "ImageColor", "ImageOps", "ImageSequence", "ExifTags", "TiffTags")
_CODECS = ("ascii", "latin-1", "utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be")
_COMPUTING = """read write close lseek munmap mremap brk madvise futex rt_sigaction rt_sigprocmask rt_sigreturn sigaltstack
restart_syscall setitimer clock_gettime clock_nanosleep nanosleep gettimeofday getpid gettid sched_yield sched_getaffinity
getrandom set_robust_list rseq exit exit_group"""


def confine() -> dict[str, str]:
    """Load what would be loaded at first use, and give up for good, in all threads, what decoding does not need.

    Returns:
        For each measure, ``""`` where it is in force, or why it is not.
    """
    for name in _MODULES:
        importlib.import_module(f"PIL.{name}")
    for name in _CODECS:
        codecs.lookup(name)
    seccomp = _seccomp()
    found = {"user": _another_user(), "limits": _limits()}
    return {**found, "filter": seccomp if isinstance(seccomp, str) else _filter(seccomp)}


def _seccomp() -> ModuleType | str:
    """What makes the filter, or why there is none."""
    if sys.platform != "linux":
        return f"system calls are filtered on Linux alone, and this is {sys.platform}"
    try:
        return importlib.import_module("pyseccomp")
    except (ImportError, RuntimeError, OSError) as error:
        return f"needs Debian's libseccomp2 and the package pyseccomp: {error}"


def _another_user() -> str:
    if os.geteuid() != 0:
        return "only root can become another user"
    try:
        os.setgroups([])
        os.setresgid(_NOBODY, _NOBODY, _NOBODY)
        os.setresuid(_NOBODY, _NOBODY, _NOBODY)
    except OSError as error:
        return f"cannot become user {_NOBODY}: {error.strerror}"
    return ""


def _limits() -> str:
    """No further descriptor, and no file that grows."""
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (0, 0))
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    except (OSError, ValueError) as error:
        return f"cannot be set: {error}"
    return ""


def _filter(seccomp: Any) -> str:
    """Allow computing, reading and writing what is open, and threads; refuse every other system call.

    What is refused gets EPERM, since libraries ask for much that they can do without, such as the number of processors.
    """
    try:
        rules = seccomp.SyscallFilter(seccomp.ERRNO(errno.EPERM))
        rules.set_attr(seccomp.Attr.CTL_TSYNC, 1)  # die_with_parent's thread is there already
        for name in _COMPUTING.split():
            with suppress(OSError):  # not on every architecture
                rules.add_rule(seccomp.ALLOW, name)
        threads = seccomp.Arg(0, seccomp.MASKED_EQ, _CLONE_THREAD, _CLONE_THREAD)
        rules.add_rule(seccomp.ALLOW, "clone", threads)
        rules.add_rule(seccomp.ERRNO(errno.ENOSYS), "clone3")  # its flags cannot be seen; glibc takes clone then
        for name in ("mmap", "mprotect"):  # no code but what is loaded
            rules.add_rule(seccomp.ALLOW, name, seccomp.Arg(2, seccomp.MASKED_EQ, mmap.PROT_EXEC, 0))
        rules.add_rule(seccomp.ALLOW, "kill", seccomp.Arg(0, seccomp.EQ, 0))  # its own group, when the parent is gone
        rules.add_rule(seccomp.ALLOW, "tgkill", seccomp.Arg(0, seccomp.EQ, os.getpid()))  # abort()
        rules.load()
    except OSError as error:
        return f"the kernel takes no filter: {error.strerror}"
    return ""
