//! The tables against the engine's own in memory, and what two processes of one profile see of each other.

use std::os::unix::fs::PermissionsExt as _;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use cloudsync_engine::replica::{Content, Edit, EditId, EditState, MemoryTables, Reason, Tables, TablesError};
use cloudsync_protocol::envelope::Hlc;
use cloudsync_protocol::{CollectionName, DeviceSeq, ErrorCode, Hash, RecordId, RecordKey, Version};
use proptest::prelude::*;

use super::*;
use crate::account::Tokens;

fn store() -> (tempfile::TempDir, Store) {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open_or_create(&folder.path().join("replica.db")).unwrap();
    (folder, store)
}

fn key(collection: &str, record: &str) -> RecordKey {
    RecordKey { collection: CollectionName::new(collection).unwrap(), record: RecordId::new(record).unwrap() }
}

fn edit(id: u64, key: RecordKey, content: Content, state: EditState) -> Edit {
    let (base, parent, hlc, yields) = (Version(id), Hash([7; 32]), Hlc(id << 40), id.is_multiple_of(3));
    Edit { id: EditId(id), last: EditId(id), key, content, base, parent, hlc, state, yields }
}

fn any_state() -> impl Strategy<Value = EditState> {
    prop_oneof![
        Just(EditState::Waiting),
        (1_u64..9).prop_map(|number| EditState::Signed(DeviceSeq(number))),
        (0_u64..9).prop_map(|grows| EditState::Paused { grows }),
        Just(EditState::Parked(Reason::Stale)),
        Just(EditState::Parked(Reason::Refused(ErrorCode::BodyTooLarge))),
    ]
}

fn any_edit() -> impl Strategy<Value = Edit> {
    let content = prop_oneof![Just(Content::Deleted), prop::collection::vec(any::<u8>(), 0..20).prop_map(|v| Content::Value(v.into()))];
    (1_u64..12, "[ab]", "[a-cÄ]{1,2}", content, any_state()).prop_map(|(id, a, b, content, state)| edit(id, key(&a, &b), content, state))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn edits_are_kept_and_listed_as_in_memory(edits in prop::collection::vec(any_edit(), 1..16), gone in 1_u64..12, count in 1_usize..9) {
        let (_folder, store) = store();
        let mut memory = MemoryTables::new();
        let same = store.transact(Access::Write, |tables| {
            for edit in &edits {
                tables.put_edit(edit)?;
                memory.put_edit(edit)?;
            }
            tables.remove_edit(EditId(gone))?;
            memory.remove_edit(EditId(gone))?;
            let collection = CollectionName::new("a").unwrap();
            let after = key("a", "b");
            let mut same = tables.edit_counts()? == memory.edit_counts()? && tables.waiting(EditId(2), count)? == memory.waiting(EditId(2), count)?;
            let by_key_and_id = |mut edits: Vec<Edit>| { edits.sort_by_key(|edit| (edit.key.clone(), edit.id)); edits };
            same &= tables.paused(EditId(2), 4, count)? == memory.paused(EditId(2), 4, count)?;
            same &= tables.parked()? == by_key_and_id(memory.parked()?);
            for collection in [None, Some(&collection)] {
                for after in [None, Some(&after)] {
                    same &= tables.edits(collection, after, count)? == memory.edits(collection, after, count)?;
                }
            }
            for edit in &edits {
                same &= tables.edits_of(&edit.key)? == memory.edits_of(&edit.key)?;
            }
            Ok::<_, StoreError>(same)
        });
        prop_assert_eq!(same, Ok(true));
    }
}

#[test]
fn what_failed_left_nothing_behind() {
    let (_folder, store) = store();
    let failed: Result<(), StoreError> = store.transact(Access::Write, |tables| {
        tables.put_edit(&edit(1, key("a", "b"), Content::Deleted, EditState::Waiting))?;
        Err(StoreError::Unavailable("on purpose".into()))
    });
    assert!(failed.is_err());
    let edits = store.transact(Access::Read, |tables| Ok::<_, StoreError>(tables.edits(None, None, 9)?)).unwrap();
    assert_eq!(edits, vec![]);
}

#[test]
fn the_replica_and_what_lies_beside_it_is_its_owners_alone() {
    let (folder, store) = store();
    let put = |tables: &mut SqliteTables<'_>| tables.put_edit(&edit(1, key("a", "b"), Content::Value(Bytes::new()), EditState::Waiting));
    store.transact(Access::Write, |tables| put(tables).map_err(StoreError::from)).unwrap();
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder.path()).unwrap() {
        let entry = entry.unwrap();
        assert_eq!(entry.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{:?}", entry.file_name());
        names.push(entry.file_name().into_string().unwrap());
    }
    names.sort();
    assert_eq!(names, ["replica.db", "replica.db-shm", "replica.db-wal", "replica.turnstile", "replica.writer"]);
}

#[test]
fn a_missing_an_empty_a_foreign_a_newer_and_an_older_file_are_each_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("replica.db");
    assert_eq!(Store::open(&file).unwrap_err(), StoreError::Missing { file: file.clone() });
    std::fs::write(&file, b"").unwrap();
    assert!(matches!(Store::open(&file).unwrap_err(), StoreError::Damaged { .. }));
    std::fs::write(&file, vec![7; 8192]).unwrap();
    assert!(matches!(Store::open(&file).unwrap_err(), StoreError::Damaged { .. }));
    std::fs::remove_file(&file).unwrap();
    drop(Store::open_or_create(&file).unwrap());
    rusqlite::Connection::open(&file).unwrap().pragma_update(None, "user_version", 9).unwrap();
    assert_eq!(Store::open(&file).unwrap_err(), StoreError::FormatUnknown { found: 9, known: 8 });
    rusqlite::Connection::open(&file).unwrap().pragma_update(None, "user_version", 5).unwrap();
    assert_eq!(Store::open(&file).unwrap_err(), StoreError::FormatOutdated { found: 5, known: 8 });
    assert_eq!(Store::open_or_create(&file).unwrap_err(), StoreError::FormatOutdated { found: 5, known: 8 });
}

#[test]
fn whoever_is_kept_waiting_is_told_by_whom() {
    let (folder, store) = store();
    let other = Store::open(&folder.path().join("replica.db")).unwrap();
    let error = store.transact(Access::Write, |_| {
        let waited: Result<(), StoreError> = other.transact(Access::Write, |_| Ok(()));
        Ok::<_, StoreError>(waited.unwrap_err())
    });
    let StoreError::Busy { holder, .. } = error.unwrap() else { panic!("nobody was kept waiting") };
    assert!(holder.contains(&format!("process {}", std::process::id())), "{holder}");
}

#[test]
fn once_signed_out_no_other_process_writes_or_reads() {
    let (folder, store) = store();
    let other = Store::open(&folder.path().join("replica.db")).unwrap();
    store.transact(Access::Write, |tables| tables.close().map_err(StoreError::from)).unwrap();
    let put: Result<(), StoreError> = other.transact(Access::Write, |_| Ok(()));
    assert_eq!(put, Err(StoreError::Closed));
    store.transact(Access::WriteSignedOut, |tables| tables.reopen().map_err(StoreError::from)).unwrap();
    let put: Result<(), StoreError> = other.transact(Access::Write, |_| Ok(()));
    assert_eq!(put, Ok(()));
}

#[test]
fn an_older_token_never_replaces_a_newer_one() {
    let (_folder, store) = store();
    let tokens = |number: u64| Tokens {
        access_token: format!("access {number}"),
        access_expires_ts: number,
        refresh_token: URL_SAFE_NO_PAD.encode([[7; 16].as_slice(), &number.to_be_bytes(), &[0; 32]].concat()),
        refresh_expires_ts: number,
    };
    let renew = |number| store.transact(Access::Write, |tables| tables.renew_tokens(&tokens(number)).map_err(StoreError::from)).unwrap();
    assert_eq!(renew(2), tokens(2));
    assert_eq!(renew(1), tokens(2));
    assert_eq!(renew(3), tokens(3));
}

#[test]
fn the_turn_to_send_is_one_processs_until_it_ends_or_is_given_back() {
    let (_folder, store) = store();
    let turn =
        |who: &str, now_ms| store.transact(Access::Write, |t| t.take_turn(who, now_ms, now_ms + 10).map_err(StoreError::from)).unwrap();
    assert_eq!(turn("a", 0), Turn::Mine);
    assert_eq!(turn("b", 5), Turn::Other { until_ms: 10 });
    assert_eq!(turn("a", 8), Turn::Mine, "it goes on");
    assert_eq!(turn("b", 18), Turn::Mine, "it ended");
    let ended: Result<(), TablesError> = store.transact(Access::Write, |t| t.end_turn("b").map_err(StoreError::from)).map_err(Into::into);
    assert_eq!(ended, Ok(()));
    assert_eq!(turn("a", 19), Turn::Mine, "it was given back");
}

#[test]
fn an_edit_gets_through_while_another_process_writes_back_to_back() {
    let (folder, store) = store();
    let other = Store::open(&folder.path().join("replica.db")).unwrap();
    let done = std::sync::atomic::AtomicBool::new(false);
    let put = |store: &Store, id: u64, hold: Duration| {
        let written = store.transact(Access::Write, |tables| {
            tables.put_edit(&edit(id, key("a", "b"), Content::Deleted, EditState::Waiting))?;
            std::thread::sleep(hold);
            Ok::<_, StoreError>(())
        });
        written.unwrap();
    };
    let longest = std::thread::scope(|scope| {
        scope.spawn(|| {
            for id in 1.. {
                if done.load(std::sync::atomic::Ordering::Relaxed) {
                    break;
                }
                put(&store, id % 100, Duration::from_millis(30));
            }
        });
        let waits = (0..40).map(|id| {
            let since = Instant::now();
            put(&other, 200 + id, Duration::ZERO);
            std::thread::sleep(Duration::from_millis(5));
            since.elapsed()
        });
        let longest = waits.max();
        done.store(true, std::sync::atomic::Ordering::Relaxed);
        longest.unwrap()
    });
    assert!(longest < Duration::from_secs(2), "waited for {longest:?}");
}
