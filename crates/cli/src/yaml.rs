//! YAML as Kubernetes' own tools read and write it.
//!
//! Those tools follow YAML 1.1: an unquoted `on`, `0644` or `1_000` is no text to them. What is
//! written here is therefore plain only where every reader agrees that it is text; the rest is
//! quoted as JSON does it, or written as a literal block. What is read follows the same rules.

use serde_json::{Map, Number, Value};
use std::fmt::Write;

/// A document as YAML, with a line end.
pub fn to_string(value: &Value) -> String {
    let mut out = String::new();
    match value {
        Value::Object(fields) if !fields.is_empty() => mapping(&mut out, fields, 0),
        Value::Array(items) if !items.is_empty() => sequence(&mut out, items, 0),
        other => scalar_line(&mut out, other, 0),
    }
    out
}

/// Several documents, each after a separator but the first.
pub fn documents<'a>(values: impl IntoIterator<Item = &'a Value>) -> String {
    let documents: Vec<String> = values.into_iter().map(to_string).collect();
    documents.join("---\n")
}

fn indent(out: &mut String, depth: usize) {
    for _ in 0..depth {
        out.push_str("  ");
    }
}

fn mapping(out: &mut String, fields: &Map<String, Value>, depth: usize) {
    for (index, (key, value)) in fields.iter().enumerate() {
        // The first field of a list's item stands on the line of its dash.
        if index > 0 || !ends_with_dash(out) {
            indent(out, depth);
        }
        text(out, key);
        out.push(':');
        field(out, value, depth);
    }
}

fn field(out: &mut String, value: &Value, depth: usize) {
    match value {
        Value::Object(fields) if !fields.is_empty() => {
            out.push('\n');
            mapping(out, fields, depth + 1);
        }
        Value::Array(items) if !items.is_empty() => {
            out.push('\n');
            sequence(out, items, depth);
        }
        scalar => {
            out.push(' ');
            scalar_line(out, scalar, depth + 1);
        }
    }
}

fn sequence(out: &mut String, items: &[Value], depth: usize) {
    for (index, item) in items.iter().enumerate() {
        if index > 0 || !ends_with_dash(out) {
            indent(out, depth);
        }
        out.push_str("- ");
        match item {
            Value::Object(fields) if !fields.is_empty() => mapping(out, fields, depth + 1),
            Value::Array(items) if !items.is_empty() => sequence(out, items, depth + 1),
            scalar => scalar_line(out, scalar, depth + 1),
        }
    }
}

fn ends_with_dash(out: &str) -> bool {
    out.ends_with("- ")
}

/// A value without inner structure and the end of its line. A literal block stands at `depth`.
fn scalar_line(out: &mut String, value: &Value, depth: usize) {
    match value {
        Value::String(string) if fits_a_block(string) => {
            // The indicator says how many line ends follow the text: one, none, or all there are.
            let body = string.trim_end_matches('\n');
            out.push_str(match string.len() - body.len() {
                0 => "|-",
                1 => "|",
                _ => "|+",
            });
            let lines = string.strip_suffix('\n').unwrap_or(string);
            for line in lines.split('\n') {
                out.push('\n');
                if !line.is_empty() {
                    indent(out, depth.max(1));
                    out.push_str(line);
                }
            }
        }
        Value::String(string) => text(out, string),
        Value::Number(number) => number_text(out, number),
        Value::Null => out.push_str("null"),
        Value::Bool(yes) => out.push_str(if *yes { "true" } else { "false" }),
        Value::Array(_) => out.push_str("[]"),
        Value::Object(_) => out.push_str("{}"),
    }
    out.push('\n');
}

/// YAML 1.1 reads `1e+20` as text: a number has a point before its exponent.
fn number_text(out: &mut String, number: &Number) {
    let text = number.to_string();
    match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => {
            let point = if mantissa.contains('.') { "" } else { ".0" };
            let sign = if exponent.starts_with(['+', '-']) { "" } else { "+" };
            // Writing to a string cannot fail.
            let _ = write!(out, "{mantissa}{point}e{sign}{exponent}");
        }
        None => out.push_str(&text),
    }
}

fn text(out: &mut String, string: &str) {
    if is_plain(string) {
        out.push_str(string);
    } else {
        quoted(out, string);
    }
}

/// Several lines of printable text whose first begins with no space.
fn fits_a_block(string: &str) -> bool {
    let printable = |c: char| c == '\n' || (is_printable(c) && c != '\t');
    let body = string.trim_end_matches('\n');
    // A line of spaces alone, or a first line that begins with one, would need more indicators.
    let plain_lines = || body.split('\n').all(|line| line.is_empty() || !line.trim_end_matches(' ').is_empty());
    body.contains('\n') && !body.starts_with([' ', '\n']) && string.chars().all(printable) && plain_lines()
}

fn is_printable(c: char) -> bool {
    c == '\t' || !(c.is_control() || matches!(c, '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}'))
}

/// Whether every reader takes these characters for text, and for this text.
fn is_plain(string: &str) -> bool {
    let word =
        |c: char| c.is_ascii_alphanumeric() || "._/-$+=~^<(),%@*".contains(c) || (c.is_alphabetic() && !c.is_ascii());
    let begins = string.starts_with(|c: char| c.is_ascii_alphabetic() || c == '/' || c == '_' || c == '$')
        || string.starts_with(|c: char| c.is_ascii_digit()) && has_letters_of_no_number(string);
    let inner = string.bytes().enumerate().all(|(index, byte)| match byte {
        b' ' => index + 1 < string.len(),
        // `a: b` is a field and `a #b` a comment; within a word both are text.
        b':' => string.as_bytes().get(index + 1).is_some_and(|next| *next != b' '),
        b'#' => index > 0 && string.as_bytes()[index - 1] != b' ',
        _ => true,
    });
    begins && inner && string.chars().all(|c| word(c) || " :#".contains(c)) && !means_something(string)
}

/// Something that begins with a digit and is surely no number, octal, duration of YAML 1.1, or date:
/// `10m`, `2nd-floor`, but not `1e3`, `0x1f`, `12:30`, `2001-01-01` or `1_000`.
fn has_letters_of_no_number(string: &str) -> bool {
    let digits = string.bytes().take_while(u8::is_ascii_digit).count();
    let rest = &string[digits..];
    !string.starts_with('0') && rest.starts_with(|c: char| c.is_ascii_alphabetic() && !matches!(c, 'e' | 'E'))
}

/// Words that are no text in one of the versions of YAML.
fn means_something(string: &str) -> bool {
    const WORDS: [&str; 12] = ["y", "n", "yes", "no", "on", "off", "true", "false", "null", "nan", "inf", "none"];
    WORDS.contains(&string.to_ascii_lowercase().as_str())
}

/// In double quotes, with JSON's escapes, which are YAML's as well, and those that YAML needs.
fn quoted(out: &mut String, string: &str) {
    let json = Value::String(string.to_owned()).to_string();
    for c in json.chars() {
        // JSON lets these stand; YAML does not count them as printable.
        if is_printable(c) && c != '\u{85}' {
            out.push(c);
        } else {
            let _ = write!(out, "\\u{:04x}", u32::from(c));
        }
    }
}

/// The documents of a text, the empty ones left out; JSON is YAML.
///
/// # Errors
/// Where and why it is not YAML.
pub fn parse(text: &str) -> Result<Vec<Value>, String> {
    let options = serde_saphyr::options! {
        // `defaultMode: 0644` is 420, as for kubectl.
        legacy_octal_numbers: true,
        // kubectl takes the last of two equal keys without a word, which has hidden many a mistake.
        duplicate_keys: serde_saphyr::DuplicateKeyPolicy::Error,
        ignore_binary_tag_for_string: true,
        with_snippet: false,
        budget: serde_saphyr::budget! {
            max_events: 20_000_000,
            max_nodes: 10_000_000,
            max_documents: 100_000,
            max_total_scalar_bytes: 1 << 30,
            max_depth: 200,
        },
    };
    let documents: Vec<Value> =
        serde_saphyr::from_multiple_with_options(text, options).map_err(|error| error.to_string())?;
    Ok(documents.into_iter().filter(|document| !document.is_null()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;
    use proptest::prelude::*;
    use serde_json::json;

    #[test]
    fn manifests_look_as_people_write_them() {
        let value = json!({
            "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "web", "labels": {}},
            "data": {"on": "yes", "mode": "0644", "url": "http://web:80/#top", "script": "a\n  b\n\nc\n", "open": "a\nb",
                     "time": "12:30", "size": "10m", "float": "1e3", "image": "nginx:1.27", "glob": "*.txt", "empty": ""},
            "list": [1, [true, [null]], {"a": [{"b": 1, "c": "x y"}], "d": {"e": -1.5}}, [], "two\nlines\n\n"],
        });
        expect![[r#"
            apiVersion: v1
            data:
              empty: ""
              float: "1e3"
              glob: "*.txt"
              image: nginx:1.27
              mode: "0644"
              "on": "yes"
              open: |-
                a
                b
              script: |
                a
                  b

                c
              size: 10m
              time: "12:30"
              url: http://web:80/#top
            kind: ConfigMap
            list:
            - 1
            - - true
              - - null
            - a:
              - b: 1
                c: x y
              d:
                e: -1.5
            - []
            - |+
              two
              lines

            metadata:
              labels: {}
              name: web
        "#]]
        .assert_eq(&to_string(&value));
    }

    /// What kubectl 1.37 makes of the same text (`kubectl label --local -o json`).
    #[test]
    fn words_of_older_yaml_are_read_as_kubectl_reads_them() {
        let text = "{a: y, b: Yes, c: on, d: 0644, e: 0o644, f: 1_000, g: 12:30, h: 2001-01-01, i: 1e3, k: .inf2, \
                    l: n, m: 0x1F, n1: ~, p: 1.10, r: +1, s: 0b11, t: '=', u: 1e+2, v: .5}";
        let expected = json!({"a": true, "b": true, "c": true, "d": 420, "e": 420, "f": 1000, "g": "12:30", "h": "2001-01-01",
            "i": 1000.0, "k": ".inf2", "l": false, "m": 31, "n1": null, "p": 1.1, "r": 1, "s": 3, "t": "=", "u": 100.0, "v": 0.5});
        assert_eq!(parse(text).unwrap(), [expected]);
    }

    #[test]
    fn empty_documents_are_passed_over() {
        let read = parse("a: 1\n---\n---\n# nothing\n---\n{\"b\": 'on'}\n").unwrap();
        assert_eq!(read, [json!({"a": 1}), json!({"b": "on"})]);
    }

    #[test]
    fn anchors_and_large_values_are_read() {
        let large = "x".repeat(3 << 20);
        let read = parse(&format!("a: &a {{b: 1}}\nc: *a\nd: {large}\n")).unwrap();
        assert_eq!((&read[0]["c"]["b"], read[0]["d"].as_str().map(str::len)), (&json!(1), Some(3 << 20)));
    }

    #[test]
    fn a_fault_has_its_place() {
        let error = parse("a: 1\nb: [1\nc: 2\n").unwrap_err();
        assert!(error.contains("line"), "{error}");
        assert!(parse("a: 1\na: 2\n").unwrap_err().contains("uplicate"));
    }

    fn any_text() -> impl Strategy<Value = String> {
        prop_oneof![
            any::<String>(),
            "[a-zA-Z0-9:#,.=~<>_ \n\t'\"{}\\[\\]*&!|%@`?+-]{0,12}",
            "(y|n|yes|No|ON|off|null|~|true|\\.inf|0x1F|0o7|017|1_000|1e3|1:30|2001-01-01|=|<<|-|\\?|---|\\.\\.\\.)",
        ]
    }

    fn any_value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any_text().prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 40, 5, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map(any_text(), inner, 0..4)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(value in any_value().prop_filter("null is no document", |value| !value.is_null())) {
            let text = to_string(&value);
            prop_assert_eq!(parse(&text).map_err(|error| format!("{error}\n{text}")), Ok(vec![value]), "{}", text);
        }
    }
}
