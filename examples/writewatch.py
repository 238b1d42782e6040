# SPDX-License-Identifier: MIT
"""writewatch.py - libwritewatch from Python, by ctypes: an mmap object of which
it is known which pages were written. Run it to see one.

    with Tracker() as t:
        t.watch(memory)
        ...
        for offset, length in t.dirty(memory, reset=True):
            ...
"""
import contextlib
import ctypes
import mmap
import os

lib = ctypes.CDLL(os.environ.get("LIBWRITEWATCH", "libwritewatch.so.0"))

RESET, WINDOW = 1, 2

# which backend was refused, and why: called with (data, line)
LOG = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_char_p)


class Range(ctypes.Structure):
    _fields_ = [("start", ctypes.c_void_p), ("len", ctypes.c_size_t)]


class Options(ctypes.Structure):
    _fields_ = [("size", ctypes.c_size_t), ("backend", ctypes.c_char_p),
                ("require", ctypes.c_uint), ("flags", ctypes.c_uint),
                ("pidfd", ctypes.c_int), ("uffd", ctypes.c_int),
                ("pagemap", ctypes.c_int), ("log", LOG),
                ("log_data", ctypes.c_void_p)]


class Info(ctypes.Structure):
    _fields_ = [("size", ctypes.c_size_t), ("name", ctypes.c_char_p),
                ("caps", ctypes.c_uint), ("modes", ctypes.c_uint), ("status", ctypes.c_int),
                ("reason", ctypes.c_char_p)]


def declare(name, *arguments):
    function = getattr(lib, name)
    function.argtypes = arguments
    function.restype = ctypes.c_int
    # a negative result is an errno value
    function.errcheck = lambda r, f, a: r if r >= 0 else fail(r)
    return function


def fail(r):
    raise OSError(-r, os.strerror(-r))


P = ctypes.c_void_p
ww_open = declare("ww_open", ctypes.POINTER(P), ctypes.POINTER(Options))
ww_info = declare("ww_info", P, ctypes.POINTER(Info))
ww_watch = declare("ww_watch", P, P, ctypes.c_size_t, ctypes.c_uint)
ww_unwatch = declare("ww_unwatch", P, P, ctypes.c_size_t, ctypes.c_uint)
ww_mark = declare("ww_mark", P, P, ctypes.c_size_t, ctypes.c_uint)
ww_hold = declare("ww_hold", P, P, ctypes.c_size_t, ctypes.c_uint)
ww_release = declare("ww_release", P, P, ctypes.c_size_t, ctypes.c_uint)
ww_discard = declare("ww_discard", P, P, ctypes.c_size_t, ctypes.c_uint)
ww_get_ranges = declare("ww_get_ranges", P, P, ctypes.c_size_t, ctypes.c_uint,
                        ctypes.POINTER(Range), ctypes.POINTER(ctypes.c_size_t))
lib.ww_close.argtypes = [P]
lib.ww_close.restype = None
lib.ww_cap_name.argtypes = [ctypes.c_uint]
lib.ww_cap_name.restype = ctypes.c_char_p


def address(memory):
    """Where a writable buffer lives. It must not be closed while it is watched."""
    return ctypes.addressof(ctypes.c_char.from_buffer(memory))


class Tracker:
    """backend: a name, or a list with commas. require: names of caps. log: a
    function that is called with a line for each backend that was refused."""

    def __init__(self, backend=None, require=(), log=None):
        self.ww = P()
        bits = {lib.ww_cap_name(1 << i): 1 << i for i in range(32)}
        self.log = LOG(lambda data, line: log(line.decode())) if log else LOG()
        options = Options(size=ctypes.sizeof(Options), log=self.log,
                          require=sum(bits[name.encode()] for name in require),
                          backend=backend.encode() if backend else None)
        ww_open(ctypes.byref(self.ww), ctypes.byref(options))

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        lib.ww_close(self.ww)
        self.ww = P()

    @property
    def backend(self):
        info = Info(size=ctypes.sizeof(Info))
        ww_info(self.ww, ctypes.byref(info))
        return info.name.decode()

    @property
    def caps(self):
        """What the backend guarantees: {"exact", "kernel-writes", ...}."""
        info = Info(size=ctypes.sizeof(Info))
        ww_info(self.ww, ctypes.byref(info))
        return {lib.ww_cap_name(1 << i).decode() for i in range(32) if info.caps >> i & 1}

    def watch(self, memory):
        ww_watch(self.ww, address(memory), len(memory), 0)

    def unwatch(self, memory):
        ww_unwatch(self.ww, address(memory), len(memory), 0)

    @contextlib.contextmanager
    def held(self, memory):
        """Open for a system call, or a device, that writes into memory meanwhile."""
        ww_hold(self.ww, address(memory), len(memory), 0)
        try:
            yield
        finally:
            ww_release(self.ww, address(memory), len(memory), 0)

    def discard(self, memory):
        """Its pages read as zeros then, and are clean."""
        ww_discard(self.ww, address(memory), len(memory), 0)

    def dirty(self, memory, reset=False):
        """(offset, length) of each written run of pages, ascending."""
        base, at = address(memory), 0
        room = 256
        found = (Range * room)()
        while at < len(memory):
            n = ctypes.c_size_t(room)
            ww_get_ranges(self.ww, base + at, len(memory) - at,
                          RESET if reset else 0, found, ctypes.byref(n))
            for r in found[:n.value]:
                yield r.start - base, r.len
            if n.value < room:
                return
            at = found[room - 1].start + found[room - 1].len - base


def main():
    page = mmap.PAGESIZE
    memory = mmap.mmap(-1, 1000 * page, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    lines = []
    with Tracker(require=["atomic-reset"], log=lines.append) as t:
        assert "atomic-reset" in t.caps and any(t.backend in line for line in lines), lines
        t.watch(memory)
        for i in range(0, 1000, 3):
            memory[i * page] = 1
        found = list(t.dirty(memory, reset=True))
        assert found == [(i * page, page) for i in range(0, 1000, 3)], found
        memory[5 * page:7 * page] = b"x" * 2 * page
        assert list(t.dirty(memory)) == [(5 * page, 2 * page)]
        with open("/dev/zero", "rb", buffering=0) as zero, t.held(memory):
            zero.readinto(memory)
        assert sum(n for _, n in t.dirty(memory, reset=True)) == 1000 * page
        t.discard(memory)
        t.unwatch(memory)
        print(f"{t.backend}: {len(found)} of 1000 pages were written, and told")


if __name__ == "__main__":
    main()
