"""A server on 127.0.0.1 that stands in for a hub: repositories of files, commits, revisions.

It speaks as much of the hub's HTTP interface as creating, committing and downloading need.
"""

import base64
import hashlib
import json
import re
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class LocalHub:
    """`repositories` are lists of commits: (id, files by name). `requests` are (verb, path)."""

    repositories: dict = field(default_factory=dict)
    requests: list = field(default_factory=list)
    status: int = 0  # if not 0, every answer
    server: ThreadingHTTPServer = None

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server.server_port}"

    def commit(self, repository, files):
        commits = self.repositories.setdefault(repository, [])
        before = commits[-1][1] if commits else {}
        name = hashlib.sha1(repr((repository, len(commits), sorted(files))).encode()).hexdigest()
        commits.append((name, before | files))
        return name

    def files(self, repository, revision):
        """(commit, files) of a revision; None where there is none."""
        commits = self.repositories[repository]
        if revision == "main":
            return commits[-1] if commits else None
        return next((each for each in commits if each[0] == revision), None)

    def start(self):
        hub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *words):
                pass

            def answer(self, status, body=b"", **headers):
                body = json.dumps(body).encode() if isinstance(body, dict) else body
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name.replace("_", "-"), value)
                self.send_header("Content-Length", headers.pop("length", str(len(body))))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(body)

            def do_POST(self):
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                hub.requests.append((self.command, self.path))
                if hub.status:
                    return self.answer(hub.status, {"error": "no"})
                if self.path == "/api/repos/create":
                    asked = json.loads(body)
                    name = "/".join(filter(None, [asked.get("organization"), asked["name"]]))
                    if name in hub.repositories:
                        return self.answer(409, {"url": f"{hub.url}/{name}"})
                    hub.repositories[name] = []
                    return self.answer(200, {"url": f"{hub.url}/{name}", "private": asked})
                if self.path == "/api/validate-yaml":
                    return self.answer(200, {"errors": [], "warnings": []})
                kind = re.fullmatch(
                    r"/api/models/([^/]+/[^/]+)/(preupload|commit)/main.*", self.path
                )
                if not kind or kind[1] not in hub.repositories:
                    return self.answer(404, {"error": "?"}, X_Error_Code="RepoNotFound")
                if kind[2] == "preupload":
                    files = [
                        {"path": each["path"], "uploadMode": "regular", "shouldIgnore": False}
                        for each in json.loads(body)["files"]
                    ]
                    return self.answer(200, {"files": files})
                lines = [json.loads(line) for line in body.splitlines() if line]
                found = {
                    line["value"]["path"]: base64.b64decode(line["value"]["content"])
                    for line in lines
                    if line["key"] == "file"
                }
                name = hub.commit(kind[1], found)
                url = f"{hub.url}/{kind[1]}/commit/{name}"
                return self.answer(200, {"commitUrl": url, "commitOid": name, "hookOutput": ""})

            def do_GET(self):
                hub.requests.append((self.command, self.path))
                if hub.status:
                    return self.answer(hub.status)
                kind = re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/([^/?]+)", self.path)
                if not kind or kind[1] not in hub.repositories:
                    return self.answer(404, X_Error_Code="RepoNotFound")
                found = hub.files(kind[1], kind[2])
                if found is None:
                    return self.answer(404, X_Error_Code="RevisionNotFound")
                commit, files = found
                if kind[3] not in files:
                    return self.answer(404, X_Error_Code="EntryNotFound", X_Repo_Commit=commit)
                content = files[kind[3]]
                etag = f'"{hashlib.sha1(content).hexdigest()}"'
                return self.answer(200, content, X_Repo_Commit=commit, ETag=etag)

            do_HEAD = do_GET

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def stop(self):
        self.server.shutdown()
        self.server.server_close()
