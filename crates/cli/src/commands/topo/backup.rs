//! `hansa topo backup`, `restore` and `raise-era`: what a person does for a topology server that may
//! be lost, was lost, or was put back by other means.

use super::Outcome;
use crate::person::OptionalKey;
use crate::print::{self, Output, Tone};
use crate::progress::Progress;
use anyhow::{Context, bail};
use hansa_model::Era;
use hansa_topo::Topo;
use hansa_topo::backup::{self, Manifest, Progress as Step, Word};
use serde_json::json;
use std::fs::File;
use std::io::{BufReader, BufWriter};
use std::path::{Path, PathBuf};

#[derive(Debug, clap::Args)]
pub(super) struct Backup {
    /// The topology server's URL, instead of --topo.
    pub url: Option<String>,
    /// The file to make, or - for standard output.
    #[arg(short = 'f', long = "filename", value_name = "FILE")]
    file: PathBuf,
    #[command(flatten)]
    output: Output,
}

#[derive(Debug, clap::Args)]
pub(super) struct Restore {
    /// The topology server's URL, instead of --topo.
    pub url: Option<String>,
    /// The backup.
    #[arg(short = 'f', long = "filename", value_name = "FILE")]
    file: PathBuf,
    /// The era to write under; by default the one after the backup's.
    ///
    /// Name a higher one when the league has been restored before: operators go on by themselves
    /// only from an era that they have not seen.
    #[arg(long, value_name = "NUMBER")]
    era: Option<u64>,
    #[command(flatten)]
    person: OptionalKey,
    #[command(flatten)]
    output: Output,
}

#[derive(Debug, clap::Args)]
pub(super) struct RaiseEra {
    /// The topology server's URL, instead of --topo.
    pub url: Option<String>,
    /// Yes, what stands there now is what counts, whatever the operators have seen before.
    #[arg(long)]
    yes: bool,
    /// The era to raise it to; by default the next one.
    #[arg(long, value_name = "NUMBER")]
    era: Option<u64>,
    #[command(flatten)]
    person: OptionalKey,
    #[command(flatten)]
    output: Output,
}

/// Makes a backup. The file appears when it is whole, and replaces none.
pub(super) async fn backup(topo: &dyn Topo, arguments: Backup) -> anyhow::Result<Outcome> {
    let Backup { file, output, .. } = arguments;
    let mut bar = None;
    let tell = |step: Step| {
        bar.get_or_insert_with(|| Progress::steps(step.of as usize, "values written")).step();
    };
    if file == Path::new("-") {
        let manifest = backup::backup(topo, &mut std::io::stdout(), tell).await?;
        drop(bar);
        print::note(Tone::Plain, &told(&manifest));
        return Ok(Outcome::Done);
    }
    let mut unfinished = NewFile::begin(&file)?;
    let manifest = backup::backup(topo, &mut unfinished.out, tell).await?;
    drop(bar);
    unfinished.keep()?;
    let mut value = json!(manifest);
    value["file"] = json!(file);
    print::done(output, &value, &format!("{}\n{}", told(&manifest), consistency(&manifest)))?;
    Ok(Outcome::Done)
}

/// A backup's file on its way: it appears when it is whole, and replaces none.
pub(super) struct NewFile<'a> {
    path: &'a Path,
    /// Where it is written to.
    pub out: BufWriter<tempfile::NamedTempFile>,
}

impl<'a> NewFile<'a> {
    pub fn begin(path: &'a Path) -> anyhow::Result<Self> {
        let name = || format!("-f {}", path.display());
        if path.exists() {
            bail!("{}: it is there already, and a backup replaces none: name another file", name());
        }
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        // Readable by its owner alone: it holds what users wrote.
        let unfinished = tempfile::NamedTempFile::new_in(folder).with_context(name)?;
        Ok(NewFile { path, out: BufWriter::new(unfinished) })
    }

    pub fn keep(self) -> anyhow::Result<()> {
        let name = || format!("-f {}", self.path.display());
        let unfinished = self.out.into_inner().map_err(|error| error.into_error()).with_context(name)?;
        unfinished.as_file().sync_all().with_context(name)?;
        unfinished.persist_noclobber(self.path).map_err(|error| error.error).with_context(name)?;
        Ok(())
    }
}

fn told(manifest: &Manifest) -> String {
    let left_out = match manifest.left_out {
        0 => String::new(),
        others => format!(", without {} of other leagues", print::count(others as usize, "value")),
    };
    format!(
        "league {} in era {} is backed up: {}{left_out}, digest {}",
        manifest.league.label(),
        manifest.era,
        print::count(manifest.count as usize, "value"),
        manifest.digest.short()
    )
}

/// What was read at what time.
fn consistency(manifest: &Manifest) -> String {
    match manifest.control_revisions {
        [first, last] if first == last => {
            format!("the control document stood at revision {first} throughout, each page and cell is of one instant")
        }
        [first, last] => format!(
            "the control document went from revision {first} to {last} meanwhile, the latter is kept; each page and cell is of one instant"
        ),
    }
}

/// Restores a backup.
pub(super) async fn restore(topo: &dyn Topo, arguments: Restore) -> anyhow::Result<Outcome> {
    let Restore { file, era, person, output, .. } = arguments;
    let person = person.read()?;
    let word = Word { era: era.map(Era), person: person.as_ref() };
    let opened = File::open(&file).with_context(|| format!("-f {}", file.display()))?;
    let mut bar = None;
    let tell = |step: Step| {
        bar.get_or_insert_with(|| Progress::steps(step.of as usize, "values restored")).step();
    };
    let restored = backup::restore(topo, &mut BufReader::new(opened), word, tell).await?;
    drop(bar);
    let mut value = json!(restored.manifest);
    (value["restoredEra"], value["written"]) = (json!(restored.era), json!(restored.written));
    let league = restored.manifest.league.label();
    let words = match restored.written {
        0 => format!("league {league} stands there in era {} already: nothing was written", restored.era),
        written => format!(
            "league {league} is restored in era {}: {} written of {}\n{}",
            restored.era,
            written,
            print::count(restored.manifest.count as usize, "value"),
            WHAT_NOW
        ),
    };
    print::done(output, &value, &words)?;
    Ok(Outcome::Done)
}

/// Raises the era.
pub(super) async fn raise_era(topo: &dyn Topo, arguments: RaiseEra) -> anyhow::Result<Outcome> {
    let RaiseEra { yes, era, person, output, .. } = arguments;
    if !yes {
        bail!(
            "raising the era tells every operator to go on from what the topology server holds now, also where it is older than what they have seen: add --yes if that is meant"
        );
    }
    let person = person.read()?;
    let raised = backup::raise_era(topo, Word { era: era.map(Era), person: person.as_ref() }).await?;
    let value =
        json!({"league": raised.league, "from": raised.from, "era": raised.to, "controlRevision": raised.revision});
    let words = format!("league {}: era {} is raised to {}\n{WHAT_NOW}", raised.league.label(), raised.from, raised.to);
    print::done(output, &value, &words)?;
    Ok(Outcome::Done)
}

const WHAT_NOW: &str = "\
the operators read everything anew and go on from there; nothing is removed because it is absent
objects that are newer than what was restored keep what they have and ask: `hansa status` and `hansa get -A` show them
an operator whose --topo is another URL, or whose backend knows a store by its own identity, has to be started anew";
