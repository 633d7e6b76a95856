//! The data folder: who may use it, and the files a person looks for.

use anyhow::{Context, bail};
use apiserver::Server;
use apiserver::authenticate::{JoinToken, StaticTokens, join};
use apiserver::identity::Identity;
use apiserver::pki::{self, Pki};
use apiserver::records::{Log, OpenError, SqliteLog};
use rustix::fs::{FlockOperation, flock};
use std::fs::{self, File, OpenOptions};
use std::io::{IsTerminal, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The data folder, locked while this lives.
pub(super) struct Folder {
    path: PathBuf,
    _lock: File,
}

impl Folder {
    /// Makes the folder if needed and locks it.
    pub(super) fn open(path: &Path) -> anyhow::Result<Self> {
        let unusable = |fault: &std::io::Error| {
            anyhow::anyhow!(
                "{}: cannot use this as data folder ({fault}); mend its rights or choose another with --data-dir",
                path.display()
            )
        };
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(path)
            .map_err(|fault| unusable(&fault))?;
        let path = fs::canonicalize(path).map_err(|fault| unusable(&fault))?;
        let lock = path.join("lock");
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&lock)
            .map_err(|fault| unusable(&fault))?;
        if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
            let holder = fs::read_to_string(&lock).unwrap_or_default();
            bail!(
                "{}: another pernode server (process {}) uses this data folder; stop it or choose another with --data-dir",
                path.display(),
                holder.trim()
            );
        }
        // only for the message above, so a failure is no harm
        let _told = file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id()));
        Ok(Self { path, _lock: file })
    }

    pub(super) fn pki(&self) -> PathBuf {
        self.path.join("pki")
    }

    fn kubeconfig(&self) -> PathBuf {
        self.path.join("admin.kubeconfig")
    }

    fn join_token(&self) -> PathBuf {
        self.path.join("join-token")
    }

    /// Opens the store.
    pub(super) fn open_log(&self) -> anyhow::Result<Box<dyn Log>> {
        let store = self.path.join("store");
        let log = SqliteLog::open(&store).map_err(|fault| damaged(&store, &fault))?;
        Ok(Box::new(log))
    }

    /// Writes `admin.kubeconfig`, if it is not as it should be.
    pub(super) fn write_kubeconfig(&self, url: &str, pki: &Pki) -> anyhow::Result<()> {
        let text =
            apiserver::kubeconfig::render(url, &pki.ca.certificate, "kubernetes-admin", &pki.admin);
        let path = self.kubeconfig();
        if pki::read_if_there(&path)?.as_ref() != Some(&text) {
            pki::write_private(&path, &text)?;
        }
        Ok(())
    }

    /// The token in `join-token`; a new one at the first start, and when the old one was taken back.
    pub(super) async fn keep_join_token(
        &self,
        server: &Server,
        now: jiff::Timestamp,
    ) -> anyhow::Result<JoinToken> {
        let path = self.join_token();
        let found = pki::read_if_there(&path)?.and_then(|text| text.trim().parse().ok());
        if let Some(token) = found
            && join::holds(server.records(), &token, now)
        {
            return Ok(token);
        }
        let mut bytes = [0; 256];
        let mut at = bytes.len();
        let mut failed = None;
        let token = JoinToken::generate(|| {
            if at == bytes.len() {
                failed = failed.take().or_else(|| random(&mut bytes).err());
                at = 0;
            }
            at += 1;
            bytes[at - 1]
        });
        failed.map_or(Ok(()), Err)?;
        // first what makes it hold, then the file: a crash between the two leaves a token that nobody knows
        join::file(server.as_user(Identity::server()), &token)
            .await
            .map_err(|fault| anyhow::anyhow!("cannot keep the join token: {fault}"))?;
        pki::write_private(&path, &format!("{token}\n"))?;
        Ok(token)
    }
}

/// Fills `bytes` from the operating system.
pub(super) fn random(bytes: &mut [u8]) -> anyhow::Result<()> {
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    provider
        .secure_random
        .fill(bytes)
        .map_err(|_| anyhow::anyhow!("the operating system gives no random bytes"))
}

/// What to say of a store that cannot be opened.
pub(super) fn damaged(folder: &Path, fault: &OpenError) -> anyhow::Error {
    let advice = match fault {
        OpenError::Damaged { .. } => format!(
            "nothing was changed; restore {} from a backup, or move it away to start empty",
            folder.display()
        ),
        OpenError::InUse { .. } => {
            "stop the other process or choose another folder with --data-dir".to_owned()
        }
        OpenError::Unreadable { .. } => {
            "mend the disk or the folder's rights, or choose another with --data-dir".to_owned()
        }
    };
    anyhow::anyhow!("cannot open the store: {fault}; {advice}")
}

/// Reads the file of `--token-auth-file`.
pub(super) fn static_tokens(path: &Path) -> anyhow::Result<StaticTokens> {
    let text = fs::read_to_string(path)
        .with_context(|| format!("--token-auth-file {}: cannot read it", path.display()))?;
    StaticTokens::parse(&text).with_context(|| format!("--token-auth-file {}", path.display()))
}

/// Tells a person what to do next. The token itself is shown to a terminal only: logs are read by many.
#[expect(clippy::print_stdout, reason = "the answer of the command")]
pub(super) fn greet(folder: &Folder, url: &str, token: &JoinToken, ca_hash: &str, took: Duration) {
    let token = if std::io::stdout().is_terminal() {
        token.to_string()
    } else {
        format!("$(cat {})", folder.join_token().display())
    };
    println!(
        "pernode {} serves {url} (ready after {} ms)\n\
         \n  export KUBECONFIG={}\n\
         \n  join a node:\n  pernode agent --server {url} --token {token} --ca-hash {ca_hash}\n",
        env!("CARGO_PKG_VERSION"),
        took.as_millis(),
        folder.kubeconfig().display(),
    );
    let _flushed = std::io::stdout().flush();
}
