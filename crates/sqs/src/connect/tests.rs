// SPDX-License-Identifier: MIT OR Apache-2.0
//! Errors as servers tell them.

use super::*;

#[test]
fn both_protocols_words_mean_the_same() {
    for (code, said, what) in [
        ("QueueDoesNotExist", "", What::NoQueue),
        ("AWS.SimpleQueueService.NonExistentQueue", "", What::NoQueue),
        ("com.amazonaws.sqs#QueueDoesNotExist", "", What::NoQueue),
        ("InvalidClientTokenId", "", What::Key),
        ("UnrecognizedClientException", "", What::Key),
        ("SignatureDoesNotMatch", "The request signature we calculated", What::Secret),
        ("InvalidSignatureException", "Signature expired: 20260101T000000Z is now", What::Clock),
        ("SignatureDoesNotMatch", "Signature not yet current: 2026", What::Clock),
        ("RequestTimeTooSkewed", "", What::Clock),
        ("ExpiredTokenException", "", What::Token),
        ("AccessDenied", "", What::Denied),
        ("AccessDeniedException", "", What::Denied),
        ("ReceiptHandleIsInvalid", "", What::Receipt),
        ("AWS.SimpleQueueService.RequestThrottled", "", What::Throttled),
        ("InternalFailure", "", What::Server),
        ("InvalidAttributeValue", "MessageTooLong", What::TooLarge),
        ("InvalidParameterValue", "Reason: Message must be shorter than 9 bytes.", What::TooLarge),
        ("InvalidParameterValue", "The receipt handle has expired", What::Server),
    ] {
        assert_eq!(Trouble::of_code(code, said).what, what, "{code}");
    }
}

#[derive(Debug)]
struct Chain(&'static str, Option<Box<Chain>>);

impl fmt::Display for Chain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for Chain {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.1.as_deref().map(|cause| cause as _)
    }
}

#[test]
fn the_last_cause_is_told_and_any_of_them_decides() {
    let chain = |last| Chain("dispatch failure", Some(Box::new(Chain(last, None))));
    for (last, silent, what) in [
        ("invalid peer certificate: UnknownIssuer", false, What::Certificate),
        ("Connection refused (os error 111)", false, What::Unreachable),
        ("dns error", false, What::Unreachable),
        ("tls handshake eof", false, What::Unreachable),
        ("no providers in chain provided credentials", false, What::NoCredentials),
        ("HTTP connect timeout", true, What::Silent),
        (PLAINTEXT, false, What::Plaintext),
    ] {
        let trouble = Trouble::of_causes(&chain(last), silent);
        assert_eq!((trouble.what, &*trouble.said), (what, last));
    }
}
