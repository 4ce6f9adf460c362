// SPDX-License-Identifier: MIT OR Apache-2.0
//! Every vector again, on streams below `enforce`: what is never laddered is refused as under
//! `enforce`, the rest runs and is told of, and what is good has no findings.

use std::collections::{BTreeMap, BTreeSet};

use chancery_core::order::{KeyState, order_unproven};
use chancery_core::screen::assess;
use chancery_core::{Reason, Snapshot};
use chancery_testkit::vectors::{self, Expect, sources};

fn below(rung: &str, unsigned: &str) -> BTreeMap<String, Snapshot> {
    let folder = vectors::folder().join("snapshots");
    let names = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name());
    let build = |name: String| {
        let mut made_of = sources(&folder.join(&name)).unwrap();
        let rules = format!("    rung: {rung}\n    unsigned: [{unsigned}]\n    kind:");
        made_of.policy = made_of.policy.replace("    kind:", &rules);
        (name, Snapshot::build(&made_of).unwrap())
    };
    let names = names.map(|name| name.into_string().unwrap());
    names.filter(|name| name != OBSERVED).map(build).collect()
}

/// Is below `enforce` as it is.
const OBSERVED: &str = "observed";

/// Codes that say that the producer is not proven: they run only for whom `unsigned` lists.
const NOT_PROVEN: [Reason; 4] =
    [Reason::Unsigned, Reason::UnknownKey, Reason::Grant, Reason::WrongDestination];

#[test]
fn every_vector_is_judged_below_enforce() {
    let everybody = "svc-orders, svc-shop, svc-payments, svc-legacy";
    let mut found = BTreeSet::new();
    let mut wrong = Vec::new();
    for (rung, unsigned) in [("observe", ""), ("mark", everybody)] {
        let snapshots = below(rung, unsigned);
        for vector in vectors::all(&vectors::folder()).unwrap() {
            let [step] = &vector.steps[..] else { continue };
            if vector.snapshot == OBSERVED {
                continue;
            }
            let delivery = step.message.as_ref().unwrap();
            let snapshot = &snapshots[step.snapshot.as_ref().unwrap_or(&vector.snapshot)];
            let judged = assess(delivery, snapshot, &vector.reader, step.now)
                .and_then(|assessed| order_unproven(assessed, &KeyState::default()));
            let expect = match &step.expect {
                Expect::Refused(code) => Reason::parse(code).unwrap(),
                _ if step.expect.word() == "ok" => {
                    let clean = judged.is_ok_and(|(_, findings)| findings.is_empty());
                    wrong.extend((!clean).then(|| format!("{rung} {}: not clean", vector.name)));
                    continue;
                }
                _ => continue,
            };
            let right = match &judged {
                Err(refusal) if NOT_PROVEN.contains(&expect) => refusal.reason == expect,
                Err(refusal) => refusal.reason == expect && !expect.is_laddered(),
                Ok(_) if expect.step() == chancery_core::Step::Handle => true,
                Ok(_) if expect == Reason::PayloadType => true,
                Ok((event, findings)) => {
                    found.extend(findings.iter().map(|finding| finding.reason));
                    let proven = event.verified_producer().is_some();
                    let listed = unsigned.contains(event.claimed_producer());
                    let first = findings.first().map(|finding| finding.reason);
                    first == Some(expect) && expect.is_laddered() && (proven || listed)
                }
            };
            wrong.extend((!right).then(|| format!("{rung} {}: {expect}: {judged:?}", vector.name)));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let all = Reason::ALL.iter().copied().filter(|reason| reason.is_laddered());
    let never: Vec<Reason> = all.filter(|reason| !found.contains(reason)).collect();
    assert!(never.is_empty(), "laddered, and never found: {never:?}");
}
