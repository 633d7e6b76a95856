//! The medium on disk: SQLite in WAL mode, one row for each object, one transaction for each batch.
//!
//! Beside `pernode.db` and its WAL lies `pernode.mark`: the last revision that was acknowledged, written after
//! each sync and not synced itself, so it costs a microsecond and never runs ahead of the truth. When less than
//! that is found at start, acknowledged writes are missing, whatever SQLite thinks of its files: it ignores
//! what follows a damaged WAL frame without a word. The file is also the lock against a second server.

mod mark;
mod wal;

use crate::log::{Batch, EachRow, Log, LogError, Meta, OpenError, Stored};
use bytes::Bytes;
use mark::Mark;
use rusqlite::types::ValueRef;
use rusqlite::{Connection, ErrorCode, OpenFlags, Row, params};
use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// The form of the tables. Another one is refused.
const FORMAT: i64 = 1;
/// The name of the database file.
const DATABASE: &str = "pernode.db";

const SCHEMA: &str = "
    CREATE TABLE object (
        key TEXT NOT NULL PRIMARY KEY,
        revision INTEGER NOT NULL,
        stamp INTEGER NOT NULL,
        crc INTEGER NOT NULL,
        bytes BLOB NOT NULL
    ) WITHOUT ROWID, STRICT;
    CREATE TABLE meta (
        id INTEGER NOT NULL PRIMARY KEY CHECK (id = 1),
        last INTEGER NOT NULL,
        reserved INTEGER NOT NULL,
        count INTEGER NOT NULL,
        digest INTEGER NOT NULL,
        clean INTEGER NOT NULL,
        crc INTEGER NOT NULL
    ) STRICT;";

const PUT: &str =
    "REPLACE INTO object (key, revision, stamp, crc, bytes) VALUES (?1, ?2, ?3, ?4, ?5)";
const DELETE: &str = "DELETE FROM object WHERE key = ?1";
const PUT_META: &str = "REPLACE INTO meta (id, last, reserved, count, digest, clean, crc) \
                        VALUES (1, ?1, ?2, ?3, ?4, ?5, ?6)";

/// A store in a folder of its own.
#[derive(Debug)]
pub struct SqliteLog {
    connection: Connection,
    place: PathBuf,
    mark: Mark,
    /// The revision that the transaction in hand ends with.
    pending: u64,
}

impl SqliteLog {
    /// Opens or creates the store in a folder; the folder gets mode 0700, its files 0600. Fails when another
    /// process has it open.
    pub fn open(folder: &Path) -> Result<Self, OpenError> {
        let place = folder.join(DATABASE);
        let unreadable = |path: &Path| {
            let place = path.display().to_string();
            move |error: io::Error| OpenError::Unreadable { place, why: error.to_string() }
        };
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)
            .and_then(|()| fs::set_permissions(folder, fs::Permissions::from_mode(0o700)))
            .map_err(unreadable(folder))?;
        // The lock comes first: the WAL of a server that runs must not be judged.
        let mark = Mark::open(folder)?;
        // Created here, not by SQLite, so that it never has a wider mode. Never opened again by us: closing a
        // second descriptor would drop SQLite's locks on the first.
        let size = if let Ok(found) = fs::metadata(&place) {
            found.len()
        } else {
            let mut options = fs::OpenOptions::new();
            options.write(true).create_new(true).mode(0o600);
            let created = options.open(&place).and_then(|file| file.sync_all());
            created.map_err(unreadable(&place))?;
            let folder = fs::File::open(folder).and_then(|folder| folder.sync_all());
            folder.map_err(unreadable(&place))?;
            0
        };
        fs::set_permissions(&place, fs::Permissions::from_mode(0o600))
            .map_err(unreadable(&place))?;
        wal::examine(&place, size)?;
        let connection = connect(&place).map_err(|error| refused(&place, &error))?;
        prepare(&connection, &place)?;
        Ok(Self { connection, place, mark, pending: 0 })
    }

    fn replay_rows(&self, each: EachRow<'_>) -> Result<(), OpenError> {
        let mut before: Option<String> = None;
        let fault =
            |error: &rusqlite::Error, before: Option<&str>| match refused(&self.place, error) {
                OpenError::Damaged { place, why, .. } => {
                    let near = before.map_or_else(String::new, |key| format!(", after {key}"));
                    OpenError::Damaged { place, key: None, why: format!("{why}{near}") }
                }
                other => other,
            };
        let mut query = self
            .connection
            .prepare("SELECT key, revision, stamp, crc, bytes FROM object")
            .map_err(|error| fault(&error, None))?;
        let mut rows = query.query([]).map_err(|error| fault(&error, None))?;
        loop {
            match rows.next() {
                Ok(Some(row)) => {
                    let row = self.row(row)?;
                    before = Some(row.key.clone());
                    each(row)?;
                }
                Ok(None) => return Ok(()),
                Err(error) => return Err(fault(&error, before.as_deref())),
            }
        }
    }

    /// A row as it is, or what is wrong with its form.
    fn row(&self, row: &Row<'_>) -> Result<Stored, OpenError> {
        let key = match row.get_ref(0) {
            Ok(ValueRef::Text(text) | ValueRef::Blob(text)) => {
                String::from_utf8_lossy(text).into_owned()
            }
            _ => String::new(),
        };
        let damaged = |why: &str| OpenError::Damaged {
            place: self.place(),
            key: Some(key.clone()),
            why: why.to_owned(),
        };
        let number = |at: usize| match row.get_ref(at) {
            Ok(ValueRef::Integer(number)) => Ok(number),
            _ => Err(damaged("a number is not a number")),
        };
        let small = |at: usize| {
            u32::try_from(number(at)?).map_err(|_| damaged("a number is out of bounds"))
        };
        let Ok(ValueRef::Blob(bytes)) = row.get_ref(4) else {
            return Err(damaged("its value is not bytes"));
        };
        Ok(Stored {
            revision: number(1)?.cast_unsigned(),
            stamp: small(2)?,
            crc: small(3)?,
            bytes: Bytes::copy_from_slice(bytes),
            key: key.clone(),
        })
    }

    fn meta(&self) -> Result<Option<Meta>, OpenError> {
        let read = |row: &Row<'_>| {
            let field = |at: usize| row.get::<_, i64>(at).map(i64::cast_unsigned);
            let meta = Meta {
                last: field(0)?,
                reserved: field(1)?,
                count: field(2)?,
                digest: field(3)?,
                clean: field(4)? == 1,
            };
            Ok((meta, field(5)?))
        };
        let sql = "SELECT last, reserved, count, digest, clean, crc FROM meta WHERE id = 1";
        match self.connection.query_row(sql, [], read) {
            Ok((meta, crc)) if u64::from(meta.checksum()) == crc => Ok(Some(meta)),
            Ok(_) => Err(self.damaged("the account of its rows does not match its checksum")),
            Err(rusqlite::Error::QueryReturnedNoRows) => Ok(None),
            Err(error) => Err(refused(&self.place, &error)),
        }
    }

    fn damaged(&self, why: &str) -> OpenError {
        OpenError::Damaged { place: self.place(), key: None, why: why.to_owned() }
    }

    fn write(&self, batch: &Batch) -> rusqlite::Result<()> {
        self.connection.execute_batch("BEGIN IMMEDIATE")?;
        let mut put = self.connection.prepare_cached(PUT)?;
        for row in &batch.puts {
            let (revision, bytes) = (row.revision.cast_signed(), &row.bytes[..]);
            put.execute(params![row.key, revision, row.stamp, row.crc, bytes])?;
        }
        let mut delete = self.connection.prepare_cached(DELETE)?;
        for key in &batch.deletes {
            delete.execute([key])?;
        }
        let meta = &batch.meta;
        self.connection.prepare_cached(PUT_META)?.execute(params![
            meta.last.cast_signed(),
            meta.reserved.cast_signed(),
            meta.count.cast_signed(),
            meta.digest.cast_signed(),
            meta.clean,
            meta.checksum(),
        ])?;
        Ok(())
    }

    /// Undoes the transaction in hand; whether there certainly is none any more.
    fn roll_back(&self) -> bool {
        // Some errors have rolled back already, and this one then fails: what counts is the state after it.
        let _undone = self.connection.execute_batch("ROLLBACK").is_ok();
        self.connection.is_autocommit()
    }
}

fn connect(place: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(place, flags)?;
    connection.execute_batch(
        "PRAGMA busy_timeout = 0;
         PRAGMA locking_mode = EXCLUSIVE;
         PRAGMA cell_size_check = ON;
         PRAGMA trusted_schema = OFF;
         PRAGMA temp_store = MEMORY;
         PRAGMA cache_size = -2000;",
    )?;
    Ok(connection)
}

/// Takes the lock, sees to the journal mode, and to the tables.
fn prepare(connection: &Connection, place: &Path) -> Result<(), OpenError> {
    let refused = |error: rusqlite::Error| refused(place, &error);
    let unfit = |why: String| OpenError::Unreadable { place: place.display().to_string(), why };
    // Answers with the mode in force.
    let mode: String =
        connection.query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0)).map_err(refused)?;
    if mode != "wal" {
        return Err(unfit(format!("the journal mode is {mode}, not wal")));
    }
    connection.execute_batch("PRAGMA synchronous = FULL").map_err(refused)?;
    let number = |sql| connection.query_row(sql, [], |row| row.get::<_, i64>(0)).map_err(refused);
    let format = number("PRAGMA user_version")?;
    if format == 0 && number("SELECT count(*) FROM sqlite_schema")? == 0 {
        let create = format!("BEGIN IMMEDIATE; {SCHEMA} PRAGMA user_version = {FORMAT}; COMMIT");
        return connection.execute_batch(&create).map_err(refused);
    }
    if format == FORMAT {
        return Ok(());
    }
    Err(unfit(format!("its format is {format}; this version of pernode reads {FORMAT}")))
}

fn refused(place: &Path, error: &rusqlite::Error) -> OpenError {
    let (place, why) = (place.display().to_string(), error.to_string());
    match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            OpenError::InUse { place, why }
        }
        Some(
            ErrorCode::CannotOpen
            | ErrorCode::PermissionDenied
            | ErrorCode::ReadOnly
            | ErrorCode::DiskFull
            | ErrorCode::OutOfMemory,
        ) => OpenError::Unreadable { place, why },
        _ => OpenError::Damaged { place, key: None, why },
    }
}

impl Log for SqliteLog {
    fn place(&self) -> String {
        self.place.display().to_string()
    }

    fn blocks(&self) -> bool {
        true
    }

    fn replay(&mut self, each: EachRow<'_>) -> Result<Option<Meta>, OpenError> {
        let meta = self.meta()?;
        let found = meta.map_or(0, |meta| meta.last);
        self.replay_rows(each)?;
        if found < self.mark.acknowledged() {
            return Err(self.damaged(&format!(
                "writes up to revision {} were acknowledged, but only those up to {found} are there: \
                 the end of the database or of its WAL was lost. If it was put back from an older copy \
                 on purpose, remove {} and start again",
                self.mark.acknowledged(),
                self.mark.place(),
            )));
        }
        let _freed = self.connection.execute_batch("PRAGMA shrink_memory").is_ok();
        Ok(meta)
    }

    fn append(&mut self, batch: &Batch) -> Result<(), LogError> {
        self.pending = batch.meta.last;
        self.write(batch).map_err(|error| {
            let why = format!("{}: {error}", self.place());
            // No commit was asked for, so nothing of it can be found later, if it was undone.
            if self.roll_back() { LogError::NotWritten(why) } else { LogError::Unknown(why) }
        })
    }

    fn sync(&mut self) -> Result<(), LogError> {
        match self.connection.execute_batch("COMMIT") {
            Ok(()) => {
                self.mark.acknowledge(self.pending);
                Ok(())
            }
            Err(error) => {
                let why = format!("{}: {error}", self.place());
                let full = error.sqlite_error_code() == Some(ErrorCode::DiskFull);
                // A full disk refuses the frames before the one that would make them count. After any other
                // error, of a sync above all, the kernel may or may not have them: nobody can know.
                if self.roll_back() && full {
                    Err(LogError::NotWritten(why))
                } else {
                    Err(LogError::Unknown(why))
                }
            }
        }
    }

    fn close(&mut self) -> Result<(), LogError> {
        let sql = "PRAGMA wal_checkpoint(TRUNCATE)";
        self.connection
            .query_row(sql, [], |_| Ok(()))
            .map_err(|error| LogError::NotWritten(format!("{}: {error}", self.place())))?;
        self.mark.settle();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::SqliteLog;
    use crate::{
        Action, Change, CommitError, Expected, Frames, Key, Limits, Options, Stamped, open,
    };
    use std::time::Duration;

    #[test]
    fn a_database_that_may_not_grow_refuses_writes_and_takes_them_again_once_it_may() {
        let home = tempfile::tempdir().expect("a temporary folder");
        let log = SqliteLog::open(home.path()).expect("opens");
        log.connection.execute_batch("PRAGMA max_page_count = 20").expect("a limit");
        let options = Options {
            limits: Limits::default(),
            frames: Frames::default(),
            lazy_collections: &[],
            indexes: Vec::new(),
        };
        let (store, mut writer) = open(Box::new(log), options, &|_, _| Ok(())).expect("opens");
        let mut commit = |name: &str, action| {
            let key = Key::new("/pods", "space", name);
            let change = Change { key, expected: Expected::Any, action };
            writer.commit(vec![change], Duration::ZERO, false)
        };
        let put = || {
            let value = Stamped::new("x".repeat(5_000), "");
            Action::Put { value, facts: (), lazy: false }
        };
        let mut written = 0;
        let refused = loop {
            match commit(&format!("p{written}"), put()) {
                Ok(_) => written += 1,
                Err(error) => break error,
            }
        };
        assert!(matches!(refused, CommitError::NotWritten(_)), "{refused}");
        assert!(written > 2, "{written}");
        assert_eq!(store.revision(), written, "memory is as it was");
        let gone = commit("p0", Action::Delete { last: None }).expect("frees pages");
        assert!(gone[0].is_ok());
        commit("again", put()).expect("takes what fits");
        assert_eq!(store.revision(), written + 2);
        drop(writer);
        let log = SqliteLog::open(home.path()).expect("opens again");
        let options = Options {
            limits: Limits::default(),
            frames: Frames::default(),
            lazy_collections: &[],
            indexes: Vec::new(),
        };
        let (again, _) = open(Box::new(log), options, &|_, _| Ok(())).expect("opens again");
        assert_eq!((again.revision(), again.fill().rows), (written + 2, store.fill().rows));
    }
}
