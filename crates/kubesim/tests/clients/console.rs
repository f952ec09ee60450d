//! A terminal in which `kubectl` is typed, and which writes down what it answers.
//!
//! ```text
//! # a remark
//! $ kubectl get configmap a -o name
//! configmap/a
//! $ kubectl get configmap b
//! ! Error from server (NotFound): configmaps "b" not found
//! ? 1
//! & kubectl get configmaps -w --output-watch-events
//! $ kubectl delete configmap a
//! . DELETED
//! ```
//!
//! `$` runs a command; below it stand what it printed, `!` before lines of standard error, and `?` with the exit code
//! where that is not 0. `&` starts one that goes on and waits for its first line; `.` reads from it until a line holds
//! the text, writes down all its lines, and ends it. What no two runs share (ages, times, uids, names made up) is
//! written as a word in capitals, and columns are two spaces apart.
//!
//! Commands run in the folder of files with the namespace `shop`; `KUBE_EDITOR=… kubectl` sets a variable.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use hansa_controlplane::kubectl;
use regex::Regex;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

/// How long one command may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// A terminal for one cluster.
pub struct Terminal {
    kubeconfig: PathBuf,
    files: PathBuf,
    caches: tempfile::TempDir,
    rules: Vec<(Regex, &'static str)>,
}

/// What goes on beside the commands.
struct Going {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
    seen: Vec<String>,
}

impl Terminal {
    /// A terminal that speaks to the server of a kubeconfig.
    pub fn new(kubeconfig: &Path, files: &Path) -> Result<Self> {
        let rules = [
            (r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", "UID"),
            (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", "TIME"),
            (r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d+ [+-]\d{4}", "TIME"),
            (r"[A-Z][a-z]{2}, \d\d [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d [+-]\d{4}", "TIME"),
            (r#"([rR]esource ?Version"?:) +"?\d+"?"#, "$1 VERSION"),
            (r"/tmp/(LIVE|MERGED)-\d+", "/tmp/$1"),
            (r"\b(web|store|batch)-[0-9a-f]{8,10}-[a-z0-9]{5}\b", "$1-HASH-SUFFIX"),
            (r"\b(web|store|batch)-[bcdfghjklmnpqrstvwxz2456789]{5}\b", "$1-SUFFIX"),
            (r"\b(web|store|batch)-[0-9a-f]{8,10}\b", "$1-HASH"),
            (r"pod-template-hash=[0-9a-f]+", "pod-template-hash=HASH"),
            (r"\b10\.\d+\.\d+\.\d+\b", "ADDRESS"),
            (r"https://127\.0\.0\.1:\d+", "SERVER"),
            (r"\bkube-api-access-[a-z0-9]{5}\b", "kube-api-access-SUFFIX"),
            (r"( |^)(<invalid>|(\d+(ms|s|m|h|d))+)( ago)?( |$|,|\)|\})", "${1}AGE$6"),
            (r"AGE  +\(x\d+ over AGE\)", "AGE"),
            (r"(\S)  +", "$1  "),
            (r" +$", ""),
        ];
        let rules = rules.into_iter().map(|(pattern, with)| Ok((Regex::new(pattern)?, with))).collect::<Result<_>>()?;
        let caches = tempfile::tempdir()?;
        Ok(Terminal { kubeconfig: kubeconfig.to_owned(), files: files.to_owned(), caches, rules })
    }

    /// Does what a console says, and writes the same console with what came of it now.
    pub async fn play(&self, console: &str) -> Result<String> {
        let mut written = String::new();
        let mut going: Option<Going> = None;
        for line in console.lines() {
            let said = match line.split_at_checked(2) {
                Some(("$ ", words)) => self.run(words).await,
                Some(("& ", words)) => self.begin(words).await.map(|begun| {
                    going = Some(begun);
                    String::new()
                }),
                Some((". ", text)) => match going.take() {
                    Some(begun) => self.end(begun, text).await,
                    None => bail!("{line}: nothing goes on"),
                },
                _ if line.starts_with('#') || line.is_empty() => Ok(String::new()),
                // What was printed another time.
                _ => continue,
            };
            written.push_str(line);
            written.push('\n');
            written.push_str(&said.with_context(|| line.to_owned())?);
        }
        Ok(written)
    }

    fn command(&self, line: &str) -> Result<Command> {
        let words = words(line);
        let at = words.iter().position(|word| word == "kubectl").context("no kubectl")?;
        let mut command = Command::from(kubectl(&self.kubeconfig, self.caches.path())?);
        command.arg("--namespace=shop").args(&words[at + 1..]).current_dir(&self.files);
        command.envs(words[..at].iter().filter_map(|word| word.split_once('=')));
        command.env("TZ", "UTC").stdin(Stdio::null()).kill_on_drop(true);
        Ok(command)
    }

    async fn run(&self, line: &str) -> Result<String> {
        let output =
            tokio::time::timeout(PATIENCE, self.command(line)?.output()).await.context("it does not end")??;
        let mut said = self.normalise(&String::from_utf8_lossy(&output.stdout), "");
        said.push_str(&self.normalise(&String::from_utf8_lossy(&output.stderr), "! "));
        if !output.status.success() {
            said.push_str(&format!("? {}\n", output.status.code().unwrap_or(-1)));
        }
        Ok(said)
    }

    async fn begin(&self, line: &str) -> Result<Going> {
        let mut child = self.command(line)?.stdout(Stdio::piped()).spawn()?;
        let stdout = child.stdout.take().context("standard output is piped")?;
        let mut begun = Going { child, lines: BufReader::new(stdout).lines(), seen: Vec::new() };
        begun.next().await?;
        Ok(begun)
    }

    async fn end(&self, mut going: Going, text: &str) -> Result<String> {
        while !going.seen.last().is_some_and(|line| line.contains(text)) {
            going.next().await.with_context(|| format!("after {:?}", going.seen))?;
        }
        going.child.kill().await?;
        Ok(self.normalise(&going.seen.join("\n"), ""))
    }

    /// The lines without what no two runs share.
    fn normalise(&self, text: &str, prefix: &str) -> String {
        let mut normal = String::new();
        // How often a client looks on its way to an end is chance.
        for line in text.lines().filter(|line| !line.starts_with("Waiting for ")) {
            let mut line = line.replace('\t', "  ");
            for (pattern, with) in &self.rules {
                line = pattern.replace_all(&line, *with).into_owned();
            }
            // A line of the console has a space before it where it would read as one of its own signs.
            let own = matches!(line.get(..2), Some("$ " | "& " | ". ")) || line.starts_with('#') || line.is_empty();
            normal.push_str(&format!("{prefix}{}{line}\n", if own { "|" } else { "" }));
        }
        normal
    }
}

impl Going {
    async fn next(&mut self) -> Result<()> {
        let line = tokio::time::timeout(PATIENCE, self.lines.next_line()).await.context("no line in time")??;
        self.seen.push(line.context("it ended")?);
        Ok(())
    }
}

/// The commands after which two runs of a console differ, with the lines of both.
pub fn differences(expected: &str, played: &str) -> String {
    let blocks = |text: &str| {
        let mut blocks: Vec<(String, Vec<String>)> = Vec::new();
        for line in text.lines() {
            match blocks.last_mut() {
                Some((_, said)) if !line.starts_with(['$', '&', '.', '#']) && !line.is_empty() => {
                    said.push(line.to_owned())
                }
                _ => blocks.push((line.to_owned(), Vec::new())),
            }
        }
        blocks
    };
    let (expected, played) = (blocks(expected), blocks(played));
    let mut text = String::new();
    for ((command, before), (_, now)) in expected.iter().zip(&played) {
        if before == now {
            continue;
        }
        text.push_str(&format!("{command}\n"));
        before.iter().filter(|line| !now.contains(line)).for_each(|line| text.push_str(&format!("- {line}\n")));
        now.iter().filter(|line| !before.contains(line)).for_each(|line| text.push_str(&format!("+ {line}\n")));
        if before.iter().all(|line| now.contains(line)) && now.iter().all(|line| before.contains(line)) {
            text.push_str("  (the same lines in another order or number)\n");
        }
    }
    text
}

/// The words of a command line; single quotes hold one together.
fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let (mut word, mut quoted, mut begun) = (String::new(), false, false);
    for letter in line.chars() {
        match letter {
            '\'' => (quoted, begun) = (!quoted, true),
            ' ' if !quoted => {
                if begun {
                    words.push(std::mem::take(&mut word));
                }
                begun = false;
            }
            _ => {
                word.push(letter);
                begun = true;
            }
        }
    }
    if begun {
        words.push(word);
    }
    words
}
