"""Runs a command under the system call filter of a unit: confine.py UNIT COMMAND...

systemd itself must be process 1 to do that. This applies the same allow list, as `systemd-analyze syscall-filter`
gives it, and what comes with it (no_new_privs). Exit status 75: the machine cannot do it.
"""

import ctypes
import os
import re
import struct
import subprocess
import sys

PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 22, 2
PR_SET_NO_NEW_PRIVS = 38
ALLOW, REFUSE = 0x7FFF0000, 0x00050001  # SECCOMP_RET_ALLOW; SECCOMP_RET_ERRNO with EPERM
LOAD_NUMBER, JUMP_IF_EQUAL, RETURN = 0x20, 0x15, 0x06
CANNOT = 75


def members(name, seen):
    """The system calls of a filter set and of the sets in it."""
    if not name.startswith("@"):
        return {name}
    if name in seen:
        return set()
    seen.add(name)
    listed = subprocess.run(
        ["systemd-analyze", "--no-pager", "syscall-filter", name], capture_output=True, text=True, check=True
    )
    lines = [line.strip() for line in listed.stdout.splitlines()[1:]]
    lines = [line for line in lines if line and not line.startswith("#")]
    return set().union(*(members(line, seen) for line in lines))


def allowed(unit):
    """The names that the unit's SystemCallFilter= lines allow. @default always belongs to them."""
    with open(unit, encoding="utf-8") as file:
        lines = re.findall(r"^SystemCallFilter=(.*)$", file.read(), re.MULTILINE)
    assert lines and not any(line.startswith("~") for line in lines), "only allow lists are understood"
    words = [word for line in lines for word in line.split()]
    seen = set()
    return set().union(*(members(word, seen) for word in ["@default", *words]))


def numbers():
    """System call numbers by name, of this machine."""
    found = subprocess.run(
        ["cc", "-E", "-dM", "-include", "asm/unistd.h", "-x", "c", "/dev/null"], capture_output=True, text=True
    )
    pairs = re.findall(r"^#define __NR_(\w+) (\d+)$", found.stdout, re.MULTILINE)
    return {name: int(number) for name, number in pairs}


def program(calls):
    """A classic BPF program: each call has a comparison and an answer, for all others the last line holds."""
    lines = [(LOAD_NUMBER, 0, 0, 0)]
    for call in sorted(calls):
        lines += [(JUMP_IF_EQUAL, 0, 1, call), (RETURN, 0, 0, ALLOW)]
    lines.append((RETURN, 0, 0, REFUSE))
    return b"".join(struct.pack("HBBI", *line) for line in lines), len(lines)


class Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("filter", ctypes.c_void_p)]


def main():
    unit, command = sys.argv[1], sys.argv[2:]
    known = numbers()
    if not known:
        print("confine.py: no asm/unistd.h for cc", file=sys.stderr)
        sys.exit(CANNOT)
    code, length = program({known[name] for name in allowed(unit) if name in known})
    held = ctypes.create_string_buffer(code, len(code))
    libc = ctypes.CDLL(None, use_errno=True)
    asked = Program(length, ctypes.addressof(held))
    done = libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) or libc.prctl(
        PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.byref(asked), 0, 0
    )
    if done != 0:
        print(f"confine.py: {os.strerror(ctypes.get_errno())}", file=sys.stderr)
        sys.exit(CANNOT)
    os.execvp(command[0], command)


main()
