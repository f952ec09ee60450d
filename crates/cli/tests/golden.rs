//! The commands that need no cluster, as they are typed: each folder of `tests/golden` is a case.
//!
//! `command` has the arguments, `output` what is printed and how it ends. The command runs in the
//! folder, so that it finds the case's files. `UPDATE_EXPECT=1` writes the outputs anew.

use std::fmt::Write;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};

/// The program in an environment without clusters and topology servers.
fn hansa(folder: &Path, arguments: &[&str], input: &str) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_hansa"))
        .args(arguments)
        .current_dir(folder)
        .env_clear()
        .env("HOME", "/nonexistent")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let mut stdin = child.stdin.take().expect("its input is piped");
    // A program that ends without reading its input is a case, too.
    let _ = stdin.write_all(input.as_bytes());
    drop(stdin);
    child.wait_with_output().expect("the program ends")
}

fn text(output: &Output) -> String {
    let mut text = String::new();
    for (name, bytes) in [("stdout", &output.stdout), ("stderr", &output.stderr)] {
        if !bytes.is_empty() {
            // Writing to a string cannot fail.
            let _ = write!(text, "--- {name}\n{}", String::from_utf8_lossy(bytes));
        }
    }
    let _ = writeln!(text, "--- exit code {}", output.status.code().unwrap_or(-1));
    text
}

#[test]
fn cases() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let entries = std::fs::read_dir(&folder).expect("the cases are there");
    let mut cases: Vec<_> = entries.map(|entry| entry.expect("an entry reads").path()).collect();
    cases.sort();
    assert!(!cases.is_empty());
    for case in cases {
        let command = std::fs::read_to_string(case.join("command")).expect("every case has a command");
        let arguments: Vec<&str> = command.split_whitespace().collect();
        let output = hansa(&case, &arguments, "");
        expect_test::expect_file![case.join("output")].assert_eq(&text(&output));
    }
}

#[test]
fn a_config_map_of_three_mebibytes_is_refused_with_the_mend() {
    let input = format!(
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: big, namespace: shop}}\ndata:\n  blob: {}\n",
        "x".repeat(3 << 20)
    );
    let output = hansa(Path::new("/"), &["federate", "-f", "-", "--all"], &input);
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!((output.status.code(), output.stdout.len()), (Some(1), 0), "{told}");
    for words in ["ConfigMap shop/big", "data[blob]", "3145728 bytes", "split the object"] {
        assert!(told.contains(words), "{told}");
    }
}

/// Commands that go on, tell a story, or print for another program, and so give no answer as data; `bench` gives
/// rows as a table or as JSON.
const WITHOUT_DATA: [&str; 5] = ["operator", "kubesim", "demo", "bench", "completion"];

/// Every command that does something, as the program's own help lists them.
fn commands(path: &[String], found: &mut Vec<(Vec<String>, String)>) {
    let arguments: Vec<&str> = path.iter().map(String::as_str).chain(["--help"]).collect();
    let output = hansa(Path::new("/"), &arguments, "");
    let told = text(&output);
    assert_eq!(output.status.code(), Some(0), "{told}");
    let Some((_, listed)) = told.split_once("\nCommands:\n") else {
        found.push((path.to_vec(), told));
        return;
    };
    let names = listed.lines().take_while(|line| !line.is_empty()).filter_map(|line| {
        // What goes on on a further line is indented further.
        let name = line.strip_prefix("  ").filter(|rest| !rest.starts_with(' '))?;
        name.split_whitespace().next().filter(|name| *name != "help")
    });
    for name in names {
        commands(&[path, &[name.to_owned()]].concat(), found);
    }
}

#[test]
fn every_command_answers_as_a_table_json_and_yaml_and_refuses_what_it_does_not_know() {
    let mut found = Vec::new();
    commands(&[], &mut found);
    assert!(found.len() > 40, "{found:?}");
    for (path, told) in found {
        let name = path.join(" ");
        let answers = !WITHOUT_DATA.contains(&name.as_str());
        let outputs = told.contains("-o, --output") && ["table", "json", "yaml"].iter().all(|one| told.contains(one));
        assert!(outputs || !answers, "{name} has no -o table|json|yaml: {told}");
        // clap's own code for wrong usage is 2, which means something else here.
        let arguments: Vec<&str> = path.iter().map(String::as_str).chain(["--no-such-option"]).collect();
        assert_eq!(hansa(Path::new("/"), &arguments, "").status.code(), Some(1), "{name}");
    }
}

/// The commands in a text: what begins with `hansa`, in a block of code or between backquotes.
fn commands_in(text: &str) -> Vec<Vec<String>> {
    let joined = text.replace("\\\n", " ");
    let mut found = Vec::new();
    let mut in_block = false;
    for line in joined.lines() {
        in_block ^= line.starts_with("```");
        let parts: Vec<&str> = if in_block { vec![line] } else { line.split('`').skip(1).step_by(2).collect() };
        for part in parts.into_iter().filter_map(|part| part.trim().strip_prefix("hansa ")) {
            let words = part.split_whitespace().take_while(|word| *word != "#" && *word != "|");
            found.push(words.map(str::to_owned).collect());
        }
    }
    found
}

#[test]
fn the_pages_for_people_name_commands_and_options_that_there_are() {
    let mut known = Vec::new();
    commands(&[], &mut known);
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    for page in ["README.md", "docs/operations.md"] {
        let named = commands_in(&std::fs::read_to_string(root.join(page)).expect("the page is there"));
        assert!(named.len() > 20, "{page}: {named:?}");
        for words in named {
            let begins = |path: &&(Vec<String>, String)| words.starts_with(&path.0);
            let group = known.iter().any(|(path, _)| path.starts_with(&words));
            let Some((path, help)) = known.iter().find(begins) else {
                assert!(group, "{page}: `hansa {}` is no command", words.join(" "));
                continue;
            };
            for option in words.iter().filter(|word| word.starts_with('-')) {
                let is_there =
                    help.split(|c: char| !(c.is_ascii_alphanumeric() || c == '-')).any(|word| word == option);
                assert!(is_there, "{page}: `hansa {}` has no {option}: {help}", path.join(" "));
            }
        }
    }
}

#[test]
fn completion_scripts_know_the_commands() {
    for shell in ["bash", "zsh", "fish"] {
        let output = hansa(Path::new("/"), &["completion", shell], "");
        let script = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && script.contains("federate") && script.contains("kubesim"), "{shell}");
    }
}

#[test]
fn as_a_plugin_of_kubectl_it_calls_itself_so() {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let plugin = folder.path().join("kubectl-hansa");
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_hansa"), &plugin).expect("a link can be made");
    let output = Command::new(plugin).args(["plan", "--help"]).output().expect("the plugin starts");
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && told.contains("Usage: kubectl hansa plan "), "{told}");
}

#[test]
fn a_reader_that_goes_is_no_failure() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_hansa"))
        .args(["completion", "bash"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    drop(child.stdout.take());
    let output = child.wait_with_output().expect("the program ends");
    assert_eq!((output.status.code(), String::from_utf8_lossy(&output.stderr).as_ref()), (Some(0), ""));
}

#[test]
fn a_half_written_topology_server_is_told() {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let file = folder.path().join("topo.db");
    std::fs::write(&file, "SQLite format 3\0 and then nothing more").expect("a file can be written");
    let url = format!("sqlite:{}", file.display());
    let output = hansa(folder.path(), &["topo", "ls", "--topo", &url], "");
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(told.contains("topo.db"), "{told}");
}

#[test]
fn a_check_tries_every_promise_and_ends_with_plain_words() {
    let folder = tempfile::tempdir().expect("a folder");
    let put = ["topo", "put", "/v1/x", "--topo", "sqlite:a.db", "-f", "-", "--create", "--force", "--raw"];
    assert!(hansa(folder.path(), &put, "{}").status.success());
    let output = hansa(folder.path(), &["topo", "check", "sqlite:a.db"], "");
    let told = text(&output);
    assert!(output.status.success() && told.matches("\npassed").count() > 20, "{told}");
    let words = told.split_whitespace().collect::<Vec<_>>().join(" ");
    for sentence in ["It may carry a league.", "a lost member is suspected after some", "vote that it is lost"] {
        assert!(words.contains(sentence), "{sentence}: {told}");
    }
    let output = hansa(folder.path(), &["topo", "cost", "--topo", "sqlite:a.db"], "");
    assert!(output.status.success() && text(&output).contains("a file of one's own"), "{}", text(&output));
}

#[test]
fn a_quorum_tells_how_its_stores_are_and_replaces_one() {
    let folder = tempfile::tempdir().expect("a folder");
    let told = |arguments: &[&str], input: &str| {
        let output = hansa(folder.path(), arguments, input);
        (output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned(), text(&output))
    };
    let before = "quorum:sqlite:a.db,sqlite:b.db,sqlite:c.db";
    let put = ["topo", "put", "/v1/x", "--topo", before, "-f", "-", "--create", "--force", "--raw"];
    let (done, _, all) = told(&put, "{\"a\":1}");
    assert!(done, "{all}");
    let (well, found, all) = told(&["topo", "check", before, "--quick"], "");
    assert!(well && found.contains("3 of 3 stores count") && found.contains("sqlite:b.db: up"), "{all}");
    // A store that is lost for good: a folder stands where the file was.
    let lost = folder.path().join("c.db");
    for name in ["c.db", "c.db-wal", "c.db-shm"] {
        let _ = std::fs::remove_file(folder.path().join(name));
    }
    std::fs::create_dir(lost).expect("a folder in the way");
    let (well, found, all) = told(&["topo", "check", before, "--quick", "-o", "json"], "");
    assert!(
        !well
            && found.contains("\"mayCarryALeague\": false")
            && found.contains("2 of 3 stores count")
            && found.contains("sqlite:c.db: down"),
        "{all}"
    );
    let replace = ["topo", "quorum", "replace", "--topo", before, "--old", "sqlite:c.db", "--new", "sqlite:d.db"];
    let (done, found, all) = told(&replace, "");
    let after = "quorum:sqlite:a.db,sqlite:b.db,sqlite:d.db";
    assert!(done && found.contains(after) && found.contains("1 register"), "{all}");
    let (well, found, all) = told(&["topo", "check", after, "--quick"], "");
    assert!(well && found.contains("3 of 3 stores count"), "{all}");
    let (done, found, all) = told(&["topo", "get", "/v1/x", "--topo", after], "");
    assert!(done && found.contains("\"a\": 1"), "{all}");
    let (done, _, all) = told(&replace, "");
    assert!(!done && all.contains("already"), "{all}");
}
