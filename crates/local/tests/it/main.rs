// SPDX-License-Identifier: MIT OR Apache-2.0
//! The embedded broker, judged.

use std::time::Duration;

use chancery::Source;
use chancery_local::Broker;

#[tokio::test]
async fn what_is_appended_is_received_once() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::open(dir.path()).unwrap();
    assert_eq!(broker.append_raw("a.b", &[], Some(b"k"), Some(b"x")).unwrap(), 1);
    assert_eq!(broker.append_raw("a.b", &[], Some(b"k"), None).unwrap(), 2);
    let mut source = broker.subscribe("a.b", "g").unwrap();
    let batch = source.receive(10, Duration::from_secs(1)).await.unwrap();
    assert_eq!(batch.len(), 2);
    for (_, receipt) in batch {
        source.acknowledge(receipt).await.unwrap();
    }
    drop(source);
    let mut source = broker.subscribe("a.b", "g").unwrap();
    assert!(source.receive(10, Duration::from_millis(50)).await.unwrap().is_empty());
    assert_eq!(broker.lag("a.b", "g").unwrap().messages, 0);
}
