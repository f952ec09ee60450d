//! Writing a backup into an empty store, see [`super`].

use super::file::{Manifest, Reader};
use super::{BackupError, Progress, ROOT, Word, control_in};
use crate::contract::Topo;
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use hansa_ballot::Signer;
use hansa_ledger::{Envelope, Swap, keys};
use hansa_model::{Era, Hash, LeagueId, Revision};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, Seek, SeekFrom};

/// How many writes are under way at once.
const AT_ONCE: usize = 16;

/// How far a restored page's revision is above the one in the file: more writes than one page has had
/// since any backup that is still worth restoring. A life begins with its page's revision, and none of
/// the new history may bear the number of one whose outputs still stand somewhere.
const LOST_WRITES: u64 = 1 << 20;

/// How often a write of unknown fate is repeated.
const ATTEMPTS: u32 = 10;

/// What a restore did.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Restored {
    /// What the file holds.
    pub manifest: Manifest,
    /// The era that everything is written under.
    pub era: Era,
    /// How many values were written now; the others stood there from an earlier attempt.
    pub written: u64,
}

/// Writes a backup into an empty store, under the era after its own or the one that is asked for.
///
/// The file is read twice: everything is checked before anything is written. An attempt that broke
/// off is repeated with the same file and era.
///
/// # Errors
/// When the file is damaged, the store holds something else, or a side fails.
pub async fn restore(
    topo: &dyn Topo,
    file: &mut (impl BufRead + Seek),
    word: Word<'_>,
    mut tell: impl FnMut(Progress),
) -> Result<Restored, BackupError> {
    let from = Source::of(file, word)?;
    let standing = from.standing(topo).await?;
    file.seek(SeekFrom::Start(0)).map_err(BackupError::File)?;
    let mut reader = Reader::new(&mut *file)?;
    let (mut done, mut written, of) = (0, 0, from.manifest.count);
    let mut under_way = FuturesUnordered::new();
    while let Some((key, value)) = reader.entry()? {
        let value = raised(from.manifest.league, from.era, word.person, &key, value)?;
        if standing.contains(&key) {
            done += 1;
            continue;
        }
        // The control document is the last, and says that all the others are there.
        let most = if key == keys::CONTROL { 1 } else { AT_ONCE };
        while under_way.len() >= most {
            written += u64::from(under_way.next().await.transpose()?.unwrap_or(false));
            done += 1;
            tell(Progress { done, of });
        }
        under_way.push(put(topo, key, value));
    }
    while let Some(ended) = under_way.next().await {
        written += u64::from(ended?);
        done += 1;
        tell(Progress { done, of });
    }
    Ok(Restored { era: from.era, manifest: from.manifest, written })
}

/// A checked file, and what it becomes.
struct Source {
    manifest: Manifest,
    era: Era,
    /// The hash of each value as it is to stand in the store.
    wanted: BTreeMap<String, Hash>,
}

impl Source {
    fn of(file: &mut impl BufRead, word: Word<'_>) -> Result<Self, BackupError> {
        let mut reader = Reader::new(file)?;
        let (league, standing) = reader.told();
        let era = word.era.unwrap_or(standing.next());
        if era <= standing {
            return Err(BackupError::EraNotHigher { asked: era, standing });
        }
        let mut wanted = BTreeMap::new();
        while let Some((key, value)) = reader.entry()? {
            let hash = Hash::of_bytes(&raised(league, era, word.person, &key, value)?);
            wanted.insert(key, hash);
        }
        let manifest = reader.manifest().cloned().expect("a file that was read to its end has a manifest");
        Ok(Source { manifest, era, wanted })
    }

    /// What stands in the store of an earlier attempt, or of a league that goes on from it.
    async fn standing(&self, topo: &dyn Topo) -> Result<BTreeSet<String>, BackupError> {
        let league = self.manifest.league;
        let mut standing = BTreeSet::new();
        for entry in topo.list(ROOT).await? {
            let value = &entry.versioned.value;
            let envelope = Envelope::open_header(value).ok().map(|(envelope, _)| envelope);
            if let Some(found) = envelope.as_ref().map(|envelope| envelope.league).filter(|found| *found != league) {
                return Err(BackupError::OtherLeague { found, backup: league });
            }
            let is_wanted = self.wanted.get(&entry.key) == Some(&Hash::of_bytes(value));
            let goes_on = envelope.as_ref().is_some_and(|envelope| envelope.era >= self.era);
            if !is_wanted && !goes_on {
                let found = match envelope {
                    Some(envelope) => {
                        format!("revision {} of league {} in era {}", envelope.revision, league.label(), envelope.era)
                    }
                    None => format!("{} bytes", value.len()),
                };
                return Err(BackupError::NotEmpty { key: entry.key, found, backup: (league, self.manifest.era) });
            }
            standing.insert(entry.key);
        }
        Ok(standing)
    }
}

/// A value as it stands under another era, and in a page's case after the writes that were lost. What has no envelope of the league (agreed schemas) stays.
fn raised(
    league: LeagueId,
    era: Era,
    person: Option<&Signer>,
    key: &str,
    value: Vec<u8>,
) -> Result<Bytes, BackupError> {
    let (envelope, packed) = match Envelope::open_header(&value) {
        Ok((envelope, packed)) if envelope.league == league => (envelope, packed),
        _ => return Ok(value.into()),
    };
    let is_page = matches!(keys::parse(key), keys::Key::Page(_));
    let revision = Revision(envelope.revision.0 + if is_page { LOST_WRITES } else { 0 });
    let envelope = Envelope { era, revision, ..envelope };
    if key == keys::CONTROL {
        return Ok(control_in(&envelope, packed, person, &BTreeSet::new())?.0);
    }
    Ok(envelope.around(packed))
}

/// Makes a key; whether it was made now.
async fn put(topo: &dyn Topo, key: String, value: Bytes) -> Result<bool, BackupError> {
    let mut last = String::new();
    for _ in 0..ATTEMPTS {
        match topo.create(&key, value.clone()).await? {
            Swap::Committed(_) => return Ok(true),
            Swap::Mismatch { current: Some(current) } if current.value == value => return Ok(true),
            Swap::Mismatch { .. } => return Err(BackupError::Raced { key }),
            Swap::Indeterminate { reason } => last = reason,
        }
    }
    Err(BackupError::Indeterminate { key, reason: last })
}
