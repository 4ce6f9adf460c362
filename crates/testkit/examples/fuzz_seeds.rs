// SPDX-License-Identifier: MIT OR Apache-2.0
//! Writes the fuzz inputs that have to be signed or built: `cargo run -p chancery-testkit
//! --example fuzz_seeds`. The others in `fuzz/corpus` were written by hand or found.

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};

use chancery::core::Timestamp;
use chancery::core::delivery::{Delivery, Field};
use chancery::core::evidence::{Checkpoint, ProofBundle, Signer, leaf_hash};
use chancery::core::header::{HEADER, SALT};
use chancery::core::record::{Decider, Record, RecordKind};
use chancery_testkit::fuzz::seeds::{arrived, sealed, text};
use chancery_testkit::world::{BEGINNING, World};

fn main() -> Result<(), Box<dyn Error>> {
    let honest = arrived(sealed().ok_or("the honest message cannot be sealed")?);
    messages(&honest)?;
    let sources = World::shop().sources();
    write("bundle", "shop", &sources.bundle)?;
    write("policy", "shop", sources.policy.as_bytes())?;
    write("envelope", "order", honest.body.as_deref().unwrap_or_default())?;
    let decider =
        Decider { group: "billing".into(), service: "svc-billing".into(), build: "0".into() };
    let record = Record::new(RecordKind::Done, &decider, &[1; 32], BEGINNING).about(&honest);
    let record = record.encode("writer", 1).map_err(|size| format!("{size} bytes"))?;
    write("record", "done", &record)?;
    log(record)
}

fn messages(honest: &Delivery) -> Result<(), Box<dyn Error>> {
    let with = |name: &str, value: &'static str| {
        let mut delivery = honest.clone();
        delivery.fields.push(Field::new(name, value));
        text(&delivery)
    };
    let h = honest.fields.iter().find(|field| field.name == HEADER).ok_or("no header")?;
    write("header", "order", &h.value)?;
    for target in ["frame", "screened"] {
        write(target, "honest", &text(honest))?;
        write(target, "other_field", &with("content-type", "application/json"))?;
        write(target, "doubled", &with(HEADER, "{}"))?;
        write(target, "other_case", &with("Chancery", "{}"))?;
        write(target, "salted", &with(SALT, "AAAAAAAAAAAAAAAAAAAAAA"))?;
    }
    Ok(())
}

fn log(record: Vec<u8>) -> Result<(), Box<dyn Error>> {
    let log = Signer::from_seed("log.example/fuzz", &[5; 32])?;
    let (origin, root) = (log.verifier().name().to_owned(), leaf_hash(&record));
    let checkpoint = Checkpoint { origin, size: 1, root }.sign(&log)?;
    write("checkpoint", "one", checkpoint.as_bytes())?;
    write("note_key", "log", log.verifier().to_string().as_bytes())?;
    let bundle = ProofBundle { record, index: 0, proof: Vec::new(), checkpoint };
    write("proof_bundle", "one", bundle.encode().as_bytes())?;
    let later = Timestamp(BEGINNING.0 + 1).to_string();
    write("rfc3339", "later", later.as_bytes())
}

fn write(target: &str, name: &str, bytes: &[u8]) -> Result<(), Box<dyn Error>> {
    let folder: PathBuf =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus").join(target);
    fs::create_dir_all(&folder)?;
    Ok(fs::write(folder.join(name), bytes)?)
}
