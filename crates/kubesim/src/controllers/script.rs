//! How simulated pods behave: how long they take to start, whether they become ready, fail, end.
//!
//! Annotations on the pod (so, on the template) say it, each `kubesim.hansa.dev/<name>`; the ConfigMap
//! `kube-system/kubesim-script` says it for pods that have none. Its key `rules` holds a YAML list; the first rule
//! that matches a pod counts:
//!
//! ```yaml
//! - namespace: shop          # all of these are optional, and all given must match
//!   image: web:2             # a part of any container's image
//!   labels: {app: web}
//!   set: {start-after: 2s, ready: "false"}
//! ```
//!
//! | Name | Meaning | Default |
//! |---|---|---|
//! | `start-after` | from being scheduled until the containers run | `200ms` |
//! | `ready-after` | from then until ready | `0s` |
//! | `ready` | `false`: never ready, and no longer ready if it was | `true` |
//! | `fail` | a reason to wait in (`ImagePullBackOff`): never starts; `CrashLoopBackOff`: starts, ends with code 1, again | none |
//! | `run-for` | how long containers run that are to end (pods that do not always restart) | `300ms` |
//! | `exit-code` | with which code they end | `0` |
//! | `stop-after` | from being deleted until gone | `100ms` |

use serde_json::Value;

use crate::core::Core;
use crate::core::selector::Labels;
use crate::core::time::Millis;
use crate::value;

/// The prefix of the annotations.
pub const ANNOTATION: &str = "kubesim.hansa.dev/";
/// The ConfigMap.
pub const CONFIG_MAP: &str = "kube-system/kubesim-script";

/// What a pod is to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Behaviour {
    /// From being scheduled until the containers run.
    pub start_after: Millis,
    /// From then until ready.
    pub ready_after: Millis,
    /// Whether it becomes, and stays, ready.
    pub ready: bool,
    /// The reason it fails for.
    pub fail: Option<String>,
    /// How long containers run that are to end.
    pub run_for: Millis,
    /// With which code they end.
    pub exit_code: i64,
    /// From being deleted until gone.
    pub stop_after: Millis,
}

impl Behaviour {
    /// Puts a behaviour together from what each name is set to.
    fn read(lookup: impl Fn(&str) -> Option<String>) -> Self {
        let time = |name: &str, default| lookup(name).and_then(|text| duration(&text)).unwrap_or(default);
        Behaviour {
            start_after: time("start-after", 200),
            ready_after: time("ready-after", 0),
            ready: lookup("ready").is_none_or(|text| text != "false"),
            fail: lookup("fail").filter(|text| !text.is_empty()),
            run_for: time("run-for", 300),
            exit_code: lookup("exit-code").and_then(|text| text.parse().ok()).unwrap_or(0),
            stop_after: time("stop-after", 100),
        }
    }
}

/// A duration such as `300ms`, `1.5s` or `1m`, in milliseconds.
pub fn duration(text: &str) -> Option<Millis> {
    let end = text.find(|c: char| !(c.is_ascii_digit() || c == '.'))?;
    let number: f64 = text[..end].parse().ok()?;
    let unit = match &text[end..] {
        "ms" => 1.0,
        "s" => 1000.0,
        "m" => 60_000.0,
        "h" => 3_600_000.0,
        _ => return None,
    };
    Some((number * unit) as Millis)
}

fn rule_matches(rule: &Value, pod: &Value, labels: &Labels) -> bool {
    let namespace =
        rule["namespace"].as_str().is_none_or(|name| value::string(pod, &["metadata", "namespace"]) == Some(name));
    let image = rule["image"].as_str().is_none_or(|part| {
        let containers = value::list(pod, &["spec", "containers"]);
        containers.iter().any(|container| container["image"].as_str().is_some_and(|image| image.contains(part)))
    });
    let labelled = rule["labels"]
        .as_object()
        .is_none_or(|wanted| wanted.iter().all(|(key, label)| labels.get(key).map(String::as_str) == label.as_str()));
    namespace && image && labelled
}

impl Core {
    /// How a pod behaves.
    pub(super) fn behaviour(&self, pod: &Value, labels: &Labels) -> Behaviour {
        let script = self.store.get("configmaps", CONFIG_MAP).map(|live| live.value());
        let rules = script.as_ref().and_then(|script| value::string(script, &["data", "rules"])).unwrap_or_default();
        let rules: Vec<Value> = match rules {
            "" => Vec::new(),
            text => serde_saphyr::from_str(text).unwrap_or_else(|error| {
                tracing::warn!(%error, "the script in {CONFIG_MAP} is no list of rules");
                Vec::new()
            }),
        };
        let rule = rules.iter().find(|rule| rule_matches(rule, pod, labels));
        Behaviour::read(|name| {
            let annotation = format!("{ANNOTATION}{name}");
            let own = value::string(pod, &["metadata", "annotations", &annotation]).map(String::from);
            own.or_else(|| match &rule?["set"][name] {
                Value::Null => None,
                Value::String(text) => Some(text.clone()),
                other => Some(other.to_string()),
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_and_defaults() {
        assert_eq!(duration("300ms"), Some(300));
        assert_eq!(duration("1.5s"), Some(1500));
        assert_eq!(duration("2"), None);
        let plain = Behaviour::read(|_| None);
        assert_eq!((plain.start_after, plain.ready, plain.stop_after), (200, true, 100));
        let failing = Behaviour::read(|name| (name == "fail").then(|| "ImagePullBackOff".to_string()));
        assert_eq!(failing.fail.as_deref(), Some("ImagePullBackOff"));
    }
}
