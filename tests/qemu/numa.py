#!/usr/bin/env python3
"""numa.py --kernel VMLINUZ [--model MODEL.gguf]: --numa on machines of two real NUMA nodes, which QEMU makes.

Boots a Linux kernel whose initial file system holds the release binary, its libraries, busybox and the model, and there
generates text with every --numa while /proc/PID/numa_maps is read. Checks that the text is the same, and that pages and
threads are where doc/numa.md says. Takes some minutes: all instructions are emulated. Needs, on Debian:

    apt-get install qemu-system-x86 busybox-static cpio
    apt-get download linux-image-VERSION-amd64 && dpkg-deb -x linux-image-*.deb k     (then --kernel k/boot/vmlinuz-*)

or the host's own kernel in /boot.
"""
import argparse
import gzip
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
BINARY = HERE.parents[1] / "build/release/cli/tessera"
MODELS = pathlib.Path.home() / ".cache/tessera/models"
MODES = "none,interleave,local,mirror"
PAGE = 4096
failures = 0


def check(right, what):
    global failures
    failures += not right
    print(f"  {'ok  ' if right else 'FAIL'} {what}", flush=True)


def initial_files(folder, model):
    """The compressed initial file system of the machine."""
    root = folder / "root"
    for name in ("bin", "proc", "sys", "dev", "tmp"):
        (root / name).mkdir(parents=True)
    busybox = shutil.which("busybox") or "/bin/busybox"
    shutil.copy(busybox, root / "bin/busybox")
    shutil.copy(BINARY, root / "bin/tessera")
    shutil.copy(HERE / "init.sh", root / "init")
    (root / "init").chmod(0o755)
    shutil.copy(model, root / "model.gguf")
    listed = subprocess.run(["ldd", BINARY], check=True, capture_output=True, text=True).stdout
    for library in re.findall(r"(/\S+) \(0x", listed):
        to = root / library.lstrip("/")
        to.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(library, to)
    names = "\n".join(str(p.relative_to(root)) for p in sorted(root.rglob("*")))
    archive = subprocess.run(["cpio", "-o", "-H", "newc", "--quiet"], cwd=root, input=names.encode(), check=True,
                             capture_output=True).stdout
    out = folder / "initrd.gz"
    out.write_bytes(gzip.compress(archive, 1))
    return out


def boot(kernel, initrd, nodes, modes, tokens, again="", append="", timeout=900):
    """{name: {part: text}} of a machine whose nodes have so many MB and CPUs each."""
    command = ["qemu-system-x86_64", "-M", "q35", "-accel", "tcg,thread=multi", "-cpu", "max", "-nographic",
               "-no-reboot", "-nic", "none", "-kernel", kernel, "-initrd", initrd,
               "-m", f"{sum(mb for mb, _ in nodes)}M",
               "-smp", str(sum(n for _, n in nodes)), "-append", "console=ttyS0 quiet panic=-1 "
               f"{append} tessera.modes={modes} tessera.tokens={tokens} tessera.again={again}"]
    first = 0
    if len(nodes) > 1:
        for i, (mb, cpus) in enumerate(nodes):
            command += ["-object", f"memory-backend-ram,id=m{i},size={mb}M",
                        "-numa", f"node,nodeid={i},memdev=m{i},cpus={first}-{first + cpus - 1}"]
            first += cpus
    try:
        out = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=timeout).stdout
    except subprocess.TimeoutExpired as e:
        out = e.stdout or b""
    out = out.decode("utf-8", "replace").replace("\r", "")
    if "@@ end" not in out:
        sys.exit(f"the machine did not come to its end within {timeout} s:\n{out[-3000:]}")
    parts = {}
    for name, part, text in re.findall(r"^@@ (\S+) (\S+)\n(.*?)(?=^@@)", out, re.DOTALL | re.MULTILINE):
        parts.setdefault(name, {})[part] = text
    return parts


def mapped(maps):
    """[(policy, {node: pages})] of /proc/PID/numa_maps."""
    return [(line.split()[1], {int(n): int(pages) for n, pages in re.findall(r" N(\d+)=(\d+)", line)})
            for line in maps.splitlines() if " " in line]


def pages_of(maps, policy):
    """{node: pages} of all areas with that policy."""
    total = {}
    for has, nodes in mapped(maps):
        for node, pages in nodes.items() if has == policy else ():
            total[node] = total.get(node, 0) + pages
    return total


def packed_mb(run):
    found = re.search(r"copies of (\d+) MB", run["notes"])
    return int(found[1]) if found else 0


def check_threads(run, node_of_cpu):
    """Workers are on one CPU each, and of n threads on n CPUs each CPU has one but the caller's."""
    allowed = run["threads"].split()
    alone = sorted(int(cpus) for cpus in allowed if cpus.isdigit())
    check(len(set(alone)) == len(alone) == len(node_of_cpu) - 1,
          f"workers pinned to CPUs {alone}, of nodes {[node_of_cpu[c] for c in alone]}")


def check_modes(got, node_of_cpu):
    text = got["none"]["text"]
    check(len(text) > 40, f"none: {text.strip()[:60]!r}")
    for mode, run in got.items():
        check(run["status"].strip() == "0" and run["text"] == text, f"{mode}: the same text")
        check_threads(run, node_of_cpu)
    check(not any(p.startswith(("bind", "interleave")) for p, _ in mapped(got["none"]["maps"])), "none: no policy")
    spread = pages_of(got["interleave"]["maps"], "interleave:0-1")
    check(len(spread) == 2 and abs(spread[0] - spread[1]) < 0.1 * sum(spread.values()),
          f"interleave: pages of nodes {spread}")
    size = packed_mb(got["mirror"]) * 1e6 / PAGE
    for mode, least in (("local", 0.45), ("mirror", 0.99)) + ((("again", 0.99),) if "again" in got else ()):
        for node in (0, 1):
            pages = pages_of(got[mode]["maps"], f"bind:{node}")
            check(set(pages) == {node} and least * size < pages[node] < (least + 0.12) * size,
                  f"{mode}: bound to node {node}: pages {pages}, packed {size:.0f}")
    if "again" in got:
        check("packed weights read from the cache" in got["again"]["notes"], "again: read from the cache")


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--kernel", help="of Linux, with NUMA (Debian's have it); default: the newest in /boot")
    p.add_argument("--model", default=MODELS / "SmolLM2-135M-Instruct.Q4_1.gguf")
    p.add_argument("--tokens", type=int, default=16)
    a = p.parse_args()
    kernels = sorted(pathlib.Path("/boot").glob("vmlinuz-*"))
    kernel = a.kernel or (kernels[-1] if kernels else None)
    missing = [tool for tool in ("qemu-system-x86_64", "busybox", "cpio") if not shutil.which(tool)]
    missing += [str(f) for f in (BINARY, a.model) if not pathlib.Path(f).exists()]
    missing += [] if kernel else ["a kernel (--kernel)"]
    if missing:
        sys.exit(f"missing: {', '.join(missing)}\n{__doc__}")
    with tempfile.TemporaryDirectory() as folder:
        initrd = initial_files(pathlib.Path(folder), a.model)
        size = pathlib.Path(a.model).stat().st_size >> 20
        room = 500 + 4 * size
        print("two nodes of two CPUs")
        check_modes(boot(kernel, initrd, [(room, 2), (room, 2)], MODES, a.tokens, again="mirror"), [0, 0, 1, 1])
        print("one node, of which the kernel makes two: what is below 4 GiB (2 GiB of it) and what is above")
        check_modes(boot(kernel, initrd, [(2048 + room, 4)], MODES, a.tokens, append="numa=fake=2U"), [0, 1, 0, 1])
        print("a node too small for a copy")
        got = boot(kernel, initrd, [(2 * room, 2), (size // 2 + 40, 2)], "none,mirror", a.tokens)
        notes = got["mirror"]["notes"]
        check(got["mirror"]["status"].strip() == "1" and "NUMA node 1, which has" in notes, notes.strip()[-300:])
    print(f"{failures} failures" if failures else "all as it should be")
    return failures > 0


if __name__ == "__main__":
    sys.exit(main())
