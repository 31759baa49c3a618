//! What is shown to somebody who signs in: keyring, roster, whose account it is.
//!
//! Never: a keyring that was not honest once; nobody but the account can make one (`client/src/keys/keyring/tests.rs`).

use anyhow::{Context as _, ensure};
use cloudsync_client::keys::{DeviceKeys, Identity};
use cloudsync_protocol::frame::Authorized;
use cloudsync_protocol::{Frame, Seq, UserId};
use cloudsync_tests::Wire;
use cloudsync_tests::command_line::PASSWORD;
use cloudsync_tests::dishonest::{DishonestServer, forge};

use crate::world::{ADA, World};

const NEW_PASSWORD: &str = "another horse battery staple";

/// The newest authorization that the node gave through the server.
fn given(server: &DishonestServer) -> anyhow::Result<Authorized> {
    let given =
        server.heard().into_iter().rev().find_map(|(_, frame)| if let Frame::Authorized(given) = frame { Some(given) } else { None });
    given.context("nobody was authorized")
}

fn authorized(change: impl Fn(&mut Authorized) + Send + 'static) -> impl FnMut(&mut Frame) + Send + 'static {
    move |frame| {
        if let Frame::Authorized(authorized) = frame {
            change(authorized);
        }
    }
}

/// A new device does not get in, names the server, and leaves nothing; afterwards it does.
fn trusts_nothing(world: &World, words: &str) -> anyhow::Result<()> {
    let ran = world.cheated.sign_in("c", ("login", ADA, PASSWORD), &[])?.ended(4)?;
    ensure!(ran.error_code()? == "server_untrusted" && ran.stderr.contains(words), "`{words}`: {ran:?}");
    ensure!(!world.cheated.profile("c").join("keys.json").exists(), "no key of what is not trusted is kept");
    Ok(())
}

fn gets_in(world: &World) -> anyhow::Result<()> {
    world.server.behave();
    world.log_in("c")?;
    world.cheated.run("c", &["sync"])?.ended(0)?;
    world.goes_on()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_keyring_of_another_account_is_refused_at_a_log_in() -> anyhow::Result<()> {
    let world = World::start(Wire::Ws).await?;
    world.cheated.sign_in("bob", ("register", "bob@example.com", PASSWORD), &[])?.ended(0)?;
    let of_bob = given(&world.server)?;
    let keyring = of_bob.keyring.clone();
    world.server.tells(authorized(move |authorized| authorized.keyring = keyring.clone()));
    trusts_nothing(&world, "keyring is of another account")?;
    world.server.tells(authorized(move |authorized| {
        *authorized = Authorized { request: authorized.request, ticket: authorized.ticket.clone(), ..of_bob.clone() };
    }));
    trusts_nothing(&world, "keyring was not made for this password")?;
    gets_in(&world)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_roster_with_a_foreign_device_or_without_its_end_is_refused_at_a_log_in() -> anyhow::Result<()> {
    let world = World::start(Wire::Ws).await?;
    let ghost = forge::enrolment(&world.keys("b")?, &Identity::first(), &DeviceKeys::random())?;
    world.server.tells(authorized(move |authorized| {
        let next = authorized.roster.last().map_or(Seq::ZERO, |row| row.seq).next();
        authorized.roster.push(forge::roster_row(next, ghost.clone()));
    }));
    trusts_nothing(&world, "signature")?;
    world.server.tells(authorized(|authorized| authorized.more = true));
    trusts_nothing(&world, "do not go on")?;
    // Nor is one that begins with another identity.
    let identity = cloudsync_client::statement::identity(&Identity::first(), world.keys("b")?.log(), 1)?;
    world.server.tells(authorized(move |authorized| {
        authorized.roster.truncate(1);
        authorized.roster.iter_mut().for_each(|row| row.change = identity.clone());
    }));
    trusts_nothing(&world, "another identity")?;
    gets_in(&world)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_keyring_from_before_one_that_was_seen_is_refused_by_the_profile_that_saw_it() -> anyhow::Result<()> {
    let world = World::start(Wire::Ws).await?;
    let code = world.honest.account("eve@example.com", &["eve"])?;
    world.cheated.sign_in("e2", ("login", "eve@example.com", PASSWORD), &[])?.ended(0)?;
    let old = given(&world.server)?;
    world.honest.change_password("eve", (PASSWORD, NEW_PASSWORD))?.ended(0)?;
    world.cheated.run("e2", &["sync"])?.ended(0)?;
    world.server.tells(authorized(move |authorized| {
        *authorized = Authorized { request: authorized.request, ticket: authorized.ticket.clone(), ..old.clone() };
    }));
    let ran = world.cheated.recover("e2", ("eve@example.com", &code, NEW_PASSWORD), &[])?.ended(4)?;
    ensure!(ran.error_code()? == "server_untrusted" && ran.stderr.contains("this profile has seen 2"), "{ran:?}");
    // What opens it is not in it: the new password's half.
    let ran = world.cheated.sign_in("e2", ("login", "eve@example.com", NEW_PASSWORD), &[])?.ended(4)?;
    ensure!(ran.error_code()? == "server_untrusted", "{ran:?}");
    world.server.behave();
    world.cheated.run("e2", &["sync"])?.ended(0)?;
    world.cheated.sign_in("e2", ("login", "eve@example.com", NEW_PASSWORD), &[])?.ended(0)?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn another_user_than_was_registered_is_refused() -> anyhow::Result<()> {
    let world = World::start(Wire::Ws).await?;
    world.server.tells(authorized(|authorized| authorized.user = UserId([7; 16])));
    let ran = world.cheated.sign_in("eve", ("register", "eve@example.com", PASSWORD), &[])?.ended(4)?;
    ensure!(ran.error_code()? == "server_untrusted" && ran.stderr.contains("another user"), "{ran:?}");
    world.server.behave();
    let finished = world.cheated.sign_in("eve", ("login", "eve@example.com", PASSWORD), &[])?.ended(0)?.last()?;
    ensure!(finished["recovery_code"].is_string(), "what was begun is finished: {finished}");
    world.goes_on()
}
