//! The recorded floor holds, in any order of the cases and under any names.

use tape::floor;
use tape::replay::{Wish, replay};
use tape::tape::{DEV, DEV_SA};

#[test]
fn as_much_of_the_tapes_passes_as_ever_did() {
    let floor = floor::recorded().expect("floor.json reads");
    for tape in [DEV, DEV_SA] {
        let score = replay(tape, &Wish::default()).expect("the tape replays");
        println!("{}", score.table(tape.name));
        let below = floor::below(&floor, tape.name, &score);
        assert!(below.is_empty(), "{}\n{}", score.failures(6), below.join("\n"));
    }
}

#[test]
fn the_order_of_cases_changes_no_answer() {
    let plain = replay(DEV, &Wish::default()).expect("the tape replays").passed();
    for seed in [1, 2, 3] {
        let wish = Wish { shuffle: Some(seed), ..Wish::default() };
        let shuffled = replay(DEV, &wish).expect("the tape replays").passed();
        let differ: Vec<_> = plain.symmetric_difference(&shuffled).collect();
        assert!(differ.is_empty(), "shuffled by {seed}, other verdicts for {differ:?}");
    }
}

#[test]
fn names_of_objects_namespaces_and_labels_change_no_verdict() {
    let plain = replay(DEV, &Wish::default()).expect("the tape replays").passed();
    let wish = Wish { rename: true, ..Wish::default() };
    let renamed = replay(DEV, &wish).expect("the tape replays");
    let differ: Vec<_> = plain.difference(&renamed.passed()).cloned().collect();
    let all = renamed.failures(4);
    assert!(differ.is_empty(), "under other names {differ:?} fail:\n{all}");
}
