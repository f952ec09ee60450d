//! Every decoder takes its samples, and whatever is made of them: without a panic, on a small stack, in memory that is in
//! proportion to what came in.
#![allow(unsafe_code, reason = "an allocator that counts is one that allocates")]

use hansa_fuzz::hostile::{Random, extremes, mutate};
use hansa_fuzz::{DECODERS, Decoder};
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

/// How many variants of each sample; HANSA_FUZZ_VARIANTS says another number.
const VARIANTS: u64 = 400;

fn variants() -> u64 {
    let said = std::env::var("HANSA_FUZZ_VARIANTS").ok();
    said.map_or(VARIANTS, |said| said.parse().expect("HANSA_FUZZ_VARIANTS is a number"))
}

/// What the threads of an async runtime have is twice as much.
const STACK: usize = 1 << 20;

/// How much memory a decoder may take at once: so much for each byte that came in, and so much always. A tree of
/// JSON takes some dozen bytes for each of its text, and is read twice here; a body may be unpacked to
/// 64 MiB, in a buffer that has doubled.
const BYTES_PER_BYTE: usize = 400;
const BYTES_ALWAYS: usize = 8 << 20;
const BYTES_UNPACKED: usize = 4 * (64 << 20);

struct Counting;

thread_local! {
    static HELD: Cell<(usize, usize)> = const { Cell::new((0, 0)) };
}

fn count(change: impl FnOnce(usize) -> usize) {
    // A thread that ends has no counter any more.
    let _ = HELD.try_with(|held| {
        let (now, most) = held.get();
        let now = change(now);
        held.set((now, most.max(now)));
    });
}

// SAFETY: every call goes to the system's allocator as it is.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(|now| now.saturating_add(layout.size()));
        // SAFETY: as the caller promised.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(|now| now.saturating_sub(layout.size()));
        // SAFETY: as the caller promised.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Decodes, and returns the refusal and how much memory it took at once.
fn read(decoder: &Decoder, bytes: &[u8]) -> (Result<(), String>, usize) {
    let before = HELD.with(Cell::get).0;
    HELD.with(|held| held.set((before, before)));
    let outcome = (decoder.read)(bytes);
    (outcome, HELD.with(Cell::get).1 - before)
}

fn judge(decoder: &Decoder, bytes: &[u8], what: &str) -> bool {
    let (outcome, took) = read(decoder, bytes);
    let packed = matches!(decoder.name, "envelope" | "blob");
    let always = if packed { BYTES_UNPACKED } else { BYTES_ALWAYS };
    let most = always + BYTES_PER_BYTE * bytes.len();
    assert!(took <= most, "{}, {what}: {took} bytes of memory for {} bytes", decoder.name, bytes.len());
    if let Err(refusal) = &outcome {
        assert!(!refusal.trim().is_empty(), "{}, {what}: refused without a word", decoder.name);
    }
    outcome.is_ok()
}

/// Runs on a thread with a small stack; a panic there is one here.
fn on_small_stack(what: impl FnOnce() + Send + 'static) {
    let thread = std::thread::Builder::new().stack_size(STACK).spawn(what).expect("a thread starts");
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

#[test]
fn every_decoder_takes_its_samples() {
    for decoder in DECODERS {
        let samples = (decoder.samples)();
        assert!(!samples.is_empty(), "{} has no samples", decoder.name);
        for sample in samples {
            let (outcome, _) = read(decoder, &sample);
            // A change may be one that the voters of the test do not take; and an error is what some lines are.
            let refused = ["change", "watch_line"].contains(&decoder.name);
            assert!(refused || outcome.is_ok(), "{}: {outcome:?}: {}", decoder.name, String::from_utf8_lossy(&sample));
        }
    }
}

#[test]
fn no_variant_of_a_sample_breaks_a_decoder() {
    on_small_stack(|| {
        for decoder in DECODERS {
            let (mut taken, mut refused) = (0, 0);
            for (number, sample) in (decoder.samples)().iter().enumerate() {
                for seed in 0..variants() {
                    let bytes = mutate(sample, &mut Random::new(seed));
                    let what = format!("sample {number}, seed {seed}");
                    if judge(decoder, &bytes, &what) { taken += 1 } else { refused += 1 }
                }
            }
            println!("{}: {taken} taken, {refused} refused", decoder.name);
            assert!(refused > 0, "{} refuses nothing", decoder.name);
        }
    });
}

#[test]
fn nothing_is_too_deep_or_too_large_for_a_decoder() {
    on_small_stack(|| {
        for decoder in DECODERS {
            for (number, bytes) in extremes(&(decoder.samples)()[0]).iter().enumerate() {
                judge(decoder, bytes, &format!("extreme {number}"));
            }
        }
    });
}

#[test]
fn every_decoder_has_its_target_of_cargo_fuzz() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz");
    let manifest = std::fs::read_to_string(folder.join("Cargo.toml")).expect("the targets have a manifest");
    for decoder in DECODERS {
        let target = std::fs::read_to_string(folder.join(format!("fuzz_targets/{}.rs", decoder.name)));
        let target = target.unwrap_or_else(|error| panic!("{}: {error}", decoder.name));
        assert!(target.contains(&format!("run({:?}, bytes)", decoder.name)), "{target}");
        assert!(manifest.contains(&format!("name = {:?}", decoder.name)), "{} is not in the manifest", decoder.name);
    }
    assert_eq!(manifest.matches("[[bin]]").count(), DECODERS.len(), "a target has no decoder");
}
