"""What machine is this, what may run where on it, and what did a process cost?"""

import contextlib
import os
import platform
import shutil
import subprocess
import sysconfig
import time
from collections.abc import Sequence
from pathlib import Path

SERVER_CORE = 0
CLIENT_CORE = 1
MTU = 1500
CORES = sorted(os.sched_getaffinity(0))
TICKS = os.sysconf("SC_CLK_TCK")


class Skipped(Exception):
    """A tool is missing here; the message names it and where it comes from."""


def need(*tools: str) -> None:
    """Raises Skipped, naming every missing program."""
    missing = [tool for tool in tools if shutil.which(tool) is None]
    if missing:
        raise Skipped(f"not installed: {', '.join(missing)} (Debian packages of these names)")


def pinned(core: int | None, command: Sequence[str]) -> list[str]:
    """The command on one core, where the machine has that many; None = on all of them."""
    if shutil.which("taskset") is None:
        return list(command)
    cores = CORES if core is None or core >= len(CORES) else CORES[core : core + 1]
    return ["taskset", "-c", ",".join(map(str, cores)), *command]


def pin_to_client() -> None:
    """The bench itself asks from the client's core, and leaves the server's alone."""
    if len(CORES) > CLIENT_CORE:
        os.sched_setaffinity(0, {CORES[CLIENT_CORE]})


def use_all_cores() -> None:
    """What this process starts from here on, and itself, may run anywhere."""
    os.sched_setaffinity(0, CORES)


def warm_memory(folder: Path, size: int) -> None:
    """Let the kernel have `size` bytes of free memory that was in use a moment ago.

    Under a hypervisor that takes free pages back, the first write to a page costs several times what the write itself
    does: a measurement of file writes would measure the host.
    """
    path, block = folder / "memory", bytes(1 << 20)
    with path.open("wb", buffering=0) as file:
        for _ in range(0, size, len(block)):
            file.write(block)
    path.unlink()


def isolate() -> str:
    """Moves this process into a network namespace of its own, so that loopback behaves like a wire; says what it is.

    On plain loopback an MTU of 65536 stalls nginx's tcp_nopush, and BBR makes bulk speeds random.
    """
    if os.geteuid() != 0 or shutil.which("ip") is None:
        return "the machine's own loopback (no root or no ip command): do not quote bulk figures"
    try:
        os.unshare(os.CLONE_NEWNET)
    except OSError as error:
        return f"the machine's own loopback ({error}): do not quote bulk figures"
    subprocess.run(["ip", "link", "set", "lo", "up", "mtu", str(MTU)], check=True)
    control = Path("/proc/sys/net/ipv4/tcp_congestion_control")
    with contextlib.suppress(OSError):
        control.write_text("reno")
    return f"own network namespace, MTU {MTU}, {control.read_text().strip()}"


def interpreter() -> str:
    """How this Python was built: profile-guided optimisation is worth a fifth of what runs in the interpreter."""
    told = str(sysconfig.get_config_var("CONFIG_ARGS") or "")
    return "optimised build" if "--enable-optimizations" in told else "built without profile-guided optimisation"


def conditions(network: str) -> dict[str, str]:
    """What a reader must know to judge the figures."""
    return {
        "date": time.strftime("%Y-%m-%d %H:%M %Z"),
        "processor": _processor(),
        "cores": str(len(CORES)),
        "kernel": platform.release(),
        "python": f"{platform.python_version()}, {interpreter()}",
        "nginx": _first_line(["nginx", "-v"]),
        "network": network,
        "load before": "{:.2f} {:.2f} {:.2f}".format(*os.getloadavg()),
    }


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.machine()


def _first_line(command: list[str]) -> str:
    if shutil.which(command[0]) is None:
        return "not installed"
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return (done.stdout + done.stderr).strip().splitlines()[0]


# ---------------------------------------------------------------- what a process and its children cost


def parse_stat(text: str) -> tuple[int, float]:
    """Of a /proc/PID/stat line: the parent's id, and CPU seconds with those of reaped children."""
    fields = text.rpartition(")")[2].split()
    return int(fields[1]), sum(int(ticks) for ticks in fields[11:15]) / TICKS


def family(pid: int) -> dict[int, float]:
    """CPU seconds by process id, of `pid` and all that descend from it."""
    seen: dict[int, tuple[int, float]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                seen[int(entry.name)] = parse_stat((entry / "stat").read_text())
            except OSError:
                continue
    found = {pid: seen[pid][1]} if pid in seen else {}
    grew = True
    while grew:
        more = {child: cost for child, (parent, cost) in seen.items() if parent in found and child not in found}
        found |= more
        grew = bool(more)
    return found


def cpu_seconds(pid: int) -> float:
    """User and system time that `pid` and its descendants have used."""
    return sum(family(pid).values())


def memory_bytes(pid: int) -> tuple[int, int]:
    """Resident memory of the one process: all of it, and the part that no file backs."""
    found = {}
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        name, _, value = line.partition(":")
        if name in ("VmRSS", "RssAnon"):
            found[name] = int(value.split()[0]) << 10
    return found.get("VmRSS", 0), found.get("RssAnon", 0)
