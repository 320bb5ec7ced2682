//! The schemes against the test vectors of those who made them: Standard Webhooks, RFC 8032,
//! GitHub's documentation.

use super::*;
use crate::secret::Secret;

const SECRET: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";
const ID: &str = "msg_27UH4WbU6Z5A5EzD8u03UvzRbpk";
const AT: i64 = 1_649_367_553;
const BODY: &[u8] = br#"{"email":"test@example.com","username":"test_user"}"#;
const SIGNATURE: &str = "v1,tZ1I4/hDygAJgO5TYxiSd6Sd0kDW6hPenDe+bTa3Kkw=";

/// RFC 8032 section 7.1, test 1: seed and public key.
const SEED: &str = "nWGxne/9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A=";
const PUBLIC: &str = "11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=";

fn key(text: &str) -> Result<SigningKey, KeyError> {
    SigningKey::parse(&Secret::new(text.to_owned()))
}

fn checker(text: &str) -> Result<VerifyingKey, KeyError> {
    VerifyingKey::parse(&Secret::new(text.to_owned()))
}

fn signing(text: &str) -> SigningKey {
    key(text).expect("a key that signs")
}

fn verifying(text: &str) -> VerifyingKey {
    checker(text).expect("a key that verifies")
}

fn fresh(byte: u8) -> String {
    symmetric_secret(&[byte; 32]).expose().to_owned()
}

fn check(keys: &[VerifyingKey], signature: &str, now: i64) -> Result<(), Refused> {
    let signed = Signed {
        id: ID,
        timestamp: "1649367553",
        signature,
    };
    verify(keys, signed, BODY, now)
}

#[test]
fn signs_as_the_specification_does() {
    assert_eq!(sign(&[signing(SECRET)], ID, AT, BODY), SIGNATURE);
    assert_eq!(check(&[verifying(SECRET)], SIGNATURE, AT), Ok(()));
}

#[test]
fn a_secret_key_is_read_with_and_without_its_public_half() {
    let (seed, public) = (decoded(SEED), decoded(PUBLIC));
    let long = STANDARD.encode([seed, public].concat());
    let (short, long) = (
        signing(&format!("whsk_{SEED}")),
        signing(&format!("whsk_{long}")),
    );
    let written = format!("whpk_{PUBLIC}");
    assert_eq!(short.public().as_ref(), Some(&written));
    assert_eq!(long.public().as_ref(), Some(&written));
    // ed25519 draws nothing, so both sign alike.
    let value = sign(&[short], ID, AT, BODY);
    assert_eq!(value, sign(&[long], ID, AT, BODY));
    for text in [written, format!("whsk_{SEED}")] {
        assert_eq!(check(&[verifying(&text)], &value, AT), Ok(()), "{text}");
    }
    let other = signing(asymmetric_secret(&[9; 32]).expose());
    let other = verifying(&other.public().expect("it has one"));
    assert_eq!(check(&[other], &value, AT), Err(Refused::Signature));
}

#[test]
fn every_key_signs_and_any_of_them_is_believed() {
    let (pair, public) = (format!("whsk_{SEED}"), format!("whpk_{PUBLIC}"));
    let keys = [signing(&fresh(1)), signing(&fresh(2)), signing(&pair)];
    let value = sign(&keys, ID, AT, BODY);
    let tags: Vec<_> = value
        .split(' ')
        .map(|claim| claim.split_once(','))
        .collect();
    let tags: Vec<_> = tags
        .into_iter()
        .map(|claim| claim.expect("a comma").0)
        .collect();
    assert_eq!(tags, ["v1", "v1", "v1a"]);
    for text in [fresh(1), fresh(2), public.clone()] {
        assert_eq!(check(&[verifying(&text)], &value, AT), Ok(()));
    }
    let wrong = verifying(&fresh(3));
    assert_eq!(
        check(std::slice::from_ref(&wrong), &value, AT),
        Err(Refused::Signature)
    );
    assert_eq!(check(&[wrong, verifying(&public)], &value, AT), Ok(()));
}

#[test]
fn foreign_tags_and_noise_are_skipped() {
    let keys = [verifying(SECRET)];
    for value in [
        format!("v1a,AAAA {SIGNATURE}"),
        format!("v1,!!! v1, {SIGNATURE}"),
        format!("{SIGNATURE}  v2,x"),
    ] {
        assert_eq!(check(&keys, &value, AT), Ok(()), "{value}");
    }
    for value in [
        "",
        "v1",
        "v2,AAAA",
        "v1,!!!",
        SIGNATURE.trim_start_matches("v1,"),
    ] {
        assert_eq!(check(&keys, value, AT), Err(Refused::Scheme), "{value}");
    }
    assert_eq!(check(&keys, "v1,", AT), Err(Refused::Signature));
}

/// A receiver's public key is no secret: whoever knows it must not pass for its owner by using it
/// as the key of the other scheme.
#[test]
fn a_signature_of_one_scheme_never_passes_for_the_other() {
    let renamed = SIGNATURE.replace("v1,", "v1a,");
    assert_eq!(
        check(&[verifying(SECRET)], &renamed, AT),
        Err(Refused::Scheme)
    );
    let forged = sign(&[signing(&format!("whsec_{PUBLIC}"))], ID, AT, BODY);
    let public = [verifying(&format!("whpk_{PUBLIC}"))];
    assert_eq!(check(&public, &forged, AT), Err(Refused::Scheme));
    let forged = forged.replace("v1,", "v1a,");
    assert_eq!(check(&public, &forged, AT), Err(Refused::Signature));
}

#[test]
fn what_is_signed_cannot_be_altered() {
    let keys = [verifying(SECRET), verifying(&format!("whpk_{PUBLIC}"))];
    let pair = signing(&format!("whsk_{SEED}"));
    for signature in [SIGNATURE.to_owned(), sign(&[pair], ID, AT, BODY)] {
        let signed = |id, timestamp| Signed {
            id,
            timestamp,
            signature: &signature,
        };
        let at = "1649367553";
        assert_eq!(verify(&keys, signed(ID, at), BODY, AT), Ok(()));
        for (id, timestamp, body) in [
            ("msg_27UH4WbU6Z5A5EzD8u03UvzRbpj", at, BODY),
            (ID, "1649367554", BODY),
            (ID, "01649367553", BODY),
            (ID, at, b"{}".as_slice()),
        ] {
            let verdict = verify(&keys, signed(id, timestamp), body, AT);
            assert_eq!(verdict, Err(Refused::Signature), "{id} {timestamp}");
        }
    }
}

#[test]
fn old_and_future_timestamps_are_refused() {
    let keys = [verifying(SECRET)];
    for (now, verdict) in [
        (AT + 300, Ok(())),
        (AT - 300, Ok(())),
        (AT + 301, Err(Refused::Stale)),
        (AT - 301, Err(Refused::Early)),
        (i64::MAX, Err(Refused::Stale)),
        (i64::MIN, Err(Refused::Early)),
    ] {
        assert_eq!(check(&keys, SIGNATURE, now), verdict, "{now}");
    }
    let mut signed = Signed {
        id: ID,
        timestamp: "",
        signature: SIGNATURE,
    };
    for timestamp in ["", "now", "1.5", "99999999999999999999"] {
        signed.timestamp = timestamp;
        assert_eq!(verify(&keys, signed, BODY, AT), Err(Refused::Timestamp));
    }
}

#[test]
fn secrets_are_24_to_64_bytes_with_or_without_padding() {
    let text = |length: usize| format!("whsec_{}", STANDARD.encode(vec![7; length]));
    for length in [24, 25, 32, 63, 64] {
        let (padded, signature) = (text(length), |key: SigningKey| sign(&[key], ID, AT, BODY));
        let bare = padded.trim_end_matches('=');
        let (one, other) = (key(&padded).expect("padded"), key(bare).expect("unpadded"));
        assert_eq!(signature(one), signature(other));
    }
    for (bad, why) in [
        (&*text(23), KeyError::Length(23)),
        (&*text(65), KeyError::Length(65)),
        ("whsec_", KeyError::Length(0)),
        ("whsec_*", KeyError::Base64),
        ("C2FVsBQIhrscChlQIMV+b5sSYspob7oD", KeyError::Prefix),
        ("", KeyError::Prefix),
    ] {
        assert_eq!(key(bad).err(), Some(why), "{bad}");
        assert_eq!(checker(bad).err(), Some(why), "{bad}");
    }
}

#[test]
fn what_is_no_ed25519_key_is_refused() {
    let text =
        |prefix: &str, length: usize| format!("{prefix}{}", STANDARD.encode(vec![7; length]));
    for (bad, why) in [
        (&*text("whsk_", 31), KeyError::SeedLength(31)),
        (&*text("whsk_", 33), KeyError::SeedLength(33)),
        (&*text("whsk_", 64), KeyError::Halves),
        (&*text("whsk_", 65), KeyError::SeedLength(65)),
        ("whsk_", KeyError::SeedLength(0)),
        ("whsk_*", KeyError::Base64),
        ("whpk_*", KeyError::Base64),
    ] {
        assert_eq!(key(bad).err(), Some(why), "{bad}");
        assert_eq!(checker(bad).err(), Some(why), "{bad}");
    }
    assert_eq!(key(&format!("whpk_{PUBLIC}")).err(), Some(KeyError::Public));
    let short = text("whpk_", 31);
    assert_eq!(checker(&short).err(), Some(KeyError::PublicLength(31)));
}

/// Source: "Validating webhook deliveries", docs.github.com.
#[test]
fn github_is_signed_for_with_the_text_of_the_secret() {
    let text = |text: &str| GithubKey::new(&Secret::new(text.to_owned()));
    let value = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";
    let key = text("It's a Secret to Everybody");
    assert_eq!(key.sign(b"Hello, World!"), value);
    let upper = value.to_uppercase().replace("SHA", "sha");
    for right in [value, &upper] {
        assert_eq!(key.verify(right, b"Hello, World!"), Ok(()));
    }
    assert_eq!(key.verify(value, b"Hello, World"), Err(Refused::Signature));
    for (wrong, why) in [
        ("", Refused::Scheme),
        ("sha1=757107ea", Refused::Scheme),
        ("sha256=", Refused::Signature),
        (&value[..value.len() - 1], Refused::Signature),
        (&value[..value.len() - 2], Refused::Signature),
        ("sha256=zz", Refused::Signature),
        ("sha256=é", Refused::Signature),
    ] {
        assert_eq!(key.verify(wrong, b"Hello, World!"), Err(why), "{wrong}");
    }
    let (shared, pair) = (signing(SECRET), signing(&format!("whsk_{SEED}")));
    let of_secret = shared
        .github()
        .expect("a shared secret signs for GitHub, too");
    assert_eq!(of_secret.sign(BODY), text(SECRET).sign(BODY));
    assert!(pair.github().is_none());
}

#[test]
fn keys_do_not_show_themselves() {
    for text in [SECRET.to_owned(), format!("whsk_{SEED}")] {
        let shown = format!("{:?} {:?}", signing(&text), verifying(&text));
        assert_eq!(shown, "SigningKey VerifyingKey");
    }
    let github = GithubKey::new(&Secret::new(SECRET.to_owned()));
    assert_eq!(format!("{github:?}"), "GithubKey");
}

fn decoded(text: &str) -> Vec<u8> {
    STANDARD.decode(text).expect("base64")
}
