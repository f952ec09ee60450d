//! The dry runs of one output: what is sent, and what the answers mean.
//!
//! The same requests as a real apply makes, in the same order (see `output/sending.rs`), each as a dry
//! run with strict validation: what is made is only made; what stands is met by its uid; fields of
//! others are taken back or yielded; a foreign object is adopted by the spec's rule.

use crate::classify::{Refusal, Rival};
use crate::io::{ApiRequest, ContentType, Method};
use crate::observed::MANAGER;
use crate::output::{NEVER_ADOPTED, NO_VERSION, comparable_hash, difference, is_yielded};
use hansa_ledger::plan::{Verdict, Word};
use hansa_model::{Adoption, Hash};
use serde_json::{Value, json};
use std::fmt;

/// How many requests one output may take.
const MAX_TRIES: u32 = 6;

/// An output on trial.
pub(super) struct Trial {
    /// The object's path in the API server.
    pub path: String,
    /// Its kind.
    pub kind: String,
    /// The output.
    pub body: Value,
    /// The uid of the output that stands there.
    pub standing: Option<String>,
    /// The label value of the league.
    pub label: String,
    /// What becomes of an object that is not Hansa's.
    pub adoption: Adoption,
    /// It is an outline: its values are left out.
    pub outlined: bool,
    /// Whether the operator makes a namespace that is missing.
    pub makes_namespace: bool,
    /// What is known to be said.
    pub word: Word,
    step: Step,
    tries: u32,
}

enum Step {
    Create,
    Apply { force: bool },
    Look,
    Adopt { before: Hash, standing: Value },
}

/// How a trial goes on.
#[derive(Debug)]
pub(super) enum Next {
    /// With another request.
    Again(Trial),
    /// With a word.
    Said(Word),
}

impl fmt::Debug for Trial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Neither the output nor what stands there: that may be a Secret.
        f.debug_struct("Trial").field("path", &self.path).field("tries", &self.tries).finish_non_exhaustive()
    }
}

/// What a trial is of, beside the output itself.
pub(super) struct Setting {
    pub path: String,
    pub kind: String,
    pub standing: Option<String>,
    pub label: String,
    pub adoption: Adoption,
    pub outlined: bool,
    pub makes_namespace: bool,
}

impl Trial {
    /// Puts an output on trial; `word` is what is known of it already.
    pub fn new(setting: Setting, body: Value, word: Word) -> Self {
        let Setting { path, kind, standing, label, adoption, outlined, makes_namespace } = setting;
        let step = if standing.is_some() { Step::Apply { force: false } } else { Step::Create };
        Trial { path, kind, body, standing, label, adoption, outlined, makes_namespace, word, step, tries: 0 }
    }

    /// The request that is to be answered next.
    pub fn request(&self) -> ApiRequest {
        let apply = |body: &Value, force: bool| {
            let path = format!("{}?fieldManager={MANAGER}&force={force}&dryRun=All&fieldValidation=Strict", self.path);
            ApiRequest::write(Method::Patch, path, ContentType::Apply, body)
        };
        match &self.step {
            Step::Create => {
                let mut body = self.body.clone();
                body["metadata"]["resourceVersion"] = json!(NO_VERSION);
                apply(&body, true)
            }
            Step::Apply { force } => {
                let mut body = self.body.clone();
                if let Some(uid) = &self.standing {
                    body["metadata"]["uid"] = json!(uid);
                }
                apply(&body, *force)
            }
            // Of a Secret no more than whose it is.
            Step::Look => ApiRequest { metadata_only: self.outlined, ..ApiRequest::get(self.path.clone()) },
            Step::Adopt { .. } => apply(&self.body, true),
        }
    }

    /// Takes the answer to the request.
    pub fn answered(mut self, answer: Result<Value, Refusal>) -> Next {
        self.tries += 1;
        if self.tries >= MAX_TRIES && answer.is_err() {
            return self.untried("what stands there changes all the time");
        }
        match (std::mem::replace(&mut self.step, Step::Look), answer) {
            (Step::Create | Step::Apply { .. }, Ok(_)) => self.accepted(),
            (Step::Look, Ok(found)) => self.looked(&found),
            (Step::Adopt { before, standing }, Ok(tried)) => {
                if comparable_hash(&tried) == before {
                    self.word.notes.push("an object of this name stands already, and is adopted as it is".to_owned());
                    self.accepted()
                } else {
                    let message = difference(&self.kind, &standing, &tried);
                    self.says(Verdict::Conflicting, message)
                }
            }
            (Step::Look, Err(Refusal::Missing)) => self.again(Step::Create),
            // Something has its name.
            (Step::Create, Err(Refusal::Stale(_))) => self.again(Step::Look),
            // It was made anew, or went.
            (Step::Apply { .. } | Step::Adopt { .. }, Err(Refusal::Stale(_) | Refusal::Missing)) => {
                self.standing = None;
                self.again(Step::Look)
            }
            (Step::Apply { .. }, Err(Refusal::Rivals(rivals))) => self.meet(&rivals),
            (_, Err(Refusal::NamespaceMissing(_))) if self.makes_namespace => {
                self.untried("its namespace is not there yet, and is made with the first output")
            }
            (_, Err(refusal @ (Refusal::Refused(_) | Refusal::Forbidden(_)))) => {
                self.says(Verdict::Refused, refusal.message())
            }
            (_, Err(refusal)) => self.untried(&refusal.message()),
        }
    }

    fn again(mut self, step: Step) -> Next {
        self.step = step;
        Next::Again(self)
    }

    fn accepted(self) -> Next {
        self.says(Verdict::Accepted, String::new())
    }

    fn untried(self, why: &str) -> Next {
        self.says(Verdict::Untried, why.to_owned())
    }

    fn says(self, verdict: Verdict, message: String) -> Next {
        Next::Said(Word { verdict, message, ..self.word }.cut())
    }

    /// An object that an apply met.
    fn looked(mut self, found: &Value) -> Next {
        if found["metadata"]["labels"][hansa_render::LEAGUE_LABEL].as_str() == Some(&self.label) {
            self.standing = found["metadata"]["uid"].as_str().map(str::to_owned);
            return self.again(Step::Apply { force: false });
        }
        match self.adoption {
            Adoption::Never => self.says(Verdict::Conflicting, NEVER_ADOPTED.to_owned()),
            Adoption::IfNoDifference if self.outlined => self.untried(
                "an object of this name that Hansa did not make exists here: it is adopted if its values are the same, and values are in no plan",
            ),
            Adoption::IfNoDifference => {
                let (before, standing) = (comparable_hash(found), hansa_render::comparable(found));
                self.again(Step::Adopt { before, standing })
            }
            Adoption::Always => {
                self.word.notes.push("an object of this name stands already, and is taken over".to_owned());
                self.again(Step::Apply { force: true })
            }
        }
    }

    /// Fields are held by others: as a real apply does, each is left to them or taken back.
    fn meet(mut self, rivals: &[Rival]) -> Next {
        let (yielded, taken): (Vec<&Rival>, Vec<&Rival>) = rivals.iter().partition(|rival| is_yielded(rival));
        for rival in yielded {
            hansa_render::drop_path(&mut self.body, &rival.field);
            self.word.notes.push(format!("{} is left to {}", rival.field, rival.manager));
        }
        for rival in &taken {
            self.word.notes.push(format!("{} is taken back from {}", rival.field, rival.manager));
        }
        self.again(Step::Apply { force: !taken.is_empty() })
    }
}
