"""A real etcd and kube-apiserver on free loopback ports, for as long as a `with` block lasts."""

import http.client
import json
import os
import pathlib
import secrets
import socket
import ssl
import subprocess
import tempfile
import time

TOKEN = secrets.token_hex(16)


def binaries():
    """The folder with etcd and kube-apiserver: KUBEBUILDER_ASSETS first, the project's cache second."""
    named = os.environ.get("KUBEBUILDER_ASSETS")
    if named:
        folders = [pathlib.Path(named)]
    else:
        cache = os.environ.get("HANSA_CACHE")
        if not cache:
            cache = os.path.join(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "hansa")
        folders = sorted(pathlib.Path(cache, "control-plane").glob("kube-*"))
    for folder in reversed(folders):
        if (folder / "etcd").exists() and (folder / "kube-apiserver").exists():
            return folder
    raise SystemExit("no etcd and kube-apiserver found: set KUBEBUILDER_ASSETS or run tools/control-plane")


def free_ports(count):
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


class ControlPlane:
    """`with ControlPlane() as api:` gives an `api.request(method, path, body)`."""

    def __init__(self, flags=()):
        self.flags = list(flags)
        self.processes = []

    def __enter__(self):
        self.folder = tempfile.TemporaryDirectory(prefix="extract-builtins-")
        try:
            self.start(pathlib.Path(self.folder.name), binaries())
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(self, *_):
        for process in reversed(self.processes):
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self.folder.cleanup()

    def start(self, folder, assets):
        client, peer, self.port = free_ports(3)
        keys = folder / "service-account"
        subprocess.run(["openssl", "genrsa", "-out", f"{keys}.key", "2048"], check=True, capture_output=True)
        (folder / "tokens.csv").write_text(f'{TOKEN},admin,admin,"system:masters"\n')
        self.spawn(folder, assets / "etcd", f"--data-dir={folder}/etcd", "--unsafe-no-fsync",
                   f"--listen-client-urls=http://127.0.0.1:{client}", f"--advertise-client-urls=http://127.0.0.1:{client}",
                   f"--listen-peer-urls=http://127.0.0.1:{peer}", f"--initial-advertise-peer-urls=http://127.0.0.1:{peer}",
                   f"--initial-cluster=default=http://127.0.0.1:{peer}")
        self.spawn(folder, assets / "kube-apiserver", f"--etcd-servers=http://127.0.0.1:{client}",
                   "--bind-address=127.0.0.1", f"--secure-port={self.port}", f"--cert-dir={folder}/certificates",
                   f"--token-auth-file={folder}/tokens.csv", "--authorization-mode=RBAC",
                   "--service-cluster-ip-range=10.96.0.0/16", "--service-account-issuer=https://kubernetes.default.svc",
                   f"--service-account-key-file={keys}.key", f"--service-account-signing-key-file={keys}.key",
                   "--allow-privileged=true", "--disable-admission-plugins=ServiceAccount", *self.flags)
        deadline = time.monotonic() + 120
        while True:
            try:
                if self.request("GET", "/readyz")[0] == 200 and self.request("GET", "/api/v1/namespaces/default")[0] == 200:
                    return
            except OSError:
                pass
            for process in self.processes:
                if process.poll() is not None:
                    raise SystemExit(f"{process.args[0]} ended:\n" + (folder / "log").read_text(errors="replace")[-2000:])
            if time.monotonic() > deadline:
                raise SystemExit("kube-apiserver was not ready within two minutes:\n" + (folder / "log").read_text(errors="replace")[-2000:])
            time.sleep(0.2)

    def spawn(self, folder, *command):
        with open(folder / "log", "ab") as log:
            self.processes.append(subprocess.Popen([str(part) for part in command], stdout=log, stderr=log, cwd=folder))

    def request(self, method, path, body=None, content_type="application/json", accept="application/json"):
        """The status and the parsed body of one request."""
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        connection = http.client.HTTPSConnection("127.0.0.1", self.port, context=context, timeout=60)
        try:
            headers = {"Authorization": f"Bearer {TOKEN}", "Accept": accept, "Content-Type": content_type}
            payload = None if body is None else body if isinstance(body, (str, bytes)) else json.dumps(body)
            connection.request(method, path, payload, headers)
            response = connection.getresponse()
            text = response.read()
        finally:
            connection.close()
        try:
            return response.status, json.loads(text)
        except ValueError:
            return response.status, text.decode(errors="replace")
