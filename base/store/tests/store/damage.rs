//! What was not written is not served: flipped bytes, lost rows, truncated files.

use crate::support::{Dice, NOW, contents, delete, key, number, open, put};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use store::{Disk, Expected, OpenError, SqliteLog};
use tempfile::TempDir;

type Rows = Vec<(String, u64, String)>;

fn folder() -> TempDir {
    tempfile::tempdir().expect("a temporary folder")
}

/// A value that can be found again in a file.
fn value(n: u64) -> String {
    format!("value-{n:03}-{}", "x".repeat(usize::try_from(n).unwrap() * 97 % 900))
}

/// Writes some rows; with `close` everything is in the database file, without it in the WAL.
fn write(folder: &Path, close: bool) -> Rows {
    let (store, mut writer) = open(SqliteLog::open(folder).unwrap()).unwrap();
    for n in 0..24 {
        let change = put(key("/pods", &format!("k{n}")), Expected::Any, &value(n), false);
        writer.commit(vec![change], NOW, false).unwrap();
    }
    writer.commit(vec![delete(key("/pods", "k3"), Expected::Any)], NOW, false).unwrap();
    let rows = contents(&store);
    if close {
        writer.close().unwrap();
    }
    rows
}

/// The folder as a killed process leaves it: copied while the store is open.
fn killed(to: &Path) -> Rows {
    let from = folder();
    let (store, mut writer) = open(SqliteLog::open(from.path()).unwrap()).unwrap();
    for n in 0..24 {
        let change = put(key("/pods", &format!("k{n}")), Expected::Any, &value(n), false);
        writer.commit(vec![change], NOW, false).unwrap();
    }
    copy(from.path(), to);
    contents(&store)
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

fn reopen(folder: &Path) -> Result<Rows, OpenError> {
    let (store, _writer) = open(SqliteLog::open(folder)?)?;
    Ok(contents(&store))
}

#[test]
fn what_was_written_is_found_with_mode_0600_and_one_process_at_a_time() {
    let home = folder();
    let path = home.path().join("store");
    let rows = write(&path, true);
    assert_eq!(reopen(&path).unwrap(), rows);
    let first = open(SqliteLog::open(&path).unwrap()).unwrap();
    let second = SqliteLog::open(&path).map(|_| ()).unwrap_err();
    assert!(matches!(&second, OpenError::InUse { place, .. } if place.ends_with("pernode.mark")));
    for entry in fs::read_dir(&path).unwrap() {
        let entry = entry.unwrap();
        let mode = entry.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600, "{}", entry.path().display());
    }
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);
    drop(first);
    assert_eq!(reopen(&path).unwrap(), rows, "also when it was not closed");
}

#[test]
fn any_change_to_any_row_is_refused_with_the_key_named() {
    let disk = Disk::new();
    let (_, mut writer) = open(disk.log()).unwrap();
    for n in 0..8 {
        let change = put(key("/pods", &format!("k{n}")), Expected::Any, &value(n), false);
        writer.commit(vec![change], NOW, false).unwrap();
    }
    let rows = disk.rows();
    let refused = |what: &str| match open(disk.log()) {
        Err(OpenError::Damaged { key, .. }) => key,
        other => panic!("{what}: {other:?}"),
    };
    for row in &rows {
        let name = row.key.replace("/pods/", "/registry/pods/");
        for at in 0..row.bytes.len() {
            for bit in [0, 6] {
                disk.tamper(&row.key, |stored| {
                    let mut bytes = stored.bytes.to_vec();
                    bytes[at] ^= 1 << bit;
                    stored.bytes = bytes.into();
                });
                assert_eq!(refused("a byte"), Some(name.clone()));
                disk.tamper(&row.key, |stored| stored.clone_from(row));
            }
        }
        let changes: [fn(&mut store::Stored); 3] =
            [|row| row.revision += 1, |row| row.stamp += 1, |row| row.crc ^= 1];
        for change in changes {
            disk.tamper(&row.key, change);
            assert_eq!(refused("a number"), Some(name.clone()));
            disk.tamper(&row.key, |stored| stored.clone_from(row));
        }
    }
    assert!(open(disk.log()).is_ok());
    disk.lose(&rows[3].key);
    assert_eq!(refused("a lost row"), None);
}

#[test]
fn a_flipped_byte_in_a_row_on_disk_is_refused_with_file_and_key_named() {
    let home = folder();
    let rows = write(home.path(), true);
    let file = home.path().join("pernode.db");
    let whole = fs::read(&file).unwrap();
    for (key, _, bytes) in &rows {
        // Long values continue on pages of their own: the beginning is enough to find the row by. There may be
        // older copies of it in parts of pages that are no longer used.
        let start = &bytes.as_bytes()[..10];
        let places = whole.windows(10).enumerate().filter(|(_, window)| *window == start);
        let mut refused = 0;
        for (at, _) in places {
            let mut bytes = whole.clone();
            bytes[at + 5] ^= 0x20;
            fs::write(&file, &bytes).unwrap();
            match reopen(home.path()) {
                Ok(found) => assert!(found == rows, "{key} was served changed"),
                Err(OpenError::Damaged { place, key: named, .. }) => {
                    assert!(place.ends_with("pernode.db"), "{place}");
                    assert_eq!(named, Some(key.replace("/pods/", "/registry/pods/")));
                    refused += 1;
                }
                Err(error) => panic!("{error}"),
            }
        }
        assert_eq!(refused, 1, "{key}");
    }
    fs::write(&file, &whole).unwrap();
    assert_eq!(reopen(home.path()).unwrap(), rows);
}

/// Changes a copy of a folder many times over; each time it is refused, or it is as it was.
fn refused_or_same(
    from: &Path,
    rows: &Rows,
    file: &str,
    suite: &str,
    change: impl Fn(&mut Vec<u8>, &mut Dice),
) {
    let mut refused = 0;
    for seed in 0..number(suite) {
        let copied = folder();
        copy(from, copied.path());
        let path = copied.path().join(file);
        let mut bytes = fs::read(&path).unwrap();
        change(&mut bytes, &mut Dice(seed));
        fs::write(&path, &bytes).unwrap();
        match reopen(copied.path()) {
            Ok(found) => {
                assert!(found == *rows, "{file}, seed {seed}: served what was not written");
            }
            Err(OpenError::Damaged { place, .. } | OpenError::Unreadable { place, .. }) => {
                assert!(place.contains("pernode."), "{place}");
                refused += 1;
            }
            Err(error) => panic!("{file}, seed {seed}: {error}"),
        }
    }
    assert!(refused > 0, "{file}: nothing was refused");
}

fn flip(bytes: &mut [u8], dice: &mut Dice) {
    let at = usize::try_from(dice.below(bytes.len() as u64)).unwrap();
    bytes[at] ^= 1 << dice.below(8);
}

fn cut(bytes: &mut Vec<u8>, dice: &mut Dice) {
    bytes.truncate(usize::try_from(dice.below(bytes.len() as u64)).unwrap());
}

#[test]
fn a_database_with_any_byte_flipped_is_refused_or_unharmed() {
    let home = folder();
    let rows = write(home.path(), true);
    refused_or_same(home.path(), &rows, "pernode.db", "store_flips", |bytes, dice| {
        flip(bytes, dice);
    });
}

#[test]
fn a_database_that_was_cut_is_refused_or_unharmed() {
    let home = folder();
    let rows = write(home.path(), true);
    refused_or_same(home.path(), &rows, "pernode.db", "store_flips", cut);
    fs::write(home.path().join("pernode.db"), b"").unwrap();
    let error = reopen(home.path()).unwrap_err();
    assert!(error.to_string().contains("acknowledged"), "{error}");
}

#[test]
fn a_wal_with_any_byte_flipped_is_refused_or_unharmed() {
    let home = folder();
    let rows = killed(home.path());
    refused_or_same(home.path(), &rows, "pernode.db-wal", "store_flips", |bytes, dice| {
        flip(bytes, dice);
    });
}

#[test]
fn a_wal_that_was_cut_or_lost_is_refused_or_unharmed() {
    let home = folder();
    let rows = killed(home.path());
    refused_or_same(home.path(), &rows, "pernode.db-wal", "store_flips", cut);
    fs::remove_file(home.path().join("pernode.db-wal")).unwrap();
    assert!(reopen(home.path()).is_err());
}

#[test]
fn damage_in_the_middle_of_a_wal_is_noticed_even_without_a_mark() {
    let home = folder();
    let rows = killed(home.path());
    fs::remove_file(home.path().join("pernode.mark")).unwrap();
    assert_eq!(reopen(&clone_of(home.path()).path().join("")).unwrap(), rows);
    let path = home.path().join("pernode.db-wal");
    let whole = fs::read(&path).unwrap();
    for at in (32..whole.len() * 3 / 4).step_by(1_777) {
        let mut bytes = whole.clone();
        bytes[at] ^= 4;
        fs::write(&path, &bytes).unwrap();
        let error = reopen(home.path()).unwrap_err();
        let OpenError::Damaged { place, why, .. } = &error else { panic!("{error}") };
        assert!(place.ends_with("-wal") && why.contains("frame"), "{error}");
    }
}

#[test]
fn a_torn_last_transaction_without_a_mark_is_dropped_as_never_acknowledged() {
    let home = folder();
    let rows = killed(home.path());
    fs::remove_file(home.path().join("pernode.mark")).unwrap();
    let path = home.path().join("pernode.db-wal");
    let mut bytes = fs::read(&path).unwrap();
    bytes.truncate(bytes.len() - 100);
    fs::write(&path, &bytes).unwrap();
    let found = reopen(home.path()).unwrap();
    assert_eq!(found.len(), rows.len() - 1);
    assert!(found.iter().all(|row| rows.contains(row)));
}

fn clone_of(path: &Path) -> TempDir {
    let copied = folder();
    copy(path, copied.path());
    copied
}

#[test]
fn a_damaged_mark_is_refused_by_name_and_can_be_removed() {
    let home = folder();
    let rows = write(home.path(), true);
    let path = home.path().join("pernode.mark");
    let mut bytes = fs::read(&path).unwrap();
    bytes[0] ^= 1;
    fs::write(&path, &bytes).unwrap();
    let error = reopen(home.path()).unwrap_err();
    assert!(error.to_string().contains("pernode.mark is damaged"), "{error}");
    fs::remove_file(&path).unwrap();
    assert_eq!(reopen(home.path()).unwrap(), rows);
}
