//! The secrets' file: made once, read again, refused when anything about it is odd.
//!
//! Never: a secret in a message.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use cloudsync_accounts::{IfAbsent, SECRETS_FILE, Secrets, SecretsError};
use cloudsync_protocol::Nonce;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{Device, EMAIL, NOW_MS, PASSWORD, server_of};

/// A folder with secrets, copied from one that was made once.
fn folder() -> TempDir {
    static MADE: OnceLock<Vec<u8>> = OnceLock::new();
    let folder = tempfile::tempdir().unwrap();
    let text = MADE.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        Secrets::open(folder.path(), IfAbsent::Create).unwrap();
        fs::read(folder.path().join(SECRETS_FILE)).unwrap()
    });
    put(folder.path(), text);
    folder
}

fn put(folder: &Path, text: &[u8]) {
    let path = folder.join(SECRETS_FILE);
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
}

fn refused(folder: &TempDir) -> SecretsError {
    let before = fs::read(folder.path().join(SECRETS_FILE)).unwrap();
    let error = Secrets::open(folder.path(), IfAbsent::Create).unwrap_err();
    assert_eq!(fs::read(folder.path().join(SECRETS_FILE)).unwrap(), before, "a refused file stays as it was");
    error
}

#[tokio::test]
async fn secrets_are_made_for_the_owner_alone_and_are_the_same_when_read_again() {
    let folder = tempfile::tempdir().unwrap();
    let made = Secrets::open(folder.path(), IfAbsent::Create).unwrap();
    let mode = fs::metadata(folder.path().join(SECRETS_FILE)).unwrap().permissions().mode();
    assert_eq!(mode & 0o7777, 0o600);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing unfinished is left");
    let read = Secrets::open(folder.path(), IfAbsent::Refuse).unwrap();
    assert_eq!(made.quic_reset_key(), read.quic_reset_key());
    let (made, read) = (server_of(Arc::new(made)), server_of(Arc::new(read)));
    let token = made.sign_up(&Device::new(1)).await.access_token;
    read.accounts.verify_access(&token, NOW_MS).unwrap();
    assert_eq!(made.accounts.jwks(), read.accounts.jwks());
}

#[tokio::test]
async fn passwords_refresh_tokens_and_tickets_outlive_a_restart() {
    let folder = folder();
    let open = || Arc::new(Secrets::open(folder.path(), IfAbsent::Refuse).unwrap());
    let (before, device) = (server_of(open()), Device::new(1));
    let tokens = before.sign_up(&device).await;
    let after = before.restarted(open());
    after.connect().log_in(EMAIL, PASSWORD).await.unwrap();
    after.connect().refresh(&device, &tokens.refresh_token).await.unwrap();
}

#[test]
fn secrets_that_are_missing_beside_accounts_are_not_made_anew() {
    let folder = tempfile::tempdir().unwrap();
    let error = Secrets::open(folder.path(), IfAbsent::Refuse).unwrap_err();
    assert!(matches!(error, SecretsError::Missing { .. }), "{error}");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn a_file_that_others_can_read_is_refused_with_what_to_run() {
    let folder = folder();
    let path = folder.path().join(SECRETS_FILE);
    for mode in [0o640, 0o604, 0o666, 0o620] {
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        let error = refused(&folder);
        assert!(matches!(error, SecretsError::Mode { mode: seen, .. } if seen == mode), "{error}");
        assert!(error.to_string().contains(&format!("chmod 600 {}", path.display())), "{error}");
    }
    fs::set_permissions(&path, Permissions::from_mode(0o400)).unwrap();
    Secrets::open(folder.path(), IfAbsent::Refuse).unwrap();
}

#[test]
fn a_file_of_a_newer_release_is_refused_whatever_else_it_holds() {
    let folder = folder();
    put(folder.path(), br#"{"format": 2, "something": "new"}"#);
    let error = refused(&folder);
    assert!(matches!(error, SecretsError::Newer { format: 2, .. }), "{error}");
}

#[test]
fn a_file_cut_short_or_changed_is_refused_without_telling_what_stands_in_it() {
    let folder = folder();
    let path = folder.path().join(SECRETS_FILE);
    let text = fs::read(&path).unwrap();
    for length in (0..text.len()).step_by(97) {
        put(folder.path(), &text[..length]);
        assert!(matches!(refused(&folder), SecretsError::Damaged { .. }), "cut at {length}");
    }
    let whole: Value = serde_json::from_slice(&text).unwrap();
    for name in ["opaque_server_setup", "signing_keys", "refresh_key", "ticket_key", "quic_reset_key"] {
        for (other, secret) in [(json!("c2VjcmV0"), "c2VjcmV0"), (json!("hidden!"), "hidden!"), (json!([]), "[]")] {
            let mut file = whole.clone();
            file[name] = other;
            put(folder.path(), file.to_string().as_bytes());
            let error = refused(&folder);
            assert!(matches!(error, SecretsError::Damaged { .. }) && !format!("{error} {error:?}").contains(secret), "{error}");
        }
    }
}

#[test]
fn what_a_crash_left_unfinished_is_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let unfinished = folder.path().join("secrets.json.tmp");
    fs::write(&unfinished, b"{\"form").unwrap();
    Secrets::open(folder.path(), IfAbsent::Create).unwrap();
    assert!(!unfinished.exists());
}

#[test]
fn a_folder_that_is_not_there_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let error = Secrets::open(&folder.path().join("nowhere"), IfAbsent::Create).unwrap_err();
    assert!(matches!(error, SecretsError::Io { .. }), "{error}");
}

#[tokio::test]
async fn debug_shows_no_secret() {
    let folder = folder();
    let secrets = Arc::new(Secrets::open(folder.path(), IfAbsent::Refuse).unwrap());
    let server = server_of(Arc::clone(&secrets));
    let mut connection = server.connect();
    connection.register(EMAIL, PASSWORD).await.unwrap();
    connection.log_in_start(EMAIL, PASSWORD).await.unwrap();
    let shown = format!("{secrets:?} {:?} {:?} {:?}", server.accounts, connection.conversation, server.accounts.converse(Nonce([1; 32])));
    let numbers = |bytes: &[u8]| bytes.iter().map(u8::to_string).collect::<Vec<_>>().join(", ");
    assert!(!shown.contains(&numbers(&secrets.quic_reset_key()[..8])), "{shown}");
    let file: Value = serde_json::from_slice(&fs::read(folder.path().join(SECRETS_FILE)).unwrap()).unwrap();
    for name in ["opaque_server_setup", "refresh_key", "ticket_key", "quic_reset_key"] {
        use base64::Engine as _;
        let text = file[name].as_str().unwrap();
        let bytes = base64::engine::general_purpose::STANDARD.decode(text).unwrap();
        let hex: String = bytes[..8].iter().map(|byte| format!("{byte:02x}")).collect();
        for form in [text.to_owned(), numbers(&bytes[..8]), hex] {
            assert!(!shown.contains(&form), "{name} is shown");
        }
    }
}
