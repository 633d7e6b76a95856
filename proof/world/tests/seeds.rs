//! Seeds play out without a fault, twice the same, and every planted bug is found. How many: `world_seeds` of
//! `proof/numbers.json`.

use world::{Bug, run};

/// Threads, for machines with two processors.
const SHARES: u64 = 4;
/// Seeds that are played twice.
const TWICE: u64 = 10;
/// Seeds in which a planted bug has to show.
const BUG_SEEDS: [u64; 3] = [1, 2, 3];

fn seeds() -> u64 {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../numbers.json");
    let text = std::fs::read_to_string(path).expect("proof/numbers.json is there");
    let numbers: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    let column = option_env!("PERNODE_NUMBERS").unwrap_or("short");
    numbers[column]["world_seeds"].as_u64().expect("a number")
}

/// Plays every `SHARES`-th seed from `first`.
fn share(first: u64) {
    let failed: Vec<String> = (first..seeds())
        .step_by(usize::try_from(SHARES).expect("a small number"))
        .map(|seed| run(seed, None))
        .filter(|outcome| !outcome.faults.is_empty())
        .map(|outcome| outcome.report())
        .collect();
    assert!(failed.is_empty(), "{} seeds failed\n{}", failed.len(), failed.join("\n"));
}

#[test]
fn seeds_of_the_first_share_come_to_rest_without_a_fault() {
    share(0);
}

#[test]
fn seeds_of_the_second_share_come_to_rest_without_a_fault() {
    share(1);
}

#[test]
fn seeds_of_the_third_share_come_to_rest_without_a_fault() {
    share(2);
}

#[test]
fn seeds_of_the_fourth_share_come_to_rest_without_a_fault() {
    share(3);
}

#[test]
fn the_same_seed_twice_gives_the_same_tape() {
    for seed in 0..TWICE {
        let (first, second) = (run(seed, None), run(seed, None));
        let differs = first.tape.iter().zip(&second.tape).position(|(a, b)| a != b);
        if let Some(at) = differs {
            panic!("seed {seed}, line {at}:\n  {}\n  {}", first.tape[at], second.tape[at]);
        }
        assert_eq!(first.tape.len(), second.tape.len(), "seed {seed}");
    }
}

/// What each bug must be found out by.
fn words(bug: Bug) -> &'static [&'static str] {
    match bug {
        Bug::DoubleCreate => &["was created on", "beside"],
        Bug::LostWatchEvent => &["missed"],
        Bug::RevisionBack => &["an answer about", "after"],
        Bug::OverBudget => &["took the pods of", "at once"],
        Bug::IneligibleNode => &["which is not eligible"],
    }
}

#[test]
fn every_planted_bug_is_found_in_every_seed() {
    for bug in Bug::ALL {
        for seed in BUG_SEEDS {
            let faults = run(seed, Some(bug)).faults;
            let is_it = |fault: &String| words(bug).iter().all(|word| fault.contains(word));
            assert!(faults.iter().any(is_it), "{bug:?} in seed {seed} was not found: {faults:#?}");
        }
    }
}
