//! Manifests as users give them: files, folders, standard input; several documents, lists in them.

use crate::yaml;
use anyhow::{Context, bail};
use serde_json::Value;
use std::io::Read;
use std::path::{Path, PathBuf};

/// A manifest, and where it stands.
#[derive(Clone, PartialEq, Debug)]
pub struct Document {
    /// `app.yaml`, `app.yaml, document 3`.
    pub place: String,
    /// The object.
    pub object: Value,
}

/// `-f`.
#[derive(Clone, Debug, clap::Args)]
pub struct Files {
    /// A file of manifests in YAML or JSON, a folder of such files, or - for standard input.
    #[arg(short = 'f', long = "filename", required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
}

impl Files {
    /// Reads every object of them.
    ///
    /// # Errors
    /// What cannot be read, or is no manifest, with its place.
    pub fn read(&self) -> anyhow::Result<Vec<Document>> {
        let mut documents = Vec::new();
        for path in &self.files {
            if path == Path::new("-") {
                let mut text = String::new();
                std::io::stdin().read_to_string(&mut text).context("standard input")?;
                documents.extend(parse("standard input", &text)?);
            } else if path.is_dir() {
                documents.extend(folder(path)?);
            } else {
                documents.extend(file(path)?);
            }
        }
        if documents.is_empty() {
            bail!("-f {}: no object in it: give manifests in YAML or JSON", self.files[0].display());
        }
        Ok(documents)
    }
}

fn file(path: &Path) -> anyhow::Result<Vec<Document>> {
    let text = std::fs::read_to_string(path).with_context(|| format!("-f {}", path.display()))?;
    parse(&path.display().to_string(), &text)
}

/// The manifests of a folder, by name; folders within are not entered, as kubectl does not either.
fn folder(path: &Path) -> anyhow::Result<Vec<Document>> {
    let context = || format!("-f {}", path.display());
    let mut files = Vec::new();
    for entry in std::fs::read_dir(path).with_context(context)? {
        let file = entry.with_context(context)?.path();
        let is_manifest =
            file.extension().is_some_and(|extension| ["yaml", "yml", "json"].iter().any(|known| extension == *known));
        if is_manifest && file.is_file() {
            files.push(file);
        }
    }
    files.sort();
    let mut documents = Vec::new();
    for path in files {
        documents.extend(file(&path)?);
    }
    Ok(documents)
}

/// The objects of a text, those in lists one by one.
///
/// # Errors
/// When the text is no YAML, or a document is no object.
pub fn parse(place: &str, text: &str) -> anyhow::Result<Vec<Document>> {
    let parsed = yaml::parse(text).map_err(|error| anyhow::anyhow!("{place}: {error}"))?;
    let several = parsed.len() > 1;
    let mut documents = Vec::new();
    for (index, object) in parsed.into_iter().enumerate() {
        let place = if several { format!("{place}, document {}", index + 1) } else { place.to_owned() };
        flatten(place, object, &mut documents)?;
    }
    Ok(documents)
}

fn flatten(place: String, mut object: Value, documents: &mut Vec<Document>) -> anyhow::Result<()> {
    if !object.is_object() {
        bail!("{place}: this is no Kubernetes object: an object with apiVersion, kind and metadata is expected");
    }
    let is_list = object["kind"].as_str().is_some_and(|kind| kind.ends_with("List")) && object["items"].is_array();
    if !is_list {
        documents.push(Document { place, object });
        return Ok(());
    }
    // The items of a typed list (`ConfigMapList`) may leave out what the list says of them.
    let of_items = object["kind"]
        .as_str()
        .and_then(|kind| kind.strip_suffix("List"))
        .filter(|kind| !kind.is_empty())
        .map(str::to_owned);
    let api_version = object["apiVersion"].clone();
    let Value::Array(items) = object["items"].take() else { unreachable!("the items are a list") };
    for (index, mut item) in items.into_iter().enumerate() {
        if let (Some(kind), Some(fields)) = (&of_items, item.as_object_mut()) {
            fields.entry("kind").or_insert_with(|| kind.clone().into());
            fields.entry("apiVersion").or_insert_with(|| api_version.clone());
        }
        flatten(format!("{place}, item {}", index + 1), item, documents)?;
    }
    Ok(())
}

/// The object in words, as messages name it: `Deployment shop/web`.
pub fn words(object: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let metadata = &object["metadata"];
    match (text(&object["kind"]).as_str(), text(&metadata["namespace"]).as_str(), text(&metadata["name"]).as_str()) {
        ("", ..) => "manifest".to_owned(),
        (kind, _, "") => kind.to_owned(),
        (kind, "", name) => format!("{kind} {name}"),
        (kind, namespace, name) => format!("{kind} {namespace}/{name}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_and_lists_are_taken_apart() {
        let text = "kind: A\n---\nkind: List\nitems: [{kind: B}, {kind: List, items: [{kind: C}]}]\n---\n\
                    apiVersion: v1\nkind: ConfigMapList\nitems: [{metadata: {name: d}}]\n---\n# nothing\n";
        let documents = parse("app.yaml", text).unwrap();
        let found: Vec<String> =
            documents.iter().map(|document| format!("{} at {}", words(&document.object), document.place)).collect();
        assert_eq!(
            found,
            [
                "A at app.yaml, document 1",
                "B at app.yaml, document 2, item 1",
                "C at app.yaml, document 2, item 2, item 1",
                "ConfigMap d at app.yaml, document 3, item 1",
            ]
        );
        assert_eq!(documents[3].object["apiVersion"], "v1");
    }

    #[test]
    fn what_is_no_manifest_is_named_with_its_place() {
        assert!(
            parse("a.yaml", "just words\n")
                .unwrap_err()
                .to_string()
                .starts_with("a.yaml: this is no Kubernetes object")
        );
        assert!(parse("a.yaml", "a: [\n").unwrap_err().to_string().starts_with("a.yaml: "));
    }

    #[test]
    fn a_folder_gives_its_manifests_by_name() {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in [("b.yaml", "kind: B"), ("a.json", "{\"kind\": \"A\"}"), ("notes.txt", "no manifest")] {
            std::fs::write(folder.path().join(name), text).unwrap();
        }
        let read = Files { files: vec![folder.path().to_owned()] }.read().unwrap();
        let kinds: Vec<_> = read.iter().map(|document| document.object["kind"].as_str().unwrap()).collect();
        assert_eq!(kinds, ["A", "B"]);
        let missing = Files { files: vec![folder.path().join("none.yaml")] }.read().unwrap_err();
        assert!(format!("{missing:#}").contains("none.yaml"));
    }
}
