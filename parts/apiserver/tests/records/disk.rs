//! The same on a real disk, with threads.

use crate::support::{Server, pod};
use apiserver::records::{Expected, Start, WatchRequest};
use store::SqliteLog;
use tokio::task::JoinSet;

#[test]
fn many_callers_share_syncs_on_a_real_disk_and_find_their_writes_after_a_restart() {
    let home = tempfile::tempdir().unwrap();
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let server = Server::start_on(SqliteLog::open(home.path()).unwrap());
        let mut watch = server.records.watch(WatchRequest::all("/pods", Start::Now)).unwrap();
        let mut callers = JoinSet::new();
        for n in 0..64 {
            let records = server.records.clone();
            callers.spawn(async move {
                let mut revision = 0;
                for round in 0..10 {
                    let expected = match round {
                        0 => Expected::Absent,
                        _ => Expected::Revision(revision),
                    };
                    let change = pod("default", &format!("p{n}"), "n1", "web").put(expected);
                    revision = records.commit(change).await.unwrap().record.revision;
                }
            });
        }
        callers.join_all().await;
        let mut last = 0;
        for _ in 0..640 {
            let event = watch.next().await.unwrap();
            assert_eq!(event.revision(), last + 1);
            last = event.revision();
        }
        let stats = server.records.stats();
        assert_eq!((stats.changes, stats.objects), (640, 64));
        assert!(stats.batches < 320, "{} batches for 640 writes", stats.batches);
        server.stop().await;

        let server = Server::start_on(SqliteLog::open(home.path()).unwrap());
        assert_eq!(server.records.revision(), 640);
        assert_eq!(server.records.stats().objects, 64);
        server.stop().await;
    });
}
