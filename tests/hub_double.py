"""A Hub on the loopback: what huggingface_hub asks of the real one when it pushes and pulls, over real HTTP.

Repositories live in memory as commits of whole trees. Private ones are hidden from those who may not see them, tokens
may be read-only, and `faults` break or damage a file on its way. Its clients are processes of their own, since
huggingface_hub reads its settings when imported.
"""

import base64
import json
import os
import re
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import sha1, sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

import yaml

ROOT = Path(__file__).resolve().parent.parent
LARGE = (".safetensors", ".bin", ".jpg", ".png")  # stored by LFS
OWNER, READER = "hf_owner", "hf_reader"  # tokens: may write, may only read


@dataclass
class Repo:
    private: bool = False
    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)  # the whole tree at each commit
    refs: dict[str, str] = field(default_factory=dict)  # branch or pull request -> commit

    def __post_init__(self):
        self.commit("main", {}, parent=None)

    def commit(self, ref: str, tree: dict[str, bytes], parent: str | None) -> str:
        told = [str(parent), ref, *(name + sha256(content).hexdigest() for name, content in sorted(tree.items()))]
        sha = sha1(" ".join(told).encode()).hexdigest()
        self.commits[sha], self.refs[ref] = tree, sha
        return sha

    def find(self, revision: str) -> str | None:
        return self.refs.get(revision) or (revision if revision in self.commits else None)

    def files(self, revision: str = "main") -> dict[str, bytes]:
        return self.commits[self.find(revision)]


class HubDouble(ThreadingHTTPServer):
    """Use as a context: serves until it ends. `repos` by id; `requests` counts "METHOD /path".

    faults: file name -> "cut once" (the connection breaks half-way, the first time), "cut" (at once, always),
    "damage" (one bit of the content is wrong).
    """

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.repos: dict[str, Repo] = {}
        self.large: dict[str, bytes] = {}  # LFS objects, by hash
        self.faults: dict[str, str] = {}
        self.requests: Counter[str] = Counter()
        self.ranges: list[str] = []  # that were asked for
        self.after: Callable[[str], None] | None = None  # called with a file's name when it has been sent

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def environment(self, home: Path, token: str | None = None, **more: str) -> dict[str, str]:
        """For a client whose cache and settings are in the folder `home`."""
        settings = {"HF_ENDPOINT": self.url, "HF_HOME": str(home), "HF_HUB_DISABLE_XET": "1", "HF_TOKEN": token or ""}
        quiet = {"HF_HUB_DISABLE_TELEMETRY": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
        path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
        return settings | quiet | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"} | more

    def __enter__(self) -> "HubDouble":
        threading.Thread(target=self.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *error) -> None:
        self.shutdown()
        self.server_close()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: HubDouble

    def log_message(self, *args) -> None:
        pass

    def do_GET(self) -> None:
        self.answer("GET")

    def do_HEAD(self) -> None:
        self.answer("GET")

    def do_POST(self) -> None:
        self.answer("POST")

    def do_PUT(self) -> None:
        self.answer("PUT")

    def answer(self, method: str) -> None:
        self.body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        split = urlsplit(self.path)
        path, self.query = unquote(split.path), parse_qs(split.query)
        token = (self.headers.get("Authorization") or "").removeprefix("Bearer ").strip()
        if token not in ("", OWNER, READER):
            return self.refuse(401, "", "Invalid credentials in Authorization header")
        self.may_read, self.may_write = token != "", token == OWNER
        self.server.requests[f"{self.command} {path}"] += 1
        for pattern, action in ROUTES:
            if found := re.fullmatch(pattern, f"{method} {path}"):
                return action(self, *found.groups())
        self.refuse(404, "", f"the double knows no {method} {path}")

    # what it answers

    def send(self, content: bytes, status: int = 200, kind: str = "application/json", **headers: str) -> None:
        self.send_response(status)
        for name, value in {"Content_Type": kind, "Content_Length": str(len(content)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def tell(self, answer: dict | list, status: int = 200) -> None:
        self.send(json.dumps(answer).encode(), status)

    def refuse(self, status: int, code: str, message: str) -> None:
        self.send(json.dumps({"error": message}).encode(), status, X_Error_Code=code, X_Error_Message=message)

    def seen(self, repo_id: str, write: bool = False) -> Repo | None:
        """The repository, if the client may do that with it; else None, the answer sent."""
        repo = self.server.repos.get(repo_id)
        if repo is None or repo.private and not self.may_read:
            self.refuse(404 if self.may_read else 401, "RepoNotFound", "Repository not found")
        elif write and not self.may_write:
            self.refuse(403 if self.may_read else 401, "", "You have no right to write here")
        else:
            return repo
        return None

    def commit_of(self, repo: Repo, revision: str) -> str | None:
        sha = repo.find(revision)
        if sha is None:
            self.refuse(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        return sha

    # push

    def create(self) -> None:
        wanted = json.loads(self.body)
        repo_id = f"{wanted['organization']}/{wanted['name']}"
        if not self.may_write:
            return self.refuse(403 if self.may_read else 401, "", "You have no right to create this")
        known = {"url": f"{self.server.url}/{repo_id}", "name": repo_id, "id": repo_id}
        if repo_id in self.server.repos:
            return self.tell(known | {"error": "You already created this model repo"}, 409)
        private = wanted.get("private") or wanted.get("visibility") == "private"
        self.server.repos[repo_id] = Repo(bool(private))
        self.tell(known)

    def branch(self, repo_id: str, name: str) -> None:
        if repo := self.seen(repo_id, write=True):
            if name in repo.refs:
                return self.refuse(409, "", "Reference already exists")
            repo.refs[name] = repo.refs["main"]
            self.tell({})

    def validate(self) -> None:
        front = re.match(r"---\n(.*?)\n---\n", json.loads(self.body)["content"], re.DOTALL)
        header = yaml.safe_load(front[1]) if front else None
        if not isinstance(header, dict) or not isinstance(header.get("license", ""), str):
            return self.tell({"errors": [{"message": "the header is no YAML mapping"}], "warnings": []}, 400)
        self.tell({"errors": [], "warnings": []})

    def preupload(self, repo_id: str, revision: str) -> None:
        if (repo := self.seen(repo_id, write=True)) and self.commit_of(repo, revision):
            self.tell({"files": [_upload_mode(each["path"]) for each in json.loads(self.body)["files"]]})

    def batch(self, repo_id: str) -> None:
        if self.seen(repo_id, write=True):
            objects = json.loads(self.body)["objects"]
            for each in objects:
                if each["oid"] not in self.server.large:
                    each["actions"] = {"upload": {"href": f"{self.server.url}/large/{each['oid']}"}}
            self.tell({"transfer": "basic", "objects": objects})

    def upload(self, oid: str) -> None:
        if sha256(self.body).hexdigest() != oid:
            return self.refuse(400, "", "the content has another hash")
        self.server.large[oid] = self.body
        self.send(b"")

    def commit(self, repo_id: str, revision: str) -> None:
        repo = self.seen(repo_id, write=True)
        parent = repo and self.commit_of(repo, revision)
        if not parent:
            return
        tree = dict(repo.commits[parent])
        for line in self.body.splitlines():
            key, value = json.loads(line).values()
            if key == "header" and value.get("parentCommit", parent) != parent:
                return self.refuse(412, "", "A commit has happened since")
            if key == "file":
                tree[value["path"]] = base64.b64decode(value["content"])
            elif key == "lfsFile":
                tree[value["path"]] = self.server.large[value["oid"]]
            elif key == "deletedFile":
                del tree[value["path"]]
        pull = "create_pr" in self.query
        ref = f"refs/pr/{sum(each.startswith('refs/pr/') for each in repo.refs) + 1}" if pull else revision
        sha = repo.commit(ref, tree, parent)
        url = f"{self.server.url}/{repo_id}"
        answer = {"commitUrl": f"{url}/commit/{sha}", "commitOid": sha, "success": True}
        self.tell(answer | ({"pullRequestUrl": f"{url}/discussions/{ref.rpartition('/')[2]}"} if pull else {}))

    # pull

    def info(self, repo_id: str, revision: str | None) -> None:
        if (repo := self.seen(repo_id)) and (sha := self.commit_of(repo, revision or "main")):
            siblings = [{"rfilename": name} for name in repo.commits[sha]]
            self.tell(
                {
                    "id": repo_id,
                    "modelId": repo_id,
                    "sha": sha,
                    "private": repo.private,
                    "siblings": siblings,
                    "tags": [],
                }
            )

    def tree(self, repo_id: str, revision: str) -> None:
        if (repo := self.seen(repo_id)) and (sha := self.commit_of(repo, revision)):
            files = repo.commits[sha].items()
            self.tell([{"type": "file", "path": name, "size": len(content), "oid": "0"} for name, content in files])

    def resolve(self, repo_id: str, revision: str, name: str) -> None:
        repo = self.seen(repo_id)
        sha = repo and self.commit_of(repo, revision)
        if not sha:
            return
        if name not in repo.commits[sha]:
            return self.send(b"", 404, X_Error_Code="EntryNotFound", X_Repo_Commit=sha)
        content = repo.commits[sha][name]
        large = name.endswith(LARGE)
        tag = sha256(content).hexdigest() if large else sha1(b"blob %d\0" % len(content) + content).hexdigest()
        headers = {
            "kind": "application/octet-stream",
            "X_Repo_Commit": sha,
            "ETag": f'"{tag}"',
            "Accept_Ranges": "bytes",
        }
        fault = self.server.faults.get(name) if self.command == "GET" else None
        if fault == "damage":
            content = content[:-1] + bytes([content[-1] ^ 1])
        first = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range") or "")
        if first:
            self.server.ranges.append(first[0])
            start, whole = int(first[1]), len(content)
            content = content[start:]
            headers |= {"status": 206, "Content_Range": f"bytes {start}-{whole - 1}/{whole}"}
        if fault in ("cut", "cut once"):
            if fault == "cut once":
                del self.server.faults[name]
            self.close_connection = True
            headers["Content_Length"] = str(len(content))
            content = content[: len(content) // 2] if fault == "cut once" else b""
        self.send(content, **headers)
        if self.server.after and self.command == "GET":
            self.server.after(name)


def _upload_mode(path: str) -> dict:
    return {"path": path, "uploadMode": "lfs" if path.endswith(LARGE) else "regular", "shouldIgnore": False}


ID = r"([\w.-]+/[\w.-]+)"
ROUTES = [
    (r"POST /api/repos/create", Handler.create),
    (r"POST /api/validate-yaml", Handler.validate),
    (rf"POST /api/models/{ID}/branch/(.+)", Handler.branch),
    (rf"POST /api/models/{ID}/preupload/(.+)", Handler.preupload),
    (rf"POST /api/models/{ID}/commit/(.+)", Handler.commit),
    (rf"POST /{ID}\.git/info/lfs/objects/batch", Handler.batch),
    (r"PUT /large/(\w+)", Handler.upload),
    (rf"GET /api/models/{ID}/tree/(.+)", Handler.tree),
    (rf"GET /api/models/{ID}(?:/revision/(.+))?", Handler.info),
    (rf"GET /{ID}/resolve/(refs/pr/\d+|[^/]+)/(.+)", Handler.resolve),
]


def files_in(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}
