//! The league's spec, which every member shows: as its `Federation`, or as a mirror of it.

use crate::cluster::{Body, Cluster, MANAGER, Verb};
use crate::resource::Resource;
use anyhow::{Context, bail};
use hansa_model::{FederationSpec, LeagueId};
use serde_json::{Value, json};

/// How often an edit is tried again when somebody else edits at the same time.
const TRIES: u32 = 5;

/// A `Federation` as a cluster shows it.
#[derive(Clone, PartialEq, Debug)]
pub struct League {
    /// The object's name.
    pub name: String,
    /// The spec.
    pub spec: FederationSpec,
    /// The league's id, once it is founded.
    pub id: Option<LeagueId>,
    object: Value,
}

impl League {
    /// Reads the cluster's `Federation`.
    ///
    /// # Errors
    /// When there is none, several, or it does not read.
    pub async fn read(cluster: &Cluster) -> anyhow::Result<Self> {
        let objects = cluster.list(&Resource::own("federations")).await?;
        match objects.as_slice() {
            [] => bail!(
                "there is no Federation in this cluster: apply one to found a league, or wait until its operator shows that of the league"
            ),
            [one] => League::of(one.clone()),
            several => {
                // The agreed one is the league's; another is told of by its own condition.
                let agreed = several.iter().find(|object| condition(object, "Agreed")["status"] == "True");
                let names: Vec<&str> =
                    several.iter().filter_map(|object| object["metadata"]["name"].as_str()).collect();
                let found = agreed.with_context(|| {
                    format!(
                        "there are several Federations in this cluster ({}) and none is agreed on: delete all but one",
                        names.join(", ")
                    )
                })?;
                League::of(found.clone())
            }
        }
    }

    fn of(object: Value) -> anyhow::Result<Self> {
        let name = object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        let spec = serde_json::from_value(object["spec"].clone()).with_context(|| {
            format!("Federation {name}: spec: it holds what this release does not know, use a newer one")
        })?;
        let id = object["status"]["league"].as_str().and_then(|id| id.parse().ok());
        Ok(League { name, spec, id, object })
    }

    /// Where the spec is at home, in the operator's words, when that is another member.
    pub fn elsewhere(&self) -> Option<&str> {
        let condition = condition(&self.object, "Agreed");
        let mirrored = matches!(condition["reason"].as_str(), Some("Mirror" | "HomeElsewhere"));
        mirrored.then(|| condition["message"].as_str().unwrap_or_default())
    }

    /// A list of the spec as it stands, with whatever a newer release keeps in it.
    pub fn list(&self, field: &str) -> Vec<Value> {
        self.object["spec"][field].as_array().cloned().unwrap_or_default()
    }

    /// Edits the spec with the user's rights: `edit` gives the fields of the spec that change, and
    /// nothing when nothing is to be done. Answers whether something was written.
    ///
    /// # Errors
    /// When the spec's home is another member, the edit is refused, or somebody else edits all the time.
    pub async fn edit(
        cluster: &Cluster,
        edit: impl Fn(&League) -> anyhow::Result<Option<Value>>,
    ) -> anyhow::Result<bool> {
        let mut last = None;
        for _ in 0..TRIES {
            let league = League::read(cluster).await?;
            if let Some(words) = league.elsewhere() {
                bail!("Federation {}: {words}: use the context of that member", league.name);
            }
            let Some(spec) = edit(&league)? else { return Ok(false) };
            // The resourceVersion, for lists are replaced as a whole: nobody else's edit is undone.
            let version = &league.object["metadata"]["resourceVersion"];
            let patch = json!({"metadata": {"resourceVersion": version}, "spec": spec});
            let resource = Resource::own("federations").named(&league.name);
            let query = format!("fieldManager={MANAGER}&fieldValidation=Strict");
            match cluster.request(Verb::Patch, &resource, &query, Body::MergePatch(&patch)).await {
                Ok(_) => return Ok(true),
                Err(error) if error.is_stale() => last = Some(error),
                Err(error) => return Err(error.into()),
            }
        }
        let error = last.map_or_else(String::new, |error| error.to_string());
        bail!("the Federation is being edited by somebody else all the time: try again ({error})")
    }
}

/// The condition of this type.
pub fn condition<'a>(object: &'a Value, kind: &str) -> &'a Value {
    let conditions = object["status"]["conditions"].as_array();
    conditions.into_iter().flatten().find(|condition| condition["type"] == kind).unwrap_or(&Value::Null)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn league(reason: &str, message: &str) -> League {
        League::of(json!({
            "metadata": {"name": "league"}, "spec": {"members": [{"name": "a"}]},
            "status": {"conditions": [{"type": "Agreed", "status": "True", "reason": reason, "message": message}]},
        }))
        .unwrap()
    }

    #[test]
    fn a_mirror_says_where_the_home_is() {
        assert_eq!(league("Agreed", "").elsewhere(), None);
        let words = "read-only: the spec has its home in member a";
        assert_eq!(league("Mirror", words).elsewhere(), Some(words));
    }

    #[test]
    fn a_spec_of_a_newer_release_is_told() {
        let error = League::of(json!({"metadata": {"name": "league"}, "spec": {"novelty": 1}})).unwrap_err();
        assert!(format!("{error:#}").contains("Federation league: spec: "), "{error:#}");
    }
}
