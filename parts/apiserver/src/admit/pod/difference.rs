//! The difference of two texts by lines, as `diff -u` shows it.

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
    let mut out = String::new();
    for hunk in changes.chunk_by(|a, b| b - a <= 2 * AROUND + 1) {
        let (Some(first), Some(last)) = (hunk.first(), hunk.last()) else { continue };
        let from = first.saturating_sub(AROUND);
        let until = (last + AROUND + 1).min(steps.len());
        let before = |fate: Fate| steps[..from].iter().filter(|(f, _)| *f != fate).count();
        let within = |fate: Fate| steps[from..until].iter().filter(|(f, _)| *f != fate).count();
        let old_range = range(before(Fate::New), within(Fate::New));
        let new_range = range(before(Fate::Gone), within(Fate::Gone));
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

fn range(start: usize, count: usize) -> String {
    match count {
        0 => format!("{start},0"),
        1 => format!("{}", start + 1),
        _ => format!("{},{count}", start + 1),
    }
}

/// The shortest way from one text to the other, found from the end; of a replaced run the old lines come first.
fn steps<'l>(old: &'l [String], new: &'l [String]) -> Vec<(Fate, &'l str)> {
    // How many lines the beginnings have in common, by where they end.
    let width = new.len() + 1;
    let mut common = vec![0_u32; (old.len() + 1) * width];
    for i in 1..=old.len() {
        for j in 1..=new.len() {
            common[i * width + j] = if old[i - 1] == new[j - 1] {
                common[(i - 1) * width + j - 1] + 1
            } else {
                common[(i - 1) * width + j].max(common[i * width + j - 1])
            };
        }
    }
    let (mut i, mut j) = (old.len(), new.len());
    let mut found: Vec<(Fate, &str)> = Vec::new();
    let mut gone: Vec<(Fate, &str)> = Vec::new();
    while i > 0 || j > 0 {
        if i > 0 && j > 0 && old[i - 1] == new[j - 1] {
            found.append(&mut gone);
            found.push((Fate::Kept, old[i - 1].as_str()));
            (i, j) = (i - 1, j - 1);
        } else if i == 0 || (j > 0 && common[i * width + j - 1] >= common[(i - 1) * width + j]) {
            found.push((Fate::New, new[j - 1].as_str()));
            j -= 1;
        } else {
            gone.push((Fate::Gone, old[i - 1].as_str()));
            i -= 1;
        }
    }
    found.append(&mut gone);
    found.reverse();
    found
}

#[cfg(test)]
mod tests {
    use super::unified;

    fn lines(text: &str) -> Vec<String> {
        text.chars().map(String::from).collect()
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
