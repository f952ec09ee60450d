//! Who may do what: allow rules per user. (RBAC objects are kept, and decide nothing.)

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Core;
use super::error::ApiError;
use super::http::User;

/// Allows some verbs on some resources. `*` stands for all; an empty list of namespaces for all
/// namespaces and cluster-scoped objects.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Rule {
    /// `get`, `list`, `watch`, `create`, `update`, `patch`, `delete`, `deletecollection`, `impersonate`.
    pub verbs: Vec<String>,
    /// API groups; the core group is the empty string.
    pub groups: Vec<String>,
    /// Plurals, with `/status` and the like for subresources.
    pub resources: Vec<String>,
    /// Namespaces.
    pub namespaces: Vec<String>,
}

/// Who there is, and the rules of every user.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Access {
    rules: BTreeMap<String, Vec<Rule>>,
    tokens: BTreeMap<String, User>,
}

/// What someone wants to do.
#[derive(Clone, Copy, Debug)]
pub struct Attributes<'a> {
    /// The verb.
    pub verb: &'a str,
    /// API group.
    pub group: &'a str,
    /// Plural.
    pub resource: &'a str,
    /// Subresource, or empty.
    pub subresource: &'a str,
    /// Namespace, or empty.
    pub namespace: &'a str,
    /// Name, or empty.
    pub name: &'a str,
}

impl Rule {
    /// Allows everything.
    pub fn everything() -> Self {
        let all = || vec!["*".to_string()];
        Rule { verbs: all(), groups: all(), resources: all(), namespaces: Vec::new() }
    }

    fn allows(&self, wish: &Attributes) -> bool {
        let among = |list: &[String], wanted: &str| list.iter().any(|one| one == "*" || one == wanted);
        let resource = match wish.subresource {
            "" => wish.resource.to_string(),
            subresource => format!("{}/{}", wish.resource, subresource),
        };
        among(&self.verbs, wish.verb)
            && among(&self.groups, wish.group)
            && among(&self.resources, &resource)
            && (self.namespaces.is_empty() || among(&self.namespaces, wish.namespace))
    }
}

impl Access {
    /// Sets the rules of a user.
    pub fn set(&mut self, user: &str, rules: Vec<Rule>) {
        self.rules.insert(user.to_string(), rules);
    }

    /// Lets a user in by this bearer token.
    pub fn add_token(&mut self, token: &str, user: User) {
        self.tokens.insert(token.to_string(), user);
    }

    /// Who a bearer token belongs to.
    pub fn user(&self, token: &str) -> Option<&User> {
        self.tokens.get(token)
    }

    /// The rules of a user; `None` for one who may do everything.
    pub fn rules(&self, user: &User) -> Option<&[Rule]> {
        if user.groups.iter().any(|group| group == "system:masters") {
            return None;
        }
        Some(self.rules.get(&user.name).map_or(&[], Vec::as_slice))
    }

    /// Whether the user may.
    pub fn allows(&self, user: &User, wish: &Attributes) -> bool {
        self.rules(user).is_none_or(|rules| rules.iter().any(|rule| rule.allows(wish)))
    }

    /// 403 in the words of Kubernetes unless the user may.
    pub fn check(&self, user: &User, wish: &Attributes) -> Result<(), ApiError> {
        if self.allows(user, wish) {
            return Ok(());
        }
        let resource = match wish.subresource {
            "" => wish.resource.to_string(),
            subresource => format!("{}/{}", wish.resource, subresource),
        };
        let place = match wish.namespace {
            "" => "at the cluster scope".to_string(),
            namespace => format!("in the namespace {namespace:?}"),
        };
        let why = format!(
            "User {:?} cannot {} resource {resource:?} in API group {:?} {place}",
            user.name, wish.verb, wish.group
        );
        Err(ApiError::forbidden(wish.group, wish.resource, wish.name, &why))
    }
}

impl Core {
    /// Who a token belongs to.
    pub fn authenticate(&self, token: &str) -> Option<User> {
        self.config.access.user(token).cloned()
    }

    /// Whether a user may act as another (`users`) or as one of a group (`groups`).
    ///
    /// # Errors
    ///
    /// 403 for one who may not.
    pub fn may_impersonate(&self, user: &User, what: &str, name: &str) -> Result<(), ApiError> {
        let wish = Attributes { verb: "impersonate", group: "", resource: what, subresource: "", namespace: "", name };
        self.config.access.check(user, &wish)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_allow_what_they_name() {
        let mut access = Access::default();
        let of = |list: &[&str]| list.iter().map(|one| one.to_string()).collect::<Vec<_>>();
        access.set(
            "bob",
            vec![Rule {
                verbs: of(&["get", "list"]),
                groups: of(&[""]),
                resources: of(&["pods"]),
                namespaces: of(&["shop"]),
            }],
        );
        let wish =
            Attributes { verb: "get", group: "", resource: "pods", subresource: "", namespace: "shop", name: "a" };
        let bob = User::named("bob");
        assert!(access.allows(&bob, &wish));
        assert!(!access.allows(&bob, &Attributes { namespace: "other", ..wish }));
        assert!(!access.allows(&bob, &Attributes { subresource: "status", ..wish }));
        assert!(!access.allows(&User::named("eve"), &wish));
        assert!(access.allows(&User::admin(), &Attributes { verb: "delete", ..wish }));
        let refusal = access.check(&bob, &Attributes { verb: "delete", ..wish }).expect_err("not allowed");
        assert_eq!(
            refusal.message,
            "pods \"a\" is forbidden: User \"bob\" cannot delete resource \"pods\" in API group \"\" in the namespace \"shop\""
        );
    }
}
