//! A plan for people.

use super::{Effect, MemberPlan, ObjectPlan, Plan, Standing, Summary};
use crate::print::{Screen, Tone, count};
use hansa_model::{MemberName, RecordKey};
use hansa_render::Change;
use std::fmt::Write;

/// The plan as text.
pub fn show(plan: &Plan, screen: &Screen) -> String {
    let mut out = String::new();
    for object in &plan.objects {
        show_object(&mut out, object, screen);
    }
    let _ = writeln!(out, "{}", screen.paint(Tone::Strong, &summary(&plan.summary)));
    out
}

fn target(object: &ObjectPlan) -> String {
    format!("{} {}", object.kind, place(&object.key))
}

fn place(key: &RecordKey) -> String {
    match key.namespace.as_ref() {
        "" => key.name.to_string(),
        namespace => format!("{namespace}/{}", key.name),
    }
}

fn show_object(out: &mut String, object: &ObjectPlan, screen: &Screen) {
    let against = match object.revision {
        Some(revision) => format!("against revision {revision}"),
        None => "new".to_owned(),
    };
    let title = format!("Federated{}", target(object));
    // Writing to a string cannot fail.
    let _ = writeln!(out, "{} ({against})", screen.paint(Tone::Strong, &title));
    for error in &object.errors {
        let _ = writeln!(out, "  {}", screen.paint(Tone::Bad, &format!("refused: {error}")));
    }
    for change in &object.spec {
        let _ = writeln!(out, "  {}", painted(change, screen));
    }
    let mut shown: Vec<(Vec<&MemberName>, &MemberPlan)> = Vec::new();
    for (member, plan) in &object.members {
        match shown.iter_mut().find(|(_, other)| *other == plan) {
            Some((members, _)) => members.push(member),
            None => shown.push((vec![member], plan)),
        }
    }
    shown.sort_by_key(|(_, plan)| plan.effect);
    for (members, plan) in shown {
        show_members(out, object, &members, plan, screen);
    }
    show_asked(out, object, screen);
    for note in &object.notes {
        let _ = writeln!(out, "  {}", screen.paint(Tone::Faint, &format!("note: {note}")));
    }
    out.push('\n');
}

/// What the members said.
fn show_asked(out: &mut String, object: &ObjectPlan, screen: &Screen) {
    let mut lines: Vec<(Standing, &str, Vec<&str>)> = Vec::new();
    for (member, asked) in &object.asked {
        match lines.iter_mut().find(|(standing, message, _)| (*standing, *message) == (asked.standing, &asked.message))
        {
            Some((.., members)) => members.push(member.as_str()),
            None => lines.push((asked.standing, &asked.message, vec![member.as_str()])),
        }
    }
    let others = object
        .members
        .iter()
        .filter(|(member, plan)| plan.effect != Effect::Refuse && !object.asked.contains_key(*member));
    let others: Vec<&str> = others.map(|(member, _)| member.as_str()).collect();
    if !others.is_empty() {
        lines.push((Standing::RenderedOnly, "", others));
    }
    lines.sort();
    for (standing, message, members) in lines {
        let (tone, words) = match standing {
            Standing::Accepted => (Tone::Good, "accepted in"),
            Standing::NotTried => (Tone::Warning, "not tried in"),
            Standing::Held => (Tone::Warning, "held back in"),
            Standing::Frozen => (Tone::Warning, "frozen:"),
            Standing::RenderedOnly => (Tone::Warning, "rendered only:"),
        };
        let message = match message {
            "" => String::new(),
            message => format!(": {message}"),
        };
        let _ = writeln!(out, "  {}", screen.paint(tone, &format!("{words} {}{message}", members.join(", "))));
    }
    for (member, asked) in &object.asked {
        for note in &asked.notes {
            let _ = writeln!(out, "  {}", screen.paint(Tone::Faint, &format!("note: in {member}: {note}")));
        }
    }
}

fn show_members(out: &mut String, object: &ObjectPlan, members: &[&MemberName], plan: &MemberPlan, screen: &Screen) {
    let names: Vec<&str> = members.iter().map(|member| member.as_str()).collect();
    let names = names.join(", ");
    let target = target(object);
    let line = match plan.effect {
        Effect::Change if plan.restarts_pods => format!("{names}: changes {target}, and restarts its pods"),
        Effect::Change => format!("{names}: changes {target}"),
        Effect::Add => format!("{names}: adds {target}"),
        Effect::Withdraw => format!("{names}: withdraws {target}, once the members that keep it are healthy"),
        Effect::Refuse => format!("{names}: refuses {target}, and keeps what it has"),
        Effect::Keep => format!("{names}: unchanged"),
    };
    let tone = match plan.effect {
        Effect::Change if plan.restarts_pods => Tone::Warning,
        Effect::Change => Tone::Plain,
        Effect::Add => Tone::Good,
        Effect::Withdraw | Effect::Refuse => Tone::Bad,
        Effect::Keep => Tone::Faint,
    };
    let _ = writeln!(out, "  {}", screen.paint(tone, &line));
    for change in &plan.changes {
        let _ = writeln!(out, "    {}", painted(change, screen));
    }
}

fn painted(change: &Change, screen: &Screen) -> String {
    let tone = match (&change.before, &change.after) {
        (None, Some(_)) => Tone::Good,
        (Some(_), None) => Tone::Bad,
        _ => Tone::Plain,
    };
    screen.paint(tone, &change.to_string())
}

fn summary(summary: &Summary) -> String {
    let mut parts = Vec::new();
    for (number, what) in [(summary.changed, "changed"), (summary.added, "added"), (summary.withdrawn, "withdrawn")] {
        if number > 0 {
            parts.push(format!("{} {what}", count(number, "output")));
        }
    }
    if summary.settings > 0 {
        parts.push(format!("settings of {} changed", count(summary.settings, "object")));
    }
    let mut text = match parts.as_slice() {
        [] => "Nothing would change".to_owned(),
        parts => format!("Would be: {}", parts.join(", ")),
    };
    if !summary.restarts.is_empty() {
        let restarts = summary.restarts.iter().map(|(member, keys)| {
            let places: Vec<String> = keys.iter().map(|key| format!("{} {}", key.type_name, place(key))).collect();
            format!("{member} ({})", places.join(", "))
        });
        let _ = write!(text, "; pods restart in {}", restarts.collect::<Vec<_>>().join(", "));
    }
    if !summary.silent.is_empty() {
        let silent: Vec<&str> = summary.silent.iter().map(|member| member.as_str()).collect();
        let _ = write!(text, "; rendered only for {}, without its word", silent.join(", "));
    }
    if summary.refused > 0 {
        let _ = write!(text, "; {} would be refused", count(summary.refused, "object"));
    }
    text + "."
}
