// SPDX-License-Identifier: MIT OR Apache-2.0
//! The attacks: raw bytes for the broker's ordinary append, and the reason each must fall to.
//!
//! An attack that is refused for another reason than its own counts as got through, so that a
//! check that was lost cannot hide behind a later one.

use chancery::Reason;
use ed25519_dalek::SigningKey;

use super::forge::{Forgery, Raw, b64u, kid, sign};

/// One attack.
pub(super) struct Attack {
    pub(super) name: &'static str,
    pub(super) stream: &'static str,
    pub(super) reason: Reason,
    pub(super) raw: Raw,
}

/// What attackers have in hand: a stranger's key of their own, keys of compromised producers,
/// and honest messages that they could read.
pub(super) struct Spoils {
    pub(super) stranger: SigningKey,
    pub(super) orders: SigningKey,
    pub(super) partner: SigningKey,
    pub(super) billing: SigningKey,
    pub(super) iam: SigningKey,
    /// An order that billing and report have handled.
    pub(super) order: Raw,
    /// A payout command that payout has executed.
    pub(super) payout: Raw,
    /// Now, milliseconds.
    pub(super) now: i64,
    /// Prefix of every destination, `domain/environment`.
    pub(super) realm: String,
}

const MINUTE: i64 = 60_000;
const DAY: i64 = 24 * 60 * MINUTE;

/// Every attack of the demo.
pub(super) fn all(spoils: &Spoils) -> Vec<Attack> {
    let mut attacks = strangers(spoils);
    attacks.extend(replays(spoils));
    attacks.extend(times(spoils));
    attacks.extend(tampered(spoils));
    attacks.extend(bodies(spoils));
    attacks.extend(privileges(spoils));
    attacks
}

fn strangers(s: &Spoils) -> Vec<Attack> {
    let fake = s.order("evil-unsigned");
    let unsigned =
        Raw { fields: Vec::new(), key: Some(b"evil-unsigned".into()), body: fake.envelope() };
    let fake = s.order("evil-forged");
    let h = fake.header(&fake.envelope());
    let block = format!("1;{}:{}", kid(&s.orders), b64u(&sign(&s.stranger, &h)));
    let forged = fake.raw(h, Some(block), fake.envelope());
    let unknown = s.order("evil-unknown").signed(&s.stranger);
    vec![
        on_orders("unsigned", Reason::Unsigned, unsigned),
        on_orders("forged in orders' name", Reason::BadSignature, forged),
        on_orders("signed by an unknown key", Reason::UnknownKey, unknown),
        on_orders("algorithm swapped to HMAC", Reason::BadSignature, algorithm_swap(s)),
        on_orders("signature stripped", Reason::SignatureStripped, stripped(&s.order)),
    ]
}

// The classic confusion: the public key, which everybody knows, used as an HMAC secret.
fn algorithm_swap(s: &Spoils) -> Raw {
    use hmac::{Hmac, Mac};
    let fake = s.order("evil-hmac");
    let h = fake.header(&fake.envelope());
    let public = s.orders.verifying_key();
    let mac = Hmac::<sha2::Sha256>::new_from_slice(public.as_bytes())
        .map(|mac| mac.chain_update(h.as_bytes()).finalize().into_bytes().to_vec());
    let block = format!("1;{}:{}", kid(&s.orders), b64u(&mac.unwrap_or_default()));
    fake.raw(h, Some(block), fake.envelope())
}

fn stripped(honest: &Raw) -> Raw {
    let mut raw = honest.clone();
    raw.fields.retain(|(name, _)| name != "chancery-sig");
    raw
}

fn replays(s: &Spoils) -> Vec<Attack> {
    let on_payout = |name, reason, raw| Attack { name, stream: "payout.approve", reason, raw };
    let again = honest_again(&s.order, &s.orders, s.now, false);
    let other = honest_again(&s.order, &s.orders, s.now, true);
    vec![
        on_orders("replayed into its own stream", Reason::Replay, s.order.clone()),
        on_payout("order replayed into payout.approve", Reason::WrongDestination, s.order.clone()),
        on_payout("finished payout command replayed", Reason::Replay, s.payout.clone()),
        on_orders("same event from a restarted producer", Reason::Duplicate, again),
        on_orders("same event id, another amount", Reason::Equivocation, other),
        on_orders("another tenant's order", Reason::Tenant, {
            let mut fake = s.order("evil-tenant");
            fake.src = "svc-partner";
            fake.signed(&s.partner)
        }),
    ]
}

/// The same event as an honest one, signed anew by a compromised key; with another amount if
/// `altered`.
fn honest_again(honest: &Raw, with: &SigningKey, now: i64, altered: bool) -> Raw {
    let h = honest.field("chancery");
    let body = String::from_utf8_lossy(&honest.body).into_owned();
    let body = if altered { body.replace(r#""amount":"#, r#""amount":9"#) } else { body };
    let mut header: serde_json::Map<String, serde_json::Value> =
        serde_json::from_str(&h).unwrap_or_default();
    header.insert("iat".into(), now.into());
    header.insert("lane".into(), b64u(&[9; 16]).into());
    header.insert("seq".into(), 1.into());
    header.insert("bl".into(), body.len().into());
    let digest = {
        use sha2::{Digest, Sha256};
        let mut hash = Sha256::new();
        hash.update(b"chancery/body/1\n");
        hash.update((body.len() as u64).to_be_bytes());
        hash.update(&body);
        b64u(&hash.finalize())
    };
    header.insert("bd".into(), digest.into());
    let h = serde_json::to_string(&header).unwrap_or_default();
    let block = format!("1;{}:{}", kid(with), b64u(&sign(with, &h)));
    Raw {
        fields: vec![
            ("chancery".into(), h.into_bytes()),
            ("chancery-sig".into(), block.into_bytes()),
        ],
        key: honest.key.clone(),
        body: body.into_bytes(),
    }
}

fn times(s: &Spoils) -> Vec<Attack> {
    let dated = |id: &str, iat: i64| {
        let mut fake = s.order(id);
        fake.iat = iat;
        fake.signed(&s.orders)
    };
    let mut expired = s.payout_command("evil-expired");
    expired.iat = s.now - 5 * MINUTE;
    expired.deadline = Some(s.now - MINUTE);
    vec![
        on_orders(
            "stale: kept back for a day",
            Reason::LatePublish,
            dated("evil-stale", s.now - DAY),
        ),
        on_orders(
            "older than the ledger remembers",
            Reason::BeyondHorizon,
            dated("evil-ancient", s.now - 60 * DAY),
        ),
        on_orders("future-dated", Reason::Clock, dated("evil-future", s.now + 60 * MINUTE)),
        Attack {
            name: "command after its deadline",
            stream: "payout.approve",
            reason: Reason::Expired,
            raw: expired.signed(&s.billing),
        },
    ]
}

fn tampered(s: &Spoils) -> Vec<Attack> {
    let mut swapped = s.order.clone();
    swapped.body = s.order("evil-swapped").envelope();
    let mut doubled = s.order.clone();
    doubled.fields.push(("Chancery".into(), b"{}".into()));
    let mut moved = s.order.clone();
    moved.key = Some(b"somebody-else".into());
    let mut oversized = s.order.clone();
    for (name, value) in &mut oversized.fields {
        if name == "chancery" {
            // No blanks: some clients cut them off.
            value.resize(8192, b'x');
        }
    }
    vec![
        on_orders("body swapped", Reason::BodyDigest, swapped),
        on_orders("header doubled in another case", Reason::HeaderAmbiguous, doubled),
        on_orders("wrong ordering key", Reason::KeyMismatch, moved),
        on_orders("oversized header", Reason::TooLarge, oversized),
    ]
}

fn bodies(s: &Spoils) -> Vec<Attack> {
    let with_payload = |id: &str, payload: String| {
        let mut fake = s.order(id);
        fake.payload = payload;
        fake.signed(&s.orders)
    };
    let payload = |id: &str, rest: &str| {
        format!(r#"{{"order_id":"{id}","amount":1,"currency":"USD"{rest}}}"#)
    };
    let deep = format!(r#","note":{}{}"#, "[".repeat(5_000), "]".repeat(5_000));
    let huge = format!(r#","note":[{}0]"#, "0,".repeat(50_000));
    let pickle = b"\x80\x04\x95\x17\x00\x00\x00\x00\x00\x00\x00\x8c\x05posix\x94.".to_vec();
    let lying = {
        let fake = s.order("evil-lying");
        let body = String::from_utf8_lossy(&fake.envelope()).replace("evil-lying", "evil-other");
        fake.signed_over(&s.orders, body.into_bytes())
    };
    vec![
        on_orders(
            "deep JSON",
            Reason::JsonLimits,
            with_payload("evil-deep", payload("evil-deep", &deep)),
        ),
        on_orders(
            "huge JSON",
            Reason::JsonLimits,
            with_payload("evil-huge", payload("evil-huge", &huge)),
        ),
        on_orders(
            "duplicate-key JSON",
            Reason::JsonAmbiguous,
            with_payload("evil-twice", payload("evil-twice", r#","amount":2"#)),
        ),
        on_orders(
            "pickle",
            Reason::UnsafeFormat,
            s.order("evil-pickle").signed_over(&s.orders, pickle),
        ),
        on_orders(
            "schema violation",
            Reason::Schema,
            with_payload("evil-schema", r#"{"order_id":"evil-schema","amount":"much"}"#.into()),
        ),
        on_orders("envelope says another id than the header", Reason::EnvelopeMismatch, lying),
    ]
}

fn privileges(s: &Spoils) -> Vec<Attack> {
    let grant = |id: &str, user: &str, version: u64| Forgery {
        kind: "event",
        id: format!("{id}-0000000"),
        typ: "iam.role_granted",
        src: "svc-iam",
        aud: format!("{}/iam.roles", s.realm),
        iat: s.now,
        ten: None,
        key: Some(("user", user.to_owned())),
        version: Some(version),
        deadline: None,
        payload: format!(r#"{{"user":"{user}","role":"admin"}}"#),
    };
    let on_roles = |name, reason, raw| Attack { name, stream: "iam.roles", reason, raw };
    let by_orders = Forgery { src: "svc-orders", ..grant("evil-grant", "mallory", 1) };
    let in_orders = Forgery { typ: "iam.role_granted", ..s.order("evil-type") };
    vec![
        on_roles("iam.role_granted from orders", Reason::Grant, by_orders.signed(&s.orders)),
        on_orders("iam.role_granted among orders", Reason::Type, in_orders.signed(&s.orders)),
        on_roles(
            "late privilege: granted (3) after revoked (4)",
            Reason::StaleVersion,
            grant("evil-late", "u_0", 3).signed(&s.iam),
        ),
        on_roles(
            "second history: another version 4",
            Reason::Fork,
            grant("evil-fork", "u_0", 4).signed(&s.iam),
        ),
    ]
}

impl Spoils {
    fn order(&self, id: &str) -> Forgery<'_> {
        Forgery {
            kind: "event",
            id: format!("{id}-0000000"),
            typ: "orders.created",
            src: "svc-orders",
            aud: format!("{}/orders.created", self.realm),
            iat: self.now,
            ten: Some("acme"),
            key: Some(("order_id", id.to_owned())),
            version: None,
            deadline: None,
            payload: format!(r#"{{"order_id":"{id}","amount":1,"currency":"USD"}}"#),
        }
    }

    fn payout_command(&self, id: &str) -> Forgery<'_> {
        Forgery {
            kind: "command",
            typ: "payout.approve",
            src: "svc-billing",
            aud: format!("{}/payout.approve", self.realm),
            deadline: Some(self.now + MINUTE),
            payload: format!(r#"{{"order_id":"{id}","amount":1}}"#),
            ..self.order(id)
        }
    }
}

fn on_orders(name: &'static str, reason: Reason, raw: Raw) -> Attack {
    Attack { name, stream: "orders.created", reason, raw }
}
