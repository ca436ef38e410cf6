//! From YAML text to documents, with lines in every error.

use anyhow::{Context as _, anyhow};
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::{Document, Kind, Spec, Summary};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Head {
    kind: String,
    metadata: Metadata,
    #[serde(default, rename = "spec")]
    _spec: Option<IgnoredAny>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Metadata {
    name: String,
    #[serde(default)]
    etag: String,
}

/// Reads every document of a text.
pub fn read_all(text: &str, origin: &str) -> anyhow::Result<Vec<Document>> {
    let mut documents = Vec::new();
    for (first_line, part) in split(text) {
        let blank = part.lines().all(|line| {
            let line = line.trim();
            line.is_empty() || line.starts_with('#')
        });
        if blank {
            continue;
        }
        let place = format!("{origin}:{first_line}");
        let locate = |error: serde_norway::Error| locate(origin, first_line, &error);
        let head: Head = serde_norway::from_str(part).map_err(locate)?;
        let kind: Kind = head.kind.parse().map_err(|error: String| anyhow!("{place}: {error}"))?;
        let spec = Spec::read(kind, part)
            .map_err(locate)
            .with_context(|| format!("{kind} {}", head.metadata.name))?;
        documents.push(Document {
            kind,
            name: head.metadata.name,
            etag: head.metadata.etag,
            spec,
            summary: Summary::default(),
            place,
        });
    }
    Ok(documents)
}

/// The parts between `---` lines, with the number of their first line.
fn split(text: &str) -> Vec<(usize, &str)> {
    let mut parts = Vec::new();
    let (mut start, mut first_line, mut offset) = (0, 1, 0);
    for (index, line) in text.split_inclusive('\n').enumerate() {
        if line.trim_end() == "---" {
            parts.push((first_line, &text[start..offset]));
            start = offset + line.len();
            first_line = index + 2;
        }
        offset += line.len();
    }
    parts.push((first_line, &text[start..]));
    parts
}

fn locate(origin: &str, first_line: usize, error: &serde_norway::Error) -> anyhow::Error {
    let text = error.to_string();
    match error.location() {
        Some(location) => {
            let line = first_line + location.line() - 1;
            // The parser's own position counts from the document's start.
            let problem = text.split(" at line ").next().unwrap_or(&text);
            anyhow!("{origin}:{line}:{}: {problem}", location.column())
        }
        None => anyhow!("{origin}:{first_line}: {text}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_names_its_line_in_the_file() {
        let text = "kind: Pillar\nmetadata: {name: a}\nspec: {}\n---\nkind: Pillar\nmetadata: {name: b}\nspec:\n  titel: x\n";
        let error = format!("{:#}", read_all(text, "pillars.yaml").unwrap_err());
        assert!(error.contains("pillars.yaml:8:") && error.contains("titel"), "{error}");
    }

    #[test]
    fn an_unknown_kind_lists_those_there_are() {
        let text = "kind: Gadget\nmetadata: {name: a}\nspec: {}\n";
        let error = read_all(text, "x.yaml").unwrap_err().to_string();
        assert!(error.contains("x.yaml:1") && error.contains("Experiment"), "{error}");
    }

    #[test]
    fn comments_and_empty_parts_are_no_documents() {
        assert!(read_all("# nothing\n---\n\n", "x.yaml").unwrap().is_empty());
    }
}
