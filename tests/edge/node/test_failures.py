"""What can go wrong with a process is told apart in one sentence each: who, where, how it ended, and its last words."""

import re
import sys
from typing import Any

from grange.proto import tree_pb2

from .node_helpers import AgentNode, kind_of

SAY = "import os, signal, sys, time; print('reading'); print('calibration may-2'); "
READY = "import socket; s = socket.socket(1, 2); s.connect(os.environ['NOTIFY_SOCKET']); s.send(b'READY=1'); "
LAST = '(last line: "calibration may-2")'

# slot: what runs, what is asked of it, what has gone wrong then, in which words
CASES: dict[str, tuple[dict[str, Any], str, str]] = {
    "absent-1": (
        {"argv": ["/opt/psa/bin/psa"]},
        "never_started",
        "absent-1 on n1 was never started: /opt/psa/bin/psa: No such file or directory",
    ),
    "limit-1": (
        {"code": "", "cpus": [4000]},
        "never_started",
        "limit-1 on n1 was never started: processors 4000 cannot be used: there are … here",
    ),
    "code-1": (
        {"code": SAY + "sys.exit(2)"},
        "died_starting",
        f"code-1 on n1 exited with code 2 before it was ready {LAST}",
    ),
    "signal-1": (
        {"code": SAY + "os.abort()"},
        "died_starting",
        f"signal-1 on n1 was killed by SIGABRT before it was ready {LAST}",
    ),
    "slow-1": (
        {"code": SAY + "signal.pause()", "limit_s": 2.0},
        "too_slow",
        f"slow-1 on n1 was too slow: boot was not done within 2 s {LAST}",
    ),
    "hung-1": (
        {"code": SAY + READY + "signal.pause()", "watchdog_timeout_s": 0.5},
        "hung",
        f"hung-1 on n1 has been silent for more than 0.5 s {LAST}",
    ),
    "dead-1": (
        {"code": SAY + READY + "time.sleep(0.2); sys.exit(3)"},
        "died_running",
        f"dead-1 on n1 exited with code 3 while it was booted {LAST}",
    ),
    "refused-1": (
        {"code": SAY + READY + "signal.pause()", "then": "start"},
        "refused",
        "refused-1 on n1: start is not possible in booted: it starts from configured; possible now: load, shutdown",
    ),
}


async def test_the_six_kinds_of_failure_are_told_in_one_sentence_each(node: AgentNode) -> None:
    parent = await node.start()
    for slot, (case, _, _) in CASES.items():
        fields = {name: value for name, value in case.items() if name not in ("code", "limit_s", "then")}
        argv = [sys.executable, "-I", "-S", "-u", "-c", case.get("code", "")]
        spec = tree_pb2.ProcessSpec(path=f"sf01/n1/{slot}", role=slot[:-2], ready="notify", **({"argv": argv} | fields))
        limit = {"limit_s": case["limit_s"]} if "limit_s" in case else {}
        await parent.order("b", spec.path, "boot", spec=spec, **limit)
        if "then" in case:
            await parent.done("b", spec.path)
            await parent.order("t", spec.path, case["then"])
    told = {}
    for slot in CASES:
        row = await parent.row(f"sf01/n1/{slot}", lambda row: row.HasField("failure"))
        # the processors of this machine are not those of others
        text = re.sub(r"(?<=there are ).*(?= here)", "…", row.failure.reason)
        told[slot] = (kind_of(row), text)
    assert told == {slot: (kind, text) for slot, (_, kind, text) in CASES.items()}
