"""
A Hub on the loopback interface that takes what the real client pushes and gives it back, in memory.

It speaks what `create_repo`, `create_commit`, `from_pretrained`, `snapshot_download` and collections ask for, keeps a
log of the requests, and fails on demand: `hub.fail("PUT", "/objects/", 500)` answers the next such request with that
status, `hub.fail(..., "cut")` takes some of its body and breaks the connection off.
"""

import base64
import fnmatch
import hashlib
import json
import re
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

TOKEN = "hf_AToken0fTheTests"
USER = "tester"
LARGE = ("*.safetensors", "*.png", "*.onnx", "*.bin")  # files that go up on their own, before the commit

REPO = r"(?P<repo>[^/]+/[^/]+)"
FILE = re.compile(rf"/{REPO}/resolve/(?P<revision>[^/]+)/(?P<path>.+)")
BATCH = re.compile(rf"/{REPO}\.git/info/lfs/objects/batch")
API = re.compile(rf"/api/models/{REPO}(?:/(?P<verb>\w[\w-]*)(?:/(?P<revision>[^/]+)(?:/(?P<path>.*))?)?)?")
COLLECTION = re.compile(r"/api/collections/(?P<slug>[^/]+/[^/]+?)(?P<items>/items?)?")


@dataclass
class Repository:
    """A repository: its commits in order, each a whole tree of file contents."""

    private: bool
    commits: list[dict[str, bytes]] = field(
        default_factory=lambda: [{".gitattributes": b"*.safetensors filter=lfs\n"}]
    )

    @property
    def files(self):
        return self.commits[-1]

    @property
    def revision(self):
        return hashlib.sha1(f"{len(self.commits)}{sorted(self.files)}".encode()).hexdigest()


class HubServer(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.endpoint = f"http://127.0.0.1:{self.server_address[1]}"
        self.forget()

    def forget(self):
        self.repositories, self.objects, self.collections = {}, {}, {}
        self.log, self.faults, self.card_errors = [], [], []

    def fail(self, method, part_of_path, how, times=1):
        self.faults.append([method, part_of_path, how, times])

    def __enter__(self):
        threading.Thread(target=self.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.shutdown()
        self.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_GET(self):
        route = unquote(urlsplit(self.path).path)
        for fault in self.server.faults:
            method, part, how, times = fault
            if times and method == self.command and part in route:
                fault[3] -= 1
                return self.break_down(how)
        body = self.read_body()
        if self.command == "PUT" and route.startswith("/objects/"):  # without the token: its address is the permit
            self.server.objects[hashlib.sha256(body).hexdigest()] = body
            return self.reply(200, {})
        known = self.headers.get("Authorization") == f"Bearer {TOKEN}"
        if self.command not in ("GET", "HEAD") and not known and route != "/api/validate-yaml":
            return self.reply(401, {"error": "Invalid username or password."})
        if route == "/api/repos/create":
            return self.create(json.loads(body))
        if route == "/api/validate-yaml":
            errors = [{"message": message} for message in self.server.card_errors]
            return self.reply(400 if errors else 200, {"errors": errors, "warnings": []})
        if route == "/api/collections":
            return self.create_collection(json.loads(body))
        for pattern, answer in ((COLLECTION, self.add_item), (FILE, self.file), (BATCH, self.batch), (API, self.api)):
            if match := pattern.fullmatch(route):
                return self.answer(answer, match, body, known)
        return self.reply(404, {"error": f"no such route: {route}"})

    do_HEAD = do_PUT = do_POST = do_GET

    def answer(self, answer, match, body, known):
        if "repo" in match.groupdict():
            repository = self.server.repositories.get(match["repo"])
            if repository is None or (repository.private and not known):
                return self.fail("RepoNotFound", "Repository not found", 404 if known else 401)
            return answer(match, body, repository)
        return answer(match, body)

    def create(self, wanted):
        name = f"{wanted.get('organization') or USER}/{wanted['name']}"
        if name.split("/")[0] != USER:
            return self.fail(
                "Forbidden", f"You don't have the rights to create a model under {name.split('/')[0]}", 403
            )
        url = {"url": f"{self.server.endpoint}/{name}", "name": name, "id": name}
        if name in self.server.repositories:
            return self.reply(409, {"error": "You already created this model repo", **url})
        self.server.repositories[name] = Repository(private=wanted.get("visibility") == "private")
        return self.reply(200, url)

    def batch(self, match, body, repository):
        objects = [
            {"oid": o["oid"], "size": o["size"]}
            | (
                {}
                if o["oid"] in self.server.objects
                else {"actions": {"upload": {"href": f"{self.server.endpoint}/objects/{o['oid']}", "header": {}}}}
            )
            for o in json.loads(body)["objects"]
        ]
        return self.reply(200, {"transfer": "basic", "objects": objects})

    def file(self, match, body, repository):
        headers = {"X-Repo-Commit": repository.revision}
        if match["revision"] not in ("main", repository.revision):
            return self.fail("RevisionNotFound", "no such revision")
        if match["path"] not in repository.files:
            return self.fail("EntryNotFound", "Entry not found", headers=headers)
        content = repository.files[match["path"]]
        return self.send(200, content, headers | {"ETag": f'"{hashlib.sha256(content).hexdigest()}"'})

    def api(self, match, body, repository):
        verb = match["verb"]
        if verb in (None, "revision"):
            siblings = [{"rfilename": path} for path in sorted(repository.files)]
            entry = {"id": match["repo"], "sha": repository.revision, "private": repository.private, "tags": []}
            return self.reply(200, {**entry, "siblings": siblings})
        if verb == "tree":
            inside = f"{match['path']}/" if match["path"] else ""
            found = [self.entry(p, c) for p, c in sorted(repository.files.items()) if p.startswith(inside)]
            return self.reply(200, found) if found else self.fail("EntryNotFound", f"{inside} does not exist")
        if verb == "preupload":
            return self.reply(200, {"files": [self.mode(wanted) for wanted in json.loads(body)["files"]]})
        if verb == "commit":
            return self.commit(match["repo"], repository, body)
        return self.reply(404, {"error": f"no such verb: {verb}"})

    def commit(self, name, repository, body):
        files = dict(repository.files)
        for line in body.splitlines():
            entry = json.loads(line)
            key, value = entry["key"], entry["value"]
            if key == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif key == "lfsFile":
                if value["oid"] not in self.server.objects:
                    return self.fail("LfsMissing", f"object of {value['path']} is missing", 400)
                files[value["path"]] = self.server.objects[value["oid"]]
        repository.commits.append(files)
        url = f"{self.server.endpoint}/{name}/commit/{repository.revision}"
        return self.reply(200, {"success": True, "commitOid": repository.revision, "commitUrl": url})

    def create_collection(self, wanted):
        slug = f"{wanted['namespace']}/{wanted['title'].lower().replace(' ', '-')}-1"
        is_new = slug not in self.server.collections
        self.server.collections.setdefault(slug, {"title": wanted["title"], "private": wanted["private"], "items": []})
        return self.reply(200 if is_new else 409, self.collection(slug))

    def add_item(self, match, body):
        if match["items"] is None:
            return self.reply(200, self.collection(match["slug"]))
        items, item = self.server.collections[match["slug"]]["items"], json.loads(body)["item"]["id"]
        if item in items:
            return self.reply(409, {"error": "already in the collection"})
        items.append(item)
        return self.reply(200, self.collection(match["slug"]))

    def collection(self, slug):
        kept = self.server.collections[slug]
        items = [{"_id": i, "id": i, "type": "model", "position": n} for n, i in enumerate(kept["items"])]
        return {
            **{"slug": slug, "title": kept["title"], "owner": {"name": USER}, "items": items, "theme": "blue"},
            **{"private": kept["private"], "upvotes": 0, "position": 0, "lastUpdated": "2026-01-01T00:00:00.000Z"},
        }

    @staticmethod
    def mode(wanted):
        is_large = any(fnmatch.fnmatch(wanted["path"], pattern) for pattern in LARGE)
        return {"path": wanted["path"], "uploadMode": "lfs" if is_large else "regular", "shouldIgnore": False}

    @staticmethod
    def entry(path, content):
        digest = hashlib.sha256(content).hexdigest()
        lfs = {"lfs": {"oid": digest, "size": len(content), "pointerSize": 130}}
        is_large = any(fnmatch.fnmatch(path, pattern) for pattern in LARGE)
        return {"type": "file", "path": path, "oid": digest[:40], "size": len(content)} | (lfs if is_large else {})

    def read_body(self):
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        parts = []
        while size := int(self.rfile.readline().strip() or b"0", 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def break_down(self, how):
        self.server.log.append((self.command, self.path, how))
        if how == "cut":
            self.rfile.read(1000)
            self.close_connection = True
            return self.connection.close()
        self.read_body()
        return self.reply(how, {"error": f"a fault of the test, {how}"})

    def fail(self, code, message, status=404, headers=None):
        headers = {**(headers or {}), "X-Error-Code": code, "X-Error-Message": message}
        self.send(status, json.dumps({"error": message}).encode(), headers)

    def reply(self, status, value):
        self.send(status, json.dumps(value).encode(), {"Content-Type": "application/json"})

    def send(self, status, content, headers):
        self.server.log.append((self.command, self.path, status))
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)
