"""`ray up` with cluster/onprem.yaml, really run: two "machines" that ssh reaches, on this one.

Run by root on Linux, in the project's folder, with sshd and rsync installed and port 22 of
127.0.0.2 and 127.0.0.3 free:

    python -m benchmarks.rayup

Each machine is an sshd in mount and pid namespaces of its own, with its own home, /tmp/ray and
layer over this Python's environment, where the file's setup commands install the project. Only
addresses, user and key in it are replaced, and `ray start` is told of one core and a small object
store. A study runs through `ray exec`; the head is killed in the middle of a second one, which a
new head resumes; `ray down` ends all. 5 to 8 minutes on two cores; nothing stays.
"""

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

import pyarrow.parquet as pq
import yaml

from tuning.session import token_file

ROOT = Path(__file__).parents[1]
HOSTS = ("127.0.0.2", "127.0.0.3")
SHARED = Path("/shared")  # as cluster/onprem.yaml names it
SSHD = """\
ListenAddress {host}
Port 22
HostKey {folder}/host_key
AuthorizedKeysFile {folder}/key.pub
PidFile {folder}/pid
StrictModes no
UsePAM no
PermitRootLogin yes
PasswordAuthentication no
"""
# in namespaces of its own: what differs from machine to machine is mounted over what is shared
MACHINE = """\
set -e
mount --make-rprivate /
mount -t tmpfs none {folder}/layer
mkdir {folder}/layer/upper {folder}/layer/work
mount -t overlay -o lowerdir={prefix},upperdir={folder}/layer/upper,workdir={folder}/layer/work \
none {prefix}
mkdir -p /run/sshd /tmp/ray
{python}
mount --bind {folder}/ray /tmp/ray
mount --bind {shared} /shared
mount --rbind {folder}/home "$HOME"
exec /usr/sbin/sshd -D -e -f {folder}/sshd.conf
"""
SEARCH = "cd ~/noisetune && python -m tuning.search --address auto --json"
STUDY = "--method ce --storage /shared/studies --set epochs={epochs} --set optim.batch=256"

ACTORS = """
import ray
from ray._private.state import state
ray.init("auto", log_to_driver=False)
print("actors on", sorted(a["Address"]["IPAddress"] for a in state.actor_table(None).values()))
"""


class Machine:
    """One sshd in namespaces of its own; killing it kills all that runs in it."""

    def __init__(self, host: str, folder: Path, shared: Path, key: Path) -> None:
        self.folder = folder
        for name in ("home/.local/bin", "layer", "ray"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        (folder / "home/.bashrc").write_text(network())  # Ray sources it before anything else
        (folder / "home/venv").symlink_to(sys.prefix)
        uv = Path(sys.prefix, "bin/uv")
        (folder / "home/.local/bin/uv").symlink_to(uv if uv.exists() else shutil.which("uv") or uv)
        keygen(folder / "host_key")
        shutil.copy(key.with_suffix(".pub"), folder / "key.pub")
        (folder / "sshd.conf").write_text(SSHD.format(host=host, folder=folder))
        told = MACHINE.format(
            folder=folder, prefix=sys.prefix, shared=shared, python=kept(folder / "home")
        )
        (folder / "machine.sh").write_text(told)
        self.start()

    def start(self) -> None:
        run = ["unshare", "-m", "-p", "-f", "--mount-proc", "--kill-child=SIGKILL"]
        run += ["sh", str(self.folder / "machine.sh")]
        with (self.folder / "log").open("a") as log:
            self.process = subprocess.Popen(run, stdout=log, stderr=log)

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def processes(self) -> list[str]:
        """Commands of the processes that run in it, sshd's own apart."""
        found = []
        own = os.readlink(f"/proc/{self.process.pid}/ns/pid_for_children")
        for status in Path("/proc").glob("[0-9]*/status"):
            try:
                name = status.read_text().splitlines()[0].removeprefix("Name:\t")
                inside = os.readlink(status.parent / "ns/pid") == own
            except OSError:  # it has ended
                continue
            if inside and name not in ("sshd", "sh"):
                found.append(name)
        return sorted(found)


class Launcher:
    """Runs `ray` as a person at another machine would."""

    def __init__(self, folder: Path, key: Path) -> None:
        self.file = folder / "onprem.yaml"
        self.env = {name: value for name, value in os.environ.items() if name[:4] != "RAY_"}
        self.env |= {"HOME": str(folder / "home"), "RAY_TMPDIR": str(folder / "ray")}
        self.env |= {"PATH": f"{sys.prefix}/bin:{self.env['PATH']}"}
        self.env.pop("NOISETUNE_HOME", None)
        for name in ("home/.cache/noisetune", "ray"):
            (folder / name).mkdir(parents=True)
        shutil.copy(token_file(), folder / "home/.cache/noisetune/ray_token")
        given = yaml.safe_load((ROOT / "cluster/onprem.yaml").read_text())
        given["provider"] |= {"head_ip": HOSTS[0], "worker_ips": [*HOSTS[1:]]}
        given["auth"] = {"ssh_user": "root", "ssh_private_key": str(key)}
        for name in ("head_start_ray_commands", "worker_start_ray_commands"):
            lines = [line.replace("ray start", "ray start --num-cpus=1") for line in given[name]]
            given[name] = [line.replace("=200000000", "=100000000") for line in lines]
        self.file.write_text(yaml.safe_dump(given, sort_keys=False, width=1000))

    def ray(self, command: str, *more: str) -> str:
        """Run a command of `ray` on the file; gives what it printed."""
        began = time.monotonic()
        ran = subprocess.run(
            ["ray", command, str(self.file), *more],
            env=self.env,
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=400,
        )
        print(f"ray {command} {' '.join(more)}: {time.monotonic() - began:.1f} s")
        if ran.returncode:
            raise SystemExit(f"{ran.stdout[-3000:]}\nexit code {ran.returncode}")
        return ran.stdout

    def up(self) -> None:
        """Start the cluster, and wait until its worker has joined."""
        self.ray("up", "-y", "--no-config-cache", "--disable-usage-stats")
        began = time.monotonic()
        while self.ray("exec", "ray status").count("local.cluster.node") < len(HOSTS):
            if time.monotonic() - began > 120:
                raise SystemExit("no worker joined in 120 s")
        print(f"both nodes up {time.monotonic() - began:.1f} s after ray up")


def kept(home: Path) -> str:
    """Shell commands that keep this Python's folder in sight where it lies under the real home."""
    base = Path(sys.base_prefix)
    if not base.is_relative_to(Path.home()):
        return ""
    seen = home / base.relative_to(Path.home())
    return f"mkdir -p {seen}\nmount --bind {base} {seen}"


def network() -> str:
    """Shell commands that export what a package index is reached by from here."""
    parts = ("_PROXY", "SSL_CERT", "UV_", "PIP_")
    given = {n: v for n, v in os.environ.items() if any(part in n.upper() for part in parts)}
    return "".join(f"export {name}={shlex.quote(value)}\n" for name, value in given.items())


def keygen(path: Path) -> None:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(path)], check=True)


def verdict(printed: str) -> dict[str, object]:
    """What `--json` printed last."""
    (line,) = [line for line in printed.splitlines() if line.startswith('{"study"')]
    told: dict[str, object] = json.loads(line)
    return told


def main() -> None:
    folder = Path(tempfile.mkdtemp(prefix="ntup"))
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        if not SHARED.exists():
            SHARED.mkdir()
            stack.callback(SHARED.rmdir)
        (folder / "shared").mkdir()
        keygen(folder / "key")
        machines = [
            Machine(host, folder / host, folder / "shared", folder / "key") for host in HOSTS
        ]
        for machine in machines:
            stack.callback(machine.kill)
        launcher = Launcher(folder / "launcher", folder / "key")
        time.sleep(1)
        launcher.up()
        small = STUDY.format(epochs=2)
        told = verdict(launcher.ray("exec", f"{SEARCH} {small} --trials 8 --name first"))
        print(told, launcher.ray("exec", f"python -c {shlex.quote(ACTORS)}").splitlines()[-2:])

        study = folder / "shared/studies/second"
        long = STUDY.format(epochs=20)
        run = ["ray", "exec", str(launcher.file), f"{SEARCH} {long} --trials 8 --name second"]
        with subprocess.Popen(run, env=launcher.env, cwd=ROOT, stdout=subprocess.DEVNULL) as search:
            while not list(study.glob("best/*")):
                if search.poll() is not None:
                    raise SystemExit("the second study ended before its head was killed")
                time.sleep(0.5)
            machines[0].kill()
            journal = "".join(part.read_text() for part in study.glob("journal/*.jsonl"))
            print("head killed after", journal.count('"kind":"report"'), "reports")
            search.kill()
        machines[0].start()
        time.sleep(1)
        launcher.up()
        told = verdict(launcher.ray("exec", f"{SEARCH} --resume /shared/studies/second"))
        launcher.ray("rsync-down", "/shared/studies/second/", str(folder / "fetched/"))
        table = pq.read_table(folder / "fetched/history.parquet", columns=["trial", "report"])
        keys = [tuple(row.values()) for row in table.to_pylist()]
        print(told, f"{len(keys)} reports, {len(set(keys))} different")
        ended(launcher, machines, folder / "key")


def ended(launcher: Launcher, machines: list[Machine], key: Path) -> None:
    """`ray down`, and what docs/cluster.md says to do on workers; no process may be left."""
    launcher.ray("down", "-y")
    print("left by ray down:", [machine.processes() for machine in machines])
    for host in HOSTS[1:]:
        run = ["ssh", "-q", "-i", str(key), "-o", "UserKnownHostsFile=/dev/null", "-o"]
        run += ["StrictHostKeyChecking=no", f"root@{host}", "~/venv/bin/ray stop"]
        subprocess.run(run, check=True, stdout=subprocess.DEVNULL)
    left = [machine.processes() for machine in machines]
    print("left by ray stop on the workers:", left)
    if any(left):
        raise SystemExit("processes were left")


if __name__ == "__main__":
    main()
