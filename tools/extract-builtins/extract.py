"""Writes what kubesim knows of the built-in kinds, as a real kube-apiserver tells it.

usage: extract.py FILE

See README.md for what is taken from where.
"""

import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

sys.dont_write_bytecode = True

from control_plane import ControlPlane

AGGREGATED = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
PREFIX = "#/components/schemas/"


def discovery(api):
    """Groups in the order the server gives them, each with its versions and their resources."""
    groups = []
    for root in ("/api", "/apis"):
        status, body = api.request("GET", root, accept=AGGREGATED)
        assert status == 200, body
        for group in body["items"]:
            name = group.get("metadata", {}).get("name", "")
            versions = []
            for version in group["versions"]:
                resources = [resource_facts(name, version["version"], one) for one in version["resources"]]
                versions.append({"version": version["version"], "resources": resources})
            groups.append({"name": name, "versions": versions})
    return groups


def resource_facts(group, version, resource):
    """One resource of aggregated discovery, with the group and version of every kind said outright."""
    facts = {
        "plural": resource["resource"],
        "singular": resource["singularResource"],
        "kind": resource["responseKind"]["kind"],
        "namespaced": resource["scope"] == "Namespaced",
        "verbs": resource["verbs"],
    }
    for key, name in (("shortNames", "shortNames"), ("categories", "categories")):
        if resource.get(key):
            facts[name] = resource[key]
    subresources = []
    for one in resource.get("subresources", []):
        kind = one.get("responseKind") or {}
        subresources.append({
            "name": one["subresource"],
            "group": kind.get("group") or group if kind.get("version") else group,
            "version": kind.get("version") or version,
            "kind": kind.get("kind", ""),
            "verbs": one["verbs"],
        })
    if subresources:
        facts["subresources"] = subresources
    return facts


def definitions(api):
    """Every schema of every OpenAPI v3 document, by name, without descriptions."""
    status, index = api.request("GET", "/openapi/v3")
    assert status == 200, index
    found = {}
    for path, entry in sorted(index["paths"].items()):
        if path != "api/v1" and not (path.startswith("apis/") and path.count("/") == 2):
            continue
        status, document = api.request("GET", entry["serverRelativeURL"])
        assert status == 200, document
        for name, schema in document["components"]["schemas"].items():
            merge_definition(found, name, without_descriptions(schema))
    return found


def merge_definition(found, name, schema):
    """The documents agree on a definition, except for which group's kinds use the options of `meta/v1`."""
    known = found.setdefault(name, schema)
    if known != schema:
        key = "x-kubernetes-group-version-kind"
        for one in schema.get(key, []):
            if one not in known[key]:
                known[key].append(one)
        assert {**known, key: 0} == {**schema, key: 0}, f"{name} differs between documents"


def without_descriptions(schema):
    if isinstance(schema, list):
        return [without_descriptions(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    out = {}
    for key, value in schema.items():
        if key == "description" and isinstance(value, str):
            continue
        if key == "properties":
            out[key] = {name: without_descriptions(one) for name, one in value.items()}
        elif key == "allOf" and len(value) == 1 and set(value[0]) == {"$ref"}:
            out["$ref"] = value[0]["$ref"].removeprefix(PREFIX)
        elif key == "$ref":
            out[key] = value.removeprefix(PREFIX)
        else:
            out[key] = without_descriptions(value)
    return out


def go_facts(version, data):
    """What Go's structs and the server's defaulting functions say: see facts/main.go."""
    with tempfile.TemporaryDirectory(prefix="facts-") as folder:
        for source in pathlib.Path(__file__).with_name("facts").glob("*.go"):
            shutil.copy(source, folder)
        pathlib.Path(folder, "go.mod").write_text(go_mod(version))
        build = ["go", "build", "-mod=mod", "-trimpath", "-o", "facts", "."]
        environment = {**os.environ, "CGO_ENABLED": "0", "GOFLAGS": ""}
        subprocess.run(build, cwd=folder, env=environment, check=True)
        question = json.dumps({"kinds": served_kinds(data), "enums": enumerations(data)})
        answer = subprocess.run([f"{folder}/facts"], input=question, capture_output=True, check=True, text=True)
    return json.loads(answer.stdout)


def go_mod(version):
    """k8s.io/kubernetes points its staging modules at its own folders, which do not count in a dependant."""
    found = subprocess.run(["go", "mod", "download", "-json", f"k8s.io/kubernetes@{version}"], capture_output=True, check=True)
    text = pathlib.Path(json.loads(found.stdout)["GoMod"]).read_text()
    staging = "v0" + version.removeprefix("v1")
    lines = ["module facts", "go 1.26.0", f"require k8s.io/kubernetes {version}"]
    lines += [f"replace {name} => {name} {staging}" for name in re.findall(r"^\s*(\S+) => \./staging/", text, re.M)]
    return "\n".join(lines) + "\n"


def served_kinds(data):
    """The kinds behind the resources, as Go's structs name them."""
    served = {(group["name"], version["version"], resource["kind"])
              for group in data["groups"] for version in group["versions"] for resource in version["resources"]}
    return [{"Group": group, "Version": version, "Kind": kind} for group, version, kind in sorted(served)]


# Fields with a fixed set of values that OpenAPI does not enumerate.
MORE_ENUMERATIONS = {
    "io.k8s.api.apps.v1.StatefulSetUpdateStrategy": {"type": ["OnDelete", "RollingUpdate"]},
    "io.k8s.api.rbac.v1.Subject": {"kind": ["Group", "ServiceAccount", "User"]},
}
# Defaults that depend on more than a rule can say: kubesim has a line of code for each (src/schema/hooks.rs).
BY_HAND = re.compile(r"/volumes/emptyDir$|^io\.k8s\.api\.(" + "|".join([
    r"apps\.v1\.StatefulSet/spec/updateStrategy/rollingUpdate",
    r"batch\.v1\.Job/spec/(completions|podReplacementPolicy)",
    r"networking\.v1\.NetworkPolicy/spec/policyTypes",
]) + ")$")


def enumerations(data):
    found = {name: dict(fields) for name, fields in MORE_ENUMERATIONS.items()}
    for name, schema in data["definitions"].items():
        for field, property in schema.get("properties", {}).items():
            if "enum" in property:
                found.setdefault(name, {})[field] = property["enum"]
    return found


def main(target):
    with ControlPlane() as api:
        status, version = api.request("GET", "/version")
        assert status == 200, version
        data = {
            "kubernetes": {key: version[key] for key in ("major", "minor", "gitVersion")},
            "groups": discovery(api),
            "definitions": definitions(api),
        }
    facts = go_facts(data["kubernetes"]["gitVersion"], data)
    unknown = [path for path in facts["residue"] if not BY_HAND.search(path)]
    assert not unknown, f"defaults that neither a rule nor kubesim's code explains: {unknown}"
    data |= {key: facts[key] for key in ("wire", "types", "defaults")}
    data["kindDefaults"] = [rule for rule in facts["kindDefaults"]
                            if not BY_HAND.search("/".join([rule["definition"], *rule["path"]]))]
    text = json.dumps(data, separators=(",", ":"), sort_keys=True).encode()
    packed = subprocess.run(["zstd", "--ultra", "-22", "-c"], input=text, capture_output=True, check=True).stdout
    pathlib.Path(target).write_bytes(packed)
    print(f"{target}: {len(packed)} bytes, {len(text)} unpacked, {len(data['definitions'])} definitions", file=sys.stderr)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        raise SystemExit(__doc__.split("\n\n")[1])
    main(sys.argv[1])
