// SPDX-License-Identifier: MIT OR Apache-2.0
//! A bundle that was not made by its root, or names what is not a key, is no bundle.

use super::*;
use crate::failure::FaultKind;
use crate::snapshot::{BundleMark, Snapshot, Sources};

fn root() -> Secret {
    Secret::ed25519(&[8; 32])
}

fn secret() -> Secret {
    Secret::ed25519(&[7; 32])
}

fn bundle() -> Bundle {
    Bundle {
        v: 1,
        domain: "d".into(),
        environment: "e".into(),
        version: 5,
        issued: 10,
        expires: 1_000,
        keys: vec![KeyEntry::new(&secret(), "svc", Timestamp(10), Timestamp(900))],
    }
}

fn open(file: &str) -> Result<Bundle, Misuse> {
    Bundle::open(file.as_bytes(), &root().public())
}

/// Signs any text as a bundle, as an attacker with the root's ear could.
fn signed(payload: &str) -> String {
    let sig = STANDARD.encode(root().sign(&pae(BUNDLE_TYPE, payload.as_bytes())));
    let payload = STANDARD.encode(payload);
    format!(
        "{{\"payloadType\":\"{BUNDLE_TYPE}\",\"payload\":\"{payload}\",\
         \"signatures\":[{{\"keyid\":\"k\",\"sig\":\"{sig}\"}}]}}"
    )
}

fn what(result: Result<impl std::fmt::Debug, Misuse>) -> String {
    result.unwrap_err().what
}

#[test]
fn it_opens_as_it_was_sealed() {
    assert_eq!(open(&bundle().seal(&root()).unwrap()).unwrap(), bundle());
}

#[test]
fn another_root_or_another_byte_is_refused() {
    let file = bundle().seal(&root()).unwrap();
    assert!(what(open(&bundle().seal(&secret()).unwrap())).contains("not signed by the root"));
    let envelope: serde_json::Value = serde_json::from_str(&file).unwrap();
    let payload = STANDARD.decode(envelope["payload"].as_str().unwrap()).unwrap();
    let longer =
        String::from_utf8(payload.clone()).unwrap().replace("\"version\":5", "\"version\":6");
    let swapped = file.replace(&STANDARD.encode(&payload), &STANDARD.encode(longer));
    assert_ne!(swapped, file);
    assert!(what(open(&swapped)).contains("not signed by the root"));
    let none = file.replace("\"sig\"", "\"sig2\"");
    assert!(what(open(&none)).contains("DSSE"));
    assert!(what(open(&file.replace(BUNDLE_TYPE, "application/json"))).contains("version 1"));
    assert!(what(Bundle::open(file.as_bytes(), &[0; 32])).contains("root key"));
}

/// A signature counts among the first eight only: a bound on work for an unverified file.
#[test]
fn many_signatures_are_not_all_tried() {
    let file = signed("{}");
    let more = "{\"keyid\":\"\",\"sig\":\"\"},".repeat(8);
    let file = file.replace("\"signatures\":[", &format!("\"signatures\":[{more}"));
    assert!(what(open(&file)).contains("not signed by the root"));
}

#[test]
fn it_is_read_strictly() {
    let payload = serde_json::to_string(&bundle()).unwrap();
    assert_eq!(open(&signed(&payload)).unwrap(), bundle());
    for (from, to, said) in [
        ("{\"v\":1", "{\"v\":1,\"grants\":\"all\"", "unknown field"),
        ("{\"v\":1", "{\"v\":1,\"v\":1", "duplicate field"),
        ("\"purpose\"", "\"revoked\":true,\"purpose\"", "unknown field"),
        ("\"v\":1", "\"v\":2", "format version 2"),
        ("\"domain\":\"d\"", "\"domain\":\"a/b\"", "domain"),
        ("\"environment\":\"e\"", "\"environment\":\"\"", "environment"),
        ("\"expires\":1000", "\"expires\":10", "expires before"),
        ("\"version\":5", "\"version\":-5", "does not parse"),
    ] {
        let changed = payload.replacen(from, to, 1);
        assert_ne!(changed, payload, "{from}");
        let refused = what(open(&signed(&changed)));
        assert!(refused.contains(said), "{to}: {refused}");
    }
    let wide = format!("{}{}", bundle().seal(&root()).unwrap(), " ".repeat(BUNDLE_BYTES_MAX));
    assert!(what(open(&wide)).contains("4 MiB"));
}

#[test]
fn what_is_not_a_key_is_refused() {
    let small_order = [0; 32];
    let mut not_canonical = [0xff; 32];
    (not_canonical[0], not_canonical[31]) = (0xf0, 0x7f);
    for public in [small_order, not_canonical] {
        let mut bundle = bundle();
        bundle.keys[0].public = b64u(&public);
        bundle.keys[0].kid = Kid::of(Algorithm::Ed25519, &public).to_string();
        assert!(what(bundle.keyring(&[])).contains("weak or non-canonical"), "{public:?}");
    }
    type Change = fn(&mut KeyEntry);
    let changes: [(Change, &str); 7] = [
        (|key| key.kid = Kid([7; 16]).to_string(), "not the digest"),
        (|key| key.alg = "hmac-sha256".into(), "not the digest"),
        (|key| key.alg = "none".into(), "algorithm"),
        (|key| key.public = "AA".into(), "32-byte"),
        (|key| key.purpose = "tls".into(), "one key, one purpose"),
        (|key| key.principal = "a b".into(), "principal"),
        (|key| key.sign_until = key.not_before, "time of use"),
    ];
    for (change, said) in changes {
        let mut bundle = bundle();
        change(&mut bundle.keys[0]);
        let refused = what(bundle.keyring(&[]));
        assert!(refused.contains(said), "{said}: {refused}");
    }
    let mut doubled = bundle();
    doubled.keys.push(doubled.keys[0].clone());
    doubled.keys[1].principal = "svc-other".into();
    assert!(what(doubled.keyring(&[])).contains("doubled"));
}

#[test]
fn shared_secrets_are_found_by_their_fingerprint() {
    let shared = Secret::hmac_sha256(&[9; 32]).unwrap();
    let mut bundle = bundle();
    bundle.keys.push(KeyEntry::new(&shared, "svc-old", Timestamp(10), Timestamp(900)));
    let verifies =
        |secrets: &[Vec<u8>]| bundle.keyring(secrets).unwrap()[&shared.kid()].verifier.is_some();
    assert!(verifies(&[vec![1; 32], vec![9; 32]]));
    assert!(!verifies(&[vec![1; 32]]));
    assert!(!verifies(&[]));
    assert!(!format!("{bundle:?}").contains(&b64u(&[9; 32])), "the secret itself is not in it");
}

/// An empty or short secret can be guessed, whatever the bundle says of it.
#[test]
fn a_short_secret_is_misuse() {
    for short in [vec![], vec![9; 31]] {
        let public = secret_fingerprint(&short);
        let mut bundle = bundle();
        bundle.keys[0].alg = "hmac-sha256".into();
        bundle.keys[0].public = b64u(&public);
        bundle.keys[0].kid = Kid::of(Algorithm::HmacSha256, &public).to_string();
        assert!(what(bundle.keyring(&[short])).contains("fewer than 32 bytes"));
    }
}

fn snapshot(bundle: &Bundle, domain: &str) -> Result<Snapshot, Misuse> {
    Snapshot::build(&Sources {
        bundle: bundle.seal(&root()).unwrap().into_bytes(),
        root: root().public(),
        policy: format!(
            "version: 1\ndomain: {domain}\nenvironment: e\nservices: {{}}\nstreams: {{}}\n"
        ),
        ..Sources::default()
    })
}

/// Threat: an old bundle put back, with the key that was taken out of it.
#[test]
fn rollback_and_staleness_are_faults_of_ours() {
    let snapshot = snapshot(&bundle(), "d").unwrap();
    let mark = |version| BundleMark { version, ..snapshot.bundle() };
    assert_eq!(snapshot.usable(Timestamp(1_000), mark(5)), Ok(()));
    assert_eq!(snapshot.usable(Timestamp(0), mark(4)), Ok(()));
    let kind = |now, newest| snapshot.usable(Timestamp(now), newest).unwrap_err().kind;
    assert_eq!(kind(500, mark(6)), FaultKind::BundleRollback);
    assert_eq!(kind(1_001, mark(5)), FaultKind::BundleStale);
    // An old bundle that was changed anew until it had the same version.
    let other = BundleMark { digest: [7; 32], ..snapshot.bundle() };
    assert_eq!(kind(500, other), FaultKind::BundleRollback);
}

#[test]
fn a_bundle_of_another_environment_is_misuse() {
    assert!(what(snapshot(&bundle(), "other")).contains("d/e"));
}

#[test]
fn the_digest_names_every_source() {
    let digest = |bundle: &Bundle| snapshot(bundle, "d").unwrap().digest;
    let mut newer = bundle();
    newer.version = 6;
    assert_eq!(digest(&bundle()), digest(&bundle()));
    assert_ne!(digest(&bundle()), digest(&newer));
}
