//! Bytes between two connections, and what is written to one of them.

use std::io;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;

/// Bytes read at once. What is read is passed on before more is read.
pub(super) const READ_BYTES: usize = 16 * 1024;
/// Pieces that wait to be written to one end: at most this many of [`READ_BYTES`] (or of one WebSocket message), so a
/// slow reader costs 128 KiB and slows its writer.
pub(super) const WAITING_MAX: usize = 8;

/// What is to be written to one end.
pub(super) type Queue = mpsc::Sender<Vec<u8>>;

/// Joins two ends that speak the same.
pub(super) async fn join<A, B>(mut near: A, mut far: B)
where
    A: AsyncRead + AsyncWrite + Unpin,
    B: AsyncRead + AsyncWrite + Unpin,
{
    // one end that breaks is an ordinary end of a stream
    let _ended =
        tokio::io::copy_bidirectional_with_sizes(&mut near, &mut far, READ_BYTES, READ_BYTES).await;
}

/// Writes what comes, until all senders are gone; then tells the other end that nothing more comes.
pub(super) async fn write<W: AsyncWrite + Unpin>(
    mut to: W,
    mut waiting: mpsc::Receiver<Vec<u8>>,
) -> io::Result<()> {
    while let Some(bytes) = waiting.recv().await {
        to.write_all(&bytes).await?;
        if waiting.is_empty() {
            to.flush().await?;
        }
    }
    to.shutdown().await
}
