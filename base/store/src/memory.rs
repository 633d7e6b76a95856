//! A medium in memory that can crash and fail on purpose.

use crate::log::{Batch, EachRow, Log, LogError, Meta, OpenError, Stored};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;

/// What survives: shared by every [`MemoryLog`] opened on it, as a disk is by the processes of its machine.
#[derive(Clone, Debug, Default)]
pub struct Disk(Arc<Mutex<Platter>>);

#[derive(Debug, Default)]
struct Platter {
    rows: BTreeMap<String, Stored>,
    meta: Option<Meta>,
    syncs: u64,
    steps: u64,
    crash_at: Option<u64>,
    refuse: u32,
    confuse: u32,
    opened: u64,
}

impl Disk {
    /// An empty disk.
    pub fn new() -> Self {
        Self::default()
    }

    /// Opens the disk, as a new process would after the end of the last one: what was not synced is gone, and
    /// logs opened earlier can no longer reach it.
    pub fn log(&self) -> MemoryLog {
        let mut platter = self.0.lock();
        platter.opened += 1;
        platter.crash_at = None;
        MemoryLog { disk: Arc::clone(&self.0), pending: None, opened: platter.opened }
    }

    /// The machine stops after `steps` more calls of append or sync: that call and all later ones fail, and
    /// what was not synced is lost.
    pub fn crash_after(&self, steps: u64) {
        let mut platter = self.0.lock();
        platter.crash_at = Some(platter.steps + steps);
    }

    /// The next `times` syncs fail and write nothing, as on a full disk.
    pub fn refuse_syncs(&self, times: u32) {
        self.0.lock().refuse = times;
    }

    /// The next `times` syncs end in an error of unknown outcome; whether they wrote alternates.
    pub fn confuse_syncs(&self, times: u32) {
        self.0.lock().confuse = times;
    }

    /// How many syncs were done.
    pub fn syncs(&self) -> u64 {
        self.0.lock().syncs
    }

    /// Changes the stored bytes of a row behind the store's back; false when there is no such row.
    pub fn tamper(&self, key: &str, change: impl FnOnce(&mut Stored)) -> bool {
        self.0.lock().rows.get_mut(key).map(change).is_some()
    }

    /// Removes a row behind the store's back; false when there was none.
    pub fn lose(&self, key: &str) -> bool {
        self.0.lock().rows.remove(key).is_some()
    }

    /// The rows that would be found at the next start.
    pub fn rows(&self) -> Vec<Stored> {
        self.0.lock().rows.values().cloned().collect()
    }
}

/// One process's hold on a [`Disk`].
#[derive(Debug)]
pub struct MemoryLog {
    disk: Arc<Mutex<Platter>>,
    pending: Option<Batch>,
    opened: u64,
}

impl MemoryLog {
    fn step(&self, platter: &mut Platter) -> Result<(), LogError> {
        if platter.opened != self.opened {
            return Err(LogError::Unknown("another process opened this disk".into()));
        }
        if platter.crash_at.is_some_and(|at| platter.steps >= at) {
            return Err(LogError::Unknown("the machine has stopped".into()));
        }
        platter.steps += 1;
        Ok(())
    }
}

impl Log for MemoryLog {
    fn place(&self) -> String {
        "memory".to_owned()
    }

    fn blocks(&self) -> bool {
        false
    }

    fn replay(&mut self, each: EachRow<'_>) -> Result<Option<Meta>, OpenError> {
        let (rows, meta) = {
            let platter = self.disk.lock();
            (platter.rows.values().cloned().collect::<Vec<_>>(), platter.meta)
        };
        rows.into_iter().try_for_each(each)?;
        Ok(meta)
    }

    fn append(&mut self, batch: &Batch) -> Result<(), LogError> {
        let disk = Arc::clone(&self.disk);
        self.step(&mut disk.lock())?;
        self.pending = Some(batch.clone());
        Ok(())
    }

    fn sync(&mut self) -> Result<(), LogError> {
        let disk = Arc::clone(&self.disk);
        let mut platter = disk.lock();
        self.step(&mut platter)?;
        if platter.refuse > 0 {
            platter.refuse -= 1;
            self.pending = None;
            return Err(LogError::NotWritten("no space left".into()));
        }
        let confused = platter.confuse > 0;
        if confused {
            platter.confuse -= 1;
        }
        if !confused || platter.confuse.is_multiple_of(2) {
            platter.take(self.pending.take());
        }
        if confused { Err(LogError::Unknown("input/output error".into())) } else { Ok(()) }
    }
}

impl Platter {
    fn take(&mut self, batch: Option<Batch>) {
        let Some(batch) = batch else { return };
        for key in &batch.deletes {
            self.rows.remove(key);
        }
        for row in batch.puts {
            self.rows.insert(row.key.clone(), row);
        }
        self.meta = Some(batch.meta);
        self.syncs += 1;
    }
}
