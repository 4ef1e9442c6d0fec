//! The documentation holds together: its links lead somewhere, and the README stays short. That its tables
//! say what the program does is held by tests beside what they tell of.

#![allow(
    clippy::unwrap_used,
    reason = "a test that can't read the pages has failed"
)]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// The documentation's pages, with the README.
fn pages() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let docs = fs::read_dir(root.join("docs")).unwrap();
    let mut pages: Vec<_> = docs.map(|entry| entry.unwrap().path()).collect();
    pages.extend(["README.md", "CHANGELOG.md", "certs-dev/README.md"].map(|name| root.join(name)));
    pages
}

/// Lines outside of code blocks.
fn prose(page: &Path) -> Vec<String> {
    let text = fs::read_to_string(page).unwrap();
    let mut inside = false;
    let lines = text.lines().filter(|line| {
        inside ^= line.starts_with("```");
        !inside
    });
    lines.map(str::to_owned).collect()
}

/// The anchors that a page's headings get where it is shown.
fn anchors(page: &Path) -> BTreeSet<String> {
    let heading = |line: String| {
        let title = line.trim_start_matches('#').trim().to_lowercase();
        let kept = |it: &char| it.is_alphanumeric() || [' ', '-', '_'].contains(it);
        let title: String = title.chars().filter(kept).collect();
        title.replace(' ', "-")
    };
    let headings = prose(page).into_iter().filter(|line| line.starts_with('#'));
    headings.map(heading).collect()
}

#[test]
fn every_link_of_the_documentation_leads_somewhere() {
    let mut seen = 0;
    let mut wrong = Vec::new();
    for page in pages() {
        for line in prose(&page) {
            for link in line.split("](").skip(1) {
                let target = link.split(')').next().unwrap();
                if target.starts_with("https:") {
                    continue;
                }
                seen += 1;
                let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
                let other = match file {
                    "" => page.clone(),
                    file => page.parent().unwrap().join(file),
                };
                let leads =
                    other.exists() && (anchor.is_empty() || anchors(&other).contains(anchor));
                if !leads {
                    wrong.push(format!("{}: {target}", page.display()));
                }
            }
        }
    }
    assert!(seen > 50, "the links were not read: {seen}");
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn the_readme_names_every_page_and_can_be_read_in_ten_minutes() {
    let readme = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md"));
    let readme = readme.unwrap();
    for page in pages() {
        if page.parent().unwrap().ends_with("docs") {
            let name = page.file_name().unwrap().to_str().unwrap();
            assert!(readme.contains(&format!("(docs/{name})")), "{name}");
        }
    }
    // At 300 words a minute.
    let words = readme.split_whitespace().count();
    assert!(
        words < 3000,
        "{words} words: some belong on a page of docs/"
    );
}
