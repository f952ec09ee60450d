//! A Request for a plan: it waits for the members' words, and has them as its answer.

use super::Answer;
use crate::feed::ObjectName;
use crate::machine::Operator;
use crate::plans::{Wanted, summary};
use serde_json::json;
use std::sync::Arc;

impl Operator {
    pub(super) fn carry_out_plan(&mut self, name: &ObjectName, wanted: &Arc<Wanted>) -> Answer {
        match self.findings(name, wanted) {
            None if !self.is_asked(name)
                && let Some(since) = self.topology.down_since_ms =>
            {
                Answer::Refused(format!(
                    "the topology server cannot be used since {}, so the others cannot be asked: plan it in the member at hand (`hansa plan --local`)",
                    crate::report::rfc3339(since)
                ))
            }
            None => Answer::Wait,
            Some(Ok(findings)) => Answer::Data { message: summary(&findings), data: json!(findings) },
            Some(Err(why)) => Answer::Refused(why),
        }
    }
}
