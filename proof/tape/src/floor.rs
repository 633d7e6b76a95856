//! The recorded floor: `floor.json`, how many exchanges of each topic pass at least. It only rises.

use crate::score::Score;
use std::collections::BTreeMap;

/// By tape, by topic.
pub type Floor = BTreeMap<String, BTreeMap<String, usize>>;

const TEXT: &str = include_str!("../floor.json");

/// Where it is written.
pub const PATH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/floor.json");

/// The floor as built in.
pub fn recorded() -> serde_json::Result<Floor> {
    serde_json::from_str(TEXT)
}

/// The topics below their floor, in words.
pub fn below(floor: &Floor, tape: &str, score: &Score) -> Vec<String> {
    let topics = score.topics();
    let floors = floor.get(tape).into_iter().flatten();
    floors
        .filter_map(|(topic, floor)| {
            let passed = topics.get(topic.as_str()).map_or(0, |count| count.passed);
            (passed < *floor).then(|| format!("{topic}: {passed} pass, the floor is {floor}"))
        })
        .collect()
}

/// Raises the floor to a score; it never sinks.
pub fn raise(floor: &mut Floor, tape: &str, score: &Score) {
    let floors = floor.entry(tape.to_owned()).or_default();
    for (topic, count) in score.topics() {
        let entry = floors.entry(topic.to_owned()).or_default();
        *entry = count.passed.max(*entry);
    }
}
