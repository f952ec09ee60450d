"""Writes to one object after another by several managers, for the real server to say who owns what."""

import json

from seeds import SELECTOR, SMALL_POD, template

APPLY, MERGE, PUT, POST = "apply", "merge", "put", "post"


def write(how, manager, body, force=False, subresource=""):
    return {"how": how, "manager": manager, "body": body, "force": force, "subresource": subresource}


def apply(manager, force=False, subresource="", **body):
    return write(APPLY, manager, body, force, subresource)


def merge(manager, body, subresource=""):
    return write(MERGE, manager, body, subresource=subresource)


def pod(*containers):
    return {"template": {"spec": {"containers": list(containers)}}}


SIDE = {"name": "side", "image": "s:1"}
DEPLOYMENT = [
    apply("a", spec={"replicas": 2, "selector": SELECTOR, "template": template(SMALL_POD)}),
    apply("a", spec={"replicas": 2, "selector": SELECTOR, "template": template(SMALL_POD)}),
    apply("b", spec={"replicas": 2}),
    apply("b", spec={"replicas": 3}),
    apply("b", metadata={"labels": {"x": "y"}}, spec={"replicas": 3, **pod({"name": "a", "image": "nginx:2", "env": [{"name": "E", "value": "1"}]}, SIDE)}, force=True),
    merge("c", {"spec": {"replicas": 5}}),
    merge("c", {"metadata": {"annotations": {"a": "b"}}}),
    merge("c", {"status": {"replicas": 5, "conditions": [{"type": "X", "status": "True"}]}}, "status"),
    merge("d", {"metadata": {"annotations": {"z": "b"}}, "status": {"readyReplicas": 0, "observedGeneration": 4}}, "status"),
    apply("b", spec=pod({**SIDE, "image": "s:2"}, {"name": "a", "image": "nginx:2"})),
    apply("a", spec={"selector": SELECTOR, "template": template({"containers": [{"name": "a"}]})}),
    merge("c", {"spec": {"replicas": None}}),
    apply("st", status={"conditions": [{"type": "X", "status": "False"}], "replicas": 1}, subresource="status"),
    apply("st", status={"conditions": [{"type": "X", "status": "False"}], "replicas": 1}, subresource="status", force=True),
    apply("main", status={"replicas": 1}, spec={"replicas": 9}),
    write(PUT, "p", {"spec": {"replicas": 7, "minReadySeconds": 3}}),
    write(PUT, "p", {"metadata": {"managedFields": [{}]}}),
    merge("c", {"spec": {"replicas": 4}}),
    apply("a", spec={"replicas": 4, "selector": SELECTOR, "template": template(SMALL_POD)}, force=True),
    apply("a", spec={"replicas": "x"}),
    apply("a", spec={"foo": 1}),
    apply("a", metadata={"managedFields": []}, spec={}),
    apply("a", spec=pod({"name": "a"}, {"name": "a"})),
    apply("a", spec={"template": {"spec": {"containers": {"a": 1}}}}),
    apply("a", spec={"selector": ["x"]}),
    apply("a", spec={"revisionHistoryLimit": {"a": 1}}),
]

SERVICE = [
    apply("k", spec={"ports": [{"port": 80}], "selector": {"a": "b"}}),
    apply("a", spec={"ports": [{"port": 80, "protocol": "TCP", "name": "y"}], "selector": {"a": "c"}}),
    apply("a", spec={"ports": [{"port": 81, "name": "x", "protocol": "TCP"}, {"port": 80, "name": "y"}], "selector": {"a": "c"}}, force=True),
    apply("k", spec={"ports": [{"port": 80, "name": "y"}]}),
    apply("a", spec={"ports": [{"port": 81, "name": "x"}], "selector": {"a": "c"}}),
]

LAST_APPLIED = json.dumps({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "owned"}, "data": {"a": "1", "b": "2"}}) + "\n"
CONFIG_MAP = [
    write(POST, "creator", {"data": {"a": "1", "b": "2"}}),
    apply("kubectl", data={"a": "1", "c": "3"}),
    apply("kubectl", data={"a": "2", "c": "3"}),
    apply("kubectl", data={"c": "3"}),
    apply("kubectl"),
    apply("x", data={}, metadata={"labels": {}, "finalizers": ["a.b/c"], "ownerReferences": [{"apiVersion": "v1", "kind": "Pod", "name": "x", "uid": "1"}]}),
    apply("x", metadata={"finalizers": ["a.b/d"], "ownerReferences": [{"apiVersion": "v1", "kind": "Pod", "name": "y", "uid": "1"}]}),
    apply("x", metadata={"annotations": {"k": "v"}, "finalizers": None}),
    merge("m", {"metadata": {"managedFields": []}}),
]
UPGRADED = [
    write(POST, "kubectl-client-side-apply", {"metadata": {"annotations": {"kubectl.kubernetes.io/last-applied-configuration": LAST_APPLIED}}, "data": {"a": "1", "b": "2"}}),
    apply("kubectl", data={"a": "9", "b": "2"}),
    write(PUT, "kubectl-edit", {"data": {"b": "5"}}),
    apply("kubectl", data={"a": "9", "b": "2"}),
    *(merge(f"m{index:02}", {"data": {f"k{index}": "1"}}) for index in range(12)),
]

EMBEDDED = {"apiVersion": "v1", "kind": "Pod", "metadata": {"labels": {"a": "b"}}, "spec": {"q": 1}}
CUSTOM = [
    apply("a", spec={"n": 1, "set": ["x", "y"], "map": [{"k": "a", "v": 1}, {"k": "b", "p": "UDP", "v": 2}], "atom": ["1"], "amap": {"a": "b"}, "gmap": {"g": {"a": "1"}},
                     "free": {"u": {"v": [1, {"w": 2}]}}, "semi": {"known": {"z": "1"}, "unknown": {"a": 1}}, "any": [1], "ios": 5, "emb": EMBEDDED}),
    apply("b", spec={"set": ["y", "z"], "map": [{"k": "a", "w": "x"}], "atom": ["2"], "amap": {"c": "d"}, "gmap": {"g": {"b": 2}, "h": {}}, "free": {"u": {"x": 1}}, "any": {"a": 1}, "ios": "5"}),
    apply("b", spec={"set": ["z", "y"], "map": [{"k": "c"}, {"k": "a", "w": "x"}], "atom": ["2"], "amap": {"c": "d"}, "gmap": {"g": {"b": 2}, "h": {}}, "free": {"u": {"x": 1}},
                     "semi": {"unknown": {"b": 1}, "known": {"z": "2"}}, "any": {"a": 1}, "ios": "5"}, force=True),
    apply("a", spec={"n": 1, "set": ["y"], "map": [{"k": "b", "p": "UDP"}]}),
    apply("b", spec={}),
    apply("c", status={"phase": "x"}, spec={"n": 3}),
    apply("c", status={"phase": "x", "conditions": [{"type": "A", "status": "T"}]}, subresource="status"),
    merge("m", {"status": {"conditions": [{"type": "B"}]}, "spec": {"n": 9}}, "status"),
    merge("m", {"spec": {"map": [{"k": "z", "p": "A"}, {"k": "b", "p": "UDP", "v": 9}], "set": ["y", "q"], "free": {"u": None, "k": {}}, "empty": {}}}),
    merge("m", {"spec": {"free": {"k": [1]}}}),
    apply("a", spec={"free": {"k": {"a": 1}}}),
    apply("a", spec={"bad": 1}),
    apply("a", spec={"set": ["a", "a"]}),
    apply("a", spec={"set": [{"a": 1}]}),
    apply("a", spec={"map": [1, None]}),
    apply("a", spec={"s": 5}),
    apply("a", spec={"bool": 1}),
]

STORIES = [("apps/v1", "Deployment", DEPLOYMENT), ("v1", "Service", SERVICE), ("v1", "ConfigMap", CONFIG_MAP), ("v1", "ConfigMap", UPGRADED), ("shape.io/v1", "Foo", CUSTOM)]
