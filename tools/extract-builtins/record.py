"""Records what a real kube-apiserver answers, for the tests of kubesim to be held against.

usage: record.py FOLDER

Writes one file of JSON lines for each subject; see README.md.
"""

import copy
import json
import pathlib
import sys
import time

sys.dont_write_bytecode = True

import extract
from control_plane import ControlPlane
from ownership import APPLY, MERGE, POST, PUT, STORIES
from refusals import CUSTOM_SCHEMA, SCHEMAS, UNDECODABLE, VALUES
from seeds import SEEDS

CONTENT_TYPES = {APPLY: "application/apply-patch+yaml", MERGE: "application/merge-patch+json", PUT: "application/json", POST: "application/json"}
METHODS = {APPLY: "PATCH", MERGE: "PATCH", PUT: "PUT", POST: "POST"}
DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"


class Recorder:
    def __init__(self, api, folder):
        self.api, self.folder = api, pathlib.Path(folder)
        self.plurals = {("shape.io/v1", "Foo"): ("foos", True)}
        for group in extract.discovery(api):
            for version in group["versions"]:
                name = f"{group['name']}/{version['version']}".removeprefix("/")
                for one in version["resources"]:
                    self.plurals[name, one["kind"]] = (one["plural"], one["namespaced"])

    def path(self, api_version, kind, name=None):
        plural, namespaced = self.plurals[api_version, kind]
        root = "/apis/" if "/" in api_version else "/api/"
        within = "/namespaces/default" if namespaced else ""
        return f"{root}{api_version}{within}/{plural}" + (f"/{name}" if name else "")

    def create(self, made):
        """What a dry run of a create answers."""
        return self.api.request("POST", self.path(made["apiVersion"], made["kind"]) + "?dryRun=All", made)

    def write(self, name, lines):
        text = "".join(json.dumps(line, sort_keys=True, separators=(",", ":")) + "\n" for line in lines)
        (self.folder / f"{name}.jsonl").write_text(text)
        print(f"{name}: {text.count(chr(10))} lines, {len(text)} bytes", file=sys.stderr)

    def defaults(self):
        for made in SEEDS:
            status, answer = self.create(made)
            assert status == 201, (made, answer)
            yield {"object": made, "answer": settled(answer)}

    def undecodable(self):
        for made in UNDECODABLE:
            status, answer = self.create(made)
            assert status == 400, (made, answer)
            yield {"object": made, "message": answer["message"]}

    def custom_values(self):
        yield {"schema": CUSTOM_SCHEMA}
        for value in VALUES:
            made = {"apiVersion": "shape.io/v1", "kind": "Foo", "metadata": {"name": "foo"}, "spec": value}
            status, answer = self.create(made)
            assert status in (201, 422), (made, answer)
            line = {"object": made, "errors": causes(answer) if status == 422 else []}
            if status == 201:
                line["answer"] = settled(answer)
            yield line

    def schemas(self):
        for schema in SCHEMAS:
            status, answer = self.api.request("POST", DEFINITIONS + "?dryRun=All", definition("bars", "Bar", "x.io", schema, {}))
            assert status in (201, 422), (schema, answer)
            errors = causes(answer) if status == 422 else []
            places = ("spec.validation.", "spec.versions[0].schema.")
            yield {"schema": schema, "errors": sorted({strip(error, places) for error in errors})}

    def ownership(self):
        for api_version, kind, story in STORIES:
            target = self.path(api_version, kind, "owned")
            self.api.request("DELETE", target)
            for one in story:
                yield self.step(api_version, kind, target, one)
            self.api.request("PATCH", target, {"metadata": {"finalizers": None}}, "application/merge-patch+json")
            self.api.request("DELETE", target)

    def step(self, api_version, kind, target, one):
        live = self.live(target)
        body = {"apiVersion": api_version, "kind": kind, **copy.deepcopy(one["body"])}
        body["metadata"] = {"name": "owned", **body.get("metadata", {})}
        if one["how"] == MERGE:
            body = one["body"]
        elif one["how"] == PUT:
            body = overlaid(live, one["body"])
        path = self.path(api_version, kind) if one["how"] == POST else target
        path += f"/{one['subresource']}" if one["subresource"] else ""
        path += f"?fieldManager={one['manager']}" + ("&force=true" if one["force"] else "")
        # The order of entries goes by the second.
        time.sleep(1.05 - time.time() % 1)
        status, answer = self.api.request(METHODS[one["how"]], path, body, CONTENT_TYPES[one["how"]])
        line = {key: value for key, value in one.items() if value} | {"body": body, "live": live}
        if status < 300:
            return line | {"answer": answer}
        assert one["how"] == APPLY and status in (400, 409, 500), (one, answer)
        return line | {"status": status, "message": answer["message"], "causes": answer.get("details", {}).get("causes", [])}

    def live(self, target):
        status, answer = self.api.request("GET", target)
        return answer if status == 200 else None

    def define(self):
        """Makes the kind Foo, and waits until it is served."""
        status, answer = self.api.request("POST", DEFINITIONS, definition("foos", "Foo", "shape.io", CUSTOM_SCHEMA, {"status": {}}))
        assert status == 201, answer
        deadline = time.monotonic() + 30
        while self.api.request("GET", self.path("shape.io/v1", "Foo"))[0] != 200:
            assert time.monotonic() < deadline, "the definition was not served within 30 seconds"
            time.sleep(0.2)


def definition(plural, kind, group, schema, subresources):
    version = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}, "subresources": subresources}
    names = {"plural": plural, "kind": kind}
    return {"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": f"{plural}.{group}"},
            "spec": {"group": group, "names": names, "scope": "Namespaced", "versions": [version]}}


def settled(answer):
    """An answer without what differs from run to run, and without who owns what."""
    for name in ("uid", "creationTimestamp", "managedFields", "generation", "namespace"):
        answer["metadata"].pop(name, None)
    return answer


def causes(answer):
    return sorted(f"{cause['field']}: {cause['message']}" for cause in answer["details"]["causes"])


def strip(text, prefixes):
    for prefix in prefixes:
        text = text.removeprefix(prefix).replace(f" {prefix}", " ")
    return text


def overlaid(live, changes):
    out = copy.deepcopy(live)
    for name, value in changes.items():
        out[name] = {**out.get(name, {}), **value}
    return out


def main(folder):
    with ControlPlane() as api:
        recorder = Recorder(api, folder)
        recorder.define()
        for name in ("defaults", "undecodable", "custom_values", "schemas", "ownership"):
            recorder.write(name, getattr(recorder, name)())


if __name__ == "__main__":
    if len(sys.argv) != 2:
        raise SystemExit(__doc__.split("\n\n")[1])
    main(sys.argv[1])
