//! Hansa's Kubernetes API: the types that users write and read, the `Federated<Kind>` kinds that are
//! generated from what a cluster already serves, and the objects that install both.
//!
//! Nothing here does I/O. Everything is a function from types and documents to the JSON of Kubernetes
//! objects, so that two operators which hold the same input install the same bytes.
//!
//! | Module | Gives |
//! |---|---|
//! | [`federation`], [`member`], [`request`], [`status`] | the types of `hansa.dev` and the status of federated objects |
//! | [`conditions`] | conditions that move their transition time only when the status moves |
//! | [`structural`], [`crd`] | CustomResourceDefinitions from Rust types |
//! | [`target`], [`openapi`], [`federated`] | a `Federated<Kind>` CRD from the target's OpenAPI document |
//! | [`list_keys`] | by which keys a custom resource's lists are merged |
//! | [`policy`], [`rbac`] | who may write what |
//! | [`finalizing`] | the finalizer, put on by the API server |
//! | [`mod@manifests`] | everything that one member needs |
//! | [`docs`] | the reference page of a CRD |

pub mod conditions;
pub mod crd;
pub mod docs;
pub mod federated;
pub mod federation;
pub mod finalizing;
pub mod list_keys;
pub mod manifests;
pub mod member;
pub mod openapi;
pub mod policy;
pub mod rbac;
pub mod request;
pub mod status;
pub mod structural;
pub mod target;

pub use conditions::{Condition, ConditionStatus, ConditionType};
pub use federated::{federated_crd, schema_hash};
pub use federation::{FederationStatus, MembersSummary};
pub use list_keys::list_map_keys;
pub use manifests::{Options, manifests};
pub use member::{MemberStatus, OperatorStatus};
pub use request::{Action, Arguments, ObjectKey, Phase, PlanArguments, RequestSpec, RequestStatus};
pub use status::{Agreed, FederatedStatus, MemberOutcome, Summary};
pub use target::{GenerateError, TargetKind};

/// The API group of Hansa's own kinds.
pub const GROUP: &str = "hansa.dev";

/// The version of every API here.
pub const VERSION: &str = "v1alpha1";

/// `kubectl get federated` lists everything of this category.
pub const CATEGORY: &str = "federated";

/// The namespace in which an operator runs, unless it is told otherwise.
pub const SYSTEM_NAMESPACE: &str = "hansa-system";

/// The operator's name: of its Deployment, ServiceAccount, Service and roles.
pub const OPERATOR: &str = "hansa-operator";
