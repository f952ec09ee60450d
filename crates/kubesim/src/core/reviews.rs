//! Questions that are asked by creating an object: who am I, and what may I do.

use serde_json::{Value, json};

use super::Core;
use super::access::Attributes;
use super::body;
use super::encode::Output;
use super::error::ApiError;
use super::http::{Request, Response, User};
use super::options::WriteOptions;
use super::route::Target;
use super::time;
use crate::apply;
use crate::schema::FieldError;
use crate::value;

/// For whom tokens are.
const AUDIENCE: &str = "https://kubernetes.default.svc";

/// What is no resource and open to everyone, with all below it.
const OPEN_PATHS: [&str; 7] = ["/api", "/apis", "/healthz", "/livez", "/openapi", "/readyz", "/version"];

fn is_open_path(path: &str) -> bool {
    OPEN_PATHS.iter().any(|open| path.strip_prefix(open).is_some_and(|rest| rest.is_empty() || rest.starts_with('/')))
}

/// Whether objects of this resource are answered and not kept.
pub fn is_review(target: &Target) -> bool {
    matches!(target.resource.group.as_str(), "authorization.k8s.io" | "authentication.k8s.io")
        && !target.resource.custom
}

/// Whether everyone may ask: about oneself, that is.
pub fn is_open(target: &Target) -> bool {
    is_review(target) && target.resource.plural.starts_with("selfsubject")
}

impl Core {
    /// Answers a review.
    pub(super) fn review(
        &mut self,
        request: &Request,
        target: &Target,
        options: &mut WriteOptions,
    ) -> Result<Response, ApiError> {
        let output = Output::negotiate(request.accept.as_deref())?;
        let mut review = body::decode(request, &target.resource.kind)?.into_object(target, options)?;
        let spec = review.get("spec").cloned().unwrap_or_default();
        let asked = ["resourceAttributes", "nonResourceAttributes"].iter().filter(|field| spec.get(**field).is_some());
        if target.resource.plural.ends_with("accessreviews") && asked.count() != 1 {
            let detail = "exactly one of nonResourceAttributes or resourceAttributes must be specified";
            let error = FieldError::invalid("spec", &Value::Null, detail);
            return Err(ApiError::invalid(&target.resource.group, "", "", vec![error]));
        }
        let others = target.resource.plural.ends_with("accessreviews") && !is_open(target);
        let text = |field: &str| spec[field].as_str().unwrap_or_default();
        if others && text("user").is_empty() && value::list(&spec, &["groups"]).is_empty() {
            let detail = "at least one of user or group must be specified";
            let error = FieldError::invalid("spec.user", &json!(""), detail);
            return Err(ApiError::invalid(&target.resource.group, "", "", vec![error]));
        }
        let status = match target.resource.plural.as_str() {
            "selfsubjectaccessreviews" => self.access_status(&request.user, &spec),
            "subjectaccessreviews" | "localsubjectaccessreviews" => {
                let groups =
                    value::list(&spec, &["groups"]).iter().filter_map(Value::as_str).map(String::from).collect();
                let user = User { name: spec["user"].as_str().unwrap_or_default().to_string(), groups };
                self.access_status(&user, &spec)
            }
            "selfsubjectrulesreviews" => {
                self.rules_status(&request.user, spec["namespace"].as_str().unwrap_or_default())
            }
            "selfsubjectreviews" => {
                json!({ "userInfo": { "username": request.user.name, "groups": request.user.groups } })
            }
            "tokenreviews" => match self.config.access.user(spec["token"].as_str().unwrap_or_default()) {
                Some(user) => {
                    let user = json!({ "username": user.name, "groups": user.groups });
                    json!({ "authenticated": true, "user": user, "audiences": [AUDIENCE] })
                }
                None => json!({ "user": {}, "error": "invalid bearer token" }),
            },
            other => return Err(ApiError::not_implemented(other)),
        };
        let time = time::seconds(self.now);
        let context = apply::ManagerContext {
            manager: &options.manager,
            api_version: &target.version.api_version,
            subresource: "",
            time: &time,
        };
        apply::track_update(&target.version.schema, None, &mut review, &context);
        review["status"] = status;
        Ok(output.respond(201, review.to_string().into()))
    }

    fn access_status(&self, user: &User, spec: &Value) -> Value {
        let text = |path: &[&str]| value::string(spec, path).unwrap_or_default();
        let everything = self.config.access.rules(user).is_none();
        let allowed = match spec.get("resourceAttributes") {
            Some(_) => self.config.access.allows(
                user,
                &Attributes {
                    verb: text(&["resourceAttributes", "verb"]),
                    group: text(&["resourceAttributes", "group"]),
                    resource: text(&["resourceAttributes", "resource"]),
                    subresource: text(&["resourceAttributes", "subresource"]),
                    namespace: text(&["resourceAttributes", "namespace"]),
                    name: text(&["resourceAttributes", "name"]),
                },
            ),
            // What has no resource, such as discovery, everyone may read.
            None => {
                everything
                    || text(&["nonResourceAttributes", "verb"]) == "get"
                        && is_open_path(text(&["nonResourceAttributes", "path"]))
            }
        };
        json!({ "allowed": allowed })
    }

    fn rules_status(&self, user: &User, namespace: &str) -> Value {
        let rules: Vec<Value> = match self.config.access.rules(user) {
            None => vec![json!({ "verbs": ["*"], "apiGroups": ["*"], "resources": ["*"] })],
            Some(rules) => rules
                .iter()
                .filter(|rule| {
                    rule.namespaces.is_empty() || rule.namespaces.iter().any(|one| one == "*" || one == namespace)
                })
                .map(|rule| json!({ "verbs": rule.verbs, "apiGroups": rule.groups, "resources": rule.resources }))
                .collect(),
        };
        let paths = match self.config.access.rules(user) {
            None => json!({ "verbs": ["*"], "nonResourceURLs": ["*"] }),
            Some(_) => {
                let below = OPEN_PATHS.iter().map(|path| format!("{path}/*"));
                let all: Vec<String> = OPEN_PATHS.iter().map(|path| (*path).to_string()).chain(below).collect();
                json!({ "verbs": ["get"], "nonResourceURLs": all })
            }
        };
        json!({ "resourceRules": rules, "nonResourceRules": [paths], "incomplete": false })
    }
}
