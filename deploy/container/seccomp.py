#!/usr/bin/env python3
"""Makes seccomp.json out of Docker's default profile, which comes on standard input; README.md beside it has the rule."""

import json
import sys
import textwrap

ARCHITECTURES = {"amd64": "SCMP_ARCH_X86_64", "arm64": "SCMP_ARCH_AARCH64"}
IO_URING = ["io_uring_enter", "io_uring_register", "io_uring_setup"]


def applies(rule):
    """Whether a rule of Docker's holds for a process without capabilities on one of the architectures."""
    includes, excludes = rule.get("includes") or {}, rule.get("excludes") or {}
    if includes.keys() - {"arches", "caps", "minKernel"} or excludes.keys() - {"arches", "caps"}:
        sys.exit(f"a condition that is unknown here: {rule}")
    if includes.get("caps"):
        return False
    return not includes.get("arches") or bool(ARCHITECTURES.keys() & set(includes["arches"]))


def write(profile):
    """As json.dumps does it, but with as many names on a line as it takes."""
    rules = []
    for rule in profile.pop("syscalls"):
        names = textwrap.fill(json.dumps(rule.pop("names"))[1:-1], 136, initial_indent=" " * 4, subsequent_indent=" " * 4)
        rest = json.dumps(rule)[1:-1]
        rules.append(f'  {{"names": [\n{names}\n  ], {rest}}}')
    head = json.dumps(profile)[1:-1]
    return "{\n" + head + ',\n"syscalls": [\n' + ",\n".join(rules) + "\n]}\n"


docker = json.load(sys.stdin)
rules = [rule for rule in docker["syscalls"] if applies(rule)]
always = [rule for rule in rules if rule["action"] == "SCMP_ACT_ALLOW" and not rule.get("args")]
names = sorted({name for rule in always for name in rule["names"]})
if set(IO_URING) & set(names):
    sys.exit("this profile lets io_uring through by itself")
sys.stdout.write(write({
    "defaultAction": docker["defaultAction"],
    "defaultErrnoRet": docker["defaultErrnoRet"],
    "architectures": list(ARCHITECTURES.values()),
    "syscalls": [{"names": IO_URING, "action": "SCMP_ACT_ALLOW"}, {"names": names, "action": "SCMP_ACT_ALLOW"}]
    + [{key: rule[key] for key in ("names", "action", "errnoRet", "args") if key in rule} for rule in rules if rule not in always],
}))
