//! The tables of a replica, and their format version.
//!
//! Never: a table read that another release wrote in another shape; `user_version` is checked first.

/// What `user_version` says.
pub(super) const FORMAT: i64 = 8;
/// What `application_id` says: "CSrp".
pub(super) const APPLICATION_ID: i64 = 0x4353_7270;

/// u64 are stored as the i64 of the same bits; those that are ordered by (`seq`, edit ids) never reach 2^63.
/// Ids and hashes are blobs; `header`, `body` and `wrap` are the envelope's parts as committed; values are what the app gave.
pub(super) const TABLES: &str = "
CREATE TABLE marks (
    id INTEGER PRIMARY KEY CHECK (id = 0),
    owner_log BLOB, owner_device BLOB,
    timeline BLOB NOT NULL, seq INTEGER NOT NULL, row BLOB NOT NULL,
    generation INTEGER NOT NULL, clock INTEGER NOT NULL,
    snapshot_start BLOB, snapshot_resume BLOB,
    highest_signed INTEGER NOT NULL, last_committed BLOB, last_edit INTEGER NOT NULL,
    used_bytes INTEGER, quota_bytes INTEGER, used_at INTEGER,
    lineage BLOB NOT NULL, chain_anew INTEGER NOT NULL, last_lost INTEGER NOT NULL
) STRICT;
CREATE TABLE records (
    collection TEXT NOT NULL, record TEXT NOT NULL,
    version INTEGER NOT NULL, seq INTEGER NOT NULL, hash BLOB NOT NULL, device BLOB NOT NULL, hlc INTEGER NOT NULL,
    content INTEGER NOT NULL, value BLOB,
    header BLOB NOT NULL, body BLOB NOT NULL, wrap BLOB NOT NULL,
    origin BLOB,
    epoch INTEGER NOT NULL,
    PRIMARY KEY (collection, record)
) STRICT;
CREATE INDEX records_by_seq ON records (seq);
CREATE INDEX records_by_epoch ON records (epoch, seq);
CREATE INDEX records_damaged ON records (content) WHERE content = 2;
CREATE TABLE timelines (timeline BLOB PRIMARY KEY, lineage BLOB NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE lost (
    id INTEGER NOT NULL,
    collection TEXT NOT NULL, record TEXT NOT NULL,
    version INTEGER NOT NULL, seq INTEGER NOT NULL, hash BLOB NOT NULL, device BLOB NOT NULL, hlc INTEGER NOT NULL,
    content INTEGER NOT NULL, value BLOB,
    header BLOB NOT NULL, body BLOB NOT NULL, wrap BLOB NOT NULL,
    origin BLOB,
    at BLOB NOT NULL, first BLOB NOT NULL, fork INTEGER NOT NULL, asked BLOB,
    state INTEGER NOT NULL, device_seq INTEGER, reason TEXT, grows INTEGER,
    PRIMARY KEY (collection, record, hash)
) STRICT;
CREATE INDEX lost_by_state ON lost (state, id);
CREATE TABLE revoked_before (device BLOB PRIMARY KEY, given_up TEXT) STRICT, WITHOUT ROWID;
CREATE TABLE roster (seq INTEGER PRIMARY KEY, row BLOB NOT NULL) STRICT;
CREATE TABLE chains (device BLOB PRIMARY KEY, device_seq INTEGER NOT NULL, hash BLOB) STRICT, WITHOUT ROWID;
CREATE TABLE edits (
    id INTEGER PRIMARY KEY, last INTEGER NOT NULL,
    collection TEXT NOT NULL, record TEXT NOT NULL,
    content INTEGER NOT NULL, value BLOB,
    base INTEGER NOT NULL, parent BLOB NOT NULL, hlc INTEGER NOT NULL,
    state INTEGER NOT NULL, device_seq INTEGER, reason TEXT, grows INTEGER, yields INTEGER NOT NULL
) STRICT;
CREATE INDEX edits_by_record ON edits (collection, record, id);
CREATE INDEX edits_by_state ON edits (state, id);
CREATE TABLE batches (
    device BLOB NOT NULL, device_seq INTEGER NOT NULL,
    prev_hash BLOB NOT NULL, hash BLOB NOT NULL, statement BLOB NOT NULL, signature BLOB NOT NULL,
    state INTEGER NOT NULL, from_seq INTEGER, to_seq INTEGER,
    PRIMARY KEY (device, device_seq)
) STRICT;
CREATE TABLE made (
    device BLOB NOT NULL, device_seq INTEGER NOT NULL, number INTEGER NOT NULL,
    operation BLOB NOT NULL, content INTEGER NOT NULL, value BLOB,
    PRIMARY KEY (device, device_seq, number)
) STRICT;
CREATE TABLE login (
    id INTEGER PRIMARY KEY CHECK (id = 0),
    closed INTEGER NOT NULL DEFAULT 0,
    access_token TEXT, access_expires_ts INTEGER,
    refresh_token TEXT, refresh_expires_ts INTEGER,
    clock_offset_ms INTEGER NOT NULL DEFAULT 0,
    rolled_back INTEGER NOT NULL DEFAULT 0,
    keys_version INTEGER NOT NULL DEFAULT 0,
    rotate_due INTEGER NOT NULL DEFAULT 0, rotate_said_ms INTEGER NOT NULL DEFAULT 0
) STRICT;
INSERT INTO login (id) VALUES (0);
CREATE TABLE turn (
    id INTEGER PRIMARY KEY CHECK (id = 0),
    sender TEXT, sender_pid INTEGER, sender_until_ms INTEGER,
    store_full INTEGER NOT NULL DEFAULT 0
) STRICT;
INSERT INTO turn (id) VALUES (0);
";
