"""
A read-only Hub on the loopback interface: serves a folder `<owner>/<name>/...` of data sets to the real client.

`python hub_server.py FOLDER` prints the endpoint to put into `HF_ENDPOINT` and serves until it is stopped.
Speaks what `datasets.load_dataset` asks for: repository info, tree listings, paths info, and file downloads.
"""

import hashlib
import json
import re
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

COMMIT = "c" * 40  # the one commit every repository has

API = re.compile(r"/api/datasets/(?P<repo>[^/]+/[^/]+)(?:/(?P<verb>revision|tree|paths-info)/[^/]+(?:/(?P<sub>.*))?)?")
FILE = re.compile(r"/datasets/(?P<repo>[^/]+/[^/]+)/resolve/[^/]+/(?P<path>.+)")


class HubHandler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    root: Path

    def log_message(self, *_):
        pass

    def do_GET(self):
        url = urlsplit(self.path)
        route, query = unquote(url.path), parse_qs(url.query)
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        match = API.fullmatch(route) or FILE.fullmatch(route)
        if match is None:
            return self.fail("NotFound", f"no such route: {route}")
        repo = self.root / match["repo"]
        if not repo.is_dir():
            return self.fail("RepoNotFound", "Repository not found")
        if match.re is FILE:
            return self.send_file(repo / match["path"])
        if match["verb"] == "tree":
            return self.send_tree(repo, match["sub"] or "", recursive=query.get("recursive") == ["True"])
        if match["verb"] == "paths-info":
            paths = json.loads(body)["paths"] if body.startswith(b"{") else parse_qs(body.decode())["paths"]
            return self.send_json([entry(repo, repo / path) for path in paths if (repo / path).exists()])
        files = [str(path.relative_to(repo)) for path in sorted(repo.rglob("*")) if path.is_file()]
        siblings = [{"rfilename": file} for file in files]
        return self.send_json({"id": match["repo"], "sha": COMMIT, "private": False, "tags": [], "siblings": siblings})

    do_HEAD = do_POST = do_GET

    def send_tree(self, repo, sub, recursive):
        if not (repo / sub).is_dir():
            return self.fail("EntryNotFound", f"{sub} does not exist")
        paths = (repo / sub).rglob("*") if recursive else (repo / sub).iterdir()
        return self.send_json([entry(repo, path) for path in sorted(paths)])

    def send_file(self, path):
        if not path.is_file():
            return self.fail("EntryNotFound", "Entry not found")
        content, headers = path.read_bytes(), {"ETag": f'"{oid(path)}"', "Accept-Ranges": "bytes"}
        if wanted := re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range") or ""):
            first, last = int(wanted[1]), min(int(wanted[2] or len(content)), len(content) - 1)
            headers["Content-Range"] = f"bytes {first}-{last}/{len(content)}"
            return self.reply(206, content[first : last + 1], headers)
        return self.reply(200, content, headers)

    def send_json(self, value):
        self.reply(200, json.dumps(value).encode(), {"Content-Type": "application/json"})

    def fail(self, code, message):
        self.reply(404, json.dumps({"error": message}).encode(), {"X-Error-Code": code, "X-Error-Message": message})

    def reply(self, status, body, headers):
        self.send_response(status)
        for name, value in {**headers, "X-Repo-Commit": COMMIT, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


def oid(path):
    return hashlib.sha1(path.read_bytes() if path.is_file() else str(path).encode()).hexdigest()


def entry(repo, path):
    name = str(path.relative_to(repo))
    if path.is_dir():
        return {"type": "directory", "path": name, "oid": oid(path), "size": 0}
    return {"type": "file", "path": name, "oid": oid(path), "size": path.stat().st_size}


if __name__ == "__main__":
    HubHandler.root = Path(sys.argv[1])
    server = ThreadingHTTPServer(("127.0.0.1", 0), HubHandler)
    print(f"http://127.0.0.1:{server.server_address[1]}", flush=True)  # noqa: T201
    server.serve_forever()
