//! Hostile variants of good bytes, from a seed: the same seed, the same bytes.

use hansa_model::SplitMix64;
use serde_json::{Map, Value};

/// Randomness that a seed decides.
#[derive(Clone, Debug)]
pub struct Random(SplitMix64);

impl Random {
    /// From a seed.
    pub fn new(seed: u64) -> Self {
        Random(SplitMix64(seed))
    }

    fn below(&mut self, end: usize) -> usize {
        self.0.below(end as u64) as usize
    }
}

/// One variant. Bytes that hold JSON are changed by their structure half of the time; what is packed is
/// unpacked for that, and packed again.
pub fn mutate(sample: &[u8], random: &mut Random) -> Vec<u8> {
    let mut bytes = sample.to_vec();
    for _ in 0..=random.below(3) {
        bytes = if random.below(2) == 0 { structure(&bytes, random).unwrap_or(bytes) } else { bytes };
        if random.below(2) == 0 {
            tear(&mut bytes, random);
        }
    }
    bytes
}

/// Changes bytes without regard to what they are.
fn tear(bytes: &mut Vec<u8>, random: &mut Random) {
    if bytes.is_empty() {
        return bytes.push(random.0.bits() as u8);
    }
    let at = random.below(bytes.len());
    match random.below(9) {
        0 => bytes.truncate(at),
        1 => bytes[at] ^= 1 << random.below(8),
        2 => bytes[at] = random.0.bits() as u8,
        // Not UTF-8, wherever it stands.
        3 => bytes.insert(at, 0xff),
        4 => bytes.insert(at, 0),
        5 => {
            let end = at + random.below(bytes.len() - at);
            let part = bytes[at..end].to_vec();
            bytes.splice(at..at, part);
        }
        6 => {
            let end = at + random.below(bytes.len() - at);
            bytes.drain(at..end);
        }
        7 => {
            let digits = bytes.iter().position(u8::is_ascii_digit).unwrap_or(at);
            bytes.splice(digits..=digits, b"18446744073709551616".iter().copied());
        }
        _ => bytes.extend_from_slice(b"}]garbage"),
    }
}

/// Changes JSON as JSON: in all of the bytes, in their first line, or in what is packed behind it.
fn structure(bytes: &[u8], random: &mut Random) -> Option<Vec<u8>> {
    if let Ok(value) = serde_json::from_slice::<Value>(bytes) {
        return Some(rewritten(value, random));
    }
    let end = bytes.iter().position(|byte| *byte == b'\n')?;
    let header: Value = serde_json::from_slice(&bytes[..end]).ok()?;
    let rest = &bytes[end + 1..];
    let inner =
        || hansa_ledger::envelope::unpack(rest).ok().and_then(|body| serde_json::from_slice::<Value>(&body).ok());
    let (header, rest) = match (random.below(2), inner()) {
        (0, Some(body)) => (header.to_string().into_bytes(), hansa_ledger::envelope::pack(&rewritten(body, random))),
        _ => (rewritten(header, random), rest.to_vec()),
    };
    Some([header, b"\n".to_vec(), rest].concat())
}

fn rewritten(mut value: Value, random: &mut Random) -> Vec<u8> {
    let count = count(&value);
    let mut number = random.below(count);
    change(&mut value, &mut number, random);
    let text = value.to_string();
    // A tree has no key twice.
    match random.below(8) {
        0 if text.starts_with('{') && text.len() > 2 => {
            format!("{{{},{}", &text[1..text.len() - 1], &text[1..]).into_bytes()
        }
        _ => text.into_bytes(),
    }
}

fn count(value: &Value) -> usize {
    1 + match value {
        Value::Array(items) => items.iter().map(count).sum(),
        Value::Object(fields) => fields.values().map(count).sum::<usize>(),
        _ => 0,
    }
}

/// Changes the `number`th place of a tree.
fn change(value: &mut Value, number: &mut usize, random: &mut Random) {
    if *number == 0 {
        *number = usize::MAX;
        return other(value, random);
    }
    *number -= 1;
    let below: Vec<&mut Value> = match value {
        Value::Array(items) => items.iter_mut().collect(),
        Value::Object(fields) => fields.values_mut().collect(),
        _ => Vec::new(),
    };
    for item in below {
        if *number == usize::MAX {
            return;
        }
        change(item, number, random);
    }
}

/// What stands in a place instead.
fn other(value: &mut Value, random: &mut Random) {
    let numbers = [0, 1, 2, u64::from(u32::MAX), i64::MAX as u64, u64::MAX - 1, u64::MAX];
    match (random.below(12), &mut *value) {
        (0, _) => *value = Value::Null,
        (1, _) => *value = Value::from(numbers[random.below(numbers.len())]),
        (2, _) => *value = Value::from([-1i64, i64::MIN][random.below(2)]),
        (3, _) => *value = Value::from([1e308, -0.0, 0.5][random.below(3)]),
        (4, _) => *value = Value::from("x".repeat(1 << random.below(16))),
        (5, _) => *value = Value::from("\u{0}\u{202e}\"\\/../é"),
        (6, _) => *value = nested(random.below(120)),
        (7, _) => *value = Value::Array(vec![value.clone(); 1 + random.below(40)]),
        (8, Value::Object(fields)) => {
            fields.insert("novelty".to_owned(), Value::from(1));
        }
        (9, Value::Object(fields)) => {
            let name = fields.keys().nth(random.below(fields.len())).cloned();
            name.and_then(|name| fields.remove(&name));
        }
        (10, Value::Object(fields)) => {
            let names: Vec<String> = fields.keys().cloned().collect();
            if let (Some(one), Some(two)) = (names.first(), names.last()) {
                let (first, last) = (fields[one].clone(), fields[two].clone());
                fields.insert(one.clone(), last);
                fields.insert(two.clone(), first);
            }
        }
        (_, Value::Number(_)) => *value = Value::from(numbers[random.below(numbers.len())]),
        (_, Value::String(text)) => text.push('\u{7f}'),
        _ => *value = Value::Object(Map::new()),
    }
}

fn nested(depth: usize) -> Value {
    (0..depth).fold(Value::from(1), |inner, level| match level % 2 {
        0 => Value::Array(vec![inner]),
        _ => Value::Object(Map::from_iter([("a".to_owned(), inner)])),
    })
}

/// Variants that no chance comes upon: nested and large beyond measure.
pub fn extremes(sample: &[u8]) -> Vec<Vec<u8>> {
    const DEEP: usize = 400_000;
    let text = String::from_utf8_lossy(sample).into_owned();
    let mut all = vec![
        Vec::new(),
        vec![0; 1 << 20],
        vec![0xff; 1 << 20],
        b"[".repeat(DEEP),
        br#"{"a":"#.repeat(DEEP),
        vec![b'"'; 1 << 20],
        vec![b'9'; 1 << 20],
        [&b"\""[..], &vec![b'x'; 1 << 20], b"\""].concat(),
    ];
    // The same behind each field of the sample.
    for (at, _) in text.match_indices(':') {
        let head = &text.as_bytes()[..=at];
        all.push([head, &b"[".repeat(DEEP)].concat());
        all.push([head, &b"[".repeat(DEEP), &b"]".repeat(DEEP), b"}"].concat());
    }
    all.truncate(60);
    all
}
