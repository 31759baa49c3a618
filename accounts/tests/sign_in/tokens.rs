//! Access tokens: the server's own hold, all others are refused.
//!
//! Never: a token that chooses its own algorithm or key.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use cloudsync_accounts::{ACCESS_TOKEN_LIFETIME, IfAbsent, Options, Registration, SECRETS_FILE, Secrets, TokenError};
use cloudsync_protocol::ErrorCode;
use cloudsync_protocol::limits::TOKEN_BYTES_MAX;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};

use crate::support::{Device, NOW_MS, Server, USER, server, server_of, server_with};

fn part(token: &str, at: usize) -> Value {
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(token.split('.').nth(at).unwrap()).unwrap()).unwrap()
}

fn refused(server: &Server, token: &str) -> TokenError {
    let error = server.accounts.verify_access(token, NOW_MS).unwrap_err();
    assert_eq!(error.code(), ErrorCode::TokenInvalid, "{error}");
    error
}

#[tokio::test]
async fn a_token_has_the_claims_of_the_design_and_names_its_published_key() {
    let (server, device) = (server(), Device::new(1));
    let token = server.sign_up(&device).await.access_token;
    let (header, claims) = (part(&token, 0), part(&token, 1));
    let jwks: Value = serde_json::from_str(server.accounts.jwks()).unwrap();
    assert_eq!((&header["alg"], &header["typ"], &header["kid"]), (&json!("RS256"), &json!("at+jwt"), &jwks["keys"][0]["kid"]));
    assert_eq!(claims["sub"], json!(USER.to_string()));
    assert_eq!(claims["device"], json!(device.id.to_string()));
    assert_eq!((&claims["iss"], &claims["aud"]), (&json!("cloudsync"), &json!("cloudsync")));
    assert_eq!(claims["exp"].as_u64().unwrap() - claims["iat"].as_u64().unwrap(), 900);
    assert_eq!(claims["jti"].as_str().unwrap().len(), 32);
}

#[tokio::test]
async fn a_token_holds_for_fifteen_minutes() {
    let server = server();
    let tokens = server.sign_up(&Device::new(1)).await;
    let end_ms = NOW_MS + u64::try_from(ACCESS_TOKEN_LIFETIME.as_millis()).unwrap();
    assert_eq!(tokens.access_expires_ts, end_ms);
    server.accounts.verify_access(&tokens.access_token, end_ms - 1).unwrap();
    let expired = server.accounts.verify_access(&tokens.access_token, end_ms).unwrap_err();
    assert_eq!((expired, expired.code()), (TokenError::Expired { expired_ts: end_ms }, ErrorCode::TokenExpired));
}

#[tokio::test]
async fn the_published_keys_verify_a_token_and_hold_no_private_part() {
    let server = server();
    let token = server.sign_up(&Device::new(1)).await.access_token;
    let jwks: Value = serde_json::from_str(server.accounts.jwks()).unwrap();
    let key = jwks["keys"][0].as_object().unwrap();
    let mut names: Vec<&str> = key.keys().map(String::as_str).collect();
    names.sort_unstable();
    assert_eq!(names, ["alg", "e", "kid", "kty", "n", "use"]);
    let decoding = jsonwebtoken::DecodingKey::from_rsa_components(key["n"].as_str().unwrap(), key["e"].as_str().unwrap()).unwrap();
    let (message, signature) = token.rsplit_once('.').unwrap();
    assert!(jsonwebtoken::crypto::verify(signature, message.as_bytes(), &decoding, Algorithm::RS256).unwrap());
    assert_eq!(URL_SAFE_NO_PAD.decode(key["n"].as_str().unwrap()).unwrap().len() * 8, 3072);
}

#[tokio::test]
async fn a_token_without_a_signature_is_refused_whatever_its_header_says() {
    let server = server();
    let token = server.sign_up(&Device::new(1)).await.access_token;
    let (message, _) = token.rsplit_once('.').unwrap();
    let claims = message.split_once('.').unwrap().1;
    for alg in ["none", "None", "NONE", "RS256", "HS256"] {
        let mut header = part(&token, 0);
        header["alg"] = json!(alg);
        let header = URL_SAFE_NO_PAD.encode(header.to_string());
        for unsigned in [format!("{header}.{claims}."), format!("{header}.{claims}"), format!("{header}.{claims}.AAAA")] {
            refused(&server, &unsigned);
        }
    }
}

#[tokio::test]
async fn a_token_signed_by_hmac_with_the_public_key_is_refused() {
    let server = server();
    let token = server.sign_up(&Device::new(1)).await.access_token;
    let jwks: Value = serde_json::from_str(server.accounts.jwks()).unwrap();
    let modulus = jwks["keys"][0]["n"].as_str().unwrap();
    let secrets = [server.accounts.jwks().as_bytes().to_vec(), modulus.as_bytes().to_vec(), URL_SAFE_NO_PAD.decode(modulus).unwrap()];
    for secret in secrets {
        let header =
            Header { typ: Some("at+jwt".into()), kid: part(&token, 0)["kid"].as_str().map(Into::into), ..Header::new(Algorithm::HS256) };
        let forged = jsonwebtoken::encode(&header, &part(&token, 1), &EncodingKey::from_secret(&secret)).unwrap();
        refused(&server, &forged);
    }
}

#[tokio::test]
async fn a_token_of_another_key_is_refused_under_its_own_name_and_under_ours() {
    let (server, stranger) = (server(), server_of(Arc::new(Secrets::generate().unwrap())));
    let (ours, theirs) = (server.sign_up(&Device::new(1)).await.access_token, stranger.sign_up(&Device::new(1)).await.access_token);
    refused(&server, &theirs);
    let (our_header, _) = ours.split_once('.').unwrap();
    let (_, their_rest) = theirs.split_once('.').unwrap();
    refused(&server, &format!("{our_header}.{their_rest}"));
}

#[tokio::test]
async fn a_token_of_another_issuer_or_audience_is_refused() {
    let server = server();
    for (issuer, audience) in [("elsewhere", "cloudsync"), ("cloudsync", "elsewhere")] {
        let options = Options { issuer: issuer.into(), audience: audience.into(), registration: Registration::Open, ..Options::default() };
        let token = server_with(&options).sign_up(&Device::new(1)).await.access_token;
        refused(&server, &token);
    }
}

#[tokio::test]
async fn a_token_changed_anywhere_is_refused() {
    let server = server();
    let token = server.sign_up(&Device::new(1)).await.access_token;
    for at in (0..token.len() - 1).step_by(7) {
        let letter = if token.as_bytes()[at] == b'A' { "B" } else { "A" };
        refused(&server, &format!("{}{letter}{}", &token[..at], &token[at + 1..]));
    }
    for other in ["", ".", "..", "a.b.c", "é.é.é"] {
        refused(&server, other);
    }
}

#[tokio::test]
async fn a_token_over_the_limit_is_not_looked_at() {
    let server = server();
    assert_eq!(refused(&server, &"a".repeat(TOKEN_BYTES_MAX)), TokenError::Invalid("not a JWT"));
    assert_eq!(refused(&server, &"a".repeat(TOKEN_BYTES_MAX + 1)), TokenError::Invalid("too long"));
}

/// With our own key: only the kind of JWT, or its claims, are wrong.
#[tokio::test]
async fn another_jwt_by_the_same_key_is_no_access_token() {
    let folder = tempfile::tempdir().unwrap();
    let server = server_of(Arc::new(Secrets::open(folder.path(), IfAbsent::Create).unwrap()));
    let token = server.sign_up(&Device::new(1)).await.access_token;
    let file: Value = serde_json::from_slice(&std::fs::read(folder.path().join(SECRETS_FILE)).unwrap()).unwrap();
    let key = EncodingKey::from_rsa_pem(file["signing_keys"][0]["private_key_pem"].as_str().unwrap().as_bytes()).unwrap();
    let kid = part(&token, 0)["kid"].as_str().unwrap().to_owned();
    let good = Header { typ: Some("at+jwt".into()), kid: Some(kid), ..Header::new(Algorithm::RS256) };
    let claims = part(&token, 1);
    server.accounts.verify_access(&jsonwebtoken::encode(&good, &claims, &key).unwrap(), NOW_MS).unwrap();
    for typ in [Some("JWT".to_owned()), None] {
        refused(&server, &jsonwebtoken::encode(&Header { typ, ..good.clone() }, &claims, &key).unwrap());
    }
    refused(&server, &jsonwebtoken::encode(&Header { kid: None, ..good.clone() }, &claims, &key).unwrap());
    refused(&server, &jsonwebtoken::encode(&Header { alg: Algorithm::RS512, ..good.clone() }, &claims, &key).unwrap());
    for name in ["iss", "aud", "sub", "device", "exp"] {
        let mut without = claims.clone();
        without.as_object_mut().unwrap().remove(name);
        refused(&server, &jsonwebtoken::encode(&good, &without, &key).unwrap());
    }
    for name in ["sub", "device"] {
        let mut other = claims.clone();
        other[name] = json!("not hexadecimal");
        refused(&server, &jsonwebtoken::encode(&good, &other, &key).unwrap());
    }
}
