// SPDX-License-Identifier: MIT OR Apache-2.0
//! Everything that can be wrong with what is there: one message, the right exit code, no crash.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use crate::shop::{Shop, order};

#[test]
fn wrong_yaml_is_told_with_its_line() {
    let shop = Shop::new();
    let policy = shop.read("policy.yaml");
    shop.edit("policy.yaml", "kind: event", "kinf: event");
    shop.run(&["policy", "lint"]).failed(64, "policy.yaml: line 13 column 5: unknown field `kinf`");
    shop.write("policy.yaml", &policy.replace("owner: svc-orders", "owner: svc-order"));
    shop.run(&["policy", "lint"]).failed(64, "names `svc-order`, which is not a service");
    shop.write("policy.yaml", "\t- {");
    shop.run(&["policy", "lint"]).failed(64, "policy.yaml");
    shop.write("policy.yaml", &policy.replace("environment: dev", "environment: prod"));
    shop.run(&["policy", "lint"]).failed(64, "the trust bundle for shop/dev");
    shop.write("policy.yaml", &policy);

    let config = shop.read("chancery.yaml");
    shop.edit("chancery.yaml", "broker:", "brokr:");
    shop.run(&["status"]).failed(64, "chancery.yaml: line 3 column 1: unknown field `brokr`");
    shop.write("chancery.yaml", &config.replace("local:data/broker", "ftp:me:hunter2@somewhere"));
    let ended = shop.run(&["status"]).failed(64, "broker: write `local:FOLDER`, or a URL of");
    assert!(!ended.err.contains("hunter2"), "{ended:?}");
    shop.write("chancery.yaml", &config.replace("local:data/broker", "{url: local:a, x: 1}"));
    shop.run(&["status"]).failed(64, "broker: write `local:FOLDER`, and nothing else");
}

// Threat: a build that cannot reach the broker falls back to something else.
#[cfg(not(any(feature = "kafka", feature = "rabbitmq", feature = "nats", feature = "sqs")))]
#[test]
fn a_broker_that_is_not_built_in_is_named_with_the_build_that_has_it() {
    let shop = Shop::new();
    let config = shop.read("chancery.yaml");
    for (url, feature) in [
        ("kafka://localhost:1", "kafka"),
        ("amqps://localhost:1/shop", "rabbitmq"),
        ("nats://localhost:1", "nats"),
        ("sqs://eu-west-1", "sqs"),
    ] {
        let mapping = format!("{{url: \"{url}\"}}");
        shop.write("chancery.yaml", &config.replace("local:data/broker", &mapping));
        let build = format!("cargo install --path crates/cli --features {feature}");
        for args in [
            &["consume", "orders.created", "--group", "billing"][..],
            &["publish", "orders.created"],
            &["status"],
        ] {
            let ended = shop.run(args).failed(64, &build);
            assert!(ended.err.contains(&format!("without the feature `{feature}`")), "{ended:?}");
        }
        shop.run(&["doctor"]).failed(1, "");
    }
    shop.write("chancery.yaml", &config.replace("data/{service}.db", "data/all.db"));
    shop.run(&["status"]).failed(64, "chancery.yaml, database");
    shop.write("chancery.yaml", &config.replace("version: 1", "version: 2"));
    shop.run(&["status"]).failed(64, "chancery.yaml, version");
}

#[test]
fn missing_files_are_named() {
    for (file, code) in [("policy.yaml", 74), ("trust/bundle.json", 74), ("chancery.yaml", 64)] {
        let shop = Shop::new();
        fs::remove_file(shop.path(file)).unwrap();
        shop.run(&["status"]).failed(code, file);
    }
    let shop = Shop::new();
    fs::remove_dir_all(shop.path("schemas")).unwrap();
    shop.run(&["status"]).failed(74, "schemas");
    Shop::new().run(&["evidence", "check", "nope", "--key", "x"]).failed(64, "--key");
    let shop = Shop::new();
    let key = crate::start::verifier(&shop, "svc-billing");
    shop.run(&["evidence", "check", "nope", "--key", &key]).failed(74, "nope");
}

#[test]
fn a_bundle_that_the_root_did_not_sign_is_refused() {
    let shop = Shop::new();
    let bundle = shop.read("trust/bundle.json");
    shop.write("trust/bundle.json", &Shop::new().read("trust/bundle.json"));
    shop.fed(&["publish", "orders.created"], &order("o", 1))
        .failed(64, "trust bundle: is not signed by the root key");
    shop.write("trust/bundle.json", "{}");
    shop.run(&["keys", "ls"]).failed(64, "is not a DSSE envelope");
    shop.write("trust/bundle.json", &bundle);
    shop.edit("chancery.yaml", "root: ", "root: x");
    shop.run(&["keys", "ls"]).failed(64, "chancery.yaml, trust.root");
}

#[test]
fn a_schema_that_cannot_be_read_is_named() {
    let shop = Shop::new();
    shop.write("schemas/orders.created/2.json", "{\"type\": 7}");
    shop.run(&["status"]).failed(64, "schemas/orders.created/2.json");
    shop.run(&["schema", "lint"]).failed(1, "");
    shop.write("schemas/orders.created/2.json", "nonsense");
    shop.run(&["status"]).failed(64, "schemas/orders.created/2.json");
    fs::rename(shop.path("schemas/orders.created/2.json"), shop.path("schemas/orders.created/x"))
        .unwrap();
    shop.run(&["status"]).failed(64, "is not a schema's name");
    fs::remove_file(shop.path("schemas/orders.created/x")).unwrap();
    shop.write("schemas/orders.created/1.json~", "an editor's leavings");
    shop.run(&["status"]).ok();
}

#[test]
fn a_damaged_database_stops_everything_and_loses_nothing() {
    let shop = Shop::new();
    shop.publish(3);
    shop.run(&["consume", "orders.created", "--group", "billing", "--max", "1"]).ok();
    for file in ["data/svc-billing.db", "data/broker/broker.db"] {
        let good = fs::read(shop.path(file)).unwrap();
        for beside in ["-wal", "-shm"] {
            let _ = fs::remove_file(shop.path(&format!("{file}{beside}")));
        }
        fs::write(shop.path(file), b"this is not a database, though it is long enough for one")
            .unwrap();
        let ended = shop.consume().failed(69, file.rsplit('/').next().unwrap());
        assert!(ended.err.contains("fix:"), "{}", ended.err);
        assert_eq!(ended.out, "");
        shop.run(&["doctor"]);
        fs::write(shop.path(file), good).unwrap();
    }
    assert_eq!(shop.consume().json().len(), 2);
}

#[test]
fn doctor_finds_damage_inside_a_database() {
    let shop = Shop::new();
    shop.publish(200);
    shop.consume();
    let path = shop.path("data/svc-billing.db");
    let mut bytes = fs::read(&path).unwrap();
    let end = bytes.len();
    assert!(end > 40_000);
    bytes[end - 20_000..end - 12_000].fill(0xa5);
    fs::write(&path, bytes).unwrap();
    let ended = shop.run(&["doctor"]);
    assert_eq!(ended.code, 1, "{ended:?}");
    assert!(ended.out.contains("BAD      database"), "{}", ended.out);
}

// As when the disk is full: /dev/full takes nothing.
#[test]
fn a_full_disk_behind_the_pipe_loses_nothing() {
    let shop = Shop::new();
    let published = shop.publish(3);
    let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let mut command =
        shop.command(&["consume", "orders.created", "--group", "billing", "--idle-exit", "1"]);
    let ended = command.stdout(full).output().unwrap();
    crate::shop::Ended::of(ended).failed(74, "the disk is full");
    assert_eq!(crate::shop::ids(&shop.consume()), published);

    let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let ended = shop.command(&["keys", "ls"]).stdout(full).output().unwrap();
    crate::shop::Ended::of(ended).failed(74, "the disk is full");
}

#[test]
fn a_folder_that_cannot_be_written_is_named() {
    let shop = Shop::new();
    fs::remove_dir(shop.path("data")).unwrap();
    shop.write("data", "a file where a folder should be");
    shop.fed(&["publish", "orders.created"], &order("o", 1)).failed(69, "broker");
    let root = shop.path("evidence");
    fs::set_permissions(&root, fs::Permissions::from_mode(0o700)).unwrap();
}

#[test]
fn usage_is_told_by_clap() {
    let shop = Shop::new();
    shop.run(&["publsh"]).failed(2, "publish");
    shop.run(&["consume", "orders.created"]).failed(2, "--group");
    shop.run(&["consume", "orders.created", "--group", "billing", "--max", "0"]).failed(2, "--max");
    shop.run(&[]).failed(2, "Usage");
    shop.run(&["why", "E999"]).failed(64, "`chancery why` lists");
    shop.run(&["why", "e302_wrong_destinatoin"]).failed(64, "did you mean");
    shop.run(&["explain", "nothing"]).failed(64, "nothing here is about");
    shop.run(&["completions", "bash"]).ok();
}

// A name out of a file or an argument must not steer the terminal.
#[test]
fn control_characters_are_never_echoed() {
    let shop = Shop::new();
    let ended = shop.run(&["explain", "\u{1b}[31mred"]);
    assert!(!ended.err.contains('\u{1b}'), "{ended:?}");
    let ended = shop.run(&["publish", "\u{1b}[31mred"]);
    assert!(!ended.err.contains('\u{1b}'), "{ended:?}");
}

/// Runs a command whose files may not grow beyond a few hundred KiB, as on a full disk.
fn cramped(shop: &Shop, kib: u32, args: &str, input: &str) -> crate::shop::Ended {
    let chancery = crate::shop::CHANCERY;
    let script = format!("trap '' XFSZ; ulimit -f {}; exec {chancery} {args}", kib * 2);
    shop.write("input", input);
    let input = fs::File::open(shop.path("input")).unwrap();
    let mut command = std::process::Command::new("sh");
    command.args(["-c", &script]).current_dir(shop.dir()).stdin(input);
    crate::shop::Ended::of(command.output().unwrap())
}

#[test]
fn a_full_disk_at_the_broker_promises_nothing_that_is_not_there() {
    let shop = Shop::new();
    shop.publish(1);
    shop.consume();
    let input = crate::shop::orders(2000);
    let ended = cramped(&shop, 500, "publish orders.created", &input);
    let ended = ended.failed(69, "are not confirmed");
    let confirmed: Vec<&str> = ended.out.lines().collect();
    assert!(!confirmed.is_empty() && confirmed.len() < 2000, "{}", confirmed.len());
    assert!(ended.err.contains("E705_BROKER_DOWN") && ended.err.contains("fix: publish again"));
    let consumed = crate::shop::ids(&shop.consume());
    assert!(consumed.starts_with(&confirmed.iter().map(|id| (*id).to_owned()).collect::<Vec<_>>()));
}

#[test]
fn a_full_disk_at_the_ledger_loses_nothing() {
    let shop = Shop::new();
    let published = shop.publish(600);
    let args = "consume orders.created --group billing --idle-exit 1";
    let ended = cramped(&shop, 300, args, "");
    assert_eq!(ended.code, 69, "{ended:?}");
    let first = crate::shop::ids(&ended);
    let rest = crate::shop::ids(&shop.consume());
    assert!(first.len() + rest.len() <= published.len() + 1, "at most the one in hand twice");
    let mut seen = first;
    seen.extend(rest);
    seen.dedup();
    assert_eq!(seen, published);
    assert!(shop.run(&["evidence", "verify"]).ok().contains("sound"));
}

// A half-written key would stop every command of the project, even when there is space again.
#[test]
fn a_full_disk_at_a_new_key_harms_nothing() {
    let shop = Shop::new();
    cramped(&shop, 0, "keys rotate svc-orders", "").failed(74, "keys/svc-orders.message.");
    shop.run(&["keys", "ls"]).ok();
    shop.publish(1);
}

// Run again as a whole, a publish doubles what it had published.
#[test]
fn a_publish_that_stops_early_says_where_to_go_on() {
    let shop = Shop::new();
    let full = || fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let publish = |args: &[&str], stdout: std::process::Stdio| {
        shop.write("input", &(crate::shop::orders(1) + "nonsense\n"));
        let mut command = std::process::Command::new(crate::shop::CHANCERY);
        command.args(["publish", "orders.created"]).args(args).current_dir(shop.dir());
        command.stdin(fs::File::open(shop.path("input")).unwrap()).stdout(stdout);
        command.stderr(std::process::Stdio::piped());
        crate::shop::Ended::of(command.output().unwrap())
    };
    let told = publish(&[], full().into()).failed(74, "lines 1 to 1 are published");
    assert!(told.err.contains("publish again from line 2"), "{told:?}");
    let (reader, closed) = std::io::pipe().unwrap();
    drop(reader);
    publish(&[], closed.into()).failed(141, "lines 1 to 1 are published");
    let rejects = ["--rejects", "/dev/full"];
    publish(&rejects, std::process::Stdio::null()).failed(74, "publish again from line");
}

// A program that is started without standard output gets /dev/null for it: what nobody could read
// must not count as delivered.
#[test]
fn closed_standard_output_is_told_before_the_first_message() {
    let shop = Shop::new();
    let published = shop.publish(2);
    let consume = "consume orders.created --group billing --idle-exit 1";
    let shell = |line: &str| {
        let mut command = std::process::Command::new("sh");
        command.args(["-c", line, crate::shop::CHANCERY]).current_dir(shop.dir());
        crate::shop::Ended::of(command.output().unwrap())
    };
    shell(&format!("exec \"$0\" {consume} >&-")).failed(64, "is closed");
    let publish =
        r#"echo '{"order_id":"o_9","amount":1,"currency":"USD"}' | "$0" publish orders.created"#;
    shell(&format!("{publish} >&-")).failed(64, "is closed");
    assert_eq!(crate::shop::ids(&shop.consume()), published);
    // Thrown away on purpose, and said so.
    shell(&format!("{publish} >/dev/null")).ok();
    shell(&format!("exec \"$0\" {consume} --max 1 >/dev/null")).ok();
}

#[test]
fn what_is_no_file_is_not_waited_for() {
    for at in ["schemas/orders.created/2.json", "keys/svc-orders.message.key"] {
        let shop = Shop::new();
        let _ = fs::remove_file(shop.path(at));
        let made = std::process::Command::new("mkfifo")
            .args(["-m", "600"])
            .arg(shop.path(at))
            .status()
            .unwrap();
        assert!(made.success());
        shop.run(&["policy", "lint"]).failed(64, "is not a regular file");
    }
}

// The same version in two files: which one is in force must not depend on how they sort.
#[test]
fn a_schema_version_has_one_spelling() {
    for name in ["01.json", "+1.json"] {
        let shop = Shop::new();
        let schema = shop.path("schemas/orders.created/1.json");
        fs::copy(&schema, schema.with_file_name(name)).unwrap();
        shop.run(&["policy", "lint"]).failed(64, "is not a schema's name");
    }
}

#[test]
fn a_yaml_error_is_told_in_the_users_words() {
    let shop = Shop::new();
    let policy = fs::read_to_string(shop.path("policy.yaml")).unwrap();
    for wrong in ["    key: order_id\n    key: order_id\n", "    ordered:\n"] {
        shop.write("policy.yaml", &policy.replace("    key: order_id", wrong));
        let ended = shop.run(&["policy", "lint"]).failed(64, "policy.yaml: ");
        assert!(!ended.err.contains("Option"), "{ended:?}");
    }
}

// Half a line, and the same message whole behind it, would be one line that nobody can read.
#[test]
fn a_full_disk_leaves_no_half_line() {
    let shop = Shop::new();
    shop.publish(3);
    let before = "\n".repeat((4000 << 10) - 100);
    shop.write("out", &before);
    let args = "consume orders.created --group billing --idle-exit 1 >> out";
    cramped(&shop, 4000, args, "").failed(74, "standard output");
    assert_eq!(shop.read("out").len(), before.len());
    assert_eq!(crate::shop::ids(&shop.consume()).len(), 3);
}
