"""ZooKeeper's own command line, and curl, against ours and against a real ZooKeeper: what they print is the same."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from server_process import ServerProcess

ZKCLI = Path("/usr/share/zookeeper/bin/zkCli.sh")
WAIT_S = 60
ZXID = re.compile(r"^([cmp]Zxid) = 0x([0-9a-f]+)$", re.MULTILINE)
TIME = re.compile(r"^([cm]time) = .*$", re.MULTILINE)
WHO = re.compile(r"^ip: .*\ndigest: .*$|^digest: .*\nip: .*$", re.MULTILINE)
EVENT = re.compile(r"^WatchedEvent .*$", re.MULTILINE)
NOISE = re.compile(
    r"^(Connecting to|SLF4J|WATCHER|WatchedEvent|Welcome|JLine|Picked up|log4j).*$|^\s*$\n?", re.MULTILINE
)

SCRIPT = """
create /cli data
create -e /cli/e eph
create -s /cli/s- seq
create -s -e /cli/se- both
create -c /cli/c
create -t 600000 /cli/t ttl
create -s -t 600000 /cli/st- ttl
create /cli/acl data world:anyone:cdrwa
create /cli
create /cli/e/child x
create /nope/x y
ls /cli
ls -s /cli
ls -R /cli
ls /none
get /cli
get -s /cli/s-0000000001
get /none
set /cli new
set -v 7 /cli bad
set -s /cli newer
set -v 2 /cli versioned
stat /cli
stat /none
getAcl /cli
setAcl /cli/c world:anyone:cdrw
getAcl -s /cli/c
setAcl /cli/acl world:anyone:r
set /cli/acl no
create /cli/acl/child no
addauth digest user:pw
setAcl /cli/t auth::cdrwa
getAcl /cli/t
sync /cli
getEphemerals
getEphemerals /cli
getEphemerals /none
getAllChildrenNumber /cli
getAllChildrenNumber /none
addWatch -m PERSISTENT /cli
set /cli watched
sync /cli
removewatches /cli
removewatches /none
whoami
setquota -n 100 /cli
setquota -N 9 /cli
listquota /cli
create /cli/q1 1
create /cli/q2 2
create /cli/q3 3
delquota /cli
listquota /cli
config
delete /cli/none
delete -v 9 /cli/c
delete /cli
delete /cli/q1
deleteall /cli
ls /cli
quit
"""


def told(port: int) -> tuple[str, str, list[str]]:
    """What it printed on both streams, and the events, with times and absolute zxids taken out."""
    command = [str(ZKCLI), "-server", f"127.0.0.1:{port}"]
    done = subprocess.run(command, input=SCRIPT, capture_output=True, text=True, timeout=WAIT_S, check=False)
    assert done.returncode in (0, 1), done.stderr
    first = min(int(zxid, 16) for _, zxid in ZXID.findall(done.stdout))
    out = ZXID.sub(lambda found: f"{found[1]} = first + {int(found[2], 16) - first}", done.stdout)
    out = TIME.sub(r"\1 = then", out)
    out = WHO.sub(lambda found: "\n".join(sorted(found[0].splitlines())), out)  # of a set: in any order
    return NOISE.sub("", out), NOISE.sub("", done.stderr), sorted(EVENT.findall(out))


@pytest.mark.timeout(150)
@pytest.mark.skipif(not ZKCLI.exists(), reason="no zkCli.sh here (make peers installs it)")
def test_zkcli_prints_the_same(peers: tuple[int, int]) -> None:
    real, ours = (told(port) for port in peers)
    assert "Created /cli/st-0000000005" in real[1], "the script did not run"
    assert ours == real


@pytest.mark.skipif(not shutil.which("curl"), reason="no curl here (make peers installs it)")
def test_curl(server: ServerProcess) -> None:
    def curl(*arguments: str) -> str:
        command = ["curl", "-sS", "--max-time", "20", *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    base = f"http://127.0.0.1:{server.port}"
    assert curl("-o", "/dev/null", "-w", "%{http_code}", f"{base}/livez") == "200"
    assert curl("-o", "/dev/null", "-w", "%{http_code}", f"{base}/none") == "404"
    assert "\nznode_count " in curl(f"{base}/metrics")
    assert curl("-I", f"{base}/livez").startswith("HTTP/1.1 200")
