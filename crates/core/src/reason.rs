// SPDX-License-Identifier: MIT OR Apache-2.0
//! Why a message was refused: a closed set, and for each where the message goes.

use std::fmt;

/// The step of the path that refuses (spec/pipeline.md).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Step {
    /// Sizes, reserved names, framing.
    Decode,
    /// Signature, signed header, body digest.
    Authenticate,
    /// Signing time, key validity, deadline, horizon.
    Freshness,
    /// Destination, producer, type, tenant, key.
    Authorize,
    /// Strict parse, envelope, schema.
    Validate,
    /// The ledger's answer: already done, or something else under this id.
    Claim,
    /// The ordering key's version.
    Order,
    /// The user's code.
    Handle,
}

/// What happens to a message that is not handled (spec/pipeline.md "Dispositions").
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Disposition {
    /// Acknowledge; there is nothing to do.
    Skip,
    /// Keep whole; no newer keys, policy or schema could make it good.
    Quarantine,
    /// Keep whole; judge again by itself after each change of keys, policy or schemas.
    Hold,
    /// Keep whole; authentic, but it cannot run now.
    Park,
    /// Leave it with the broker; we are at fault.
    Defer,
}

macro_rules! ladder {
    (laddered) => {
        true
    };
    (never) => {
        false
    };
}

macro_rules! reasons {
    ($($name:ident $code:literal $step:ident $disposition:ident $ladder:ident $title:literal;)*) => {
        /// Why a message was refused. Codes are stable; each has a page in `docs/reasons/` and at
        /// least one negative vector.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Reason { $(#[doc = $title] $name,)* }

        impl Reason {
            /// Every reason, in order of code.
            pub const ALL: &'static [Reason] = &[$(Reason::$name,)*];

            /// The stable code, `E101_TOO_LARGE`.
            pub fn code(self) -> &'static str { match self { $(Reason::$name => $code,)* } }

            /// The step that refuses.
            pub fn step(self) -> Step { match self { $(Reason::$name => Step::$step,)* } }

            /// Where the message goes.
            pub fn disposition(self) -> Disposition {
                match self { $(Reason::$name => Disposition::$disposition,)* }
            }

            /// Whether the rule climbs: below `enforce` a message that breaks it still runs, as
            /// unproven, and that it would have been refused is counted (spec/pipeline.md
            /// "The ladder").
            pub fn is_laddered(self) -> bool {
                match self { $(Reason::$name => ladder!($ladder),)* }
            }

            /// One line for people.
            pub fn title(self) -> &'static str { match self { $(Reason::$name => $title,)* } }
        }
    };
}

reasons! {
    TooLarge           "E101_TOO_LARGE"           Decode       Quarantine never    "a part of the message is above the format's hard limit";
    HeaderAmbiguous    "E102_HEADER_AMBIGUOUS"    Decode       Quarantine never    "a reserved header field is doubled or spelt in another case";
    JsonAmbiguous      "E104_JSON_AMBIGUOUS"      Validate     Quarantine never    "the body is not JSON that every parser reads alike";
    JsonLimits         "E105_JSON_LIMITS"         Validate     Quarantine never    "the body is JSON beyond the limits of depth or size";
    EnvelopeMismatch   "E108_ENVELOPE_MISMATCH"   Validate     Quarantine never    "the envelope says something else than the signed header";
    UnsafeFormat       "E109_UNSAFE_FORMAT"       Validate     Quarantine never    "the body begins like Java serialization, pickle or YAML";
    Unsupported        "E110_UNSUPPORTED"         Authenticate Hold       never    "the message uses something that this version does not know";
    Malformed          "E111_MALFORMED"           Decode       Quarantine never    "the header or signature field does not have the form of the format";
    ContentType        "E113_CONTENT_TYPE"        Authorize    Hold       laddered "the stream does not list this content type";
    StreamSize         "E114_STREAM_SIZE"         Authorize    Hold       never    "the body is larger than the stream allows";
    EnvelopeInvalid    "E115_ENVELOPE_INVALID"    Validate     Quarantine never    "the envelope breaks its own rules";
    EnvelopeMember     "E116_ENVELOPE_MEMBER"     Validate     Hold       laddered "the envelope has a member that this stream does not take";
    Unsigned           "E201_UNSIGNED"            Authenticate Quarantine laddered "the message carries no signature";
    UnknownKey         "E202_UNKNOWN_KEY"         Authenticate Hold       laddered "no key of the trust bundle made this signature";
    Provenance         "E203_PROVENANCE"          Authenticate Hold       never    "a shared key signed where only the producer's own may";
    BadSignature       "E205_BAD_SIGNATURE"       Authenticate Quarantine never    "the signature does not verify";
    KeyNotValidThen    "E206_KEY_NOT_VALID_THEN"  Freshness    Hold       laddered "the key was not valid when the broker took the message";
    KeyRevoked         "E207_KEY_REVOKED"         Freshness    Hold       never    "the key was declared compromised before the broker took the message";
    BodyDigest         "E210_BODY_DIGEST"         Authenticate Quarantine never    "the body is not the one that was signed";
    SignatureStripped  "E212_SIGNATURE_STRIPPED"  Authenticate Quarantine never    "the signature was taken from a message that had one";
    Grant              "E301_GRANT"               Authorize    Hold       laddered "the policy does not let this producer publish here";
    WrongDestination   "E302_WRONG_DESTINATION"   Authorize    Hold       laddered "the message was signed for another stream";
    Type               "E303_TYPE"                Authorize    Hold       laddered "the stream does not carry this kind or type of message";
    Tenant             "E304_TENANT"              Authorize    Hold       laddered "the tenant is missing or not allowed here";
    Schema             "E401_SCHEMA"              Validate     Park       laddered "the payload breaks its schema";
    SchemaTooOld       "E402_SCHEMA_TOO_OLD"      Authorize    Hold       laddered "the schema version is not one that the stream carries";
    SchemaDigest       "E403_SCHEMA_DIGEST"       Validate     Hold       laddered "the producer signed another schema under this version";
    SchemaUnknown      "E405_SCHEMA_UNKNOWN"      Validate     Hold       laddered "there is no schema for this type and version";
    PayloadType        "E406_PAYLOAD_TYPE"        Validate     Park       never    "the payload fits its schema but not the handler's type";
    Duplicate          "E501_DUPLICATE"           Claim        Skip       never    "this event is done; the broker delivered it again";
    Replay             "E502_REPLAY"              Claim        Skip       never    "this event is done; another copy of it was put into the stream";
    Equivocation       "E503_EQUIVOCATION"        Claim        Quarantine never    "the same event id with other content; the first stands";
    LatePublish        "E505_LATE_PUBLISH"        Freshness    Park       laddered "the message reached the broker too long after it was signed";
    BeyondHorizon      "E506_BEYOND_HORIZON"      Freshness    Park       laddered "the message is older than the ledger remembers";
    Clock              "E507_CLOCK"               Freshness    Quarantine laddered "the message was signed in the broker's future";
    Expired            "E508_EXPIRED"             Freshness    Park       laddered "the command's deadline has passed";
    Gap                "E511_GAP"                 Order        Park       laddered "an earlier version of this key has not arrived";
    StaleVersion       "E512_STALE_VERSION"       Order        Quarantine never    "this key is already past this version";
    StaleTerm          "E513_STALE_TERM"          Order        Quarantine never    "a newer instance of the producer has taken over this key";
    KeyMismatch        "E515_KEY_MISMATCH"        Authorize    Quarantine laddered "the record key is not the signed ordering key";
    Fork               "E516_FORK"                Order        Quarantine never    "two histories for one key; the first stands";
    VersionMissing     "E519_VERSION_MISSING"     Authorize    Hold       laddered "an ordered stream needs a key and a version";
    KeyField           "E520_KEY_FIELD"           Validate     Hold       laddered "the payload's key field is not the signed ordering key";
    Attempts           "E601_ATTEMPTS"            Handle       Park       never    "the handler failed, or died, too often on this message";
    HandlerRefused     "E602_HANDLER_REFUSED"     Handle       Park       never    "the handler asked to set this message aside";
    BehindParked       "E604_BEHIND_PARKED"       Order        Park       never    "an earlier message of this key is set aside";
    HoldExpired        "E605_HOLD_EXPIRED"        Handle       Park       never    "held until no snapshot could still make it good";
}

impl Reason {
    /// Finds a reason by its code, or by the number alone (`E302`, `302`), in any case.
    pub fn parse(text: &str) -> Option<Reason> {
        let wanted = text.trim().to_ascii_uppercase();
        Reason::ALL.iter().copied().find(|reason| {
            let code = reason.code();
            let number = code.get(..4).unwrap_or_default();
            code == wanted || number == wanted || number.trim_start_matches('E') == wanted
        })
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Step::Decode => "decode",
            Step::Authenticate => "authenticate",
            Step::Freshness => "freshness",
            Step::Authorize => "authorize",
            Step::Validate => "validate",
            Step::Claim => "claim",
            Step::Order => "order",
            Step::Handle => "handle",
        })
    }
}

impl Disposition {
    /// The word used in records, metrics and tables.
    pub fn word(self) -> &'static str {
        match self {
            Disposition::Skip => "skip",
            Disposition::Quarantine => "quarantine",
            Disposition::Hold => "hold",
            Disposition::Park => "park",
            Disposition::Defer => "defer",
        }
    }
}

impl fmt::Display for Disposition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}
