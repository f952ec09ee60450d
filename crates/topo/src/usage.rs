//! What a handle has asked of its server: calls, requests, bytes and outcomes per operation.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

/// The operations of the contract, as metric labels name them.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Operation {
    /// One value read.
    Get,
    /// A key made.
    Create,
    /// A value replaced.
    CompareAndSwap,
    /// All values below a prefix read.
    List,
    /// Several values read.
    ReadMany,
    /// A wait for changes.
    Changes,
    /// A look at the server itself.
    Check,
}

impl Operation {
    /// Every operation, in the order of the variants.
    pub const ALL: [Operation; 7] = [
        Operation::Get,
        Operation::Create,
        Operation::CompareAndSwap,
        Operation::List,
        Operation::ReadMany,
        Operation::Changes,
        Operation::Check,
    ];

    /// A write is a create when it expects no version.
    pub(crate) fn of_swap(expected: Option<&hansa_ledger::Version>) -> Self {
        match expected {
            None => Operation::Create,
            Some(_) => Operation::CompareAndSwap,
        }
    }

    /// The name used as a metric label.
    pub fn label(self) -> &'static str {
        match self {
            Operation::Get => "get",
            Operation::Create => "create",
            Operation::CompareAndSwap => "compare_and_swap",
            Operation::List => "list",
            Operation::ReadMany => "read_many",
            Operation::Changes => "changes",
            Operation::Check => "check",
        }
    }
}

/// What one operation has cost so far. Bytes are those of keys and values, without framing.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct OperationUsage {
    /// Calls of the trait's method that ended, or were cancelled.
    pub calls: u64,
    /// Requests that went to the server for them (pages of a list, attempts at other members).
    pub requests: u64,
    /// Calls that ended in an error.
    pub errors: u64,
    /// Writes that found another version.
    pub mismatches: u64,
    /// Writes of unknown fate.
    pub indeterminate: u64,
    /// Bytes of keys and values sent to be written.
    pub written_bytes: u64,
    /// Bytes of keys and values received.
    pub read_bytes: u64,
}

/// A snapshot of what a handle has cost so far, by operation; operations never called are absent.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Usage {
    /// The costs by operation.
    pub operations: BTreeMap<Operation, OperationUsage>,
}

impl Usage {
    /// All operations together.
    pub fn total(&self) -> OperationUsage {
        self.operations.values().fold(OperationUsage::default(), |sum, one| sum.plus(one))
    }

    /// The costs of one operation; zero when it was never called.
    pub fn of(&self, operation: Operation) -> OperationUsage {
        self.operations.get(&operation).copied().unwrap_or_default()
    }
}

impl OperationUsage {
    fn plus(self, other: &OperationUsage) -> OperationUsage {
        OperationUsage {
            calls: self.calls + other.calls,
            requests: self.requests + other.requests,
            errors: self.errors + other.errors,
            mismatches: self.mismatches + other.mismatches,
            indeterminate: self.indeterminate + other.indeterminate,
            written_bytes: self.written_bytes + other.written_bytes,
            read_bytes: self.read_bytes + other.read_bytes,
        }
    }
}

/// The counters behind [`Usage`], shared by a handle and the connections below it.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    cells: [Cell; Operation::ALL.len()],
}

#[derive(Debug, Default)]
struct Cell {
    calls: AtomicU64,
    requests: AtomicU64,
    errors: AtomicU64,
    mismatches: AtomicU64,
    indeterminate: AtomicU64,
    written_bytes: AtomicU64,
    read_bytes: AtomicU64,
}

impl Meter {
    fn cell(&self, operation: Operation) -> &Cell {
        &self.cells[operation as usize]
    }

    pub(crate) fn call(&self, operation: Operation) {
        self.cell(operation).calls.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn request(&self, operation: Operation) {
        self.cell(operation).requests.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn error(&self, operation: Operation) {
        self.cell(operation).errors.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn mismatch(&self, operation: Operation) {
        self.cell(operation).mismatches.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn indeterminate(&self, operation: Operation) {
        self.cell(operation).indeterminate.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn written(&self, operation: Operation, bytes: usize) {
        self.cell(operation).written_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(crate) fn read(&self, operation: Operation, bytes: usize) {
        self.cell(operation).read_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(crate) fn usage(&self) -> Usage {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let operations = Operation::ALL.into_iter().filter_map(|operation| {
            let cell = self.cell(operation);
            let usage = OperationUsage {
                calls: read(&cell.calls),
                requests: read(&cell.requests),
                errors: read(&cell.errors),
                mismatches: read(&cell.mismatches),
                indeterminate: read(&cell.indeterminate),
                written_bytes: read(&cell.written_bytes),
                read_bytes: read(&cell.read_bytes),
            };
            (usage != OperationUsage::default()).then_some((operation, usage))
        });
        Usage { operations: operations.collect() }
    }
}
