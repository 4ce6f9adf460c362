// SPDX-License-Identifier: MIT OR Apache-2.0
//! An operator, its accounts and their users, signed by the nats program (nsc cannot be had from a
//! registry).

use std::fs;
use std::path::Path;

use super::super::SERVICES;
use super::super::place::Place;
use super::super::process::output;
use super::{read, rights, tool};

/// Makes all of it unless it is there: `clients/SERVICE/user.creds`, and of orders also
/// `expired.creds` and `revoked.creds`. Gives what a server's configuration says to trust it.
pub(super) fn trust(place: &Place, nats: &Path) -> Result<String, String> {
    let own = place.folder("operator")?;
    let whole = own.join("whole");
    let run = |args: &[&str]| output(tool(place, nats)?.arg("auth").args(args));
    if !whole.exists() {
        let _ = fs::remove_dir_all(own.join("nats"));
        run(&["operator", "add", "chancery"])?;
        run(&["operator", "select", "chancery"])?;
        let jetstream = ["--jetstream", "--js-disk", "4GB", "--js-memory", "64MB"];
        run(&[&["account", "add", "SHOP", "--defaults"][..], &jetstream].concat())?;
        for service in SERVICES {
            user(place, service, service, &run)?;
        }
        user(place, "revoked", "orders", &run)?;
        run(&["user", "rm", "revoked", "SHOP", "--revoke", "-f"])?;
        let expired = place.folder("clients/orders")?.join("expired.creds");
        let expired = expired.display().to_string();
        run(&["user", "credential", &expired, "orders", "SHOP", "--expire", "1s", "-f"])?;
        fs::write(&whole, "").map_err(|error| format!("{}: {error}", whole.display()))?;
    }
    let store = own.join("nats/nsc/stores/chancery");
    let account = |name: &str| {
        let id = run(&["account", "info", name])?;
        let is_id = |word: &&str| word.len() == 56 && word.starts_with('A');
        let id = id.split(|c: char| !c.is_ascii_alphanumeric()).find(is_id).map(str::to_owned);
        let id = id.ok_or_else(|| format!("the account {name} has no id"))?;
        let jwt = read(&store.join(format!("accounts/{name}/{name}.jwt")))?;
        Ok::<_, String>((id, jwt.trim().to_owned()))
    };
    let ((system, system_jwt), (shop, shop_jwt)) = (account("SYSTEM")?, account("SHOP")?);
    let operator = store.join("chancery.jwt");
    Ok(format!(
        "operator: \"{}\"\nsystem_account: {system}\nresolver: MEMORY\n\
         resolver_preload: {{\n  {system}: \"{system_jwt}\"\n  {shop}: \"{shop_jwt}\"\n}}",
        operator.display()
    ))
}

/// A user with the rights of a service, and the file that the service has in hand.
fn user(
    place: &Place,
    name: &str,
    service: &str,
    run: &impl Fn(&[&str]) -> Result<String, String>,
) -> Result<(), String> {
    let (publish, subscribe) = rights(service);
    let mut args = vec!["user", "add", name, "SHOP", "--defaults"];
    for (allow, deny, subjects) in
        [("--pub-allow", "--pub-deny", &publish), ("--sub-allow", "--sub-deny", &subscribe)]
    {
        subjects.iter().for_each(|subject| args.extend([allow, subject]));
        if subjects.is_empty() {
            args.extend([deny, ">"]);
        }
    }
    run(&args)?;
    let file = if name == service { "user.creds".to_owned() } else { format!("{name}.creds") };
    let file = place.folder(&format!("clients/{service}"))?.join(file).display().to_string();
    run(&["user", "credential", &file, name, "SHOP", "-f"]).map(drop)
}
