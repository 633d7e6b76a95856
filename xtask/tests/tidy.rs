//! The rules of the house, run as tests: layers, purity, size, heads of crates, and documents that name what exists.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Code lines of one file at the most, tests not counted.
const LINES_MAX: usize = 500;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("xtask lies in the workspace")
        .to_path_buf()
}

fn files(dir: &Path, ending: &str, into: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(dir) else { return };
    for entry in entries.flatten() {
        let path = entry.path();
        let name = entry.file_name().to_string_lossy().into_owned();
        if path.is_dir() {
            if !name.starts_with('.') && name != "target" {
                files(&path, ending, into);
            }
        } else if name.ends_with(ending) {
            into.push(path);
        }
    }
}

fn sources() -> Vec<PathBuf> {
    let mut list = Vec::new();
    for top in ["base", "kit", "parts", "app", "proof", "xtask"] {
        files(&root().join(top), ".rs", &mut list);
    }
    list.sort();
    assert!(list.len() > 20, "the search for sources found next to nothing");
    list
}

/// The code of a file: everything before its `#[cfg(test)]` module, without blank lines and comment lines.
fn code_lines(text: &str) -> usize {
    text.lines()
        .take_while(|line| !line.starts_with("#[cfg(test)]"))
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with("//"))
        .count()
}

fn is_test(path: &Path) -> bool {
    path.components()
        .any(|c| matches!(c.as_os_str().to_str(), Some("tests" | "benches" | "examples")))
        || path.file_stem().is_some_and(|stem| stem == "tests")
}

struct Package {
    folder: PathBuf,
    layer: usize,
    normal: BTreeSet<String>,
    all: BTreeSet<String>,
}

const LAYERS: &[&str] = &["base", "kit", "parts", "app", "proof"];

fn packages() -> BTreeMap<String, Package> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--no-deps", "--offline"])
        .current_dir(root())
        .output()
        .expect("cargo metadata runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let data: serde_json::Value =
        serde_json::from_slice(&output.stdout).expect("cargo prints JSON");
    let mut map = BTreeMap::new();
    for package in data["packages"].as_array().expect("packages") {
        let manifest = PathBuf::from(package["manifest_path"].as_str().expect("a path"));
        let folder = manifest
            .parent()
            .and_then(|p| p.strip_prefix(root()).ok())
            .expect("members lie in the workspace")
            .to_path_buf();
        let top = folder.iter().next().and_then(|f| f.to_str()).unwrap_or_default().to_owned();
        let layer = LAYERS.iter().position(|l| **l == top).unwrap_or(LAYERS.len());
        let (mut normal, mut all) = (BTreeSet::new(), BTreeSet::new());
        for dependency in package["dependencies"].as_array().expect("dependencies") {
            let name = dependency["name"].as_str().expect("a name").to_owned();
            if dependency["kind"] != "dev" {
                normal.insert(name.clone());
            }
            all.insert(name);
        }
        map.insert(
            package["name"].as_str().expect("a name").to_owned(),
            Package { folder, layer, normal, all },
        );
    }
    map
}

/// What is wrong with the edges of the graph; empty when all is well.
fn layer_faults(packages: &BTreeMap<String, Package>) -> Vec<String> {
    let inside: &[(&str, &str)] =
        &[("rollout", "fit"), ("rollout", "api"), ("fit", "api"), ("swap", "world")];
    let mut faults = Vec::new();
    for (name, package) in packages.iter().filter(|(_, p)| p.layer < LAYERS.len()) {
        for other in package.all.iter().filter(|d| packages.contains_key(*d)) {
            let target = &packages[other];
            let allowed =
                target.layer < package.layer || inside.contains(&(name.as_str(), other.as_str()));
            if !allowed {
                faults.push(format!(
                    "{name} may not depend on {other}: dependencies go to a strictly lower layer"
                ));
            }
        }
        let is = |list: &[&str]| list.contains(&name.as_str());
        let mut only = |what: &str, users: bool| {
            if package.normal.contains(what) && !users {
                faults.push(format!("{name} may not depend on {what}"));
            }
        };
        let part = package.layer == 2;
        only("store", is(&["apiserver", "app", "tape", "world", "swap"]));
        only(
            "kube",
            package.layer > 2 || name == "kit" || (part && !is(&["apiserver", "dashboard"])),
        );
        only("kit", package.layer > 2 || (part && !is(&["apiserver", "dashboard"])));
        only("axum", package.layer > 2 || is(&["apiserver", "dashboard"]));
        only("tonic", name == "agent");
        if package.layer == 0 {
            for banned in ["tokio", "kube", "rand", "hyper", "axum", "reqwest", "futures"] {
                if package.all.contains(banned) {
                    faults.push(format!("{name} may not list {banned}: base does no I/O"));
                }
            }
        }
    }
    faults
}

#[test]
fn every_dependency_goes_to_a_lower_layer() {
    let faults = layer_faults(&packages());
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn an_edge_between_two_parts_is_found() {
    let mut packages = packages();
    packages
        .get_mut("scheduler")
        .expect("the scheduler is a member")
        .all
        .insert("daemonset".into());
    packages.get_mut("fit").expect("fit is a member").all.insert("tokio".into());
    let faults = layer_faults(&packages);
    assert!(
        faults.iter().any(|f| f.starts_with("scheduler may not depend on daemonset")),
        "{faults:?}"
    );
    assert!(faults.iter().any(|f| f.starts_with("fit may not list tokio")), "{faults:?}");
}

#[test]
fn files_can_be_read_in_one_sitting() {
    let long: Vec<String> = sources()
        .iter()
        .filter(|path| !is_test(path))
        .filter_map(|path| {
            let lines = code_lines(&fs::read_to_string(path).ok()?);
            (lines > LINES_MAX)
                .then(|| format!("{}: {lines} lines of code, at most {LINES_MAX}", path.display()))
        })
        .collect();
    assert!(long.is_empty(), "split by idea:\n{}", long.join("\n"));
}

#[test]
fn the_kit_keeps_its_budget() {
    // docs/adr/0003: what all parts share must not become a framework
    let budget = 1_700;
    let kit: Vec<PathBuf> = sources()
        .into_iter()
        .filter(|path| path.starts_with(root().join("kit/src")) && !is_test(path))
        .collect();
    assert!(kit.len() > 5, "kit lies elsewhere now: correct this test");
    let lines: usize =
        kit.iter().map(|path| code_lines(&fs::read_to_string(path).expect("it reads"))).sum();
    assert!(lines <= budget, "kit has {lines} lines of code, its budget is {budget}");
}

#[test]
fn plans_are_pure() {
    let words =
        ["async ", ".await", "kube::Client", "tokio::", "tracing::", "Arc<Mutex", "::now()"];
    let mut faults = Vec::new();
    let mut seen = 0;
    for path in sources().iter().filter(|p| !is_test(p)) {
        let inside = path.strip_prefix(root()).expect("inside");
        let pure = inside.starts_with("base/rollout/src")
            || inside.iter().any(|part| part == "plan.rs" || part == "plan");
        if !pure {
            continue;
        }
        seen += 1;
        let text = fs::read_to_string(path).expect("a source file reads");
        for (number, line) in text.lines().enumerate() {
            if line.starts_with("#[cfg(test)]") {
                break;
            }
            if line.trim_start().starts_with("//") {
                continue;
            }
            for word in words.iter().filter(|w| line.contains(**w)) {
                faults.push(format!("{}:{}: {word:?} in a plan", inside.display(), number + 1));
            }
        }
    }
    assert!(seen >= 3, "the search for plans found {seen}");
    assert!(faults.is_empty(), "plans decide, they do not act:\n{}", faults.join("\n"));
}

#[test]
fn every_library_says_what_it_promises_and_what_is_absent() {
    let mut faults = Vec::new();
    for (name, package) in packages() {
        let path = root().join(&package.folder).join("src/lib.rs");
        let Ok(text) = fs::read_to_string(&path) else { continue };
        for heading in ["# Promises", "# Invariants", "# Absent"] {
            if !text.lines().any(|l| l.trim_start_matches("//!").trim() == heading) {
                faults.push(format!("{name}: lib.rs has no heading {heading}"));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn every_source_file_is_reachable() {
    let mut faults = Vec::new();
    for (_, package) in packages() {
        let src = root().join(&package.folder).join("src");
        let mut list = Vec::new();
        files(&src, ".rs", &mut list);
        for path in list {
            let stem = path.file_stem().and_then(|s| s.to_str()).unwrap_or_default().to_owned();
            let parent = path.parent().expect("a file lies in a folder");
            if parent == src && (stem == "lib" || stem == "main") || parent.ends_with("src/bin") {
                continue;
            }
            let owner = if parent == src {
                [src.join("lib.rs"), src.join("main.rs")].into_iter().find(|p| p.exists())
            } else {
                Some(parent.with_extension("rs"))
            };
            let text = owner.and_then(|p| fs::read_to_string(p).ok()).unwrap_or_default();
            let declared = text.lines().any(|l| {
                let l = l.trim();
                l.ends_with(&format!("mod {stem};")) || l.starts_with(&format!("mod {stem} {{"))
            });
            if !declared {
                faults.push(format!("{} is declared by no module", path.display()));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn paths_named_in_the_architecture_exist() {
    let text =
        fs::read_to_string(root().join("ARCHITECTURE.md")).expect("ARCHITECTURE.md is there");
    let mut seen = 0;
    for piece in text.split('`').skip(1).step_by(2) {
        let path = piece.trim_end_matches('/');
        let top = path.split('/').next().unwrap_or_default();
        if ["base", "kit", "parts", "app", "proof", "docs", "xtask", "examples"].contains(&top)
            && path.chars().all(|c| c.is_ascii_alphanumeric() || "/._-".contains(c))
        {
            seen += 1;
            assert!(root().join(path).exists(), "ARCHITECTURE.md names {path}, which is not there");
        }
    }
    assert!(seen > 10, "ARCHITECTURE.md names {seen} paths");
    for (name, package) in packages() {
        let folder = package.folder.display().to_string();
        assert!(
            text.contains(&format!("`{folder}`")),
            "ARCHITECTURE.md has no row for {name} ({folder})"
        );
    }
}

/// Names of all test functions of the workspace.
fn test_names() -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for path in sources() {
        let text = fs::read_to_string(&path).expect("a source file reads");
        for line in text.lines() {
            if let Some((_, rest)) = line.split_once("fn ") {
                names.insert(rest.split(['(', '<']).next().unwrap_or_default().to_owned());
            }
        }
    }
    names
}

#[test]
fn documents_name_tests_and_examples_that_exist() {
    let names = test_names();
    let mut seen = 0;
    for document in ["docs/seeds.md", "SPEC.md"] {
        let text =
            fs::read_to_string(root().join(document)).unwrap_or_else(|e| panic!("{document}: {e}"));
        for piece in text.split('`').skip(1).step_by(2) {
            if let Some(name) = piece.strip_prefix("test:") {
                seen += 1;
                assert!(
                    names.contains(name),
                    "{document} names the test {name}, which does not exist"
                );
            }
            if piece.starts_with("examples/") {
                assert!(
                    root().join(piece).exists(),
                    "{document} names {piece}, which is not there"
                );
            }
        }
    }
    assert!(seen >= 10, "the documents name {seen} tests");
}

/// Ids of the specification of DaemonSets, sections 2 to 4: letter, first, last. `T` are its traps.
const SPEC_IDS: [(char, u32, u32); 24] = [
    ('B', 1, 7),
    ('B', 10, 13),
    ('B', 20, 27),
    ('B', 30, 39),
    ('B', 40, 45),
    ('B', 50, 68),
    ('B', 70, 77),
    ('B', 80, 81),
    ('B', 90, 98),
    ('B', 100, 106),
    ('B', 110, 110),
    ('B', 120, 128),
    ('B', 130, 134),
    ('C', 1, 15),
    ('C', 30, 39),
    ('C', 50, 52),
    ('D', 1, 7),
    ('D', 10, 13),
    ('D', 20, 23),
    ('T', 1, 25),
    ('F', 1, 12),
    ('F', 20, 31),
    ('A', 33, 33),
    ('E', 4, 4),
];

#[test]
fn every_id_of_the_specification_has_a_row_and_what_it_names_exists() {
    let names = test_names();
    let text = fs::read_to_string(root().join("docs/spec-coverage.md")).expect("it is there");
    let mut rows = BTreeMap::new();
    for line in text.lines().filter(|line| line.starts_with("| ")) {
        let id = line.split('|').nth(1).unwrap_or_default().trim();
        assert!(rows.insert(id, line).is_none(), "{id} has two rows");
        for piece in line.split('`').skip(1).step_by(2) {
            if let Some(name) = piece.strip_prefix("test:") {
                assert!(names.contains(name), "{id} names the test {name}, which does not exist");
            }
            if let Some(name) = piece.strip_prefix("story:") {
                let path = format!("base/rollout/tests/stories/{name}.yaml");
                assert!(root().join(&path).exists(), "{id} names {path}, which is not there");
            }
        }
    }
    for (letter, first, last) in SPEC_IDS {
        for number in first..=last {
            let id = format!("{letter}{number}");
            let row = rows.get(id.as_str());
            let is_held = row.is_some_and(|row| row.contains("`test:") || row.contains("`story:"));
            assert!(is_held, "{id} has no row that says what holds it");
        }
    }
}

/// Traps of the specification.
const TRAPS: u32 = 25;
/// Where bugs are planted.
const PLANTED: [&str; 5] = [
    "base/rollout/tests/laws/planted.rs",
    "base/rollout/tests/shape.rs",
    "base/fit/tests/predicates.rs",
    "parts/daemonset/src/apply/bodies.rs",
    "parts/apiserver/src/admit/tests.rs",
];

#[test]
fn every_trap_has_a_planted_bug() {
    let mut found = BTreeSet::new();
    for path in PLANTED {
        let text = fs::read_to_string(root().join(path)).expect("bugs are planted there");
        for line in text.lines().map(str::trim) {
            let named = line.strip_prefix("trap: \"").or_else(|| line.strip_prefix("(\"T"));
            let names = named.and_then(|rest| rest.split('"').next()).unwrap_or_default();
            let number = |name: &str| name.trim().trim_start_matches('T').parse::<u32>().ok();
            found.extend(names.split(',').filter_map(number));
        }
    }
    let missing: Vec<u32> = (1..=TRAPS).filter(|trap| !found.contains(trap)).collect();
    assert!(missing.is_empty(), "no bug is planted for the traps {missing:?}");
}

#[test]
fn the_changelog_is_well_formed() {
    let text = fs::read_to_string(root().join("CHANGELOG.md")).expect("CHANGELOG.md is there");
    assert!(text.starts_with("# Changelog\n"));
    for line in text.lines().filter(|l| l.starts_with("## ")) {
        let version = line.trim_start_matches("## ").split(' ').next().unwrap_or_default();
        assert!(
            version == "Unreleased" || version.split('.').count() == 3,
            "heading {line:?} is neither a version nor Unreleased"
        );
    }
}
