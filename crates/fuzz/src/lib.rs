//! Every decoder of bytes that others wrote, as one function from bytes to a refusal. What is a plain JSON structure without
//! a rule of its own (a store's marker, a type's agreed schema) is serde's to read, and has none here.
//!
//! [`DECODERS`] is the list; `tests/hostile.rs` feeds each of them with [mutations](hostile) of its samples in every
//! `make test`, and the targets of cargo-fuzz (`fuzz/`, outside of the workspace: it needs a nightly compiler) feed the same
//! functions for as long as one likes. A decoder panics here when it breaks its word:
//!
//! - what it reads, written again, reads as the same;
//! - what was read can be used (counted, judged, settled) without a panic, whatever stands in it;
//! - what it refuses, it refuses with a word about what is wrong.

mod ballots;
mod documents;
pub mod hostile;
mod values;

/// A decoder under test.
#[derive(Clone, Copy, Debug)]
pub struct Decoder {
    /// What it decodes, as the target of cargo-fuzz is called.
    pub name: &'static str,
    /// Decodes the bytes and checks what came of it; the error is the refusal's text.
    pub read: fn(&[u8]) -> Result<(), String>,
    /// Bytes that it takes.
    pub samples: fn() -> Vec<Vec<u8>>,
}

/// All of them.
pub const DECODERS: &[Decoder] = &[
    Decoder { name: "envelope", read: values::envelope, samples: values::envelopes },
    Decoder { name: "page", read: values::page, samples: values::pages },
    Decoder { name: "record", read: values::record, samples: values::records },
    Decoder { name: "member_cell", read: values::member_cell, samples: values::member_cells },
    Decoder { name: "status_cell", read: values::status_cell, samples: values::status_cells },
    Decoder { name: "confirmations", read: values::confirmations, samples: values::all_confirmations },
    Decoder { name: "plan", read: values::plan, samples: values::plans },
    Decoder { name: "plan_words", read: values::plan_words, samples: values::all_plan_words },
    Decoder { name: "backup", read: values::backup, samples: values::backups },
    Decoder { name: "blob", read: values::blob, samples: values::blobs },
    Decoder { name: "register_copy", read: values::register_copy, samples: values::register_copies },
    Decoder { name: "store_set", read: values::store_set, samples: values::store_sets },
    Decoder { name: "control", read: ballots::control, samples: ballots::controls },
    Decoder { name: "ballots", read: ballots::ballots, samples: ballots::all_ballots },
    Decoder { name: "cell", read: ballots::cell, samples: ballots::cells },
    Decoder { name: "notes", read: ballots::notes, samples: ballots::all_notes },
    Decoder { name: "spec_candidate", read: ballots::spec_candidate, samples: ballots::spec_candidates },
    Decoder { name: "change", read: ballots::change, samples: ballots::changes },
    Decoder { name: "federation", read: documents::federation, samples: documents::federations },
    Decoder { name: "federated", read: documents::federated, samples: documents::all_federated },
    Decoder { name: "watch_line", read: documents::watch_line, samples: documents::watch_lines },
    Decoder { name: "list", read: documents::list, samples: documents::lists },
    Decoder { name: "topo_url", read: documents::topo_url, samples: documents::topo_urls },
    Decoder { name: "crd_schema", read: documents::crd_schema, samples: documents::crd_schemas },
];

/// Decodes with the decoder of this name: what a target of cargo-fuzz does.
///
/// # Panics
/// When there is none, and when it breaks its word.
pub fn run(name: &str, bytes: &[u8]) {
    let decoder = DECODERS.iter().find(|decoder| decoder.name == name).expect("a target is called as its decoder");
    if let Err(refusal) = (decoder.read)(bytes) {
        assert!(!refusal.trim().is_empty(), "{name} refuses without a word");
    }
}

/// Decodes, writes, and decodes again: what is written must not change any more.
fn same_again<T>(
    bytes: &[u8],
    read: impl Fn(&[u8]) -> Result<T, String>,
    write: impl Fn(&T) -> Vec<u8>,
) -> Result<T, String> {
    let value = read(bytes)?;
    let written = write(&value);
    let again = match read(&written) {
        Ok(again) => again,
        Err(error) => panic!("what was written does not read ({error}): {}", String::from_utf8_lossy(&written)),
    };
    let twice = write(&again);
    assert!(
        twice == written,
        "what was written reads as something else: {} became {}",
        String::from_utf8_lossy(&written),
        String::from_utf8_lossy(&twice)
    );
    Ok(value)
}

/// The same for what serde decodes.
fn same_json_again<T: serde::Serialize + for<'de> serde::Deserialize<'de>>(bytes: &[u8]) -> Result<T, String> {
    let read = |bytes: &[u8]| serde_json::from_slice::<T>(bytes).map_err(|error| error.to_string());
    same_again(bytes, read, |value| serde_json::to_vec(value).expect("what was read can be written"))
}
