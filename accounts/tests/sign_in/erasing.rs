//! Erasing an account: by a ticket of this connection, for ever.
//!
//! Never: what becomes of the log's rows; the store's suite says that.

use bytes::Bytes;
use cloudsync_protocol::frame::EraseAccount;
use cloudsync_protocol::{ErrorCode, Frame};

use crate::support::{Device, EMAIL, PASSWORD, USER, server};

fn erase(ticket: &Bytes) -> EraseAccount {
    EraseAccount { request: 9, ticket: ticket.clone() }
}

#[tokio::test]
async fn an_account_is_erased_by_a_ticket_of_the_same_connection_and_no_other() {
    let server = server();
    server.sign_up(&Device::new(1)).await;
    let ticket = server.connect().log_in(EMAIL, PASSWORD).await.unwrap().ticket;
    for foreign in [ticket, Bytes::from_static(b"ticket")] {
        let refused = server.connect().send(erase(&foreign)).await.unwrap_err();
        assert_eq!((refused.code, refused.request), (ErrorCode::TicketInvalid, 9));
    }
    assert!(server.connect().log_in(EMAIL, PASSWORD).await.is_ok());
}

#[tokio::test]
async fn an_erased_account_opens_no_more_and_erasing_it_again_is_answered_alike() {
    let server = server();
    let device = Device::new(1);
    let tokens = server.sign_up(&device).await;
    let mut connection = server.connect();
    let ticket = connection.log_in(EMAIL, PASSWORD).await.unwrap().ticket;
    for _ in 0..2 {
        assert!(matches!(connection.send(erase(&ticket)).await, Ok(Frame::Done(done)) if done.request == 9));
    }
    assert_eq!(server.ledger.len(USER), 0, "its owner was told");
    assert!(server.connect().log_in_start(EMAIL, PASSWORD).await.unwrap().is_none(), "as of an address that nobody has");
    assert_eq!(server.connect().refresh(&device, &tokens.refresh_token).await.unwrap_err().code, ErrorCode::RefreshInvalid);
    assert_eq!(connection.secret_start(&ticket, "battery staple").await.unwrap_err().code, ErrorCode::AccountErased);
}
