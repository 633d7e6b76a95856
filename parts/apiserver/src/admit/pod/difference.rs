//! The difference of two texts by lines, as `diff -u` shows it.

use std::collections::BTreeMap;
use std::ops::Range;

/// Lines shown around a change.
const AROUND: usize = 3;

/// What became of a line: in both texts, or in one of them.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    Kept,
    Gone,
    New,
}

/// The hunks of a difference, each with its header and its context.
pub(super) fn unified(old: &[String], new: &[String]) -> String {
    let steps = steps(old, new);
    let changed = |i: &usize| steps[*i].0 != Fate::Kept;
    let changes: Vec<usize> = (0..steps.len()).filter(changed).collect();
    let (of_old, of_new) = (counted(&steps, Fate::New), counted(&steps, Fate::Gone));
    let mut out = String::new();
    for hunk in changes.chunk_by(|a, b| b - a <= 2 * AROUND + 1) {
        let (Some(first), Some(last)) = (hunk.first(), hunk.last()) else { continue };
        let from = first.saturating_sub(AROUND);
        let until = (last + AROUND + 1).min(steps.len());
        let old_range = range(of_old[from], of_old[until] - of_old[from]);
        let new_range = range(of_new[from], of_new[until] - of_new[from]);
        out.extend(["@@ -", &old_range, " +", &new_range, " @@\n"]);
        for (fate, line) in &steps[from..until] {
            out.push(match fate {
                Fate::Kept => ' ',
                Fate::Gone => '-',
                Fate::New => '+',
            });
            out.push_str(line);
            out.push('\n');
        }
    }
    out
}

/// How many lines stand before each step, and before the end, but for those of one fate.
fn counted(steps: &[(Fate, &str)], but: Fate) -> Vec<usize> {
    let mut count = 0;
    let each = steps.iter().map(|(fate, _)| {
        let before = count;
        count += usize::from(*fate != but);
        before
    });
    let mut all: Vec<usize> = each.collect();
    all.push(count);
    all
}

fn range(start: usize, count: usize) -> String {
    match count {
        0 => format!("{start},0"),
        1 => format!("{}", start + 1),
        _ => format!("{},{count}", start + 1),
    }
}

/// A run of equal lines: where it begins in the old text and in the new one, and how long it is.
type Run = (usize, usize, usize);

/// Lines that come up more often than in a hundredth of a text this long begin no run.
const LONG: usize = 200;

/// Lines of a text beyond which only what both texts begin and end with is looked for: looking for every run may cost the
/// square of the lines, and nobody reads so long a message.
const LINES_MAX: usize = 2_000;

/// The runs at the start and at the end of both texts, and the empty one.
fn outer_runs(old: &[String], new: &[String]) -> Vec<Run> {
    let most = old.len().min(new.len());
    let start = old.iter().zip(new).take_while(|(a, b)| a == b).count();
    let both = old.iter().rev().zip(new.iter().rev());
    let end = both.take_while(|(a, b)| a == b).count().min(most - start);
    let last = (old.len() - end, new.len() - end, end);
    vec![(0, 0, start), last, (old.len(), new.len(), 0)]
}

/// What became of each line; of a replaced run the old lines come first.
fn steps<'l>(old: &'l [String], new: &'l [String]) -> Vec<(Fate, &'l str)> {
    let (mut i, mut j) = (0, 0);
    let mut found: Vec<(Fate, &str)> = Vec::new();
    let is_long = old.len().max(new.len()) > LINES_MAX;
    for (at, to, size) in if is_long { outer_runs(old, new) } else { runs(old, new) } {
        found.extend(old[i..at].iter().map(|line| (Fate::Gone, line.as_str())));
        found.extend(new[j..to].iter().map(|line| (Fate::New, line.as_str())));
        found.extend(old[at..at + size].iter().map(|line| (Fate::Kept, line.as_str())));
        (i, j) = (at + size, to + size);
    }
    found
}

/// The runs of equal lines in their order, with an empty one at the end: the longest run of all, then the longest
/// before it and after it, and so on (Ratcliff and Obershelp's way, as Python's difflib and its kin go it).
fn runs(old: &[String], new: &[String]) -> Vec<Run> {
    let mut places: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (j, line) in new.iter().enumerate() {
        places.entry(line).or_default().push(j);
    }
    if new.len() >= LONG {
        places.retain(|_, all| all.len() <= new.len() / 100 + 1);
    }
    let mut found = vec![(old.len(), new.len(), 0)];
    let mut rest = vec![(0..old.len(), 0..new.len())];
    while let Some((a, b)) = rest.pop() {
        let (i, j, size) = longest(old, new, &places, (&a, &b));
        if size > 0 {
            found.push((i, j, size));
            rest.push((a.start..i, b.start..j));
            rest.push((i + size..a.end, j + size..b.end));
        }
    }
    found.sort_unstable();
    found
}

/// The longest run within both ranges, the first of several.
fn longest(
    old: &[String],
    new: &[String],
    places: &BTreeMap<&str, Vec<usize>>,
    (a, b): (&Range<usize>, &Range<usize>),
) -> Run {
    let (mut i, mut j, mut size) = (a.start, b.start, 0);
    // How long the run is that ends at a line of the old text and one of the new, by the latter.
    let mut ends: BTreeMap<usize, usize> = BTreeMap::new();
    for at in a.clone() {
        let mut here = BTreeMap::new();
        for to in places.get(old[at].as_str()).into_iter().flatten().filter(|to| b.contains(to)) {
            let before = to.checked_sub(1).and_then(|to| ends.get(&to)).copied().unwrap_or(0);
            let length = before + 1;
            here.insert(*to, length);
            if length > size {
                (i, j, size) = (at + 1 - length, to + 1 - length, length);
            }
        }
        ends = here;
    }
    // Lines that begin no run may be part of one.
    while i > a.start && j > b.start && old[i - 1] == new[j - 1] {
        (i, j, size) = (i - 1, j - 1, size + 1);
    }
    while i + size < a.end && j + size < b.end && old[i + size] == new[j + size] {
        size += 1;
    }
    (i, j, size)
}

#[cfg(test)]
mod tests {
    use super::unified;

    fn lines(text: &str) -> Vec<String> {
        text.chars().map(String::from).collect()
    }

    #[test]
    fn of_long_texts_only_what_stands_between_equal_ends_is_shown() {
        let text = |middle: &str| -> Vec<String> {
            let line =
                |at: usize| format!("{}{at}", if (20..40_000).contains(&at) { middle } else { "" });
            (0..40_020).map(line).collect()
        };
        let shown = unified(&text("a"), &text("b"));
        assert!(shown.starts_with("@@ -18,39986 +18,39986 @@\n 17\n 18\n 19\n-a20\n-a21\n"));
        assert!(shown.ends_with("+b39999\n 40000\n 40001\n 40002\n"));
        assert_eq!(unified(&text("a"), &text("a")), "");
        let grown = unified(&text("a"), &[text("a"), text("a")].concat());
        assert_eq!(grown.lines().filter(|line| line.starts_with('-')).count(), 0);
    }

    #[test]
    fn changes_are_shown_with_what_is_around_them() {
        for (old, new, want) in [
            ("abc", "abc", ""),
            ("abcdefgh", "abcdXfgh", "@@ -2,7 +2,7 @@\n b\n c\n d\n-e\n+X\n f\n g\n h\n"),
            ("ab", "aXYb", "@@ -1,2 +1,4 @@\n a\n+X\n+Y\n b\n"),
            ("aXYb", "ab", "@@ -1,4 +1,2 @@\n a\n-X\n-Y\n b\n"),
            ("a[b]", "a[c][b]", "@@ -1,4 +1,7 @@\n a\n+[\n+c\n+]\n [\n b\n ]\n"),
            ("", "a", "@@ -0,0 +1 @@\n+a\n"),
            (
                "Abcdefghijklmnopqrst",
                "Xbcdefghijklmnopqrsu",
                "@@ -1,4 +1,4 @@\n-A\n+X\n b\n c\n d\n@@ -17,4 +17,4 @@\n q\n r\n s\n-t\n+u\n",
            ),
        ] {
            assert_eq!(unified(&lines(old), &lines(new)), want, "{old} {new}");
        }
    }
}
