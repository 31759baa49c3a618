//! Refresh families: moving on, lost answers, stolen tokens, log-out.
//!
//! Never: a token honoured without its device's proof on this very connection.

use cloudsync_accounts::REFRESH_TOKEN_LIFETIME;
use cloudsync_protocol::ErrorCode;
use cloudsync_protocol::frame::Refresh;
use cloudsync_storage::Store as _;
use cloudsync_storage::memory::{Fault, Target};

use crate::support::{Device, NOW_MS, USER, server};

fn lifetime_ms() -> u64 {
    u64::try_from(REFRESH_TOKEN_LIFETIME.as_millis()).unwrap()
}

#[tokio::test]
async fn a_refresh_gives_the_next_token_and_fresh_access() {
    let (server, device) = (server(), Device::new(1));
    let first = server.sign_up(&device).await;
    let later_ms = NOW_MS + 3_600_000;
    let second = server.connect_at(later_ms).refresh(&device, &first.refresh_token).await.unwrap();
    assert_ne!(second.refresh_token, first.refresh_token);
    assert_eq!((second.request, second.refresh_expires_ts), (6, later_ms + lifetime_ms()));
    let access = server.accounts.verify_access(&second.access_token, later_ms).unwrap();
    assert_eq!((access.user, access.device), (USER, device.id));
    let third = server.connect_at(later_ms).refresh(&device, &second.refresh_token).await.unwrap();
    assert_ne!(third.refresh_token, second.refresh_token);
}

#[tokio::test]
async fn the_token_before_the_newest_gets_the_same_answer_again_however_late() {
    let (server, device) = (server(), Device::new(1));
    let first = server.sign_up(&device).await;
    let lost = server.connect().refresh(&device, &first.refresh_token).await.unwrap();
    let late = server.connect_at(NOW_MS + lifetime_ms() - 1).refresh(&device, &first.refresh_token).await.unwrap();
    assert_eq!((late.refresh_token, late.refresh_expires_ts), (lost.refresh_token, lost.refresh_expires_ts));
}

#[tokio::test]
async fn after_a_restore_a_log_in_of_before_goes_on_from_the_token_that_its_device_has() {
    let (server, device) = (server(), Device::new(1));
    let first = server.sign_up(&device).await;
    let backup = server.store.save();
    let second = server.connect().refresh(&device, &first.refresh_token).await.unwrap();
    let third = server.connect().refresh(&device, &second.refresh_token).await.unwrap();
    server.store.rewind(backup);
    let fourth = server.connect().refresh(&device, &third.refresh_token).await.unwrap();
    let again = server.connect().refresh(&device, &third.refresh_token).await.unwrap();
    assert_eq!(
        (&again.refresh_token, [&first, &second, &third].iter().all(|old| old.refresh_token != again.refresh_token)),
        (&fourth.refresh_token, true)
    );
    let failure = server.connect().refresh(&device, &second.refresh_token).await.unwrap_err();
    assert_eq!(failure.code, ErrorCode::RefreshSuperseded, "it does not go back again");
    server.connect().refresh(&device, &fourth.refresh_token).await.unwrap();
}

#[tokio::test]
async fn after_a_restore_a_token_ahead_revives_no_log_in_that_ended_ran_out_or_is_not_its_devices() {
    let (server, device) = (server(), Device::new(1));
    let first = server.sign_up(&device).await;
    let backup = server.store.save();
    let second = server.connect().refresh(&device, &first.refresh_token).await.unwrap();
    let third = server.connect().refresh(&device, &second.refresh_token).await.unwrap();
    let mut answers = Vec::new();
    server.store.rewind(backup);
    let backup = server.store.save();
    answers.push(server.connect_at(NOW_MS + lifetime_ms()).refresh(&device, &third.refresh_token).await.unwrap_err().code);
    answers.push(server.connect().refresh(&Device::new(2), &third.refresh_token).await.unwrap_err().code);
    answers.push(server.connect().refresh(&device, &third.refresh_token).await.unwrap_err().code);
    server.store.rewind(backup);
    server.connect().log_out(&device, &first.refresh_token).await.unwrap();
    answers.push(server.connect().refresh(&device, &third.refresh_token).await.unwrap_err().code);
    assert_eq!(answers, [ErrorCode::RefreshExpired, ErrorCode::RefreshInvalid, ErrorCode::RefreshInvalid, ErrorCode::RefreshInvalid]);
}

#[tokio::test]
async fn an_older_token_with_proof_is_superseded_and_ends_nothing() {
    let (server, device) = (server(), Device::new(1));
    let first = server.sign_up(&device).await;
    let second = server.connect().refresh(&device, &first.refresh_token).await.unwrap();
    let third = server.connect().refresh(&device, &second.refresh_token).await.unwrap();
    let failure = server.connect().refresh(&device, &first.refresh_token).await.unwrap_err();
    assert_eq!((failure.code, failure.request), (ErrorCode::RefreshSuperseded, 6));
    server.connect().refresh(&device, &third.refresh_token).await.unwrap();
}

#[tokio::test]
async fn a_token_without_its_devices_proof_ends_the_family_old_or_new() {
    for stolen_is_old in [false, true] {
        let (server, device, thief) = (server(), Device::new(1), Device::new(2));
        let first = server.sign_up(&device).await;
        let second = server.connect().refresh(&device, &first.refresh_token).await.unwrap();
        let third = server.connect().refresh(&device, &second.refresh_token).await.unwrap();
        let stolen = if stolen_is_old { &first.refresh_token } else { &third.refresh_token };
        assert_eq!(server.connect().refresh(&thief, stolen).await.unwrap_err().code, ErrorCode::RefreshInvalid);
        for token in [&first, &second, &third] {
            let failure = server.connect().refresh(&device, &token.refresh_token).await.unwrap_err();
            assert_eq!(failure.code, ErrorCode::RefreshInvalid);
        }
    }
}

#[tokio::test]
async fn a_proof_made_for_another_connection_is_no_proof() {
    let (server, device) = (server(), Device::new(1));
    let first = server.sign_up(&device).await;
    let (overheard, mut connection) = (server.connect(), server.connect());
    let proof = device.prove(&overheard.nonce, &first.refresh_token);
    let replayed = Refresh { request: 6, refresh_token: first.refresh_token, proof };
    assert_eq!(connection.send(replayed).await.unwrap_err().code, ErrorCode::RefreshInvalid);
}

#[tokio::test]
async fn a_made_up_token_is_refused_and_ends_nobodys_family() {
    let (server, device, thief) = (server(), Device::new(1), Device::new(2));
    let first = server.sign_up(&device).await;
    let token = first.refresh_token.as_str();
    let mut made_up = vec![String::new(), "A".repeat(75), format!("{token}A"), token[1..].to_owned(), format!("{token}="), "é".to_owned()];
    for at in 0..token.len() - 1 {
        let letter = if token.as_bytes()[at] == b'A' { "B" } else { "A" };
        made_up.push(format!("{}{letter}{}", &token[..at], &token[at + 1..]));
    }
    for made_up in made_up {
        let failure = server.connect_at(NOW_MS).refresh(&thief, &made_up).await.unwrap_err();
        assert_eq!(failure.code, ErrorCode::RefreshInvalid, "{made_up}");
    }
    server.connect().refresh(&device, token).await.unwrap();
}

#[tokio::test]
async fn a_family_expires_thirty_days_after_its_newest_token() {
    let (server, device) = (server(), Device::new(1));
    let first = server.sign_up(&device).await;
    let end_ms = NOW_MS + lifetime_ms();
    let failure = server.connect_at(end_ms).refresh(&device, &first.refresh_token).await.unwrap_err();
    assert_eq!(failure.code, ErrorCode::RefreshExpired);
    let second = server.connect_at(end_ms - 1).refresh(&device, &first.refresh_token).await.unwrap();
    server.connect_at(end_ms).refresh(&device, &second.refresh_token).await.unwrap();
}

#[tokio::test]
async fn logging_out_ends_the_family_and_can_be_repeated() {
    let (server, device) = (server(), Device::new(1));
    let first = server.sign_up(&device).await;
    let second = server.connect().refresh(&device, &first.refresh_token).await.unwrap();
    for token in [&first, &second] {
        server.connect().log_out(&device, &token.refresh_token).await.unwrap();
    }
    let failure = server.connect().refresh(&device, &second.refresh_token).await.unwrap_err();
    assert_eq!(failure.code, ErrorCode::RefreshInvalid);
}

#[tokio::test]
async fn a_log_out_without_proof_is_refused() {
    let (server, device, thief) = (server(), Device::new(1), Device::new(2));
    let first = server.sign_up(&device).await;
    let failure = server.connect().log_out(&thief, &first.refresh_token).await.unwrap_err();
    assert_eq!((failure.code, failure.request), (ErrorCode::RefreshInvalid, 7));
}

#[tokio::test]
async fn revoking_a_device_ends_its_log_ins_and_nobody_elses() {
    let (server, device, other) = (server(), Device::new(1), Device::new(2));
    let first = server.sign_up(&device).await;
    let mut connection = server.connect();
    let authorized = connection.log_in(crate::support::EMAIL, crate::support::PASSWORD).await.unwrap();
    let others = connection.enrol(&authorized, &other, vec![other.enrolment(USER)]).await.unwrap();
    server.store.revoke_families(USER, device.id).await.unwrap();
    let failure = server.connect().refresh(&device, &first.refresh_token).await.unwrap_err();
    assert_eq!(failure.code, ErrorCode::RefreshInvalid);
    server.connect().refresh(&other, &others.refresh_token).await.unwrap();
}

#[tokio::test]
async fn a_revoke_that_did_not_get_to_the_families_still_ends_the_refreshing() {
    let (server, device) = (server(), Device::new(1));
    let first = server.sign_up(&device).await;
    server.ledger.append(USER, vec![device.revocation(USER)]);
    let failure = server.connect().refresh(&device, &first.refresh_token).await.unwrap_err();
    assert_eq!((failure.code, failure.request), (ErrorCode::DeviceRevoked, 6));
}

#[tokio::test]
async fn a_refresh_that_finds_its_device_revoked_ends_the_family_for_good() {
    let (server, device) = (server(), Device::new(1));
    let first = server.sign_up(&device).await;
    server.ledger.append(USER, vec![device.revocation(USER)]);
    let failure = server.connect().refresh(&device, &first.refresh_token).await.unwrap_err();
    assert_eq!(failure.code, ErrorCode::DeviceRevoked);
    // From now on it takes no roster to know it: one that is behind changes nothing.
    server.ledger.take_back(USER);
    let failure = server.connect().refresh(&device, &first.refresh_token).await.unwrap_err();
    assert_eq!(failure.code, ErrorCode::RefreshInvalid);
}

#[tokio::test]
async fn a_refresh_of_unknown_outcome_is_settled_by_reading_or_by_asking_again() {
    for fault in [Fault::Applied, Fault::Lost, Fault::Late] {
        let (server, device) = (server(), Device::new(1));
        let first = server.sign_up(&device).await;
        server.faults.script(Target::Write, fault);
        let answer = server.connect().refresh(&device, &first.refresh_token).await;
        let again = server.connect().refresh(&device, &first.refresh_token).await.unwrap();
        match answer {
            Ok(tokens) => assert_eq!((fault, tokens.refresh_token), (Fault::Applied, again.refresh_token.clone())),
            Err(failure) => assert_eq!((failure.code, failure.retry_after_ms), (ErrorCode::StoreUnavailable, Some(1_000))),
        }
        server.connect().refresh(&device, &again.refresh_token).await.unwrap();
    }
}

#[tokio::test]
async fn two_processes_that_refresh_at_once_get_the_same_token() {
    let (server, device) = (server(), Device::new(1));
    let first = server.sign_up(&device).await;
    let (mut one, mut two) = (server.connect(), server.connect());
    let (one, two) = tokio::join!(one.refresh(&device, &first.refresh_token), two.refresh(&device, &first.refresh_token));
    assert_eq!(one.unwrap().refresh_token, two.unwrap().refresh_token);
}
