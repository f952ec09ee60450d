"""What the real server refuses: values that Go cannot decode, custom resources and schemas that break rules."""

from seeds import seed


def deployments():
    pod = lambda spec: {"template": {"spec": spec}}
    container = lambda **fields: pod({"containers": [{"name": "a", **fields}]})
    return [seed("apps/v1", "Deployment", spec) for spec in (
        {"replicas": "x"}, {"replicas": 1.5}, {"replicas": 3000000000}, {"selector": "x"}, {"selector": {"matchLabels": {"a": 1}}},
        pod({"containers": {}}), pod({"containers": [{"name": 1}]}), pod({"containers": ["x"]}), {"paused": "x"}, {"strategy": {"type": 5}},
        {"strategy": {"rollingUpdate": {"maxSurge": True}}}, {"strategy": {"rollingUpdate": {"maxSurge": 1.5}}},
        pod({"terminationGracePeriodSeconds": "x", "containers": []}), container(resources={"limits": {"cpu": "x"}}),
        container(resources={"limits": {"cpu": True}}), {"template": {"metadata": {"creationTimestamp": "x"}}},
        {"template": {"metadata": {"creationTimestamp": 5}}}, {"template": {"metadata": {"labels": {"a": 5}}}}, "x",
        container(env=[{"name": "x", "value": 5}]), container(imagePullPolicy=5),
    )]


UNDECODABLE = [
    *deployments(),
    seed("v1", "ConfigMap", data={"a": 1}),
    {**seed("v1", "ConfigMap"), "metadata": {"name": "seed", "labels": {"a": True}}},
    {**seed("v1", "ConfigMap"), "metadata": "x"},
    {**seed("v1", "ConfigMap"), "metadata": {"name": "seed", "ownerReferences": [{"controller": "x"}]}},
    seed("v1", "Service", {"ports": [{"port": "80"}]}),
    seed("v1", "PersistentVolumeClaim", {"resources": {"requests": {"storage": "1GB"}}}),
    *(seed("coordination.k8s.io/v1", "Lease", {"renewTime": f"2026-01-01T01:00:00{rest}"}) for rest in ("Z", ".5Z", ".123456789+01:00")),
    seed("v1", "Secret", data=["x"]),
    *(seed("v1", "Secret", data={"a": value}) for value in ("!!", "YQ", "YQ=", "Y===", "YWJjZ", "YWJ*", "YQ==YQ==", "a", 5)),
]

# One property for each rule; a custom resource of it is made once with every value of VALUES.
CUSTOM_SPEC = {
    "n": {"type": "integer", "minimum": 1, "maximum": 10},
    "s": {"type": "string", "default": "filled"},
    "ios": {"x-kubernetes-int-or-string": True},
    "set": {"type": "array", "items": {"type": "string"}, "x-kubernetes-list-type": "set"},
    "map": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["k", "p"], "items": {
        "type": "object", "required": ["k"],
        "properties": {"k": {"type": "string"}, "p": {"type": "string", "default": "TCP"}, "v": {"type": "integer"}, "w": {"type": "string", "default": "ww"}}}},
    "atom": {"type": "array", "items": {"type": "string"}},
    "amap": {"type": "object", "additionalProperties": {"type": "string"}, "x-kubernetes-map-type": "atomic"},
    "gmap": {"type": "object", "additionalProperties": {"type": "object", "properties": {"a": {"type": "string"}, "b": {"type": "integer"}}}},
    "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
    "semi": {"type": "object", "x-kubernetes-preserve-unknown-fields": True, "properties": {"known": {"type": "object", "properties": {"z": {"type": "string"}}}}},
    "any": {"x-kubernetes-preserve-unknown-fields": True},
    "empty": {"type": "object"},
    "emb": {"type": "object", "x-kubernetes-embedded-resource": True, "x-kubernetes-preserve-unknown-fields": True},
    "nul": {"type": "string", "nullable": True},
    "dt": {"type": "string", "format": "date-time"},
    "en": {"type": "string", "enum": ["a", "b"]},
    "pat": {"type": "string", "pattern": "^a+$", "maxLength": 5, "minLength": 2},
    "few": {"type": "array", "items": {"type": "integer"}, "maxItems": 3, "minItems": 1},
    "of": {"type": "object", "properties": {"x": {"type": "string"}, "y": {"type": "string"}}, "oneOf": [{"required": ["x"]}, {"required": ["y"]}]},
    "num": {"type": "number", "multipleOf": 0.5, "exclusiveMinimum": True, "minimum": 0},
    "bool": {"type": "boolean"},
    "mp": {"type": "object", "maxProperties": 2, "minProperties": 1, "additionalProperties": {"type": "string"}},
}
CUSTOM_STATUS = {"phase": {"type": "string"}, "conditions": {
    "type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"],
    "items": {"type": "object", "properties": {"type": {"type": "string"}, "status": {"type": "string"}}, "required": ["type"]}}}
CUSTOM_SCHEMA = {"type": "object", "properties": {
    "spec": {"type": "object", "properties": CUSTOM_SPEC}, "status": {"type": "object", "properties": CUSTOM_STATUS}}}

VALUES = [
    {"n": "x"}, {"n": 0}, {"n": 11}, {"n": 1.5}, {"n": 2.0}, {"s": 5}, {"s": None}, {"nul": None}, {"ios": True}, {"ios": 1.5}, {"set": ["a", "a", "b", "a"]}, {"set": [1]},
    {"map": [{"k": "a"}, {"k": "a"}]}, {"map": [{"v": 1}]}, {"map": [{"k": "a", "v": "x"}]}, {"atom": "x"}, {"amap": {"a": 1}}, {"gmap": {"g": {"b": "x"}}},
    {"free": [1]}, {"dt": "yesterday"}, {"dt": "2026-01-01T00:00:00Z"}, {"en": "c"}, {"pat": "b"}, {"pat": "aaaaaa"}, {"pat": "aab"}, {"few": []}, {"few": [1, 2, 3, 4]},
    {"of": {}}, {"of": {"x": "1", "y": "2"}}, {"of": {"x": "1"}}, {"num": 0.3}, {"num": 0}, {"num": -1}, {"num": 2}, {"num": 1.5}, {"bool": "true"}, {"mp": {}},
    {"mp": {"a": "1", "b": "2", "c": "3"}}, {"emb": {}}, {"emb": {"apiVersion": "v1"}}, {"emb": {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "X"}}},
    [], "x", None, {"semi": {"known": 5}}, {"n": "x", "s": 5, "en": "q"},
]


def in_spec(**properties):
    return {"type": "object", "properties": {"spec": {"type": "object", "properties": properties}}}


def keyed(items, *keys):
    return {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": list(keys), "items": items}


TEXT = {"type": "string"}
ITEM = {"type": "object", "properties": {"k": TEXT}}

SCHEMAS = [
    {}, {"type": "array"}, {"type": "object", "properties": {"spec": {}}}, in_spec(a={}), in_spec(a={"type": "array"}), in_spec(a={"type": "array", "items": {}}),
    in_spec(a={"type": "object", "additionalProperties": {}}), in_spec(a={"type": "object", "additionalProperties": False}),
    in_spec(a={"type": "object", "additionalProperties": TEXT, "properties": {"x": TEXT}}), {"type": "object", "additionalProperties": TEXT},
    in_spec(a={"type": "string", "default": 5}), in_spec(a={**ITEM, "default": {"k": 1}}), in_spec(a={**ITEM, "default": {"c": "x"}}), in_spec(a={**ITEM, "required": ["k"], "default": {}}),
    in_spec(a={"type": "array", "x-kubernetes-list-type": "map", "items": ITEM}), in_spec(a=keyed(ITEM, "k", "z")),
    in_spec(a={"type": "array", "x-kubernetes-list-map-keys": ["k"], "items": TEXT}), in_spec(a={"type": "string", "x-kubernetes-list-type": "foo"}),
    in_spec(a={"type": "array", "x-kubernetes-list-type": "set", "items": ITEM}), in_spec(a={"type": "string", "x-kubernetes-map-type": "x"}),
    in_spec(a={"type": "string", "uniqueItems": True}), in_spec(a={"type": "nope"}), in_spec(a={"type": "null"}), in_spec(a={"type": "string", "anyOf": [TEXT]}),
    in_spec(a={**ITEM, "oneOf": [{"required": ["k"]}, {"properties": {"y": {"minLength": 1}}}]}),
    in_spec(a={"x-kubernetes-int-or-string": True, "anyOf": [{"type": "integer"}, {"type": "string"}]}),
    in_spec(a={"x-kubernetes-int-or-string": True, "x-kubernetes-preserve-unknown-fields": True}),
    in_spec(a={"x-kubernetes-preserve-unknown-fields": False, "type": "object"}), in_spec(a={"type": "object", "x-kubernetes-embedded-resource": True}),
    in_spec(a={"x-kubernetes-embedded-resource": True}), {"type": "object", "properties": {"metadata": {"type": "object", "properties": {"name": {"type": "string", "maxLength": 5}}}}},
    {"type": "object", "properties": {"metadata": {"type": "object", "properties": {"labels": {"type": "object"}}}}}, {"type": "object", "properties": {"metadata": TEXT}},
    in_spec(a={"$ref": "#/x"}), in_spec(a={"type": "string", "x-kubernetes-validations": [{"rule": " "}]}),
    in_spec(a={"type": "string", "x-kubernetes-validations": [{"rule": "self.size()\n > 0"}]}),
    in_spec(a=keyed({"type": "object", "required": ["k"], "nullable": True, "properties": {"k": {"type": "string", "nullable": True}}}, "k")),
    in_spec(a={"type": "string", "not": TEXT}), in_spec(a={"type": "array", "items": TEXT, "allOf": [{"items": {"minLength": 1}}]}),
    in_spec(a={"type": "array", "items": [TEXT]}),
    {"type": "object", "anyOf": [{"properties": {"spec": {"required": ["a"]}}}], "properties": {"other": TEXT}},
]
