//! What a month of requests costs by the clouds' list prices.

use super::count::Requests;
use hansa_topo::TopoUrl;

/// A provider's list prices in US dollars.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tariff {
    pub(super) server: &'static str,
    pub(super) scheme: &'static str,
    /// For a million requests.
    pub(super) writes: f64,
    pub(super) lists: f64,
    pub(super) reads: f64,
    /// For a GB that leaves the region towards the internet.
    pub(super) egress: f64,
    /// For a GB kept for a month.
    pub(super) storage: f64,
    /// How many values it gives in one request.
    pub(super) values_per_read: f64,
    /// What an entry of a list of names takes, in bytes; zero where lists are not needed.
    pub(super) entry_bytes: f64,
    /// What runs whether it is used or not, for a month.
    pub(super) fixed: f64,
}

/// When the tariffs below were looked up.
pub(super) const TARIFFS_OF: &str = "2025-06";

/// The clouds' public price lists for their largest regions in the United States, first tier, without
/// free allowances: <https://aws.amazon.com/s3/pricing>, <https://cloud.google.com/storage/pricing>,
/// <https://azure.microsoft.com/pricing/details/storage/blobs>. The etcd is three virtual machines of
/// two processors and 4 GiB with 20 GB disks each (AWS t3.medium and gp3) in three zones.
pub(super) const TARIFFS: [Tariff; 4] = [
    Tariff {
        server: "Amazon S3 Standard",
        scheme: "s3",
        writes: 5.0,
        lists: 5.0,
        reads: 0.4,
        egress: 0.09,
        storage: 0.023,
        values_per_read: 1.0,
        entry_bytes: 330.0,
        fixed: 0.0,
    },
    Tariff {
        server: "Google Cloud Storage Standard",
        scheme: "gs",
        writes: 5.0,
        lists: 5.0,
        reads: 0.4,
        egress: 0.12,
        storage: 0.020,
        values_per_read: 1.0,
        entry_bytes: 300.0,
        fixed: 0.0,
    },
    Tariff {
        server: "Azure Blob Storage Hot LRS",
        scheme: "az",
        writes: 5.0,
        lists: 5.0,
        reads: 0.4,
        egress: 0.087,
        storage: 0.018,
        values_per_read: 1.0,
        entry_bytes: 900.0,
        fixed: 0.0,
    },
    Tariff {
        server: "etcd of one's own",
        scheme: "etcd",
        writes: 0.0,
        lists: 0.0,
        reads: 0.0,
        egress: 0.09,
        storage: 0.0,
        values_per_read: 64.0,
        entry_bytes: 0.0,
        fixed: 3.0 * (730.0 * 0.0416 + 20.0 * 0.08),
    },
];

/// What a month costs, in US dollars.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub(super) struct Bill {
    pub(super) writes: f64,
    pub(super) lists: f64,
    pub(super) reads: f64,
    pub(super) egress: f64,
    /// Storage and machines.
    pub(super) standing: f64,
}

impl Bill {
    pub(super) fn plus(self, other: &Bill) -> Bill {
        Bill {
            writes: self.writes + other.writes,
            lists: self.lists + other.lists,
            reads: self.reads + other.reads,
            egress: self.egress + other.egress,
            standing: self.standing + other.standing,
        }
    }

    pub(super) fn total(&self) -> f64 {
        self.writes + self.lists + self.reads + self.egress + self.standing
    }
}

/// Prices what was counted.
pub(super) fn bill(requests: &Requests, tariff: &Tariff) -> Bill {
    Bill {
        writes: requests.writes / 1e6 * tariff.writes,
        lists: requests.lists / 1e6 * tariff.lists,
        reads: requests.reads / 1e6 * tariff.reads,
        egress: (requests.read_gb + requests.listed_entries * tariff.entry_bytes / 1e9) * tariff.egress,
        standing: requests.stored_gb * tariff.storage + tariff.fixed,
    }
}

/// The price list of a server. A file costs no more than the disk that it is on.
pub(super) fn tariff_of(url: &TopoUrl) -> Tariff {
    let scheme = match url.scheme() {
        "etcds" => "etcd",
        other => other,
    };
    TARIFFS.into_iter().find(|tariff| tariff.scheme == scheme).unwrap_or(Tariff {
        server: "a file of one's own",
        scheme: url.scheme(),
        writes: 0.0,
        lists: 0.0,
        reads: 0.0,
        egress: 0.0,
        storage: 0.0,
        values_per_read: f64::INFINITY,
        entry_bytes: 0.0,
        fixed: 0.0,
    })
}
