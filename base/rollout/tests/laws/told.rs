//! Stories in files: each is read, told, and compared with what was told before. Whoever tells stories uses this.

use serde::de::DeserializeOwned;
use std::path::Path;

/// Tells every story (`*.yaml`) of a folder, of which there are at least so many; what was told lies beside it as a
/// snapshot. `about` is what a story says of itself.
pub(crate) fn all_are_told_as_they_were<S: DeserializeOwned>(
    folder: &Path,
    at_least: usize,
    about: fn(&S) -> &str,
    tell: fn(&S) -> String,
) {
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .expect("a folder")
        .map(|file| file.expect("a file").path())
        .collect();
    files.retain(|file| file.extension().is_some_and(|ext| ext == "yaml"));
    files.sort();
    assert!(files.len() >= at_least, "stories are missing");
    for file in files {
        let text = std::fs::read_to_string(&file).expect("a story");
        let story: Result<S, _> = serde_saphyr::from_str(&text);
        let story = story.map_err(|error| format!("{}: {error}", file.display())).expect("a story");
        let name = file.file_stem().expect("a name").to_string_lossy().into_owned();
        insta::with_settings!({description => about(&story), omit_expression => true, snapshot_path => folder, prepend_module_to_snapshot => false}, {
            insta::assert_snapshot!(name, tell(&story));
        });
    }
}
