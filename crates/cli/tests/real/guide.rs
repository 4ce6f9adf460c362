// SPDX-License-Identifier: MIT OR Apache-2.0
//! docs/guides/brokers.md: each broker's mapping connects as it is written there, and the commands
//! after it do what the guide says.

use std::path::Path;
use std::process::{Command, Stdio};

use crate::place::{Kind, Place};
use crate::shop::{CHANCERY, Ended};

/// With the mapping that the guide has under this heading.
pub(crate) fn is_typed(kind: Kind) {
    let guide = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/guides/brokers.md");
    let guide = std::fs::read_to_string(guide).unwrap();
    let heading = match kind {
        Kind::Kafka => "## Kafka\n",
        Kind::RabbitMq => "## RabbitMQ\n",
        Kind::Nats => "## NATS JetStream\n",
        Kind::Sqs => "## SQS\n",
    };
    let section = guide.split(heading).nth(1).unwrap();
    let mapping = section.split("```yaml\n").nth(1).unwrap().split("```").next().unwrap();
    let place = Place::new(kind);
    write_down(&place, mapping);
    let blocks = guide.split("```sh\n").skip(1).map(|rest| rest.split("```").next().unwrap());
    let script = format!("set -eu\n{}", blocks.collect::<String>());
    let bin = Path::new(CHANCERY).parent().unwrap().display().to_string();
    let ended = Command::new("sh")
        .args(["-c", &script])
        .current_dir(place.shop.dir())
        .env("PATH", format!("{bin}:{}", std::env::var("PATH").unwrap()))
        .env("USER", "tester")
        .stdin(Stdio::null())
        .output();
    Ended::of(ended.unwrap()).ok();
}

/// The mapping of the guide, but for what is this server's: where it is, and the streams' names.
fn write_down(place: &Place, mapping: &str) {
    let real = place.mapping("admin");
    let mut lines = String::new();
    for line in mapping.lines().skip(1) {
        let (name, _) = line.trim_start().split_once(':').unwrap();
        match name {
            "url" | "endpoint" => lines.push_str(&format!("  {name}: {}\n", real[name])),
            _ => lines.push_str(&format!("{line}\n")),
        }
    }
    lines.push_str(&format!("  streams: {}\n", real["streams"]));
    let config = place.shop.read("chancery.yaml");
    let rest: String = config
        .lines()
        .filter(|line| !line.starts_with("broker:"))
        .map(|line| format!("{line}\n"))
        .collect();
    place.shop.write("chancery.yaml", &format!("{rest}broker:\n{lines}"));
    place.assume();
    let secrets = place.shop.path("secrets");
    for service in ["svc-orders", "svc-billing", "svc-payouts"] {
        let folder = secrets.join(service);
        std::fs::create_dir_all(&folder).unwrap();
        for file in std::fs::read_dir(place.in_hand("admin", "")).unwrap() {
            let file = file.unwrap();
            let to = match file.file_name().to_str().unwrap() {
                "scram.properties" => folder.join("client.properties"),
                name => folder.join(name),
            };
            std::fs::copy(file.path(), to).unwrap();
        }
    }
}
