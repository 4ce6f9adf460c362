// SPDX-License-Identifier: MIT OR Apache-2.0
//! What stands beside the signed header for consumers that know CloudEvents and not us
//! (spec/message.md "Attributes").

use crate::delivery::{Delivery, Field};
use crate::failure::{Refusal, require};
use crate::header::Header;
use crate::reason::Reason;

/// How bindings of CloudEvents begin the names of their attributes; what we append has the first,
/// an adapter may spell it as its broker's binding does.
pub const PREFIXES: [&str; 4] = ["ce_", "ce-", "cloudEvents_", "cloudEvents:"];

/// Where W3C Trace Context is looked for in a message's header fields.
pub const TRACEPARENT: &str = "traceparent";

/// The attributes of CloudEvents 1.0 that repeat something signed, and what they repeat.
fn signed<'h>(header: &'h Header<'_>) -> [(&'static str, Option<&'h str>); 6] {
    [
        ("id", Some(&header.id)),
        ("source", Some(&header.src)),
        ("type", Some(&header.typ)),
        ("time", Some(&header.occ)),
        ("partitionkey", header.okey.as_deref()),
        ("traceparent", header.tp.as_deref()),
    ]
}

/// The header's attributes as fields.
pub(crate) fn fields(header: &Header<'_>) -> Vec<Field> {
    let [prefix, ..] = PREFIXES;
    let field = |name: &str, value: &str| Field::new(format!("{prefix}{name}"), value.to_owned());
    let signed = signed(header).into_iter();
    let signed = signed.filter_map(|(name, value)| Some(field(name, value?)));
    let content_type = Field::new("content-type", header.ct.clone().into_owned());
    [field("specversion", "1.0"), content_type].into_iter().chain(signed).collect()
}

/// A consumer that knows CloudEvents and not us must not be told something else than was signed.
pub(crate) fn equal(delivery: &Delivery, header: &Header<'_>) -> Result<(), Refusal> {
    for field in &delivery.fields {
        let name = PREFIXES.iter().find_map(|prefix| field.name.strip_prefix(prefix));
        let told = signed(header).into_iter().find(|(signed, _)| Some(*signed) == name);
        let Some((name, signed)) = told else { continue };
        let same = signed.is_some_and(|signed| signed.as_bytes() == &*field.value);
        require(same, Reason::EnvelopeMismatch, || {
            format!("CloudEvents attribute `{name}` is not the header's")
        })?;
    }
    Ok(())
}
