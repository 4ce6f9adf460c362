// SPDX-License-Identifier: MIT OR Apache-2.0
//! ElasticMQ, from Maven Central: the SQS-compatible server that moves dead letters back, and keeps
//! its messages when it is killed. It knows neither users nor TLS.

use std::process::Command;

use super::place::{Place, Up};
use super::process::answers;
use super::{SERVICES, install};

const VERSION: &str = "1.6.12";
const ARTIFACT: &str = "org.elasticmq:elasticmq-server_2.13:1.6.12";
const CONFIG: &str = include_str!("elasticmq/elasticmq.conf");

pub(super) fn up(place: &Place) -> Result<Up, String> {
    let what = format!("ElasticMQ {VERSION} from Maven Central (37 MB)");
    let jars = install::maven(place, &format!("elasticmq-{VERSION}"), &what, &[ARTIFACT])?;
    let port = place.port("sqs")?;
    place.folder("data")?;
    for service in SERVICES {
        place.client(service)?;
    }
    let path = place.configure("elasticmq.conf", CONFIG, &[("port", &port.to_string())])?;
    let mut java = Command::new("java");
    java.args(["-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"])
        .arg(format!("-Dconfig.file={}", path.display()))
        .arg("-cp")
        .arg(jars.join("*"))
        .arg("org.elasticmq.server.Main");
    place.start(&java, || answers(port, "/?Action=ListQueues"))?;
    let url = format!("http://localhost:{port}");
    Ok(Up::new(&format!("ElasticMQ {VERSION}"), &[("sqs", url)]))
}
