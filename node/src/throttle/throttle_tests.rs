//! Whose bucket something comes out of, and what is said when it is empty. Time stands still.

use cloudsync_protocol::frame::{LoginStart, Ping, RegisterStart};

use super::*;

fn throttles(change: impl FnOnce(&mut Options)) -> Arc<Throttles> {
    let mut options = Options::default();
    change(&mut options);
    Throttles::new(options)
}

fn visitor(throttles: &Arc<Throttles>, ip: &str) -> Visitor {
    throttles.visitor(ip.parse().unwrap(), Way::Direct)
}

fn log_in(email: &str) -> Frame {
    LoginStart { request: 7, email: email.to_owned(), message: bytes::Bytes::new() }.into()
}

#[tokio::test(start_paused = true)]
async fn log_ins_of_one_account_are_refused_wherever_they_come_from_and_others_are_not() {
    let throttles = throttles(|options| options.log_ins.account = Rate::new(2, 600));
    for ip in ["192.0.2.1", "192.0.2.2"] {
        assert_eq!(visitor(&throttles, ip).calls(&log_in("a@example.com")), Ok(()));
    }
    let failure = visitor(&throttles, "192.0.2.3").calls(&log_in(" A@Example.com")).unwrap_err();
    assert_eq!((failure.request, failure.code, failure.retry_after_ms), (7, ErrorCode::Throttled, Some(300_000)));
    assert_eq!(failure.message, "too many log-ins for this account: try again in 300 s");
    assert_eq!(visitor(&throttles, "192.0.2.3").calls(&log_in("b@example.com")), Ok(()));
    tokio::time::advance(Duration::from_secs(300)).await;
    assert_eq!(visitor(&throttles, "192.0.2.3").calls(&log_in("a@example.com")), Ok(()));
}

#[tokio::test(start_paused = true)]
async fn an_address_that_has_none_left_takes_none_from_the_account_that_it_names() {
    let throttles = throttles(|options| {
        options.log_ins.address = Rate::new(2, 600);
        options.log_ins.account = Rate::new(3, 600);
    });
    let attacker = visitor(&throttles, "192.0.2.1");
    let refused = (0..100).filter(|_| attacker.calls(&log_in("a@example.com")).is_err()).count();
    assert_eq!(refused, 98);
    assert_eq!(visitor(&throttles, "192.0.2.2").calls(&log_in("a@example.com")), Ok(()));
}

#[tokio::test(start_paused = true)]
async fn an_ipv6_network_is_one_address_and_an_ipv4_address_is_one_in_either_form() {
    let throttles = throttles(|options| options.connections.address = Rate::new(2, 60));
    assert_eq!(visitor(&throttles, "2001:db8:0:1::1").connected(), Ok(()));
    assert_eq!(visitor(&throttles, "2001:db8:0:1:ffff::2").connected(), Ok(()));
    assert!(visitor(&throttles, "2001:db8:0:1::3").connected().is_err() && !visitor(&throttles, "2001:db8:0:1::3").may_connect());
    assert_eq!(visitor(&throttles, "2001:db8:0:2::1").connected(), Ok(()));
    assert_eq!(visitor(&throttles, "192.0.2.1").connected(), Ok(()));
    assert_eq!(visitor(&throttles, "::ffff:192.0.2.1").connected(), Ok(()));
    assert!(visitor(&throttles, "192.0.2.1").connected().is_err());
}

#[tokio::test(start_paused = true)]
async fn everybody_together_is_bounded_too() {
    let throttles = throttles(|options| options.registrations.node = Rate::new(3, 60));
    let register = |number: u8| {
        let frame = RegisterStart { request: 1, email: format!("{number}@example.com"), message: bytes::Bytes::new() };
        visitor(&throttles, &format!("192.0.2.{number}")).calls(&frame.into())
    };
    assert!((0..3).all(|number| register(number).is_ok()));
    assert_eq!(register(3).unwrap_err().message, "too many registrations for this node: try again in 20 s");
}

#[tokio::test(start_paused = true)]
async fn a_session_over_its_bytes_waits_at_first_and_is_refused_when_it_goes_on() {
    let throttles = throttles(|options| options.bytes.account = Rate::new(10_000, 10));
    let (visitor, user) = (visitor(&throttles, "192.0.2.1"), UserId([1; 16]));
    let ping = Frame::from(Ping { number: 1 });
    let sends = |bytes| visitor.sends(user, &ping, bytes);
    assert!(matches!(sends(10_000), Verdict { refused: None, read_at: None }));
    let Verdict { refused: None, read_at: Some(at) } = sends(500) else { panic!("waits") };
    assert_eq!(at, Instant::now() + Duration::from_millis(500));
    let Verdict { refused: Some(throttled), read_at: Some(at) } = sends(4_500) else { panic!("refused") };
    assert_eq!((throttled.failure(3).retry_after_ms, at), (Some(5_000), Instant::now() + READ_WAIT_MAX));
    let small = visitor.sends(UserId([2; 16]), &ping, 1);
    assert!(small.refused.is_none() && small.read_at.is_none(), "another user has a bucket of its own");
}

#[tokio::test(start_paused = true)]
async fn who_is_spared_has_no_bucket_and_behind_a_proxy_nobody_has_an_address() {
    let spared = throttles(|options| {
        options.loopback = Loopback::Spared;
        options.connections.address = Rate::new(1, 60);
    });
    assert!((0..9).all(|_| visitor(&spared, "127.0.0.1").connected().is_ok() && visitor(&spared, "::1").connected().is_ok()));
    assert_eq!((0..9).filter(|_| visitor(&spared, "192.0.2.1").connected().is_ok()).count(), 1);
    let throttled = throttles(|options| options.connections.address = Rate::new(1, 60));
    let proxied = throttled.visitor(IpAddr::from([127, 0, 0, 1]), Way::Proxy);
    assert!((0..9).all(|_| proxied.connected().is_ok()));
    assert_eq!((0..9).filter(|_| visitor(&throttled, "127.0.0.1").connected().is_ok()).count(), 1);
}
