"""What does a process give up before it touches hostile bytes?

Limits of memory, files and time; the network, by a namespace of its own; and, by a seccomp filter, the calls that an
exploited parser would need and a parser never does: new processes and programs, sockets, links, looking into others.
Who needs few files can give the others up, too (`confine`). Each is taken as far as the kernel lets us; none depends on
another. Linux, see seccomp(2), user_namespaces(7), landlock(7).
"""

import ctypes
import os
import platform
import resource
import signal
import struct
from collections.abc import Sequence
from contextlib import suppress
from errno import ENOSYS, EPERM

DESCRIPTORS_MAX = 64

PR_SET_PDEATHSIG = 1
PR_SET_NO_NEW_PRIVS = 38
SECCOMP = {"x86_64": 317, "aarch64": 277}
SECCOMP_SET_FILTER = 1
SECCOMP_ALL_THREADS = 1

LANDLOCK_CREATE, LANDLOCK_ADD, LANDLOCK_RESTRICT = 444, 445, 446
LANDLOCK_VERSION = 1
LANDLOCK_READ_FILE, LANDLOCK_READ_FOLDER = 1 << 2, 1 << 3
LANDLOCK_FILES = ((1 << 13) - 1, (1 << 14) - 1, (1 << 15) - 1)
"""All rights to files that versions 1, 2 and 3 of it know."""

LOAD_WORD, JUMP_EQUAL, JUMP_AT_LEAST, RETURN = 0x20, 0x15, 0x35, 0x06
ALLOW, REFUSE, KILL = 0x7FFF0000, 0x00050000, 0x80000000
NUMBER_AT, ARCHITECTURE_AT = 0, 4
FOREIGN_TABLE = 0x40000000
"""Calls from here on belong to x32, another table of numbers over the same architecture."""

ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
CLONE3 = 435
"""Answered with ENOSYS, so that the C library falls back to clone, which is refused."""

EVERYWHERE = (424, 425, 426, 427, 434, 438, 428, 429, 430, 431, 432, 433, 442)
"""pidfd_send_signal, io_uring_*, pidfd_open, pidfd_getfd, and the calls that mount file systems."""

REFUSED = {
    # socket connect accept bind listen socketpair accept4 / clone fork vfork execve execveat / kill tkill ptrace
    # process_vm_* / symlink* link* mknod* / mount umount chroot pivot_root unshare setns / bpf perf userfaultfd keys
    # modules reboot swap open_by_handle_at kexec
    "x86_64": (
        41, 42, 43, 49, 50, 53, 288, 56, 57, 58, 59, 322, 62, 200, 101, 310, 311, 88, 266, 86, 265, 133, 259,
        165, 166, 161, 155, 272, 308, 321, 298, 323, 248, 249, 250, 175, 176, 313, 169, 167, 168, 304, 246, 320,
    ),
    "aarch64": (
        198, 203, 202, 200, 201, 199, 242, 220, 221, 281, 129, 130, 117, 270, 271, 36, 37, 33,
        40, 39, 51, 41, 97, 268, 280, 241, 282, 217, 218, 219, 105, 106, 273, 142, 224, 225, 265, 104, 294,
    ),
}  # fmt: skip


def enclose(memory_bytes: int, file_bytes: int, parent: int) -> None:
    """Give everything up that the work does not need. Ends this process if `parent` is already gone."""
    bound(memory_bytes, file_bytes, parent)
    refuse_calls()


def bound(memory_bytes: int, file_bytes: int, parent: int, *, descriptors: int = DESCRIPTORS_MAX) -> None:
    """The walls that do not stand in the way of threads: limits, and no network. Call it before there are any."""
    with suppress(OSError):
        os.unshare(os.CLONE_NEWUSER | os.CLONE_NEWNET)
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_NOFILE, (descriptors, descriptors))
    resource.setrlimit(resource.RLIMIT_FSIZE, (file_bytes, file_bytes))
    resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)


def confine(folders: Sequence[str], files: Sequence[str] = ()) -> bool:
    """From now on this thread, and those that it starts, reach what lies in `folders`, and read `files` (or what lies
    in them); no other file. False where the kernel has no such wall."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.syscall.restype = ctypes.c_long
    version = libc.syscall(LANDLOCK_CREATE, None, 0, LANDLOCK_VERSION)
    if version < 1:
        return False
    handled = LANDLOCK_FILES[min(version, len(LANDLOCK_FILES)) - 1]
    asked = struct.pack("=Q", handled)
    rules = libc.syscall(LANDLOCK_CREATE, asked, len(asked), 0)
    if rules < 0:
        return False
    try:
        for path, may in (*((one, handled) for one in folders), *((one, _readable(one)) for one in files)):
            with suppress(OSError):  # what is not there needs no leave
                _allow(libc, rules, path, may)
        if libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
            return False
        return bool(libc.syscall(LANDLOCK_RESTRICT, rules, 0) == 0)
    finally:
        os.close(rules)


def _readable(path: str) -> int:
    return LANDLOCK_READ_FILE | LANDLOCK_READ_FOLDER if os.path.isdir(path) else LANDLOCK_READ_FILE


def _allow(libc: ctypes.CDLL, rules: int, path: str, may: int) -> None:
    """struct landlock_path_beneath_attr is packed: u64 of rights, s32 of a descriptor."""
    number = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        libc.syscall(LANDLOCK_ADD, rules, 1, struct.pack("=Qi", may, number), 0)
    finally:
        os.close(number)


def allow_seconds(seconds: int) -> None:
    """From now on at most `seconds` of processor time, then the kernel ends this process."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    limit = int(used.ru_utime + used.ru_stime) + seconds + 1
    resource.setrlimit(resource.RLIMIT_CPU, (limit, resource.RLIM_INFINITY))


class _Program(ctypes.Structure):
    """struct sock_fprog of linux/filter.h."""

    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_char_p))


def refuse_calls() -> bool:
    """Install the filter in all threads; False where it is not known for this machine, or not allowed here."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.syscall.restype = ctypes.c_long
    machine = platform.machine()
    if machine not in REFUSED or libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        return False
    code = filter_code(machine)
    program = _Program(len(code) // 8, code)
    done = libc.syscall(SECCOMP[machine], SECCOMP_SET_FILTER, SECCOMP_ALL_THREADS, ctypes.byref(program))
    return bool(done == 0)


def filter_code(machine: str) -> bytes:
    """The filter as classic BPF, 8 bytes an instruction: (operation, jump if so, jump if not, operand)."""
    numbers = sorted({*REFUSED[machine], *EVERYWHERE})
    end = len(numbers)  # what lies behind the list of numbers: allow, refuse, no such call
    code = [
        (LOAD_WORD, 0, 0, ARCHITECTURE_AT),
        (JUMP_EQUAL, 1, 0, ARCHITECTURES[machine]),
        (RETURN, 0, 0, KILL),
        (LOAD_WORD, 0, 0, NUMBER_AT),
        (JUMP_AT_LEAST, end + 2, 0, FOREIGN_TABLE),
        (JUMP_EQUAL, end + 2, 0, CLONE3),
        *((JUMP_EQUAL, end - at, 0, number) for at, number in enumerate(numbers)),
        (RETURN, 0, 0, ALLOW),
        (RETURN, 0, 0, REFUSE | EPERM),
        (RETURN, 0, 0, REFUSE | ENOSYS),
    ]
    return b"".join(struct.pack("=HBBI", *instruction) for instruction in code)
